"""Turn a portrait into an avatar: fit the skin, grow hair and clothes on it, and colour all of it by the photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portrait360.pipeline.avatar.ablation import (
    FULL,
    Ablation,
    assume_light,
    empty_cover,
    read_without_network,
    skip_search,
)
from portrait360.pipeline.avatar.avatar import Avatar, round_photo
from portrait360.pipeline.avatar.beard.area import (
    correct_beard,
    measure_evidence,
    measure_whiskers,
    shave,
    trace_skin,
)
from portrait360.pipeline.avatar.beard.choice import choose_beard
from portrait360.pipeline.avatar.beard.colours import meet_hair
from portrait360.pipeline.avatar.beard.fit import fit_growth, trim_whiskers
from portrait360.pipeline.avatar.clothes.collar import FITTED_COLLARS, choose_collar
from portrait360.pipeline.avatar.clothes.colours import refine_clothes
from portrait360.pipeline.avatar.clothes.neckline import fit_neckline
from portrait360.pipeline.avatar.colours import bake_photo, calibrate
from portrait360.pipeline.avatar.drawing.layers import draw_locks, hide_features, measure_gloss
from portrait360.pipeline.avatar.drawing.painted_face import follow_jaw, is_painted
from portrait360.pipeline.avatar.drawing.painted_labels import paint_face
from portrait360.pipeline.avatar.hair.baldness import uncover_scalp
from portrait360.pipeline.avatar.hair.buns import find_masses
from portrait360.pipeline.avatar.hair.chosen import ChosenHair, choose_hair
from portrait360.pipeline.avatar.hair.ears import clear_ears
from portrait360.pipeline.avatar.hair.fit import drape_strands, fit_below_hat, fit_strands, merge_alike
from portrait360.pipeline.avatar.hair.level import level_hair
from portrait360.pipeline.avatar.hair.loose_locks import grow_loose_locks
from portrait360.pipeline.avatar.hair.shade import shade_locks
from portrait360.pipeline.avatar.hair.waves import find_waves
from portrait360.pipeline.avatar.overrules import NOTHING, Overrules, find_changes
from portrait360.pipeline.avatar.person import (
    SEED,
    confirm_beard,
    describe_person,
    find_colour,
    settle_labels,
    shows_beard,
    shows_hat,
)
from portrait360.pipeline.avatar.photo.exposure import is_hair
from portrait360.pipeline.avatar.photo.key_light import add_key_light
from portrait360.pipeline.avatar.photo.light_fit import fit_light
from portrait360.pipeline.avatar.photo.openings import mark_openings
from portrait360.pipeline.avatar.photo.overruled_photo import (
    NO_CONFLICT,
    Conflict,
    find_conflict,
    keep_looks,
    leave_out_conflict,
    leave_out_things,
)
from portrait360.pipeline.avatar.photo.pixels import CLOTHES, Photo, open_hair, read_photo
from portrait360.pipeline.avatar.skin.alignment import find_similarity, move_scene
from portrait360.pipeline.avatar.skin.corneas import bulge_corneas
from portrait360.pipeline.avatar.skin.fit import SkinFit, fit_skin
from portrait360.pipeline.avatar.skin.gaze import find_gaze, measure_irises
from portrait360.pipeline.avatar.skin.level import level_skin
from portrait360.pipeline.avatar.skin.mouth import seat_teeth
from portrait360.pipeline.avatar.skin.outline_fit import fit_outline
from portrait360.pipeline.avatar.worn.glasses_photo import (
    choose_glasses,
    drop_clear_lenses,
    mark_bent_frames,
    mark_frames,
    match_frame,
    put_glasses_on,
    take_frames_off,
    take_glasses_off,
)
from portrait360.pipeline.avatar.worn.hat_labels import settle_hat
from portrait360.pipeline.avatar.worn.hat_outline import fit_hat_outline
from portrait360.pipeline.avatar.worn.hat_search import choose_hat
from portrait360.pipeline.avatar.worn.rims import bend_rims
from portrait360.pipeline.avatar.worn.tucked_ears import tuck_ears
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.reference_photos import estimate_reference_camera
from portrait360.pipeline.proxy.animal_shape import is_animal
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.build import build_person
from portrait360.synth.hair.beard_brows import BeardGrowth
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.ear_folds import fold_ears
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.head.flat_face import flatten_face
from portrait360.synth.head_pack import load_pack
from portrait360.synth.sampling.parameters import HeadParameters, Pose
from portrait360.synth.scene import Light, Part, Scene, Strands
from portrait360.utils.parallel.threads import start_beside
from portrait360.utils.portrait_labels import Label

LASH_WIDTH, LASHES_BETWEEN = 0.3, (0.33, 0.67)  # of the generator's; where others grow between each two
FAR_LASHES = 8.0  # usual distances of lashes from which two are not on one lid
STONE_HAT = 0.2  # probability of no hat from which the hat of a statue is its hair
COARSE, FINE = 1, 2  # levels of subdivision
READ, DESCRIBED, GROWN, CALIBRATED, BAKED, WHOLE = 2, 4, 5, 6, 9, 10  # tenths of the time that an avatar takes


@dataclass(frozen=True, eq=False)
class DescribedHead:
    """What a head is, and how far that is what its photo shows."""

    parameters: HeadParameters
    light: Light
    photo: Photo  # without what has been taken off
    hair: ChosenHair
    conflict: Conflict


def can_fit_avatar(portrait: Portrait) -> bool:
    """Return whether the portrait shows a face that has been fitted and read, and that is not an animal's."""
    has_face = portrait.source == "face" and portrait.landmarks is not None and portrait.reading is not None
    return has_face and not is_animal(portrait)


