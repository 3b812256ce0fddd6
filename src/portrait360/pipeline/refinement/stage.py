"""The stage `refine`: a head is refined with the priors of a view denoiser, rendered to views, and fitted again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from portrait360.assets import HYBRID_PRIORS
from portrait360.geometry.volumes.volume import Volume
from portrait360.models.hybrid_priors import HybridPriors
from portrait360.models.triplane import Triplane, TriplaneConfig
from portrait360.models.weights.tensor_files import TensorFile, load_fp32
from portrait360.pipeline.avatar.avatar import load_coarse_head
from portrait360.pipeline.avatar.unwrapping import unwrap_head
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.gan_head import HEAD_FILE, GanHead
from portrait360.pipeline.reconstruction import RESULTS
from portrait360.pipeline.reconstruction.fit import QUICK, FitSettings, fit_head, fit_settings
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.refinement import BEGIN_CHOICES, check_begin, require_priors
from portrait360.pipeline.refinement.avatar_stage import hash_avatar, refine_avatar_folder
from portrait360.pipeline.refinement.base_volumes import GeneratedVolume, ProxyVolume
from portrait360.pipeline.refinement.denoising_guide import SMALL_HYBRID, Guide, SmallGuide
from portrait360.pipeline.refinement.geometry_restoration import RestoreConfig, load_restoration, restore
from portrait360.pipeline.refinement.noise_resampling import RefineConfig, refine
from portrait360.pipeline.refinement.triplane_init import init_triplane
from portrait360.pipeline.run import OWN
from portrait360.pipeline.views.proxy_views import load_folder_views
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.devices import select_device
from portrait360.utils.errors import UserError
from portrait360.utils.files import lock_folder, sha256, translate_write_errors
from portrait360.utils.progress import ProgressCallback, ignore_progress
from portrait360.utils.resume import RecordFile, ResumeFile, cache_key

RECORD = "refined.json"  # beside the views: what they were made from
STATE, RESTORED = "refining.pt", "restored.pt"  # from which an interrupted run resumes
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class RefineRequest:
    """How a head is refined, with which weights, and from which volume of a run."""

    how: RefineConfig = field(default_factory=RefineConfig)
    weights: Path | None = None  # of the hybrid priors; None: those of this package
    restorer: Path | None = None  # weights of the geometry restoration; None: no restoration
    restoring: RestoreConfig = field(default_factory=RestoreConfig)
    begin: str = BEGIN_CHOICES[0]

    def validate(self) -> RefineRequest:
        check_begin(self.begin)
        require_priors(self.weights)
        if self.restorer is not None and not self.restorer.is_file():
            raise UserError(f"There is no file {self.restorer}.")
        load_guide(self.weights)  # fails early if the weights do not fit
        if self.restorer is not None:
            load_restoration(self.restorer, TriplaneConfig())
        return self

    @property
    def is_noop(self) -> bool:
        """Whether the head would stay unchanged."""
        return not self.how.steps and self.restorer is None

    def cache_inputs(self) -> dict[str, object]:
        """Return everything that the result depends on besides the run."""
        files = {"weights": self.weights or HYBRID_PRIORS} | ({"restorer": self.restorer} if self.restorer else {})
        inputs = {name: sha256(path) for name, path in files.items()} | {"begin": self.begin, **asdict(self.how)}
        return json.loads(json.dumps(inputs | ({"restoring": asdict(self.restoring)} if self.restorer else {})))


def load_guide(path: Path | None) -> SmallGuide:
    """Load the hybrid priors from a file, or those of this package."""
    file, network = TensorFile(path or HYBRID_PRIORS), HybridPriors(SMALL_HYBRID)
    load_fp32(network, file, str(path or HYBRID_PRIORS))
    return SmallGuide(network=network.eval().requires_grad_(False))


def load_base_volume(folder: Path, begin: str, device: torch.device | str = "cpu") -> Volume:
    """Load the volume of a run from which refining begins."""
    if begin == "field":
        fitted = Head.load(folder / "head").field if (folder / "head").is_dir() else None
        if fitted is None:
            raise UserError(
                f"{folder} contains no fitted field; run `portrait360 make --fit` first, or use `begin=proxy`."
            )
        return fitted.to(device)
    if begin == "proxy":
        return ProxyVolume(unwrap_head(load_coarse_head(folder / "proxy"))).to(device)
    path = folder / "proxy" / HEAD_FILE
    if not path.is_file():
        raise UserError(f"{folder} contains no generated head; begin with `portrait360 make --method gan`.")
    return GeneratedVolume(GanHead.load(path, device))


def refine_views(
    volume: Volume,
    view_set: ViewSet,
    guide: SmallGuide,
    request: RefineRequest,
    on_step: ProgressCallback = ignore_progress,
    resume_file: ResumeFile | None = None,
) -> ViewSet:
    """Return renders of the refined head from the cameras of the views, with the same photo."""
    if view_set.reference is None:
        raise UserError("Refining needs the photo as well as the views; begin with a run of `portrait360 make`.")
    if request.is_noop:
        return view_set
    guide = guide.with_subject(volume, view_set.reference, request.how.size)
    triplane = prepare_head(volume, view_set.reference, guide, request, on_step, resume_file)

    triplane = refine(triplane, view_set.reference, guide, request.how, on_step, resume_file)
    renders = [(*triplane.render_image(view.camera, view.size)[:2], view.camera) for view in view_set.views]
    return replace(view_set, views=tuple(View(rgb, alpha, camera) for rgb, alpha, camera in renders))


def prepare_head(
    volume: Volume,
    photo: View,
    guide: Guide,
    request: RefineRequest,
    on_step: ProgressCallback,
    resume_file: ResumeFile | None,
) -> Triplane:
    """Return the triplane from which refining begins: over the volume, or over the restored head.

    The restored head is saved beside `resume_file`."""

    def start_from(base: Volume) -> Triplane:
        return init_triplane(base, TriplaneConfig(), torch.Generator().manual_seed(request.how.seed))

    head = start_from(volume)
    if request.restorer is None:
        return head
    restored_file = None
    if resume_file is not None:
        restored_file = ResumeFile(resume_file.path.with_name(RESTORED), resume_file.key, resume_file.work)
    if restored_file is not None and (state := restored_file.load()):
        head.load_own_state(state["head"])
    else:
        restoration = load_restoration(request.restorer, head.config).to(head.density.device)
        restore(head, restoration, guide, photo, replace(request.restoring, seed=request.how.seed), on_step)
        if restored_file is not None:
            restored_file.save({"head": head.own_state()})
    return start_from(head.requires_grad_(False))


def refine_folder(
    folder: Path,
    output: Path,
    request: RefineRequest,
    *,
    settings: FitSettings | None = None,
    quick: bool = False,
    results: tuple[str, ...] = RESULTS,
    device: str | None = None,
    on_step: ProgressCallback = ignore_progress,
) -> str:
    """Refine the head of a run into another folder, and return a message for the user.

    An interrupted run resumes within its rounds, from its views if they are complete, or within the fit."""
    request = request.validate()
    run_folders = (folder.resolve() / name for name in OWN if name != "refined")
    if output.resolve() in (folder.resolve(), *run_folders):
        raise UserError(f"{output} contains the head that is to be refined; choose another folder.")
    view_set, start_time = load_folder_views(folder), time.perf_counter()
    if view_set is None:
        raise UserError(f"{folder} contains no views; begin with a run of `portrait360 make`.")
    torch_device = select_device(device)
    volume = None if request.begin == "avatar" else load_base_volume(folder, request.begin, torch_device)
    guide = load_guide(request.weights)
    guide.network.to(torch_device)
    inputs = {"of": _hash_inputs(folder, request.begin), **request.cache_inputs()}
    with translate_write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    with lock_folder(output):
        if volume is None:
            refine_avatar_folder(folder, output, view_set, guide, request.how, inputs, on_step)
        else:
            _refine_volume(folder, output, volume, view_set, guide, request, inputs, on_step)
            _fit_refined(folder, output, request, settings, quick, results, torch_device, on_step)
    return f"{folder}: refined in {time.perf_counter() - start_time:.0f} s -> {output}"


def _refine_volume(
    folder: Path,
    output: Path,
    volume: Volume,
    view_set: ViewSet,
    guide: SmallGuide,
    request: RefineRequest,
    inputs: dict[str, object],
    on_step: ProgressCallback,
) -> None:
    """Write views of the refined head, unless they are there."""
    if output.parent.resolve() != folder.resolve() and (folder / "portrait").is_dir():
        Portrait.load(folder / "portrait").save(output / "portrait")  # for the evaluation of the head
    record = RecordFile(output / RECORD)
    if record.load(inputs) is not None and _has_views(output / "views"):
        return
    record.delete()
    resume_file = ResumeFile(output / STATE, cache_key(inputs), "the refinement")
    refine_views(volume, view_set, guide, request, on_step, resume_file).save(output / "views")
    resume_file.delete()
    (output / RESTORED).unlink(missing_ok=True)
    record.save(inputs)


def _fit_refined(
    folder: Path,
    output: Path,
    request: RefineRequest,
    settings: FitSettings | None,
    quick: bool,
    results: tuple[str, ...],
    device: torch.device,
    on_step: ProgressCallback,
) -> None:
    """Fit a head to the refined views."""
    settings, head_folder = settings or fit_settings(request.how.seed, QUICK if quick else 1), output / "head"
    if request.is_noop and request.begin == "field":
        Head.load(folder / "head").save(head_folder)
        return
    views = ViewSet.load(output / "views")
    fit_head(views, settings, folder=head_folder, results=results, device=device, on_step=on_step)


def _has_views(path: Path) -> bool:
    try:
        return bool(ViewSet.load(path).views)
    except UserError:
        return False


def _hash_inputs(folder: Path, begin: str) -> dict[str, str]:
    """Hash the files of a run that the result depends on: the volume, and the cameras of the views."""
    if begin == "avatar":
        return {"head": hash_avatar(folder)}
    volume = {"field": "head/field.safetensors", "proxy": "proxy/proxy.npz", "gan": f"proxy/{HEAD_FILE}"}[begin]
    cameras = next(
        path for path in (folder / "transforms.json", folder / "views" / "transforms.json") if path.is_file()
    )
    return {"head": sha256(folder / volume), "views": sha256(cameras)}
