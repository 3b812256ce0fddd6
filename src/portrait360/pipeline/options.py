"""The options of a run, declared once: the command line and the web form derive from them.

Nothing heavy is imported here, so that a wrong option is an error within a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.models.presets import PRESETS, Preset
from portrait360.models.weights.installed import find_weights, require_weights
from portrait360.pipeline.export import AVATAR_FORMATS, SPLAT_FORMATS
from portrait360.pipeline.portrait import ANGLES, check_crop
from portrait360.pipeline.proxy import METHODS, check_method
from portrait360.pipeline.reconstruction import RESULTS
from portrait360.pipeline.refinement import require_priors
from portrait360.pipeline.views import DEFAULT_VIEWS, DENOISED, DENOISER_MULTIPLE, MOST_VIEWS, require_view_denoiser
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_name, check_size, sha256
from portrait360.utils.option_fields import option, option_fields, option_info

if TYPE_CHECKING:
    from portrait360.pipeline.avatar.overrules import Overrules
    from portrait360.pipeline.refinement.stage import RefineRequest

CROP = 512  # pixels: side of the portrait
SIZES = (64, 1024)  # pixels: side of a view
MOST_STEPS = 200
MOST_SEED = 2**31 - 1
LATENT_MULTIPLE = 64  # pixels of a view that become one of the U-Net's coarsest
RESULT_ALIASES = {"nerf": "field"}  # what a user may call a result
PICTURES = "views"  # what a user calls the pictures of a head from all sides, their sheet and their video
RESULT_CHOICES = f"mesh, splats, nerf, {PICTURES}, or several of these, separated by commas"
AVATAR_RESULTS = ("splats", "mesh")  # that an avatar gives without a fit
FITTED_RESULTS = ("field", "splats")  # what is fitted to an avatar's views: a mesh of them would lose its face
PHOTO, AVATAR, VIEW, HEAD, RUN, ADVANCED = "Input", "Avatar", "Views", "Output", "Run", "Advanced"  # groups
OVERRULES = ("hair", "hair_length", "parameters")  # options that say what the head is, whatever the photo shows


@dataclass(frozen=True)
class MakeOptions:
    """What `make` makes of a photo. The defaults are those of the command."""

    preset: str = option(
        "small",
        "Which model makes the views (pictures of the head from all sides). small: portrait360's built-in head "
        "model, no download needed; sd15: the published DiffPortrait360 networks; diffportrait3d: the published "
        "DiffPortrait3D networks.",
        VIEW,
        label="Preset",
        form=4,
    )
    method: str | None = option(
        None,
        "How to make the head. avatar: separate layers of skin, hair and clothes; if no face is found, the method "
        "“completed” is used instead. proxy: one closed surface; fixed rules fill in what the photo does not show. "
        "completed: like proxy, but a small network fills in the rest. denoised: like completed, but a second "
        "network makes the views. "
        "gan: the closest match to the photo that the 3D GAN PanoHead can generate. Default: avatar; with sd15 or "
        "diffportrait3d, gan if its weights are installed.",
        ADVANCED,
        flags=("--method", "--proxy"),
        metavar="NAME",
    )
    views: int = option(
        DEFAULT_VIEWS,
        "Number of views, evenly spaced around the head.",
        VIEW,
        allowed=f"4 to {MOST_VIEWS}, or 1 or more with `fit=False`",
        label="Number of views",
        form=3,
        low=4,
        high=64,
    )
    size: int | None = option(
        None,
        "Width and height of a view in pixels. Default: 256, or 512 with the presets sd15 and diffportrait3d.",
        VIEW,
        allowed=f"{SIZES[0]} to {SIZES[1]} pixels",
    )
    seed: int = option(
        0,
        "Random seed; on the same machine, the same seed gives identical files.",
        RUN,
        allowed=f"0 to {MOST_SEED}",
        label="Seed",
        form=11,
    )
    back: Path | None = option(None, "Photo of the same head, taken from behind.", PHOTO, metavar="PHOTO")
    references: tuple[Path, ...] = option(
        (),
        "Another photo of the same head, with the face visible; can be repeated.",
        PHOTO,
        flags=("--reference",),
        metavar="PHOTO",
    )
    face: int | None = option(
        None,
        "Which face to use, if there are several; 1 is the largest.",
        PHOTO,
        allowed="1 for the largest face, 2 for the next one, and so on",
        label="Face",
        form=5,
    )
    azimuth: float | None = option(
        None,
        "Direction the photo was taken from, in degrees: 0 is the front, 90 the subject's left, 180 the back. "
        "Default: estimated from the face, or 0 if no face is found.",
        PHOTO,
        allowed=ANGLES["azimuth"],
        label="Azimuth, in degrees",
        form=6,
    )
    elevation: float | None = option(
        None,
        "Elevation of the camera, in degrees: 0 is level with the head, 89 almost directly above it. "
        "Default: estimated from the face, or 0 if no face is found.",
        PHOTO,
        allowed=ANGLES["elevation"],
        label="Elevation, in degrees",
        form=7,
    )
    hair: str | None = option(
        None,
        "Hairstyle to use instead of the estimated one, such as bob, long or crew; `--hair list` prints all the "
        "names.",
        AVATAR,
        metavar="STYLE",
        label="Hairstyle",
        form=8,
    )
    hair_length: float | None = option(
        None,
        "Multiply the estimated hair length by this factor, 0.1 to 4.",
        AVATAR,
        metavar="FACTOR",
        allowed="0.1 to 4",
        label="Hair length",
        form=9,
    )
    parameters: Path | None = option(
        None,
        "JSON file with the parts of the avatar to change, in the format of a run's proxy/parameters.json.",
        AVATAR,
        metavar="FILE",
    )
    orbit: Path | None = option(
        None,
        "File with cameras to use instead of the default circle, one `azimuth,elevation` per line.",
        VIEW,
        metavar="FILE",
    )
    orbit_elevation: float = option(
        0.0, "Elevation of the default circle of cameras, -60 to 60 degrees.", VIEW, allowed="-60 to 60 degrees"
    )
    results: tuple[str, ...] | None = option(
        None,
        "What to write: any of mesh, splats, nerf and views (pictures from all sides, contact sheet and video), "
        "separated by commas. Default: mesh,splats,views for an avatar; mesh,splats,nerf,views if no face is found, "
        "or with the preset sd15 or diffportrait3d. If a head is fitted to views, the views are written, too.",
        HEAD,
        flags=("--as",),
        metavar="TEXT",
    )
    formats: tuple[str, ...] = option(
        SPLAT_FORMATS[:1],
        f"File formats, separated by commas. For the splats: {', '.join(SPLAT_FORMATS)}. For the mesh of an avatar: "
        f"{', '.join(AVATAR_FORMATS)} (in addition to .glb).",
        HEAD,
        metavar="TEXT",
        label="File formats",
        form=10,
    )
    fit: bool | None = option(
        None,
        "Fit a NeRF and splats to the views. On by default in any of these cases: --as includes nerf; --refine is "
        "given; the preset is sd15 or diffportrait3d; the head is not an avatar. With the “small” preset, 16 "
        "additional views from above are rendered for the fit.",
        HEAD,
        flags=("--fit/--no-fit",),
        label="3D head",
        form=1,
    )
    quick: bool = option(
        False,
        "Spend less time on the fit, for a quick preview.",
        HEAD,
        flags=("--quick",),
        label="Quick preview",
        form=2,
    )
    steps: int | None = option(
        None,
        "Number of denoising steps, if a diffusion network makes the views.",
        ADVANCED,
        allowed=f"1 to {MOST_STEPS}",
    )
    device: str | None = option(None, "Device to run on: cpu or cuda. Default: cuda if available.", RUN)
    faithful: bool = option(
        False,
        "With sd15 or diffportrait3d: follow the published procedure as closely as possible, which is slower.",
        ADVANCED,
        flags=("--faithful",),
    )
    compiled: bool = option(
        False,
        "With sd15 or diffportrait3d: compile the networks first, which should save time with many views on a GPU "
        "(not measured yet).",
        ADVANCED,
        flags=("--compile",),
    )
    hints: Path | None = option(
        None,
        "With sd15 or diffportrait3d: folder with pictures of one head (anyone's), taken from evenly spaced "
        "directions around it, starting at the front. Each picture tells the networks from which direction "
        "to generate a view. Default: pictures of a head generated by PanoHead, or of the bundled synthetic head if "
        "PanoHead's weights are not installed.",
        ADVANCED,
        metavar="DIR",
    )
    refine: bool = option(
        False,
        "As a last step, refine the fitted head with Portrait Diffusion; needs --refine-with.",
        ADVANCED,
        flags=("--refine",),
    )
    refine_with: Path | None = option(
        None,
        "Portrait Diffusion weights for --refine; you have to train them yourself (docs/training.md).",
        ADVANCED,
        metavar="FILE",
    )

    def validate(self) -> MakeOptions:
        """Raise a UserError for anything that cannot work; reads no picture and loads no network."""
        preset = self._validate_method()
        multiple = LATENT_MULTIPLE if preset.latent else DENOISER_MULTIPLE if self.uses_denoiser else 1
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise self._refuse("steps")
        if self.pixels % multiple:
            raise UserError(f"`size={self.pixels}` is not valid; choose a multiple of {multiple} pixels.")
        if not 1 <= self.views <= MOST_VIEWS or (self.may_fit and self.views < 4 and not self.orbit):
            raise self._refuse("views")
        if not SIZES[0] <= self.pixels <= SIZES[1]:
            raise self._refuse("size")
        if not -60 <= self.orbit_elevation <= 60:
            raise self._refuse("orbit_elevation")
        if not 0 <= self.seed <= MOST_SEED:
            raise self._refuse("seed")
        if self.face is not None and self.face < 1:
            raise self._refuse("face")
        self._validate_refinement()
        if self.results:
            parse_results(",".join(self.results))
        if not parse_formats(",".join(self.formats)):
            raise UserError(f"`formats=` is empty; choose from {', '.join((*SPLAT_FORMATS, *AVATAR_FORMATS))}.")
        check_crop(self.azimuth, self.elevation, CROP)
        for file in (self.back, *self.references, self.orbit):
            if file is not None:
                check_file(file)
        self.read_overrules()
        return self

    def _refuse(self, name: str) -> UserError:
        """Return the error for a number that is out of its range."""
        allowed = option_info(MakeOptions, name).allowed
        return UserError(f"`{name}={getattr(self, name):g}` is not valid; choose {allowed}.")

    def check_pictures(self, *photos: Path) -> None:
        """Raise a UserError for a file that is no picture, among these photos and those of the options."""
        from portrait360.utils.images import check_picture

        for photo in (*photos, *self.references, *([self.back] if self.back else [])):
            check_picture(photo)

    def read_overrules(self) -> Overrules:
        """Read what the user says that the head is, whatever the photo shows; a UserError if it cannot be that."""
        from portrait360.pipeline.avatar.overrules import make_overrules

        given = [name for name in OVERRULES if getattr(self, name) is not None]
        if given and self.proxy_method != "avatar":
            name = f"`{given[0]}={getattr(self, given[0])}`"
            raise UserError(f"{name} only works for avatars, not with the method {self.proxy_method}.")
        return make_overrules(self.hair, self.hair_length, self.parameters)

    def _validate_method(self) -> Preset:
        if self.preset not in PRESETS:
            raise UserError(f"`preset={self.preset}` is not valid; choose from {', '.join(PRESETS)}.")
        preset = PRESETS[self.preset]
        if self.method not in (None, DENOISED, *METHODS):
            raise UserError(f"`method={self.method}` is not valid; choose from {', '.join((*METHODS, DENOISED))}.")
        check_method(self.proxy_method)
        if preset.steps and self.uses_denoiser:
            raise UserError(
                f"`method={DENOISED}` works only with the preset small; {preset.name} uses its own networks."
            )
        if preset.steps:
            require_weights(preset.weights, f"The preset {preset.name}")
        if self.uses_denoiser:
            require_view_denoiser()
        needs_network = (
            self.faithful or self.compiled or self.hints or (self.steps is not None and not self.uses_denoiser)
        )
        if not preset.steps and needs_network:
            name = "faithful=True" if self.faithful else "compiled=True" if self.compiled else "steps="
            name = f"hints={self.hints}" if self.hints else name
            raise UserError(
                f"`{name}` works only with the presets sd15 and diffportrait3d; remove it, or choose one of them."
            )
        return preset

    def _validate_refinement(self) -> None:
        if not self.refine:
            return
        if not self.may_fit:
            raise UserError("`refine=True` needs a fitted head; remove `fit=False`.")
        require_priors(self.refine_with, "refine_with")

    @property
    def pixels(self) -> int:
        """Side of a view."""
        return self.size or PRESETS[self.preset].size

    @property
    def splat_formats(self) -> tuple[str, ...]:
        """Those of the formats that splats have; at least one, which later stages read."""
        return tuple(name for name in self.formats if name in SPLAT_FORMATS) or SPLAT_FORMATS[:1]

    @property
    def avatar_formats(self) -> tuple[str, ...]:
        """Those of the formats that only an avatar has."""
        return tuple(name for name in self.formats if name in AVATAR_FORMATS)

    @property
    def may_fit(self) -> bool:
        """Whether something is fitted to the views of a head that is no avatar."""
        return self.fits(from_avatar=False)

    def fits(self, *, from_avatar: bool) -> bool:
        """Whether something is fitted to the views; `from_avatar` says whether files come straight from an avatar."""
        if self.fit is not None:
            return self.fit and self.head_results != ()
        return self.refine or "field" in (self.results or ()) if from_avatar else self.head_results != ()

    def makes_views(self, *, from_avatar: bool) -> bool:
        """Whether the views are written: where they are wanted, and where something is fitted to them."""
        is_wanted = not self.results or PICTURES in self.results or "field" in self.results
        return is_wanted or not from_avatar or self.fits(from_avatar=True)

    def find_unused_views(self) -> str | None:
        """Return an option that has no effect where no views are written, with its value; None if none is set."""
        names = ("orbit", "size", "views", "orbit_elevation")
        defaults = {name: default for name, _, default, _ in option_fields(MakeOptions)}
        changed = next((name for name in names if getattr(self, name) != defaults[name]), None)
        return changed and f"{changed}={getattr(self, changed)}"

    @property
    def head_results(self) -> tuple[str, ...] | None:
        """What the head is made as, whether or not its views are written; None for all of it."""
        return None if self.results is None else tuple(name for name in self.results if name != PICTURES)

    def chosen_results(self, *, from_avatar: bool) -> tuple[str, ...]:
        """What the head is made as. A field alone is fitted besides what an avatar gives anyway."""
        if not from_avatar:
            return RESULTS if self.head_results is None else self.head_results
        return AVATAR_RESULTS if self.head_results in (None, RESULTS[:1]) else self.head_results

    @property
    def proxy_method(self) -> str:
        """A generator's, where the preset wants one and its weights are there."""
        if self.method is not None:
            return "completed" if self.uses_denoiser else self.method
        preset = PRESETS[self.preset]
        return "gan" if preset.gan and find_weights(preset.gan) else preset.proxy

    @property
    def uses_denoiser(self) -> bool:
        """Whether the small network makes the views, from those of the completed proxy."""
        return self.method == DENOISED

    @property
    def refine_request(self) -> RefineRequest:
        from portrait360.pipeline.refinement.noise_resampling import RefineConfig
        from portrait360.pipeline.refinement.stage import RefineRequest

        return RefineRequest(RefineConfig(seed=self.seed), self.refine_with)

    def record(self) -> dict[str, Any]:
        """What run.json says of the options; files by their content."""
        return {
            "preset": self.preset,
            "seed": self.seed,
            "settings": {
                "method": self.method if self.uses_denoiser else self.proxy_method,
                "views": self.views,
                "size": self.pixels,
                "back": content_hash(self.back),
                "references": [content_hash(photo) for photo in self.references],
                "face": self.face,
                "azimuth": self.azimuth,
                "elevation": self.elevation,
                "hair": self.hair,
                "hair_length": self.hair_length,
                "parameters": content_hash(self.parameters),
                "orbit": content_hash(self.orbit),
                "orbit_elevation": self.orbit_elevation,
                "results": None if self.results is None else list(self.results),
                "formats": list(self.formats),
                "fit": self.fit,
                "quick": self.quick,
                "steps": self.steps,
                "faithful": self.faithful,
                "compiled": self.compiled,
                "hints": self.hints and hash_hints(self.hints),
                "refine": self.refine_request.cache_inputs() if self.refine else None,
            },
        }


