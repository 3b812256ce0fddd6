"""The nodes, in ComfyUI's V3 schema. All that they compute is portrait360's; conversions are in `tensors`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import folder_paths  # pyright: ignore[reportMissingImports]
import torch
from comfy.utils import ProgressBar  # pyright: ignore[reportMissingImports]
from comfy_api.latest import ComfyExtension, InputImpl, Types, io  # pyright: ignore[reportMissingImports]

from .tensors import MASK_HELP, alpha_to_mask, composite, picture_from_image, stack_images

CATEGORY = "portrait360"
PORTRAIT = io.Custom("PORTRAIT360_PORTRAIT")
HEAD = io.Custom("PORTRAIT360_HEAD")
AS_IN_PHOTO = "as in the photo"
EXPRESSIONS: dict[str, dict[str, float]] = {
    AS_IN_PHOTO: {},
    "smile": {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "open mouth": {"jawOpen": 0.5},
    "closed eyes": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "surprise": {"browInnerUp": 0.9, "eyeWideLeft": 0.8, "eyeWideRight": 0.8, "jawOpen": 0.3},
}
BACKGROUNDS = ("grey", "white", "black", "none")
TURNTABLE = "turntable"
MOVES = (TURNTABLE, "talk", "smile", "surprise", "blink", "look")
NO_FACE = (
    "No face was found in this picture, and only heads with a face become avatars here. Use a photo that shows the "
    "face, or run `portrait360 make` for animals and statues."
)
NO_AVATAR = "This head has no face that can move; make it with the node Make Head."


@contextmanager
def fitting() -> Iterator[None]:
    """ComfyUI runs nodes in inference mode, where nothing can be fitted."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class LoadPortrait(io.ComfyNode):
    """Finds the head in a picture: a square crop, its matte and the camera."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Portrait360LoadPortrait",
            display_name="Load Portrait (portrait360)",
            category=CATEGORY,
            description="Finds the head in a photo and cuts it out. Connect it with Make Head.",
            inputs=[
                io.Image.Input("image", tooltip="A photo of a person. Of a batch, the first picture is used."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=f"Cutout of the person, used instead of the computed one. {MASK_HELP}",
                ),
                io.Int.Input("face", default=1, min=1, max=9, tooltip="Which face to use; 1 is the largest."),
            ],
            outputs=[
                PORTRAIT.Output(display_name="portrait"),
                io.Image.Output(display_name="crop"),
                io.Mask.Output(display_name="mask", tooltip=MASK_HELP),
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, face: int = 1, mask: torch.Tensor | None = None) -> Any:
        from portrait360 import make_portrait

        with fitting():
            portrait = make_portrait(picture_from_image(image, mask), face=None if face == 1 else face)
        return io.NodeOutput(portrait, stack_images([portrait.rgb]), alpha_to_mask([portrait.alpha]))


class MakeHead(io.ComfyNode):
    """Makes the avatar: skin, eyes, teeth, strand hair and clothes."""

    @classmethod
    def define_schema(cls) -> Any:
        from portrait360.pipeline.avatar.overrules import find_choices

        return io.Schema(
            node_id="Portrait360MakeHead",
            display_name="Make Head (portrait360)",
            category=CATEGORY,
            description="Makes a 3D head with hair, clothes and 52 expressions; takes 10 to 30 seconds.",
            inputs=[
                PORTRAIT.Input("portrait"),
                io.Combo.Input(
                    "hair",
                    options=[AS_IN_PHOTO, *(find_choices("hair.style") or ())],
                    default=AS_IN_PHOTO,
                    tooltip="Hairstyle instead of the estimated one.",
                ),
                io.Float.Input(
                    "hair_length", default=1.0, min=0.1, max=4.0, step=0.05, tooltip="Factor of the estimated length."
                ),
                io.Image.Input("back", optional=True, tooltip="A photo of the same head from behind."),
            ],
            outputs=[HEAD.Output(display_name="head")],
        )

    @classmethod
    def execute(
        cls, portrait: Any, hair: str = AS_IN_PHOTO, hair_length: float = 1.0, back: torch.Tensor | None = None
    ) -> Any:
        from portrait360 import Head, LoadedHead, UserError, make_portrait
        from portrait360.pipeline.avatar.from_portrait import can_fit_avatar
        from portrait360.pipeline.avatar.methods import build_proxy
        from portrait360.pipeline.avatar.overrules import make_overrules

        if not can_fit_avatar(portrait):
            raise UserError(NO_FACE)
        overrules = make_overrules(
            None if hair == AS_IN_PHOTO else hair, None if hair_length == 1.0 else hair_length, None
        )
        with fitting():
            others = [] if back is None else [make_portrait(picture_from_image(back), azimuth=180.0, elevation=0.0)]
            avatar: Any = build_proxy(portrait, others, overrules=overrules)
        return io.NodeOutput(LoadedHead(None, avatar, Head()))


class RenderViews(io.ComfyNode):
    """Renders the head from all sides."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Portrait360RenderViews",
            display_name="Render Views (portrait360)",
            category=CATEGORY,
            description="Renders a head from cameras around it, as one batch; the first is the given azimuth.",
            inputs=[
                HEAD.Input("head"),
                io.Int.Input("views", default=8, min=1, max=64),
                io.Int.Input("size", default=512, min=64, max=2048, step=8, tooltip="Pixels along a side."),
                io.Float.Input(
                    "azimuth", default=0.0, min=-180.0, max=180.0, tooltip="Degrees; 90 is the subject's left."
                ),
                io.Float.Input("elevation", default=0.0, min=-60.0, max=60.0),
                io.Combo.Input("expression", options=list(EXPRESSIONS), default=AS_IN_PHOTO),
                io.Combo.Input("background", options=list(BACKGROUNDS), default=BACKGROUNDS[0]),
            ],
            outputs=[
                io.Image.Output(display_name="views"),
                io.Mask.Output(display_name="masks", tooltip=MASK_HELP),
            ],
        )

    @classmethod
    def execute(
        cls,
        head: Any,
        views: int = 8,
        size: int = 512,
        azimuth: float = 0.0,
        elevation: float = 0.0,
        expression: str = AS_IN_PHOTO,
        background: str = BACKGROUNDS[0],
    ) -> Any:
        bar, pictures = ProgressBar(views), []
        with fitting():
            for i in range(views):
                place = (azimuth + 360.0 * i / views, elevation)
                pictures.append(head.render(place, size, expression=EXPRESSIONS[expression] or None))
                bar.update_absolute(i + 1, views)
        colours, alphas = zip(*(composite(picture, background) for picture in pictures), strict=True)
        return io.NodeOutput(stack_images(colours), alpha_to_mask(alphas))


