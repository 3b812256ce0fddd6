"""What each step of an avatar contributes: switches that leave one out, and what stands in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.pipeline.avatar.hair.chosen import find_nearest_style, take_style
from portrait360.pipeline.avatar.hair.outline import PLAIN_LIGHT
from portrait360.pipeline.avatar.hair.search import PLAIN, HairFit
from portrait360.pipeline.avatar.person import find_colour, to_colour
from portrait360.pipeline.avatar.photo.pixels import SKIN, Photo
from portrait360.pipeline.avatar.skin.fit import SkinFit
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.reading.reading import Reading, Value
from portrait360.synth.build import build_person
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.lights import uniform_environment
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.sampling.parameters import Colour, Hair, HeadParameters, Skin
from portrait360.synth.scene import Light, Scene
from portrait360.utils.array_types import Bytes
from portrait360.utils.portrait_labels import Label

PLAINEST = PLAIN["short"][0]
UNKNOWN, ADULT = 100.0, 0.5  # standard deviation of a number that nobody has read, and an age


@dataclass(frozen=True)
class Ablation:
    """Which steps an avatar is made with."""

    reader: bool = True  # else labels from matte and fitted skin alone, and the plainest style
    search: bool = True  # else the style nearest to what the reader expects, as the catalogue has it
    snap: bool = True  # else landmarks stay where shape and expression put them
    warp: bool = True  # else strands stay as they have grown
    light: bool = True  # else even light from everywhere
    cover: bool = True  # else nothing is shown that no layer explains


FULL = Ablation()


def read_without_network(portrait: Portrait, fit: SkinFit) -> Portrait:
    """Return the portrait as if only its matte and its fitted skin had been read."""
    assert portrait.reading is not None
    labels = label_by_skin(portrait, fit)
    return replace(portrait, reading=forget_answers(portrait.reading, labels), reading_scale=1.0)


def label_by_skin(portrait: Portrait, fit: SkinFit) -> Bytes:
    """Return labels (s, s) inside the matte: the plainest person's, then hair above the chin and cloth below."""
    head = make_fitted_head(fit.shape, fit.expression, offset=fit.offset)
    size = len(portrait.rgb)
    person = build_person(head, HeadParameters(hair=Hair(style=PLAINEST)), np.random.default_rng(0))
    scene = Scene(tuple(person.meshes), tuple(s for s in person.strands if len(s.points)), PLAIN_LIGHT)
    film = render_linear(prepare_scene(scene, occlusion=False, quality=DRAFT), fit.camera, size)
    chin = fit.camera.project(head.landmarks["chin"].astype(np.float64)[None])[0][0, 1]
    is_high = (np.arange(size) + 0.5)[:, None] / size < chin
    beyond = np.where(is_high, np.uint8(Label.HAIR), np.uint8(Label.CLOTHES))
    labels = np.where(film.alpha > 0.5, film.labels, beyond)
    return np.where(portrait.alpha > 0.5, labels, np.uint8(Label.BACKGROUND)).astype(np.uint8)


def forget_answers(reading: Reading, labels: Bytes) -> Reading:
    """Return a reading of these labels (s, s) that knows nothing else; plain answers come first."""
    answers = {question: _spread_evenly(sorted(found)) for question, found in reading.answers.items()}
    values = {name: Value(ADULT if name == "age" else 0.0, UNKNOWN) for name in reading.values}
    return replace(
        reading,
        probabilities=to_probabilities(labels),
        flow=np.zeros((*labels.shape, 2), np.float32),
        answers=answers,
        values=values,
    )


def _spread_evenly(names: list[str]) -> dict[str, float]:
    plain = [name for name in ("none", "human", "crew") if name in names]
    return dict.fromkeys([*plain, *names], 1 / len(names))


def to_probabilities(labels: Bytes) -> np.ndarray:
    """Return labels (s, s) as probabilities (LABELS, s, s)."""
    return (labels == np.arange(len(Label))[:, None, None]).astype(np.float32)


def skip_search(base: HeadParameters, reading: Reading, ablation: Ablation) -> HairFit:
    """Return the hair that stands in for what the search finds."""
    return take_style(base, find_nearest_style(reading) if ablation.reader else PLAINEST)


def assume_light(photo: Photo) -> tuple[Light, Colour]:
    """Return even light, and the colour of the skin in it."""
    nothing = np.zeros((0, 3), np.float32)
    ambient = np.asarray(uniform_environment((1.0, 1.0, 1.0)), np.float32)
    colour = find_colour(photo, SKIN)
    return Light(ambient, nothing, nothing, nothing[:, 0]), Skin().tone if colour is None else to_colour(colour)


def empty_cover(cover: Proxy) -> Proxy:
    """Return a cover that shows nothing of the photo."""
    return replace(cover, visible=np.zeros_like(cover.visible))
