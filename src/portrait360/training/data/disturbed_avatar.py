"""An avatar as it would come out of a photo, in a fraction of the time: the true head with an avatar's errors.

What can be named is disturbed by `ERRORS`, which were measured; the photo lies on the layers as on those of any
avatar, whose own code calibrates their colours and renders them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.colours import calibrate
from portrait360.pipeline.avatar.person import settle_labels
from portrait360.pipeline.avatar.photo.key_light import add_key_light
from portrait360.pipeline.avatar.photo.light_fit import fit_light
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.render import PhotoProjection
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.synth.build import build_person
from portrait360.synth.head.bare_head import Head, assemble_head
from portrait360.synth.head.fitted_head import load_linear_head
from portrait360.synth.render.bake import PORTRAIT, prepare_scene
from portrait360.synth.render.renderer import Rendering
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.draws import choose
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.sampling.parameters import Facial, Hair, HeadParameters, Skin, Statue, Toon
from portrait360.synth.sampling.sampler import BEARDS, COLLARS, HATS_MEN, HATS_WOMEN
from portrait360.synth.sampling.style_descriptor import ALL_STYLES, FAMILY_OF, describe_style
from portrait360.synth.scene import Light, Scene
from portrait360.training.data.avatar_errors import FACTORS, PLACES, AvatarErrors, align, root_mean_square, weigh_head
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import foreground, smoothstep
from portrait360.utils.portrait_labels import Label

ERRORS = AvatarErrors(
    same_style=0.63,
    same_family=0.13,
    factors=(0.22, 0.28, 0.12),
    places=(0.04, 0.23),
    shape=0.0123,
    beard=0.18,
    glasses=0.5,
    hat=0.1,  # of the few with hats none got another; the reader's benchmark says that some do
    collar=0.55,
)
"""python -m portrait360.training.data.avatar_errors --count 11"""
NEAREST = 12  # styles of other families among which a wrong one is drawn
COARSE = 4  # the colours beyond the matte are found at this fraction of the photo's side
SOFTER, WIDER = (0.4, 1.4), 0.15  # pixels by which a matte is blurred, and share of an edge by which it is off
PURE = (0.35, 0.65)  # cover of a pixel from which it shows hair alone


def disturb_parameters(truth: HeadParameters, rng: np.random.Generator, errors: AvatarErrors) -> HeadParameters:
    """Return what an avatar would say of a head."""
    wear, clothes, tone = truth.wear, truth.clothes, truth.skin.tone
    hat, glasses, collar = wear.hat, wear.glasses, clothes.collar
    if hat != "none" and rng.random() < errors.hat:
        hat = choose(rng, sorted({*HATS_MEN, *HATS_WOMEN} - {hat, "headphones"}))
    if glasses != "none":
        lost, shape = rng.random() < errors.glasses, "sun_square" if glasses.startswith("sun") else "round"
        glasses = "none" if lost else shape
    if rng.random() < errors.collar:
        collar = choose(rng, sorted(COLLARS.keys() - {collar}))
    hair = disturb_hair(truth.hair, rng, errors) if wear.hat == "none" else _only_shape(truth.hair)
    return HeadParameters(
        seed=int(rng.integers(1 << 31)),
        kind=truth.kind if truth.kind in ("toon", "statue") else "human",
        shape=truth.shape,
        skin=Skin(tone=tone, blood=0.4),
        eyes=truth.eyes,
        hair=hair,
        facial=_disturb_facial(truth.facial, rng, errors),
        wear=replace(wear, hat=hat, glasses=glasses, earrings="none", nose_stud=False),
        clothes=replace(clothes, collar=collar, pattern="plain", necklace=False),
        toon=None if truth.toon is None else Toon(),
        statue=None if truth.statue is None else Statue(stone="terracotta", colour=tone),
    )


def disturb_hair(truth: Hair, rng: np.random.Generator, errors: AvatarErrors) -> Hair:
    """Return hair of the same style, of another of its family or of a like one, as often as measured."""
    draw, hair = rng.random(), _only_shape(truth)
    if draw >= errors.same_style:
        related = draw < errors.same_style + errors.same_family
        names = [name for name in sorted(ALL_STYLES) if (FAMILY_OF[name] == FAMILY_OF[hair.style]) == related]
        names = [name for name in names if name != hair.style] or [hair.style]
        hair = replace(hair, style=choose(rng, names if related else _find_nearest(hair, names)))
    for name, deviation in zip(FACTORS, errors.factors, strict=True):
        hair = replace(hair, **{name: getattr(hair, name) * float(np.exp(rng.normal(0, deviation)))})
    for name, deviation in zip(PLACES, errors.places, strict=True):
        hair = replace(hair, **{name: getattr(hair, name) + float(rng.normal(0, deviation))})
    return replace(hair, parting=float(np.clip(hair.parting, -0.16, 0.16)), sweep=float(np.clip(hair.sweep, -1, 1)))


def _only_shape(hair: Hair) -> Hair:
    """Return hair without dyed tips, streaks, roots, grey and loose strands, of which an avatar's parameters know
    nothing."""
    return replace(hair, tips=None, streaks=None, roots=None, grey=0.0, wet=0.0, flyaway=0.6, messy=0.0)


def _find_nearest(hair: Hair, names: list[str]) -> list[str]:
    numbers = _describe_all()
    spread = np.maximum(np.std(list(numbers.values()), 0), 1e-6)
    distances = [float((((numbers[name] - numbers[hair.style]) / spread) ** 2).sum()) for name in names]
    return [names[i] for i in np.argsort(distances)[:NEAREST]]


@lru_cache(maxsize=1)
def _describe_all() -> dict[str, F32]:
    return {name: describe_style(Hair(style=name)) for name in sorted(ALL_STYLES)}


def _disturb_facial(truth: Facial, rng: np.random.Generator, errors: AvatarErrors) -> Facial:
    beard = truth.beard
    if rng.random() < errors.beard:
        beard = choose(rng, sorted(BEARDS.keys() - {beard, "none"})) if beard != "none" else "stubble"
    weight = float(np.clip(truth.brow_weight + rng.normal(0, 0.2), 0.1, 1.0))
    return replace(truth, beard=beard, brow_weight=weight, brow_arch=0.5)


def disturb_head(head: Head, rng: np.random.Generator, errors: AvatarErrors) -> Head:
    """Return the head with a shape that is off by as much as a fit's, in the ways in which heads differ."""
    modes, weight = load_linear_head().shape, np.zeros(len(head.base), np.float32)
    weight[: head.pack.body] = weigh_head()
    other = head.base + np.tensordot(rng.normal(0, 1, len(modes)).astype(np.float32), modes, 1)
    residual = align(other, head.base, weight) - head.base
    size = errors.shape / root_mean_square(residual, weight)
    return assemble_head(head.pack, (head.base + size * residual).astype(np.float32), head.level)