class SaveMesh(io.ComfyNode):
    """Writes the animatable mesh."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Portrait360SaveMesh",
            display_name="Save Head as GLB (portrait360)",
            category=CATEGORY,
            description="Writes the head as .glb with 52 ARKit expressions, eyes, teeth, hair and a neck joint.",
            is_output_node=True,
            inputs=[
                HEAD.Input("head"),
                io.String.Input("filename_prefix", default="portrait360/head"),
                io.Float.Input("detail", default=1.0, min=0.25, max=8.0, step=0.25, tooltip="1 is 60,000 triangles."),
                io.Boolean.Input(
                    "unlit", default=False, tooltip="Bake the photo's light, for viewers that have no lighting."
                ),
            ],
            outputs=[io.File3DGLB.Output(display_name="GLB")],
        )

    @classmethod
    def execute(
        cls, head: Any, filename_prefix: str = "portrait360/head", detail: float = 1.0, unlit: bool = False
    ) -> Any:
        return save_file(filename_prefix, "glb", lambda path: head.export(path, detail=detail, unlit=unlit))


class SaveSplats(io.ComfyNode):
    """Writes the head as Gaussian splats."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Portrait360SaveSplats",
            display_name="Save Head as Splats (portrait360)",
            category=CATEGORY,
            description="Writes the head as 3D Gaussian splats.",
            is_output_node=True,
            inputs=[
                HEAD.Input("head"),
                io.String.Input("filename_prefix", default="portrait360/head"),
                io.Combo.Input("format", options=["ply", "spz", "splat"], default="ply"),
            ],
            outputs=[io.File3DAny.Output(display_name="splats")],
        )

    @classmethod
    def execute(cls, head: Any, filename_prefix: str = "portrait360/head", format: str = "ply") -> Any:
        return save_file(filename_prefix, format, head.export)


