"""Laws of what people wear in portraits and paintings: it is labelled, lies outside the skin, and hides no face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, HEAD_HEIGHT
from portrait360.synth.build import build
from portrait360.synth.hair.hairdo import make_hair
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.lights import sample_light
from portrait360.synth.render.renderer import Rendering, render
from portrait360.synth.sampling.hats import EXTRA_HATS, HATS, NEAREST_HAT, UNLIKE_ANY, find_hat
from portrait360.synth.sampling.parameters import Clothes, Hair, HeadParameters, Wear
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.sampling.worn_variation import EARRINGS, NECKLACES, THIN_GLASSES, diversify_wear
from portrait360.synth.wear.garments import GARMENTS
from portrait360.synth.wear.glasses import find_frame, make_glasses, make_jewellery
from portrait360.synth.wear.hat_fit import cover_hair, fit_hat
from portrait360.synth.wear.hat_meshes import hat_meshes
from portrait360.synth.wear.mantles import measure_cover
from portrait360.synth.wear.necklines import NECKLINES
from portrait360.training.data.reader_samples import describe_worn, sample_head
from portrait360.training.data.reader_targets import CLASSES, NUMBERS, UNKNOWN
from portrait360.utils.portrait_labels import Label

PERSON = sample(11, "human")
LIGHT, FRONT = sample_light(np.random.default_rng(0)), Camera(look_at(0), focal_from_fov(FOV))


def wearing(**wear) -> HeadParameters:
    return replace(PERSON, wear=Wear(**wear), hair=Hair(style="crew"), clothes=Clothes(collar="crew"))


def photograph(person: HeadParameters, azimuth: float = 0.0, size: int = 96) -> Rendering:
    scene = prepare_scene(build(person), quality=DRAFT)
    return render(scene, Camera(look_at(azimuth), focal_from_fov(FOV)), size)


def count(view: Rendering, label: Label) -> int:
    return int((view.labels == label).sum())


@pytest.mark.parametrize("name", list(EXTRA_HATS))
def test_a_hat_is_made_of_finite_cloth_outside_the_head(name: str):
    person = wearing(hat=f"{name}:5")
    head = make_head(person)
    for mesh in hat_meshes(head, fit_hat(head, person.wear.hat), person):
        assert np.isfinite(mesh.vertices).all() and len(mesh.triangles) > 50
        y = mesh.vertices[:, 1]
        deep = head.field.distance(mesh.vertices[y > -0.5 * HEAD_HEIGHT]) < -0.02
        assert deep.sum() <= 0.1 * len(deep), name  # the inner side of an edge


@pytest.mark.parametrize("name", ["tailed_turban", "long_veil", "tied_band", "western", "cowl"])
def test_a_hat_is_labelled_and_leaves_the_face_free(name: str):
    bare, view = photograph(wearing()), photograph(wearing(hat=name))
    assert count(view, Label.HAT) > 60 and count(view, Label.FACE) > 0.6 * count(bare, Label.FACE)
    for label in (Label.EYE, Label.LIPS):
        assert count(view, label) > 0.8 * count(bare, label)


def test_hair_shows_at_the_forehead_below_a_veil_and_nowhere_through_it():
    person = replace(wearing(hat="long_veil"), hair=Hair(style="afro"))
    head = make_head(person)
    cover = fit_hat(head, "long_veil")
    strands = cover_hair(cover, make_hair(head, person, np.random.default_rng(0)).strands, "long_veil")
    points = np.concatenate([s.points.reshape(-1, 3) for s in strands])
    covered = points[measure_cover(points, cover.hat) > 2]
    cloth = hat_meshes(head, cover, person)[0].vertices
    top = cloth[:, 1].max()
    assert covered[:, 1].max() < top and np.abs(covered[:, 0]).max() < np.abs(cloth[:, 0]).max()
    view = photograph(replace(person, hair=Hair(style="middle_part")))
    assert count(view, Label.HAIR) > 20 and count(view, Label.HAT) > 60


def test_a_number_varies_a_hat_or_a_frame_and_its_name_alone_does_not():
    assert replace(find_hat("fedora"), hoop=False) == HATS["fedora"]
    assert find_hat("fedora:3") == find_hat("fedora:3") != find_hat("fedora:4")
    assert find_frame("wire_oval:3") == find_frame("wire_oval:3") != find_frame("wire_oval")
    assert find_hat("hijab").hides_hair and find_hat("headband").hoop and find_hat("crown:2").hoop


@pytest.mark.parametrize("name", sorted(set(THIN_GLASSES)))
def test_glasses_stay_in_front_of_the_face(name: str):
    person = wearing(glasses=f"{name}:7")
    head = make_head(person)
    for mesh in make_glasses(head, person):
        assert np.isfinite(mesh.vertices).all()
        assert head.field.distance(mesh.vertices[mesh.vertices[:, 2] > 0.1]).min() > -0.012


@pytest.mark.parametrize("name", sorted({*EARRINGS}))
def test_large_earrings_hang_from_both_ears(name: str):
    person = wearing(earrings=name)
    left, right = make_jewellery(make_head(person), person)
    assert left.vertices[:, 0].min() > 0 > right.vertices[:, 0].max()
    assert np.ptp(left.vertices, axis=0).max() > 0.02  # five pixels and more of a portrait of 256
    assert not make_jewellery(make_head(person), wearing(earrings=name, hat="long_veil:1"))


@pytest.mark.parametrize("name", NECKLACES)
def test_necklaces_are_seen_on_bare_skin(name: str):
    person = replace(wearing(necklace=name), clothes=Clothes(collar="bare", necklace=True))
    assert count(photograph(person, size=192), Label.JEWELLERY) > 25


@pytest.mark.parametrize("collar", [c for c, line in NECKLINES.items() if line.collar in GARMENTS or "_" in c])
def test_collars_are_clothes_and_stay_off_the_face(collar: str):
    person = replace(wearing(), clothes=Clothes(collar=collar))
    bare, view = photograph(wearing()), photograph(person)
    assert count(view, Label.CLOTHES) > 150 and count(view, Label.FACE) > 0.95 * count(bare, Label.FACE)


def test_people_are_dressed_by_their_generator_alone():
    people = [diversify_wear(np.random.default_rng([s, 5]), sample(s, "human")) for s in range(300)]
    assert people[0] == diversify_wear(np.random.default_rng([0, 5]), sample(0, "human"))
    assert all(HeadParameters.from_json(p.to_json()) == p for p in people[:20])
    assert 0.6 < np.mean([p.wear.hat != "none" for p in people]) < 0.76
    assert 0.25 < np.mean([p.wear.glasses != "none" for p in people]) < 0.43
    fox = sample(3, "animal")
    assert diversify_wear(np.random.default_rng(1), fox) == fox
    statue = diversify_wear(np.random.default_rng(2), sample(4, "statue"))
    assert statue.wear.glasses == "none" and not statue.clothes.necklace
    build(statue)


def test_what_is_worn_has_the_classes_that_there_were():
    assert set(NEAREST_HAT) == set(EXTRA_HATS) and set(NEAREST_HAT.values()) <= set(HATS)
    names = list(CLASSES)
    for kind in EXTRA_HATS:
        classes, numbers = describe_worn(wearing(hat=f"{kind}:1"), LIGHT, FRONT)
        assert (classes[names.index("hat")] == UNKNOWN) == (kind in UNLIKE_ANY) and len(numbers) == len(NUMBERS)
        assert all(-1 <= c < len(CLASSES[n]) for n, c in zip(names, classes, strict=True))
        assert np.isnan(numbers[NUMBERS.index("hair_L")]) >= EXTRA_HATS[kind].hides_hair


def test_without_worn_things_samples_stay_as_they_were():
    assert sample_head(5) == sample_head(5, worn=False) != sample_head(5, worn=True)
    assert all(":" not in sample_head(s).wear.hat for s in range(50))
