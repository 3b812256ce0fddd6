"""The CLIP-L text encoder of SD 1.5. It runs once, when weights are imported, to embed the empty prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

START, END = 49406, 49407  # CLIP's special tokens; SD 1.5 pads with END


@dataclass(frozen=True)
class TextConfig:
    vocabulary: int = 49408
    width: int = 768
    layers: int = 12
    heads: int = 12
    tokens: int = 77


class SelfAttention(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            self.add_module(name, nn.Linear(config.width, config.width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(self.get_submodule(name)(x), "b n (h d) -> b h n d", h=self.heads)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.get_submodule("out_proj")(rearrange(out, "b h n d -> b n (h d)"))


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width * 4), nn.Linear(width * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))  # CLIP's "quick GELU"


class Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width)
        self.layer_norm2 = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.tokens, config.width)
        self.position_ids: Tensor
        self.register_buffer("position_ids", torch.arange(config.tokens)[None])

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class Layers(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TextEncoder(nn.Module):
    """The network under `text_model` in the published files."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return embeddings (b n width) of token ids (b n)."""
        return self.final_layer_norm(self.encoder(self.embeddings(ids)))

    def empty_prompt(self) -> Tensor:
        """Return the embedding (1 tokens width) of the empty prompt, which conditions every image."""
        ids = torch.full((1, self.config.tokens), END)
        ids[0, 0] = START
        return self(ids)