def save_file(prefix: str, suffix: str, write: Callable[[Path], object]) -> Any:
    """Write a file into ComfyUI's output folder, under the next free number, and show it in the node."""
    folder, name, number, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    path = Path(folder) / f"{name}_{number:05}_.{suffix}"
    with fitting():
        write(path)
    shown = {"3d": [{"filename": path.name, "subfolder": subfolder, "type": "output"}]}
    return io.NodeOutput(Types.File3D(str(path), suffix), ui=shown)


class MakeVideo(io.ComfyNode):
    """Films the head: a turn around it, or a performance."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Portrait360MakeVideo",
            display_name="Make Video (portrait360)",
            category=CATEGORY,
            description="Films a head that turns, talks, smiles, blinks or looks around. Connect it with Save Video.",
            inputs=[
                HEAD.Input("head"),
                io.Combo.Input("movement", options=list(MOVES), default=TURNTABLE),
                io.Int.Input("size", default=512, min=64, max=1024, step=2, tooltip="Pixels along a side."),
                io.Int.Input("fps", default=24, min=8, max=60),
                io.Float.Input("seconds", default=4.0, min=0.5, max=20.0, step=0.5, tooltip="Length of a turntable."),
            ],
            outputs=[io.Video.Output(display_name="video")],
        )

    @classmethod
    def execute(
        cls, head: Any, movement: str = TURNTABLE, size: int = 512, fps: int = 24, seconds: float = 4.0
    ) -> Any:
        from portrait360 import UserError

        folder = tempfile.mkdtemp(prefix="portrait360-", dir=folder_paths.get_temp_directory())
        path = Path(folder) / "video.mp4"
        with fitting():
            if movement == TURNTABLE:
                film_turntable(path, head, size, fps, max(1, round(fps * seconds)))
            elif head.avatar is None:
                raise UserError(NO_AVATAR)
            else:
                film_performance(path, head.avatar, movement, size, fps)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)))


def film_turntable(path: Path, head: Any, size: int, fps: int, count: int) -> None:
    from portrait360.pipeline.export.video import save_turntable

    bar = ProgressBar(count)

    def frames() -> Iterator[Any]:
        for i in range(count):
            yield composite(head.render((360.0 * i / count, 0.0), size), BACKGROUNDS[0])[0]
            bar.update_absolute(i + 1, count)

    save_turntable(path, frames(), fps)


def film_performance(path: Path, avatar: Any, movement: str, size: int, fps: int) -> None:
    from portrait360.pipeline.animate.film import Shot, write_film
    from portrait360.pipeline.animate.presets import make_preset

    performance = make_preset(movement, fps)
    bar = ProgressBar(len(performance))
    write_film(
        path, avatar, performance, Shot(avatar.camera, size), identity="comfyui", on_frame=lambda: bar.update(1)
    )


class Portrait360Extension(ComfyExtension):
    async def get_node_list(self) -> list[Any]:
        return [LoadPortrait, MakeHead, RenderViews, SaveMesh, SaveSplats, MakeVideo]


async def comfy_entrypoint() -> Portrait360Extension:
    return Portrait360Extension()
