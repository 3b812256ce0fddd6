"""The stages that make views: by the proxy, by the small denoiser, or by published networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from portrait360.geometry.camera_files import is_run_file, read_orbit
from portrait360.geometry.cameras import Camera, look_at, orbit
from portrait360.models.presets import PRESETS
from portrait360.models.weights.installed import MANIFEST, find_weights, require_weights
from portrait360.models.weights.store import load_spec
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.memory_budget import BASE_BYTES, BYTES_PER_PIXEL
from portrait360.pipeline.options import CROP, MakeOptions
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.published_frame import PublishedFrame, describe_published_frame
from portrait360.pipeline.portrait.reference_photos import BEHIND, back_portrait
from portrait360.pipeline.proxy.gan_head import HEAD_FILE, GanHead
from portrait360.pipeline.run import Run
from portrait360.pipeline.views import require_view_denoiser
from portrait360.pipeline.views.ahead import ViewsAhead, render_ahead
from portrait360.pipeline.views.framing import frame_focal
from portrait360.pipeline.views.hint_pictures import HintPictures
from portrait360.pipeline.views.memory_estimate import peak_bytes
from portrait360.pipeline.views.multiview_sampler import WINDOW, SamplerConfig
from portrait360.pipeline.views.proxy_views import (
    back_view_to_portrait,
    default_cameras,
    make_view_set,
    render_proxy_views,
)
from portrait360.pipeline.views.published import (
    ComputeConfig,
    SubjectInputs,
    ViewSynthesisConfig,
    denoise_back_view,
    denoise_published_views,
)
from portrait360.pipeline.views.small_denoiser import STEPS, denoise_small_views, load_view_weights
from portrait360.pipeline.views.view_set import View, ViewSet, save_view
from portrait360.utils import memory
from portrait360.utils.devices import select_device
from portrait360.utils.files import sha256

FEW_CAMERAS = 12
LARGEST_AHEAD = 512  # pixels of views that are rendered beside other stages, which need memory, too


def view_synthesis_config(options: MakeOptions) -> ViewSynthesisConfig | None:
    """How networks make the views; None where they are the proxy's own."""
    preset = PRESETS[options.preset]
    if preset.steps is None:
        return None
    weights = tuple(require_weights(preset.weights, f"The preset {preset.name}"))
    steps = options.steps or preset.steps[0 if options.faithful else 1]
    machine = ComputeConfig.for_device(select_device(options.device), options.compiled, options.faithful)
    if options.hints:  # a folder that does not fit is an error before anything is made
        cameras = [] if options.orbit else orbit(options.views, elevation=options.orbit_elevation)
        cameras += [Camera(look_at(BEHIND))] * bool(preset.back and not options.back)
        HintPictures.open(options.hints).choose(cameras)
    return ViewSynthesisConfig(preset, weights, options.pixels, steps, options.faithful, options.seed, machine)


def subject_inputs(
    config: ViewSynthesisConfig,
    portrait: Portrait,
    proxy: CoarseHead,
    others: Sequence[Portrait],
    proxy_folder: Path,
    hints: Path | None = None,
) -> SubjectInputs:
    """All that the networks are shown of the subject."""
    head_file = proxy_folder / HEAD_FILE  # which other methods do not leave
    generated = GanHead.load(head_file, config.compute.device) if head_file.is_file() else None
    generator = find_weights(config.preset.gan) if config.preset.gan else None
    pictures = HintPictures.open(hints) if hints else None
    return SubjectInputs(portrait, proxy, generated, generator, tuple(others), pictures)


def check_memory(stage: str, config: ViewSynthesisConfig, system: str, views: int) -> None:
    """Raise a UserError before networks are loaded that would not fit into memory."""
    machine = config.compute
    sampler = SamplerConfig(1, config.faithful)  # one level takes as much memory as many
    spec = load_spec(config.weights_of(system))
    peak = peak_bytes(spec, views, config.size, machine.dtype, sampler, offload=machine.offload, mixed=machine.mixed)
    advice = "use `device=cpu`" if machine.device.type == "cuda" else "use a machine with more memory"
    memory.require_memory(stage, peak, advice, memory.free_memory(machine.device))