def make_avatar(
    portrait: Portrait,
    cover: Proxy | Callable[[], Proxy],
    others: Sequence[Portrait] = (),
    overrules: Overrules = NOTHING,
    ablation: Ablation = FULL,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Avatar:
    """Make the avatar of a portrait with a face.

    Args:
        portrait: The aligned photo.
        cover: The portrait's proxy, or what makes it.
        others: Portraits of the same head, which colour what the photo does not show.
        overrules: What the user says that the head is, whatever the photo shows.
        ablation: Which steps are left out.
        on_step: Called with the work that is done, and with all of it.
    """
    make_cover = cover if callable(cover) else lambda: cover
    with start_beside(make_cover) as proxy:
        return _make_layers(portrait, proxy, others, overrules, ablation, on_step)


def _make_layers(
    portrait: Portrait,
    cover: Callable[[], Proxy],
    others: Sequence[Portrait],
    overrules: Overrules,
    ablation: Ablation,
    on_step: Callable[[int, int], None],
) -> Avatar:
    """Do so while the cover is made, which nothing but other photos and the end need."""
    fit, photo, reading = fit_photo(portrait, ablation)
    on_step(READ, WHOLE)
    coarse, fine = (make_head_of(fit, level, painted=photo.painted) for level in (COARSE, FINE))
    gaze = (0.0, 0.0) if photo.painted else find_gaze(coarse, photo.camera, portrait.landmarks)
    irises = None if photo.painted else measure_irises(coarse, photo.camera, portrait.landmarks)
    person = describe_head(coarse, photo, reading, overrules, ablation, gaze, irises)
    on_step(DESCRIBED, WHOLE)
    scene = grow_scene(fold_ears(fine), coarse, person, warp=ablation.warp)
    on_step(GROWN, WHOLE)
    built = move_scene(scene, find_similarity(photo.camera, portrait.camera))
    photo = mark_openings(replace(person.photo, camera=portrait.camera), portrait.landmarks)
    built = bend_rims(built, photo, person.parameters)
    photo = mark_bent_frames(photo, built, person.parameters)
    bare = take_frames_off(photo, person.parameters.wear.glasses)
    scene = calibrate(take_glasses_off(built), bare)
    on_step(CALIBRATED, WHOLE)
    for other in others:
        scene = bake_other_photo(scene, other, portrait, cover())
    scene = bake_photo(scene, bare, alone=not others)
    on_step(BAKED, WHOLE)
    light = scene.light if photo.painted else add_key_light(scene.light)  # a drawing has its light in its colours
    scene = level_skin(replace(scene, light=light), bare)
    scene = draw_locks(scene, measure_gloss(bare)) if photo.painted else shade_locks(scene)
    scene = level_hair(scene, bare)
    scene = put_glasses_on(replace(scene, strands=tuple(meet_hair(scene.strands))), built)
    scene = match_frame(scene, photo, person.parameters.wear)
    photo = open_hair(photo)
    if person.conflict:
        scene = keep_looks(scene, built, person.conflict)
        photo = leave_out_conflict(photo, scene, person.conflict)
    proxy = cover() if ablation.cover else empty_cover(cover())
    return Avatar(person.parameters, scene, round_photo(photo), proxy, fit)


def fit_photo(portrait: Portrait, ablation: Ablation = FULL) -> tuple[SkinFit, Photo, Reading]:
    """Return the skin that a portrait shows, its photo and what has been read of it."""
    fit = fit_skin(portrait, tuple(load_pack().units), snap=ablation.snap)
    if not ablation.reader:
        portrait = read_without_network(portrait, fit)
    assert portrait.reading is not None
    photo = settle_hat(read_photo(portrait, fit.camera), portrait.reading)
    photo = uncover_scalp(photo, portrait.reading)
    if is_painted(portrait, photo):
        assert portrait.landmarks is not None
        drawn = replace(portrait, landmarks=follow_jaw(portrait.landmarks, photo))
        fit = fit_skin(drawn, tuple(load_pack().units), snap=ablation.snap)
        bearded = shows_beard(photo, portrait.reading)
        photo = paint_face(replace(photo, camera=fit.camera), portrait.landmarks, bearded=bearded)
    fit = fit_outline(fit, photo)
    if shows_beard(photo, portrait.reading):
        skin = trace_skin(make_head_of(fit, COARSE), photo)
        whiskers = measure_whiskers(skin, photo)
        is_bearded = confirm_beard(portrait.reading, measure_evidence(skin, photo, whiskers))
        photo = correct_beard(photo, skin, whiskers) if is_bearded else shave(photo, skin)
    return fit, photo, portrait.reading


def describe_head(
    coarse: Head,
    photo: Photo,
    reading: Reading,
    overrules: Overrules,
    ablation: Ablation = FULL,
    gaze: tuple[float, float] = (0.0, 0.0),
    irises: float | None = None,
) -> DescribedHead:
    """Say in parameters what a head is: what its photo shows, and what the user says otherwise."""
    light, tone = fit_light(coarse, photo) if ablation.light and not photo.painted else assume_light(photo)
    described = replace(describe_person(photo, reading, tone), pose=Pose(gaze=gaze))
    if irises is not None:
        described = replace(described, eyes=replace(described.eyes, iris_size=irises))
    shown = dress(described, coarse, photo, reading)
    parameters = overrules.apply(shown)
    conflict = find_conflict(find_changes(shown, parameters))
    photo = mark_frames(photo, coarse, shown)
    photo = settle_labels(leave_out_things(photo, shown, parameters), parameters)
    if ablation.reader and ablation.search:
        hat = "none" if shown.wear.hat == "none" else parameters.wear.hat  # the photo's hair is not beneath a new one
        base = replace(parameters, wear=replace(parameters.wear, hat=hat))
        hair = choose_hair(coarse, photo, base, reading, overrules)
    else:
        hair = ChosenHair(skip_search(parameters, reading, ablation), agrees=True)
    if overrules.is_shown:
        hair, conflict = replace(hair, agrees=True), NO_CONFLICT
    elif not hair.agrees:
        conflict = conflict.with_hair(hair.is_other)
    return DescribedHead(replace(parameters, hair=hair.fit.hair), light, photo, hair, conflict)


def bake_other_photo(scene: Scene, other: Portrait, portrait: Portrait, cover: Proxy) -> Scene:
    """Colour a scene in the portrait's frame by a further photo of it."""
    if other.reading is None:
        return scene
    camera = estimate_reference_camera(other, portrait, cover.vertices, cover.triangles)
    return bake_photo(scene, mark_openings(read_photo(other, camera), other.landmarks), alone=False)


def dress(parameters: HeadParameters, head: Head, photo: Photo, reading: Reading) -> HeadParameters:
    """Choose hat, beard, glasses and collar where the photo shows them."""
    if parameters.facial.beard != "none":
        parameters = replace(parameters, facial=choose_beard(head, photo, parameters, reading.answers["beard"]))
    if shows_hat(photo) and not is_carved_hair(head, photo, parameters, reading):
        parameters = replace(parameters, wear=choose_hat(head, photo, parameters, reading.answers["hat"]))
    wear = choose_glasses(head, photo, parameters.wear, reading.answers["glasses"])
    parameters = replace(parameters, wear=wear)
    if parameters.clothes.collar != "none" and find_colour(photo, CLOTHES) is not None:
        clothes = choose_collar(head, photo, parameters, reading.answers["collar"])
        parameters = replace(parameters, clothes=clothes)
    return parameters


def is_carved_hair(head: Head, photo: Photo, parameters: HeadParameters, reading: Reading) -> bool:
    """Return whether what looks like a hat is the hair of a statue: the reader doubts it, or it has knots."""
    if parameters.statue is None:
        return False
    bare = replace(parameters, wear=replace(parameters.wear, hat="none"))
    doubts = reading.answers["hat"].get("none", 0.0) > STONE_HAT
    return doubts or bool(find_masses(settle_labels(photo, bare), head))


def make_head_of(fit: SkinFit, level: int, *, painted: bool = False) -> Head:
    """Return the head of a fit, its face smooth if eyes and mouth are `painted` on it."""
    head = make_fitted_head(fit.shape, fit.expression, offset=fit.offset, level=level)
    return flatten_face(head, fit.camera.position) if painted else head


def grow_scene(head: Head, coarse: Head, person: DescribedHead, *, warp: bool = True) -> Scene:
    """Build all layers on a head; strands of hair meet the photo's outline, unless they contradict it."""
    parameters, found, photo = person.parameters, person.hair.fit, person.photo
    beard = grow_beard(head, coarse, person)
    rng, neckline = np.random.default_rng([SEED, 1]), cut_neckline(coarse, person)
    geometry = build_person(head, parameters, rng, style=found.style, beard=beard, neckline=neckline)
    geometry = hide_features(geometry, parameters.skin.tone) if photo.painted else geometry
    strands = [thin_lashes(s) for s in geometry.strands if len(s.points)]
    meshes = seat_teeth(bulge_corneas(geometry.meshes, head, parameters.eyes.iris_size))
    meshes = drop_clear_lenses(refine_clothes(meshes))
    meshes = meshes if Label.HAT in person.conflict.shapes else fit_hat_outline(meshes, head, photo)
    meshes = tuck_ears(meshes, head)
    steps = parameters.toon.steps if photo.painted and parameters.toon is not None else 0
    scene = Scene(tuple(meshes), tuple(strands), person.light, steps=steps, landmarks=geometry.landmarks)
    if not person.hair.agrees:
        photo = leave_out_conflict(photo, scene, NO_CONFLICT.with_hair(person.hair.is_other), patch=0)
    hair = [s for s in strands if is_hair(s)]
    others = [s for s in strands if not is_hair(s)]
    if hair and parameters.wear.hat == "none" and warp:
        waves = None if found.curls else find_waves(found.style, photo)
        hair = fit_strands(hair, coarse, photo, trust=found.trust, waves=waves, curls=found.curls, end=found.end)
        hair = [*hair, *grow_loose_locks(hair, coarse, photo)] if person.hair.agrees else hair
    elif hair and warp:
        hair = fit_below_hat(hair, coarse, photo, parameters.wear)
    else:
        hair = drape_strands(hair, coarse, photo)
    hair = merge_alike(clear_ears(hair, coarse, photo))
    if beard is not None:
        others = [trim_whiskers(s, coarse, photo) if s.part[0] == Part.BEARD else s for s in others]
    return replace(scene, strands=tuple(group for group in (*hair, *others) if len(group.points)))


def thin_lashes(group: Strands) -> Strands:
    """Return lashes as thin and as many as those of people, which are a soft line together."""
    if group.part[0] != Part.EYES:
        return group
    apart = np.linalg.norm(np.diff(group.points[:, 0], axis=0), axis=1)
    pairs = np.flatnonzero(apart < FAR_LASHES * np.median(apart))  # neighbours on one lid
    columns = {}
    for name in ("points", "widths", "albedo", "part", "material"):
        own = getattr(group, name)
        between = [(own[pairs] * (1 - share) + own[pairs + 1] * share).astype(own.dtype) for share in LASHES_BETWEEN]
        columns[name] = np.concatenate([own, *between])
    return replace(group, **columns | {"widths": columns["widths"] * np.float32(LASH_WIDTH)})


def grow_beard(head: Head, coarse: Head, person: DescribedHead) -> BeardGrowth | None:
    """Return how the beard grows that the photo shows; None without one, of stone, or not as the user says."""
    parameters = person.parameters
    if parameters.facial.beard == "none" or parameters.statue is not None or Label.BEARD in person.conflict.shapes:
        return None
    skin = trace_skin(coarse, person.photo)
    return fit_growth(head, person.photo, skin, measure_whiskers(skin, person.photo))


def cut_neckline(coarse: Head, person: DescribedHead) -> tuple[float, ...]:
    """Return the heights of the neckline that the photo shows; none where a collar stands on it, or the user's."""
    clothes = person.parameters.clothes
    if clothes.collar not in FITTED_COLLARS or Label.CLOTHES in person.conflict.shapes:
        return ()
    return fit_neckline(coarse, person.photo, clothes)
