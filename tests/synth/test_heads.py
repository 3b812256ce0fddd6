"""Laws of synthetic heads: the same everywhere, finite, in the frame, linear, symmetric, under their hats."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.geometry.surfaces.subdivision import catmull_clark
from portrait360.synth.build import build
from portrait360.synth.creatures.animal import animal_landmarks
from portrait360.synth.hair.hairdo import make_hair
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head_pack import load_pack, macro_weights
from portrait360.synth.sampling.hairstyles import STYLES
from portrait360.synth.sampling.hats import HATS, HOOPS
from portrait360.synth.sampling.parameters import KINDS, Hair, HeadParameters, Shape
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.sampling.species import SPECIES
from portrait360.synth.scene import Part, Scene
from portrait360.synth.wear.hat_fit import cover_hair, fit_hat
from tests.fixtures.paths import ROOT
from tests.fixtures.scene_digest import digest

PACK = load_pack()
STARTS = {"human": 0, "toon": 2, "fantasy": 4, "statue": 6}  # styles of each kind that `make test` builds


def assert_sound(scene: Scene) -> None:
    for mesh in scene.meshes:
        for name in ("vertices", "albedo", "opacity", "rest", "normals"):
            assert np.isfinite(getattr(mesh, name)).all(), name
        assert mesh.triangles.min(initial=0) >= 0
        assert mesh.triangles.max(initial=-1) < len(mesh.vertices)
        assert len(mesh.material) == len(mesh.part) == len(mesh.triangles)
        assert mesh.albedo.min() >= 0 and mesh.albedo.max() <= 1
    for strands in scene.strands:
        assert np.isfinite(strands.points).all() and np.isfinite(strands.albedo).all()
        assert (strands.widths >= 0).all() and strands.widths.max() < 0.03
        assert strands.points.shape[:2] == strands.widths.shape


def head_points(scene: Scene) -> np.ndarray:
    """What must be seen: everything of the head above the shoulders."""
    solid = [m.vertices for m in scene.meshes if m.part[0] != Part.CLOTHES]
    points = np.concatenate([*solid, *(s.points.reshape(-1, 3) for s in scene.strands)])
    return points[points[:, 1] > -0.22]


def test_the_pack_is_a_linear_model():
    a = macro_weights(0.2, 0.4, 0.5, 0.6, (1, 2, 1))
    b = {"nose/nose-hump-incr": 0.7, "unit/jawOpen": 0.5}
    base = PACK.blend({})
    both = PACK.blend(a | b)
    assert np.abs((PACK.blend(a) - base) + (PACK.blend(b) - base) - (both - base)).max() < 1e-5
    doubled = PACK.blend({name: 2 * w for name, w in b.items()})
    assert np.abs((doubled - base) - 2 * (PACK.blend(b) - base)).max() < 1e-5


def test_the_pack_has_its_units_and_refuses_unknown_targets():
    assert len(PACK.units) == 52
    with pytest.raises(KeyError, match="no target 'nose/none'"):
        PACK.blend({"nose/none": 1.0})
    with pytest.raises(ValueError, match="read-only"):
        PACK.vertices[0] = 0


def test_macro_weights_share_out_one():
    for age in (0.0, 0.19, 0.4, 0.8, 1.0):
        weights = macro_weights(0.3, age, 0.5, 0.5, (1, 1, 1))
        of_origin = [w for name, w in weights.items() if "universal" not in name]
        assert abs(sum(of_origin) - 1) < 1e-6


def test_subdivision_keeps_a_plane_and_its_corners_in_place():
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 7, 6], [4, 5, 8, 7]])
    points = np.array([[x, y, 0.5 * x + y] for y in range(3) for x in range(3)], float)
    fine = catmull_clark(quads, 9)
    smooth = fine(points)
    assert np.allclose(smooth[:, 2], 0.5 * smooth[:, 0] + smooth[:, 1], atol=1e-6)
    assert np.allclose(np.asarray(fine.matrix.sum(1)), 1)
    assert np.allclose(smooth[4], points[4])


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    here = {kind: (sample(7, kind).to_json(), digest(build(sample(7, kind)))) for kind in KINDS}
    code = (
        "from tests.fixtures.scene_digest import digest\nfrom portrait360.synth.build import build\n"
        "from portrait360.synth.sampling.sampler import sample\n"
        f"for kind in {KINDS!r}: print(digest(build(sample(7, kind))))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert out.stdout.split() == [there for _, there in here.values()]
    assert len({json for json, _ in here.values()}) == len(KINDS)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(("any", *KINDS)))
def test_parameters_survive_json_exactly(seed: int, kind: str):
    parameters = sample(seed, kind)
    assert HeadParameters.from_json(parameters.to_json()) == parameters
    assert sample(seed, kind) == parameters


def test_an_unknown_field_or_kind_is_an_error():
    with pytest.raises(ValueError, match="no field 'hats'"):
        HeadParameters.from_json('{"wear": {"hats": "cap"}}')
    with pytest.raises(ValueError, match="no kind of head 'robot'"):
        sample(1, "robot")


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        pytest.param(kind, part, marks=[pytest.mark.slow] * (part > 0))
        for kind in ("human", "toon", "fantasy", "statue")
        for part in range(8)
    ],
)
def test_every_hairstyle_builds_on_every_kind(kind: str, part: int):
    """In each kind all styles take turns, from another one on; a head carries one at a time."""
    for i, style in enumerate(list(STYLES)[(part + STARTS[kind]) % 8 :: 8]):
        parameters = sample(100 + 7 * i + part, kind)
        wear = dataclasses.replace(parameters.wear, hat="none")
        scene = build(
            dataclasses.replace(parameters, hair=dataclasses.replace(parameters.hair, style=style), wear=wear)
        )
        assert_sound(scene)
        assert any((s.part == Part.HAIR).any() for s in scene.strands) or style == "bald" or kind == "statue"


@pytest.mark.parametrize("seed", range(10))
def test_heads_are_inside_the_frame_from_all_sides(seed: int):
    scene = build(sample(seed, KINDS[seed % len(KINDS)]))
    points = head_points(scene)
    for azimuth in range(0, 360, 40):
        for elevation in (-30, 0, 30):
            uv, depth = Camera(look_at(azimuth, elevation), focal_from_fov(FOV)).project(points)
            assert depth.min() > 1
            assert ((uv < 0) | (uv > 1)).any(1).mean() < 2e-3  # single stray hairs


@pytest.mark.parametrize("species", list(SPECIES))
def test_animals_build_with_eyes_that_look_out_of_the_head(species: str):
    parameters = sample(3, "animal")
    assert parameters.animal is not None
    animal = dataclasses.replace(parameters.animal, species=species, pattern="plain")
    scene = build(dataclasses.replace(parameters, animal=animal))
    assert_sound(scene)
    marks = animal_landmarks(animal)
    skin = scene.meshes[0].vertices
    assert np.linalg.norm(skin - marks["nose_tip"], axis=1).min() < 0.05
    assert marks["nose_tip"][2] > marks["left_eye_inner"][2]
    assert marks["left_eye_inner"][0] > 0 > marks["right_eye_inner"][0]


@pytest.mark.parametrize("hat", list(HATS))
def test_hair_stays_under_the_hat(hat: str):
    parameters = dataclasses.replace(sample(11, "human"), hair=Hair(style="afro"))
    head = make_head(parameters)
    cover = fit_hat(head, hat)
    hair = make_hair(head, parameters, np.random.default_rng(0))
    for strands in cover_hair(cover, hair.strands, hat):
        far, share, turn = cover.polar(strands.points)
        if hat in HOOPS:  # the hair above a band shows
            continue
        out = far > cover.radius(cover.outer, share, turn) + 1e-4
        assert not (out & (share < 0.98)).any()


def mirrored_distance(points: np.ndarray) -> float:
    from scipy.spatial import cKDTree

    return float(cKDTree(points).query(points * [-1, 1, 1])[0].max())


@pytest.mark.parametrize("kind", ["human", "toon", "fantasy"])
def test_symmetric_parameters_give_a_symmetric_head(kind: str):
    parameters = sample(5, kind)
    morphs = {name: w for name, w in parameters.shape.morphs.items() if not name.startswith("asym/")}
    shape = dataclasses.replace(
        parameters.shape, morphs=morphs, expression={"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    )
    still = dataclasses.replace(parameters.pose, turn=0, tilt=0, nod=0)
    head = make_head(dataclasses.replace(parameters, shape=shape, pose=still))
    assert mirrored_distance(head.body) < 2e-3
    left, right = head.landmarks["left_eye_outer"], head.landmarks["right_eye_outer"]
    assert np.abs(left * [-1, 1, 1] - right).max() < 2e-3


def test_turning_the_shoulders_leaves_the_face_where_it_is():
    parameters = HeadParameters(shape=Shape(gender=0.2))
    turned = dataclasses.replace(parameters, pose=dataclasses.replace(parameters.pose, turn=14, tilt=4))
    a, b = make_head(parameters), make_head(turned)
    face = a.mask("face") > 0.9
    assert np.abs(a.body - b.body)[face].max() < 2e-3
    assert np.abs(a.body - b.body).max() > 0.05


def test_landmarks_lie_on_the_skin_and_name_the_right_places():
    head = make_head(sample(2, "human"))
    marks = head.landmarks
    for point in marks.values():
        assert np.linalg.norm(head.body - point, axis=1).min() < 1e-6
    assert marks["crown"][1] > marks["left_eye_top"][1] > marks["left_eye_bottom"][1] > marks["nose_tip"][1]
    assert marks["nose_tip"][1] > marks["lip_top"][1] > marks["lip_bottom"][1] > marks["chin"][1]
    assert marks["left_ear_top"][0] > marks["left_eye_outer"][0] > marks["left_eye_inner"][0] > 0
    assert abs(marks["crown"][1] - marks["chin"][1] - 0.46) < 0.08


def test_the_distance_field_is_zero_on_the_skin_and_points_outwards():
    head = make_head(sample(2, "human"))
    outer = (head.mask("ears") < 0.02) & (head.mask("inside_mouth") < 0.02) & (head.rest[:, 1] > 0.12)
    distance = head.field.distance(head.body[outer])
    assert np.median(np.abs(distance)) < 2e-3
    ahead = head.field.distance(head.body[outer] + 0.03 * head.normals[outer])
    assert np.abs(ahead - 0.03).max() < 0.012
