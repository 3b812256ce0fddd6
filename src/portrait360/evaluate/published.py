"""The networks by which the papers judge pictures, where their weights lie in the caches of the libraries that run
them; else what is missing: the sentence that follows the row's name, empty if nothing is."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from portrait360.errors import UserError
from portrait360.evaluate.batches import Floats, Pictures, in_batches, installed, one_by_one, tensor
from portrait360.images import eight_bits

if TYPE_CHECKING:
    from torch import Tensor

ALEXNET, VGG = "alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
CLIP, CLIP_SIDE = "openai/clip-vit-base-patch32", 224
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ARCFACE, ARCFACE_SIDE = Path(".insightface/models/buffalo_l/w600k_r50.onnx"), 112


def lpips_lacks() -> str:
    return _zoo_lacks("AlexNet", ALEXNET, "AlexNet_Weights", "torchmetrics.image.lpip")


def lpips(a: Pictures, b: Pictures) -> Floats:
    """With AlexNet; of pictures as large as they are."""
    return one_by_one(_lpips(), a, b)


@lru_cache(maxsize=1)
def _lpips() -> Any:
    _refuse_code(ALEXNET)
    module = import_module("torchmetrics.image.lpip")
    return module.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)


def dists_lacks() -> str:
    return _zoo_lacks("VGG-16", VGG, "VGG16_Weights", "torchmetrics.image.dists")


def dists(a: Pictures, b: Pictures) -> Floats:
    """Of pictures as large as they are."""
    return one_by_one(_dists(), a, b)


@lru_cache(maxsize=1)
def _dists() -> Any:
    _refuse_code(VGG)
    return import_module("torchmetrics.image.dists").DeepImageStructureAndTextureSimilarity()


def inception_lacks() -> str:
    if _cached(INCEPTION).is_file() and installed("torch_fidelity"):
        return ""
    return (
        f"needs Inception's weights as {_named(_cached(INCEPTION))} and torch-fidelity (pip install torch-fidelity)."
    )


def inception(pictures: Pictures) -> Floats:
    """(n, 2048)"""
    import torch

    def features(some: Pictures) -> Tensor:
        return _inception()(torch.stack([torch.from_numpy(eight_bits(x).transpose(2, 0, 1)) for x in some]))[0]

    return in_batches(features, pictures)


@lru_cache(maxsize=1)
def _inception() -> Any:
    _refuse_code(INCEPTION)
    module = import_module("torch_fidelity.feature_extractor_inceptionv3")
    path = str(_cached(INCEPTION))  # given, it is not looked for elsewhere
    return module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)


def clip_lacks() -> str:
    if installed("transformers"):
        found = import_module("huggingface_hub").try_to_load_from_cache
        files = ("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin")
        if any(all(isinstance(found(CLIP, file), str) for file in pair) for pair in files):
            return ""
    return f"needs {CLIP} in Hugging Face's cache (hf download {CLIP}) and transformers (pip install transformers)."


def clip(pictures: Pictures) -> Floats:
    """(n, 512), in the space that texts share."""

    def embed(some: Pictures) -> Tensor:
        shown = [(_clip_sized(picture) - CLIP_MEAN) / CLIP_STD for picture in some]
        return _clip().visual_projection(_clip().vision_model(pixel_values=tensor(shown)).pooler_output)

    return in_batches(embed, pictures)


def _clip_sized(picture: Floats) -> Floats:
    """By Pillow, as CLIP's authors do."""
    small = Image.fromarray(eight_bits(picture)).resize((CLIP_SIDE, CLIP_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


@lru_cache(maxsize=1)
def _clip() -> Any:
    load = import_module("transformers").CLIPModel.from_pretrained
    model, told = load(CLIP, local_files_only=True, output_loading_info=True)
    if told["missing_keys"]:
        raise UserError(f"{CLIP} in Hugging Face's cache lacks {min(told['missing_keys'])}; download it again.")
    return model.eval()


def arcface_lacks() -> str:
    path = Path.home() / ARCFACE
    if path.is_file():
        return ""
    return (
        f"needs {_named(path)} from insightface's buffalo_l.zip: ArcFace's weights, for non-commercial research only."
    )


def arcface(faces: Pictures) -> Floats:
    """(n, 512) of faces as `aligned_face` gives them."""
    network, described = _arcface(), []
    for face in faces:  # one by one: OpenCV lays a network out anew for each size of batch
        network.setInput(np.ascontiguousarray((2 * face - 1).transpose(2, 0, 1)[None], dtype=np.float32))
        described.append(network.forward().reshape(-1).copy())
    return np.stack(described)


@lru_cache(maxsize=1)
def _arcface() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(str(Path.home() / ARCFACE))


def _cached(file: str) -> Path:
    from torch import hub

    return Path(hub.get_dir()) / "checkpoints" / file


def _named(path: Path) -> str:
    """As a person would say it, on any machine alike."""
    return str(path).replace(str(Path.home()), "~", 1)


def _zoo_lacks(network: str, file: str, weights: str, caller: str) -> str:
    """Of a network of torchvision's that another library calls, which would download weights other than `file`."""
    path = _cached(file)
    if path.is_file() and installed("torchvision", caller):
        wanted = getattr(import_module("torchvision.models"), weights).DEFAULT.url
        if wanted.endswith("/" + file):
            return ""
    packages = "the packages it runs in (pip install torchmetrics torchvision)"
    return f"needs {network}'s weights as {_named(path)} and {packages}."


def _refuse_code(file: str) -> None:
    """The libraries open weights without `weights_only`: here it is seen first that they hold tensors and no more."""
    from portrait360.checkpoints import TensorFile

    TensorFile(_cached(file))
