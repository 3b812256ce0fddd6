"""The stage `animate`: read a performance, put it on a head, and write a video or an animated .glb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.animate.arkit_csv import read_arkit_csv
from portrait360.pipeline.animate.face_reading import read_video
from portrait360.pipeline.animate.film import FILMS, Shot, check_size, write_film
from portrait360.pipeline.animate.gltf_animation import write_animated_glb
from portrait360.pipeline.animate.lighting import Studio, make_studio, parse_light, read_environment
from portrait360.pipeline.animate.performance import Performance, check_rate
from portrait360.pipeline.animate.presets import make_preset
from portrait360.pipeline.avatar.avatar import NAME, Avatar
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path, sha256
from portrait360.utils.progress import ProgressCallback, ignore_progress

MAX_ELEVATION = 89.0
PROXY = "proxy"  # folder of the avatar in that of a run


@dataclass(frozen=True)
class AnimateRequest:
    """What is to be animated, by what, and how it is shown."""

    head: Path
    output: Path
    video: Path | None = None
    expressions: Path | None = None
    preset: str | None = None
    size: int = 512
    rate: float | None = None
    azimuth: float | None = None
    elevation: float | None = None
    light: str | None = None
    environment: Path | None = None

    def check(self) -> None:
        """Raise a UserError for what cannot be done, before anything slow begins."""
        sources = [self.video, self.expressions, self.preset]
        if sum(source is not None for source in sources) != 1:
            raise UserError("Choose how the head moves: give exactly one of --video, --expressions and --preset.")
        if self.output.suffix.lower() not in (*FILMS, ".glb"):
            raise UserError(f"An animation can be an {', '.join(FILMS)} or .glb, not {self.output.name}.")
        if self.light is not None and self.environment is not None:
            raise UserError("Give either --light or --environment, not both.")
        if self.output.suffix.lower() == ".glb" and (self.light is not None or self.environment is not None):
            raise UserError("A .glb is lit by the program that shows it; leave out --light and --environment.")
        if self.rate is not None:
            check_rate(self.rate)
        if self.elevation is not None and not abs(self.elevation) <= MAX_ELEVATION:
            raise UserError(f"The elevation must lie between -{MAX_ELEVATION:g} and {MAX_ELEVATION:g} degrees.")
        check_size(self.size)
        for source in (self.video, self.expressions):
            if source is not None and source.resolve() == self.output.resolve():
                raise UserError(f"This would overwrite {source} itself; choose another name with -o.")


def animate_head(request: AnimateRequest, on_step: ProgressCallback = ignore_progress) -> tuple[str, ...]:
    """Animate a head, and return what the user should know of it."""
    request.check()
    folder = find_avatar(request.head)
    avatar = Avatar.load(folder)
    performance = read_performance(request, on_step)
    if request.output.suffix.lower() == ".glb":
        write_animated_glb(request.output, avatar, performance)
        return performance.notes
    studio = read_studio(request, avatar)
    shot = Shot(find_camera(request, avatar), request.size, studio)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_step("Frames", done, len(performance))

    identity = sha256(folder / NAME)
    write_film(request.output, avatar, performance, shot, identity=identity, on_frame=count)
    return performance.notes


def find_avatar(folder: Path) -> Path:
    """Return the folder of the avatar of a run; raise a UserError for heads that have none."""
    check_path(folder)
    for place in (folder, folder / PROXY):
        if (place / NAME).is_file():
            return place
    raise UserError(
        f"{folder} contains no head that can be animated; make one from a photo of a person with "
        "`portrait360 make` or `portrait360 proxy`."
    )


def read_performance(request: AnimateRequest, on_step: ProgressCallback = ignore_progress) -> Performance:
    """Read what moves the head."""
    if request.preset is not None:
        return make_preset(request.preset, request.rate)
    if request.expressions is not None:
        return read_arkit_csv(request.expressions, request.rate)
    assert request.video is not None
    done = 0

    def count(total: int) -> None:
        nonlocal done
        done += 1
        on_step("Reading the face", done, max(total, done))

    return read_video(request.video, request.rate, count)


def read_studio(request: AnimateRequest, avatar: Avatar) -> Studio | None:
    """Return the light that is asked for; None for the photo's."""
    if request.environment is not None:
        return make_studio(avatar, read_environment(request.environment))
    return None if request.light is None else make_studio(avatar, parse_light(request.light))


def find_camera(request: AnimateRequest, avatar: Avatar) -> Camera:
    """Return the photo's camera, or one at the angles that are asked for."""
    angles = {"azimuth": request.azimuth, "elevation": request.elevation}
    changes = {name: value for name, value in angles.items() if value is not None}
    return avatar.camera.orbit_to(**changes) if changes else avatar.camera