def cache_inputs(config: ViewSynthesisConfig, system: str, hints: HintPictures | None) -> dict[str, Any]:
    """All that views by a system's networks depend on besides the stages before."""
    generator = find_weights(config.preset.gan) if config.preset.gan else None
    folders = (config.weights_of(system), *([generator] if generator else []))
    return {
        "preset": config.preset.name,
        "weights": {folder.name: sha256(folder / MANIFEST) for folder in folders},
        "size": config.size,
        "steps": config.steps,
        "faithful": config.faithful,
        "seed": config.seed,
        "precision": str(config.compute.dtype),
        "mixed": config.compute.mixed,
        "frame": describe_published_frame(),
        "hints": hints and hints.content_hash(),
        "compiled": config.compute.compiled,  # compiled networks differ in the last digits
    }


def camera_labels(cameras: Sequence[Camera]) -> list[list[float]]:
    return [[*map(float, camera.label())] for camera in cameras]


def run_back_photo(run: Run, photo: Path) -> Portrait:
    """The user's photo from behind."""
    folder = run.folder / "back"

    def compute() -> None:
        back_portrait(photo, CROP).save(folder)

    inputs = {"photo": run.record["settings"]["back"]}
    return run.stage("back", inputs, (), compute, lambda: Portrait.load(folder), outputs=("back",))


def run_back_view(run: Run, portrait: Portrait, proxy: CoarseHead) -> Portrait:
    """The proxy's view from behind, where there is no photo from there."""
    folder, camera = run.folder / "back", Camera(look_at(BEHIND), portrait.camera.focal)

    def compute() -> None:
        rendered = proxy.render(camera, CROP)
        back_view_to_portrait(View(rendered.rgb, rendered.mask, camera), portrait).save(folder)

    return run.stage("back", {"size": CROP}, ("proxy",), compute, lambda: Portrait.load(folder), outputs=("back",))


@contextmanager
def render_views_ahead(run: Run, proxy: CoarseHead, options: MakeOptions, *, fits: bool) -> Iterator[ViewsAhead]:
    """Render views for `run_views` beside the stages before it, unless an earlier run has made them."""
    is_missing, is_small = "views" not in run.record["stages"], options.pixels <= LARGEST_AHEAD
    wanted = is_missing and is_small and not options.uses_denoiser
    find_cameras = partial(_cameras, options, proxy, fits=fits)
    with render_ahead(proxy, find_cameras, options.pixels, wanted=wanted) as ahead:
        yield ahead


def run_views(
    run: Run,
    portrait: Portrait,
    proxy: CoarseHead,
    options: MakeOptions,
    *,
    fits: bool,
    ahead: ViewsAhead | None = None,
) -> ViewSet:
    """Views of the proxy, or of the small denoiser.

    Args:
        run: The run.
        portrait: The photo.
        proxy: The head.
        options: The run's options.
        fits: Whether a head is fitted to the views.
        ahead: The first of them, which have been rendered meanwhile.
    """
    folder, cameras = run.folder / "views", _cameras(options, proxy, fits=fits)
    if fits and len(cameras) < FEW_CAMERAS:
        run.warn(
            "views",
            f"a fit to only {len(cameras)} views may leave gaps in the head; use {FEW_CAMERAS} or more",
        )

    def on_view(i: int, total: int, view: View) -> None:
        save_view(folder, i, view)  # can be looked at while others are made
        run.step("views", "view", i + 1, total)

    def compute() -> None:
        needed = BASE_BYTES["views"] + BYTES_PER_PIXEL * options.pixels**2 * len(cameras)
        memory.require_memory("views", needed, "make fewer views")
        folder.mkdir()
        if options.uses_denoiser:
            views = denoise_small_views(
                portrait,
                proxy,
                cameras,
                load_view_weights(require_view_denoiser()),
                size=options.pixels,
                seed=options.seed,
                steps=options.steps or STEPS,
                on_step=_report_steps(run, "views"),
            )
            make_view_set(views, portrait, proxy, options.seed).save(folder)
        else:
            first = ahead.take() if ahead else ()
            sheet = render_proxy_views(
                portrait, proxy, cameras, size=options.pixels, seed=options.seed, on_view=on_view, ahead=first
            )
            sheet.save(folder, drawn=True)

    inputs = (
        {}
        if not options.uses_denoiser
        else {
            "weights": sha256(require_view_denoiser()),
            "steps": options.steps or STEPS,
        }
    )
    inputs |= {
        "preset": options.preset,
        "seed": options.seed,
        "size": options.pixels,
        "cameras": camera_labels(cameras),
    }
    depends_on = ("portrait", "proxy", "back")
    return run.stage("views", inputs, depends_on, compute, lambda: ViewSet.load(folder), outputs=("views",))


