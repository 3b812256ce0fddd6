"""What `animate` is asked for. Nothing heavy is imported here, so that a wrong option is an error within a second."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from portrait360.pipeline.avatar import NAME
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path

FILMS = (".mp4", ".webp", ".gif")
SIZES = (64, 2048)  # pixels of a frame's side, least and most
RATES = (1.0, 60.0)  # frames a second, least and most
PRESETS = ("talk", "smile", "surprise", "blink", "look")
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
        if self.preset is not None:
            check_preset(self.preset)
        if self.output.suffix.lower() not in (*FILMS, ".glb"):
            raise UserError(f"An animation can be an {', '.join(FILMS)} or .glb, not {self.output.name}.")
        self._check_light()
        if self.rate is not None:
            check_rate(self.rate)
        if self.elevation is not None and not abs(self.elevation) <= MAX_ELEVATION:
            limits = f"-{MAX_ELEVATION:g} to {MAX_ELEVATION:g} degrees"
            raise UserError(f"`elevation={self.elevation:g}` is not valid; choose {limits}.")
        check_size(self.size)
        for source in (self.video, self.expressions, self.environment):
            if source is None:
                continue
            if source.resolve() == self.output.resolve():
                raise UserError(f"This would overwrite {source} itself; choose another name with -o.")
            check_path(source)
        if self.video is not None:
            from portrait360.pipeline.animate.video_source import open_video  # which needs a decoder

            open_video(self.video)

    def _check_light(self) -> None:
        if self.light is not None and self.environment is not None:
            raise UserError("Give either --light or --environment, not both.")
        if self.output.suffix.lower() == ".glb" and (self.light is not None or self.environment is not None):
            raise UserError("A .glb is lit by the program that shows it; leave out --light and --environment.")
        if self.light is not None:
            read_light(self.light)


def check_preset(name: str) -> None:
    if name not in PRESETS:
        raise UserError(f"`preset={name}` is not valid; choose from {', '.join(PRESETS)}.")


def check_size(size: int) -> None:
    if not SIZES[0] <= size <= SIZES[1] or size % 2:
        raise UserError(f"`size={size}` is not valid; choose an even number of pixels from {SIZES[0]} to {SIZES[1]}.")


def check_rate(rate: float) -> float:
    """Return a rate, or raise a UserError for one that no video has."""
    if not RATES[0] <= rate <= RATES[1]:
        limits = f"{RATES[0]:g} to {RATES[1]:g} frames per second"
        raise UserError(f"`rate={rate:g}` is not valid; choose {limits}.")
    return rate


def read_light(text: str) -> tuple[float, float, float]:
    """Return the azimuth and elevation in degrees, and the warmth from -1 (cool) to 1 (warm)."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (2, 3) or not all(map(isfinite, values)):
        raise UserError(f'`light={text}` is not a light; give azimuth, elevation and warmth, such as "40,30,0.5".')
    azimuth, elevation, warmth = [*values, 0.0][:3]
    if not (-360 <= azimuth <= 360 and -90 <= elevation <= 90 and -1 <= warmth <= 1):
        raise UserError(
            f"`light={text}` is not valid; choose an elevation of -90 to 90 degrees and a warmth of -1 to 1."
        )
    return azimuth, elevation, warmth


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
