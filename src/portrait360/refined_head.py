"""The stage `refine`: a fitted head, mended by what a view denoiser knows, becomes views again, and they a head."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from portrait360.checkpoints import TensorFile, load_single
from portrait360.errors import UserError
from portrait360.files import locked, read_limited, sha256, whole, writing_to
from portrait360.fit.command import QUICK, fit_settings
from portrait360.fit.head import FitSettings, fit_head
from portrait360.gan_proxy import HEAD_FILE, GanHead
from portrait360.geometry.volume import Volume
from portrait360.head import NAMES, Head, device_of
from portrait360.models.hybrid import HybridPriors
from portrait360.models.triplane import Triplane, TriplaneConfig
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.refine.generated_volume import GeneratedVolume
from portrait360.refine.guide import SMALL_HYBRID, Guide, SmallGuide
from portrait360.refine.loop import Refining, refined
from portrait360.refine.proxy_volume import ProxyVolume
from portrait360.refine.restore import Restoring, load_restoration, restored
from portrait360.refine.start import begun
from portrait360.run import OWN
from portrait360.unfinished import Unfinished
from portrait360.view_sheet import View, ViewSheet
from portrait360.views import own_views

WEIGHTS = Path(__file__).parent / "assets" / "small" / "hybrid.safetensors"
MADE_OF = "refined.json"  # beside the views
KEPT, RESTORED = "refining.pt", "restored.pt"  # what a killed one goes on with
MAX_BYTES = 1 << 20
BEGINNINGS = ("field", "proxy", "gan")  # of a run: what was fitted, what it began with, a generator's head
OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Refinery:
    """How a head is refined; files of weights, and what it begins with."""

    how: Refining = field(default_factory=Refining)
    weights: Path | None = None  # of the hybrid priors; the package's if not given
    restorer: Path | None = None  # of the geometry restoration; none if not given
    restoring: Restoring = field(default_factory=Restoring)
    begin: str = BEGINNINGS[0]

    def checked(self) -> Refinery:
        if self.begin not in BEGINNINGS:
            raise UserError(f"A head cannot be begun by {self.begin!r}; choose from {', '.join(BEGINNINGS)}.")
        if self.weights is None and not WEIGHTS.is_file():
            raise UserError(
                "This package holds no weights of the hybrid priors yet, so nothing can be refined without "
                "--weights; `portrait360 train run hybrid` makes some."
            )
        for path in (self.weights, self.restorer):
            if path is not None and not path.is_file():
                raise UserError(f"There is no file {path}.")
        load_guide(self.weights)  # what does not fit is told before anything is made
        if self.restorer is not None:
            load_restoration(self.restorer, TriplaneConfig())
        return self

    @property
    def nothing(self) -> bool:
        """Whether the head would stay as it is."""
        return not self.how.steps and self.restorer is None

    def made_of(self) -> dict[str, object]:
        """All that its result depends on besides the run."""
        files = {"weights": self.weights or WEIGHTS} | ({"restorer": self.restorer} if self.restorer else {})
        told = {name: sha256(path) for name, path in files.items()} | {"begin": self.begin, **asdict(self.how)}
        return json.loads(json.dumps(told | ({"restoring": asdict(self.restoring)} if self.restorer else {})))


def load_guide(path: Path | None) -> SmallGuide:
    """The hybrid priors of a file, or those of this package."""
    file, network = TensorFile(path or WEIGHTS), HybridPriors(SMALL_HYBRID)
    load_single(network, file, str(path or WEIGHTS))
    return SmallGuide(network=network.eval().requires_grad_(False))


def volume_of(folder: Path, begin: str, device: torch.device | str = "cpu") -> Volume:
    """Of a run."""
    if begin == "field":
        found = Head.load(folder / "head").field if (folder / "head").is_dir() else None
        if found is None:
            raise UserError(
                f"{folder} holds no fitted field; begin with a run of `portrait360 make`, or --begin proxy."
            )
        return found.to(device)
    if begin == "proxy":
        return ProxyVolume(Proxy.load(folder / "proxy")).to(device)
    kept = folder / "proxy" / HEAD_FILE
    if not kept.is_file():
        raise UserError(f"{folder} holds no generated head; begin with `portrait360 make --method gan`.")
    return GeneratedVolume(GanHead.load(kept, device))


def refined_sheet(
    volume: Volume,
    sheet: ViewSheet,
    guide: SmallGuide,
    asked: Refinery,
    on_step: OnStep = lambda what, done, of: None,
    kept: Unfinished | None = None,
) -> ViewSheet:
    """The same cameras and the same photo; what they see of the refined head."""
    if sheet.reference is None:
        raise UserError("Refining needs the photo beside the views; begin with a run of `portrait360 make`.")
    if asked.nothing:
        return sheet
    guide = guide.knowing(volume, sheet.reference, asked.how.size)
    triplane = started(volume, sheet.reference, guide, asked, on_step, kept)
    told = lambda done, of: on_step("refine", done, of)  # noqa: E731 (one line says it)
    triplane = refined(triplane, sheet.reference, guide, asked.how, told, kept)
    seen = [(*triplane.picture(view.camera, view.size)[:2], view.camera) for view in sheet.views]
    return replace(sheet, views=tuple(View(rgb, alpha, camera) for rgb, alpha, camera in seen))


def started(
    volume: Volume, photo: View, guide: Guide, asked: Refinery, on_step: OnStep, kept: Unfinished | None
) -> Triplane:
    """What refining begins with: the volume, or a volume that is the restored one. That is kept, too."""
    new = lambda base: begun(base, TriplaneConfig(), torch.Generator().manual_seed(asked.how.seed))  # noqa: E731
    head = new(volume)
    if asked.restorer is None:
        return head
    file = None if kept is None else Unfinished(kept.path.with_name(RESTORED), kept.key, kept.work)
    if file is not None and (state := file.taken_up()):
        head.take(state["head"])
    else:
        told = lambda done, of: on_step("restore", done, of)  # noqa: E731 (one line says it)
        restoration = load_restoration(asked.restorer, head.config).to(head.density.device)
        restored(head, restoration, guide, photo, replace(asked.restoring, seed=asked.how.seed), told)
        if file is not None:
            file.keep({"head": head.own_state()})
    return new(head.requires_grad_(False))


def refine_folder(
    folder: Path,
    output: Path,
    asked: Refinery,
    *,
    settings: FitSettings | None = None,
    quick: bool = False,
    wanted: tuple[str, ...] = NAMES,
    device: str | None = None,
    on_step: OnStep = lambda what, done, of: None,
) -> str:
    """Of a run, into another folder; gives the line that tells the user. A stopped one goes on: within its rounds,
    with the views, if they are there, or with the fit."""
    asked = asked.checked()
    theirs = (folder.resolve() / name for name in OWN if name != "refined")
    if output.resolve() in (folder.resolve(), *theirs):
        raise UserError(f"{output} holds the head that is to be refined; choose another folder with -o.")
    sheet, begin = own_views(folder), time.perf_counter()
    if sheet is None:
        raise UserError(f"{folder} holds no views; begin with a run of `portrait360 make`.")
    chosen = device_of(device)
    volume, guide = volume_of(folder, asked.begin, chosen), load_guide(asked.weights)
    guide.network.to(chosen)
    made_of = {"of": _content(folder, asked.begin), **asked.made_of()}
    with writing_to(output):
        output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        if output.parent.resolve() != folder.resolve() and (folder / "portrait").is_dir():
            Portrait.load(folder / "portrait").save(output / "portrait")  # what it is judged by
        if _said(output) != made_of or not _readable(output / "views"):
            (output / MADE_OF).unlink(missing_ok=True)
            key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
            kept = Unfinished(output / KEPT, key, "the refining")
            refined_sheet(volume, sheet, guide, asked, on_step, kept).save(output / "views")
            kept.forget()
            (output / RESTORED).unlink(missing_ok=True)
            with whole(output / MADE_OF) as temporary:
                temporary.write_text(json.dumps(made_of))
        settings = settings or fit_settings(asked.how.seed, QUICK if quick else 1)
        place = output / "head"
        if asked.nothing and asked.begin == "field":
            Head.load(folder / "head").save(place)
        else:
            views = ViewSheet.load(output / "views")
            fit_head(views, settings, folder=place, wanted=wanted, device=chosen, on_step=on_step)
    return f"{folder}: refined in {time.perf_counter() - begin:.0f} s -> {output}"


def _readable(views: Path) -> bool:
    try:
        return bool(ViewSheet.load(views).views)
    except UserError:
        return False


def _content(folder: Path, begin: str) -> dict[str, str]:
    """Of the run: what is refined, and the views at whose cameras."""
    base = {"field": "head/field.safetensors", "proxy": "proxy/proxy.npz", "gan": f"proxy/{HEAD_FILE}"}[begin]
    cameras = next(
        path for path in (folder / "transforms.json", folder / "views" / "transforms.json") if path.is_file()
    )
    return {"head": sha256(folder / base), "views": sha256(cameras)}


def _said(output: Path) -> object:
    try:
        return json.loads(read_limited(output / MADE_OF, MAX_BYTES))
    except (UserError, ValueError, RecursionError):
        return None
