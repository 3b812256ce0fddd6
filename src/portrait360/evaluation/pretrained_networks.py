"""The networks by which the papers judge pictures, used where the libraries that run them have their weights cached.

Each `check_*` returns what is missing: a sentence that continues after the metric's name, empty if nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.images import to_uint8

if TYPE_CHECKING:
    from torch import Tensor

Pictures = Sequence[Floats]  # each (s, s, 3) in [0, 1]

BATCH = 16
ALEXNET, VGG = "alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
CLIP, CLIP_SIDE = "openai/clip-vit-base-patch32", 224
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ARCFACE, ARCFACE_SIDE = Path(".insightface/models/buffalo_l/w600k_r50.onnx"), 112


def check_lpips() -> str:
    return _check_torchvision("AlexNet", ALEXNET, "AlexNet_Weights", "torchmetrics.image.lpip")


def lpips(a: Pictures, b: Pictures) -> Floats:
    """Return LPIPS distances (n,) with AlexNet, of pictures at their own size."""
    return measure_pairs(_lpips(), a, b)


@lru_cache(maxsize=1)
def _lpips() -> Any:
    _refuse_code(ALEXNET)
    module = import_module("torchmetrics.image.lpip")
    return module.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)


def check_dists() -> str:
    return _check_torchvision("VGG-16", VGG, "VGG16_Weights", "torchmetrics.image.dists")


def dists(a: Pictures, b: Pictures) -> Floats:
    """Return DISTS distances (n,) of pictures at their own size."""
    return measure_pairs(_dists(), a, b)


@lru_cache(maxsize=1)
def _dists() -> Any:
    _refuse_code(VGG)
    return import_module("torchmetrics.image.dists").DeepImageStructureAndTextureSimilarity()


def check_inception() -> str:
    if _cache_path(INCEPTION).is_file() and is_installed("torch_fidelity"):
        return ""
    file = _display_path(_cache_path(INCEPTION))
    return f"needs Inception's weights at {file} and torch-fidelity (pip install torch-fidelity)."


def inception(pictures: Pictures) -> Floats:
    """Return Inception features (n, 2048)."""
    import torch

    def extract(batch: Pictures) -> Tensor:
        return _inception()(torch.stack([torch.from_numpy(to_uint8(x).transpose(2, 0, 1)) for x in batch]))[0]

    return run_in_batches(extract, pictures)


@lru_cache(maxsize=1)
def _inception() -> Any:
    _refuse_code(INCEPTION)
    module = import_module("torch_fidelity.feature_extractor_inceptionv3")
    path = str(_cache_path(INCEPTION))  # with a path, the library does not look for weights elsewhere
    return module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)


def check_clip() -> str:
    if is_installed("transformers"):
        find_in_cache = import_module("huggingface_hub").try_to_load_from_cache
        files = ("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin")
        if any(all(isinstance(find_in_cache(CLIP, file), str) for file in pair) for pair in files):
            return ""
    return f"needs {CLIP} in Hugging Face's cache (hf download {CLIP}) and transformers (pip install transformers)."


def clip(pictures: Pictures) -> Floats:
    """Return embeddings (n, 512) in the space that CLIP shares with texts."""

    def embed(batch: Pictures) -> Tensor:
        pixels = [(_resize_for_clip(picture) - CLIP_MEAN) / CLIP_STD for picture in batch]
        return _clip().visual_projection(_clip().vision_model(pixel_values=to_tensor(pixels)).pooler_output)

    return run_in_batches(embed, pictures)


def _resize_for_clip(picture: Floats) -> Floats:
    """Resize by Pillow, as CLIP's authors do."""
    small = Image.fromarray(to_uint8(picture)).resize((CLIP_SIDE, CLIP_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


@lru_cache(maxsize=1)
def _clip() -> Any:
    load = import_module("transformers").CLIPModel.from_pretrained
    model, info = load(CLIP, local_files_only=True, output_loading_info=True)
    if info["missing_keys"]:
        raise UserError(f"{CLIP} in Hugging Face's cache lacks {min(info['missing_keys'])}; download it again.")
    return model.eval()


def check_arcface() -> str:
    path = Path.home() / ARCFACE
    if path.is_file():
        return ""
    file = _display_path(path)
    return f"needs {file} from insightface's buffalo_l.zip: ArcFace's weights, for non-commercial research only."


def arcface(faces: Pictures) -> Floats:
    """Return embeddings (n, 512) of faces from `align_face`."""
    network, embeddings = _arcface(), []
    for face in faces:  # singly: OpenCV lays out a network anew for each batch size
        network.setInput(np.ascontiguousarray((2 * face - 1).transpose(2, 0, 1)[None], dtype=np.float32))
        embeddings.append(network.forward().reshape(-1).copy())
    return np.stack(embeddings)


@lru_cache(maxsize=1)
def _arcface() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(str(Path.home() / ARCFACE))


def _cache_path(file: str) -> Path:
    from torch import hub

    return Path(hub.get_dir()) / "checkpoints" / file


def _display_path(path: Path) -> str:
    """Abbreviate the home folder, so that the text is the same on every machine."""
    return str(path).replace(str(Path.home()), "~", 1)


def _check_torchvision(network: str, file: str, weights: str, caller: str) -> str:
    """Check a network of torchvision's that another library calls, which would download any weights other than
    `file`."""
    path = _cache_path(file)
    if path.is_file() and is_installed("torchvision", caller):
        url = getattr(import_module("torchvision.models"), weights).DEFAULT.url
        if url.endswith("/" + file):
            return ""
    packages = "the packages it runs in (pip install torchmetrics torchvision)"
    return f"needs {network}'s weights at {_display_path(path)} and {packages}."


def _refuse_code(file: str) -> None:
    """Check that a file of weights holds only tensors: the libraries open it without `weights_only`."""
    from portrait360.models.weights.tensor_files import TensorFile

    TensorFile(_cache_path(file))


def is_installed(*packages: str) -> bool:
    try:
        for package in packages:
            import_module(package)
    except (ImportError, RuntimeError):  # the latter where torchvision was built for another torch
        return False
    return True


def resize(picture: Floats, side: int) -> Floats:
    interpolation = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return cv2.resize(picture.astype(np.float32), (side, side), interpolation=interpolation).clip(0, 1)


def to_tensor(pictures: Pictures) -> Tensor:
    """Stack pictures to a tensor (n 3 h w)."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), dtype=np.float32))


def run_in_batches(function: Callable[[Pictures], Tensor], pictures: Pictures) -> Floats:
    """Apply `function` to each BATCH of pictures."""
    import torch

    with torch.inference_mode():
        return torch.cat([function(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]).numpy()


def pair_up(a: Pictures, b: Pictures) -> list[tuple[Floats, Floats]]:
    if len(a) != len(b):
        raise ValueError(f"pictures are compared in pairs, got {len(a)} and {len(b)}")
    return list(zip(a, b, strict=True))


def measure_pairs(metric: Any, a: Pictures, b: Pictures) -> Floats:
    """Run a torchmetrics metric on each pair alone: it sums over all pictures of a call."""
    import torch

    with torch.inference_mode():
        return np.array([float(metric(*(to_tensor([x.clip(0, 1)]) for x in pair))) for pair in pair_up(a, b)])