def parse_results(text: str) -> tuple[str, ...]:
    """`nerf,splats,mesh,views` in the order in which they are made; views alone are no head."""
    names = {RESULT_ALIASES.get(word, word) for word in split_words(text)}
    known = (*RESULTS, PICTURES)
    unknown = sorted(names - {*known})
    if unknown:
        raise UserError(f"`results={unknown[0]}` is not valid; choose {RESULT_CHOICES}.")
    if not names:
        raise UserError(f"`results=` is empty; choose {RESULT_CHOICES}.")
    return () if names == {PICTURES} else tuple(name for name in known if name in names)


def parse_formats(text: str) -> tuple[str, ...]:
    """`ply,spz` as formats of splats and avatars, each once."""
    names, known = dict.fromkeys(split_words(text)), (*SPLAT_FORMATS, *AVATAR_FORMATS)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UserError(f"`formats={unknown[0]}` is not valid; choose from {', '.join(known)}.")
    return tuple(names)


def split_words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def check_file(file: Path) -> None:
    """Raise a UserError unless this is a file of a size that can be read."""
    from portrait360.utils.images import MAX_BYTES

    check_name(Path(file))
    if Path(file).is_dir():
        raise UserError(f"{file} is a folder; pass a file inside it.")
    check_size(Path(file), MAX_BYTES)


def hash_hints(folder: Path) -> str:
    """The SHA-256 of a folder of hints; a UserError if it holds none."""
    from portrait360.pipeline.views.hint_pictures import HintPictures

    return HintPictures.open(folder).content_hash()


def content_hash(file: Path | None) -> str | None:
    """The SHA-256 of an input file: the same picture under another name is the same input."""
    if file is None:
        return None
    check_file(file)
    try:
        return sha256(Path(file))
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); check its permissions.") from error