def build_layers(head: Head, parameters: HeadParameters, scale: float) -> Scene:
    """Build what an avatar consists of, on a head, without its light; `scale` is that of the true head's frame."""
    style = find_style(parameters.hair.style)
    geometry = build_person(head, parameters, np.random.default_rng([parameters.seed, 1]), style=style)
    nothing, size = np.zeros((0, 3), np.float32), np.float32(scale)
    meshes = [replace(mesh, vertices=mesh.vertices * size) for mesh in geometry.meshes]
    strands = [replace(s, points=s.points * size, widths=s.widths * size) for s in geometry.strands if len(s.points)]
    dark = Light(np.zeros((9, 3), np.float32), nothing, nothing, nothing[:, 0])
    return Scene(tuple(meshes), tuple(strands), dark, landmarks=geometry.landmarks)


def take_photo(view: Rendering, rgb: Floats, camera: Camera, rng: np.random.Generator) -> Photo:
    """Return a degraded photo (s, s, 3) of a rendered view as an avatar has it, its matte a little off."""
    soft = cv2.GaussianBlur(view.alpha, (0, 0), rng.uniform(*SOFTER))
    alpha = smoothstep(0.1, 0.9, soft + rng.uniform(-WIDER, WIDER) * 4 * soft * (1 - soft)).astype(np.float32)
    clean = spread_subject(rgb, alpha)
    labels = np.where(alpha >= 0.5, view.labels, np.uint8(Label.BACKGROUND))
    pure = np.where(labels == Label.HAIR, smoothstep(*PURE, view.alpha), 1).astype(np.float32)
    known = np.ones_like(alpha)
    return Photo(clean, srgb_to_radiance(clean), alpha, known, labels, pure, view.flow, camera)


def spread_subject(rgb: Floats, alpha: F32) -> F32:
    """Return the picture with the subject's colours continued over its background."""
    size = (len(rgb) // COARSE,) * 2
    shrunk = [np.asarray(cv2.resize(a, size, interpolation=cv2.INTER_AREA), np.float32) for a in (rgb, alpha)]
    small = foreground(*shrunk)
    beyond = cv2.resize(small, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
    opaque = np.clip((alpha - 0.9) / 0.1, 0, 1)[..., None]
    return np.asarray(beyond + opaque * (rgb - beyond), np.float32)


def lay_photo_on(scene: Scene, head: Head, parameters: HeadParameters, photo: Photo) -> PhotoProjection:
    """Return layers under the light that the photo shows, in its colours, with the photo on them."""
    photo = settle_labels(photo, parameters)
    light, _ = fit_light(head, photo)
    scene = calibrate(replace(scene, light=light), photo)
    scene = replace(scene, light=add_key_light(scene.light))
    return PhotoProjection(
        photo, prepare_scene(scene, quality=PORTRAIT), wrap(scene, photo), parameters.kind == "toon"
    )


def wrap(scene: Scene, photo: Photo) -> Proxy:
    """Return a grey surface around the meshes of a scene, in place of the proxy that a photo is given first."""
    counts = np.cumsum([0, *(len(mesh.vertices) for mesh in scene.meshes)])
    triangles = np.concatenate([mesh.triangles + n for mesh, n in zip(scene.meshes, counts[:-1], strict=True)])
    radius, *_ = LAYOUT.unwrap(np.concatenate([mesh.vertices for mesh in scene.meshes]), triangles)
    radius = np.where(radius > 0, radius, np.median(radius[radius > 0])).astype(np.float32)
    grey, seen = np.full((*radius.shape, 3), 0.5, np.float32), np.ones(radius.shape, np.float32)
    return Proxy(LAYOUT, radius, grey, seen, photo.rgb, photo.alpha, photo.camera)
