"""The stage `animate`: read a performance, put it on a head, and write a video or an animated .glb."""

from __future__ import annotations

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.animate.arkit_csv import read_arkit_csv
from portrait360.pipeline.animate.face_reading import read_video
from portrait360.pipeline.animate.film import Shot, write_film
from portrait360.pipeline.animate.gltf_animation import write_animated_glb
from portrait360.pipeline.animate.lighting import Studio, make_studio, parse_light, read_environment
from portrait360.pipeline.animate.performance import Performance
from portrait360.pipeline.animate.presets import make_preset
from portrait360.pipeline.animate.request import AnimateRequest, find_avatar
from portrait360.pipeline.avatar import NAME
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.utils.files import sha256
from portrait360.utils.progress import ProgressCallback, ignore_progress


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
