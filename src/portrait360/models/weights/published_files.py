"""The published files: where their authors offer them, how large they are, under which licence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portrait360.utils.errors import UserError

HUB = "https://huggingface.co"
SIZE_TOLERANCE = 0.05  # by how much a file may differ from a size that a page gives in gigabytes
OPENRAIL = "CreativeML OpenRAIL-M"
BUILT_ON_SD15 = f"it is built on Stable Diffusion 1.5 ({OPENRAIL})"

DIFFPORTRAIT360_LICENCE = f"Apache-2.0 for the authors' code; for the weights, see the page; {BUILT_ON_SD15}"


@dataclass(frozen=True)
class PublishedFile:
    name: str  # as `portrait360 weights list` calls it
    file: str
    bytes: int  # to within SIZE_TOLERANCE; exact where the SHA-256 is known
    imported: int  # bytes of what an import makes of it
    licence: str
    repository: str | None = None  # on the Hugging Face hub; None: only a browser can download it
    elsewhere: str = ""  # the page of a file that is not on the hub
    revision: str = "main"  # a commit, where one is known
    sha256: str | None = None  # None: only the hub knows it
    for_training: bool = False  # needed to train, not to make views

    @property
    def page(self) -> str:
        """Where a browser finds it."""
        return f"{HUB}/{self.repository}" if self.repository else self.elsewhere

    @property
    def gigabytes(self) -> float:
        return self.bytes / 1e9

    def has_size(self, size: int) -> bool:
        """Whether a file of this many bytes can be the published one."""
        if self.sha256 is not None:
            return size == self.bytes
        return abs(size - self.bytes) <= SIZE_TOLERANCE * self.bytes


PUBLISHED = {
    file.name: file
    for file in (
        PublishedFile(
            "diffportrait360",
            "model_state-340000.th",
            10_820_000_000,
            5_170_000_000,
            DIFFPORTRAIT360_LICENCE,
            repository="gym890/diffportrait360",
        ),
        PublishedFile(
            "back-head",
            "back_head-230000.th",
            9_150_000_000,
            4_330_000_000,
            DIFFPORTRAIT360_LICENCE,
            repository="gym890/diffportrait360",
        ),
        PublishedFile(
            "panohead",
            "easy-khair-180-gpc0.8-trans10-025000.pkl",
            563_000_000,
            220_000_000,
            "non-commercial; the terms are in the PanoHead repository on GitHub (SizheAn/PanoHead)",
            repository="gym890/diffportrait360",
        ),
        PublishedFile(
            "diffportrait3d",
            "model_state-540000-001.th",
            11_490_000_000,
            5_500_000_000,
            f"not stated beside the file, see FreedomGu/DiffPortrait3D on GitHub; {BUILT_ON_SD15}",
            elsewhere="https://drive.google.com/file/d/14qzipHghFrs4CFpVo1xW9CZt8OGLJf9t/view",
        ),
        PublishedFile(
            "sd15",
            "v1-5-pruned-emaonly.safetensors",
            4_265_146_304,
            1_890_000_000,
            OPENRAIL,
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            for_training=True,
            sha256="6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
            repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        PublishedFile(
            "animatediff",
            "mm_sd_v15.ckpt",
            1_672_000_000,
            836_000_000,
            "Apache-2.0",
            for_training=True,
            revision="cd71ae134a27ec6008b968d6419952b0c0494cf2",
            repository="guoyww/animatediff",
        ),
    )
}


def find_published(name: str) -> PublishedFile:
    if name not in PUBLISHED:
        raise UserError(f"There is no published file {name!r}; choose from {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]


def fetch_command(names: Iterable[str]) -> str:
    """Return the one command that brings these weights."""
    names = list(names)
    source = "" if all(PUBLISHED[name].repository for name in names) else " --from FILE"
    return f"portrait360 weights fetch {' '.join(names)}{source}"