def _cameras(options: MakeOptions, proxy: CoarseHead, *, fits: bool) -> Sequence[Camera]:
    focal = proxy.camera.focal if options.uses_denoiser else frame_focal(proxy)  # the denoiser knows one focal length
    if options.orbit:
        return read_orbit(options.orbit, focal)
    return default_cameras(options.views, options.orbit_elevation, focal, high=fits)  # a fit needs the crown


def run_published_views(
    run: Run, subject: SubjectInputs, config: ViewSynthesisConfig, options: MakeOptions
) -> ViewSet:
    """Views of the published networks, and the one from behind that they are shown if there is no photo of it."""
    folder, focal, system = run.folder / "views", config.preset.focal, config.preset.weights[0]
    assert focal is not None
    cameras = find_published_cameras(options, subject.frame, focal)
    if options.faithful and len(cameras) > WINDOW and len(cameras) % WINDOW:
        run.warn(
            "views",
            f"{len(cameras)} views are not a multiple of {WINDOW}; the authors' program would drop the last "
            f"{len(cameras) % WINDOW}, but portrait360 makes them all, in windows of {WINDOW} that overlap",
        )
    depends_on, back = ["portrait", "proxy"], None
    if options.back:
        back, subject = Portrait.load(run.folder / "back"), replace(subject, more_photos=subject.more_photos[:-1])
    elif config.preset.back:
        back = _run_back_network(run, subject, config, config.preset.back)
    else:
        run.forget("back", ("back",))

    def compute() -> None:
        check_memory("views", config, system, len(cameras))
        denoise_published_views(subject, back, cameras, config, _report_steps(run, "views")).save(folder)

    inputs = {**cache_inputs(config, system, subject.hints), "cameras": camera_labels(cameras)}
    depends_on += ["back"] * (back is not None) + ["references"] * bool(options.references)
    return run.stage("views", inputs, depends_on, compute, lambda: ViewSet.load(folder), outputs=("views",))


def find_published_cameras(options: MakeOptions, frame: PublishedFrame, focal: float) -> list[Camera]:
    """Return the cameras of the views in the published frame. Angles count from its level, from which the networks
    know heads; the cameras of an earlier run stay where they are."""
    if options.orbit is None:
        return orbit(options.views, elevation=options.orbit_elevation, focal=focal)
    cameras = read_orbit(options.orbit, focal)
    return [frame.to_published(camera) for camera in cameras] if is_run_file(options.orbit) else cameras


def _run_back_network(run: Run, subject: SubjectInputs, config: ViewSynthesisConfig, system: str) -> Portrait:
    folder = run.folder / "back"

    def compute() -> None:
        check_memory("back", config, system, 1)
        view = denoise_back_view(subject, config, _report_steps(run, "back"))
        back_view_to_portrait(view, subject.portrait).save(folder)

    inputs, depends_on = cache_inputs(config, system, subject.hints), ("portrait", "proxy")
    return run.stage("back", inputs, depends_on, compute, lambda: Portrait.load(folder), outputs=("back",))


def _report_steps(run: Run, stage: str) -> Callable[[str, int, int], None]:
    def report(what: str, done: int, total: int) -> None:
        run.step(stage, what, done, total)

    return report
