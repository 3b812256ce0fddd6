"""Necklines and cloth of an avatar, against heads and pictures whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.ndimage import binary_fill_holes

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.clothes.collar import shows_folded_collar
from portrait360.pipeline.avatar.clothes.colours import (
    GREY,
    Unwrapped,
    bake_clothes,
    carry_cloth,
    find_garment,
    find_steps,
    fold_cloth,
    leave_out_rare,
    paint_clothes_grey,
    refine_clothes,
    split_near,
    unwrap,
)
from portrait360.pipeline.avatar.clothes.folds import CONTRAST, measure_folds, raise_folds
from portrait360.pipeline.avatar.clothes.neckline import (
    AZIMUTHS,
    HEIGHTS,
    Evidence,
    count_pixels,
    find_edge,
    fit_neckline,
)
from portrait360.pipeline.avatar.person import shows_bare_shoulders
from portrait360.pipeline.avatar.photo.exposure import expose
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo, find_colourless, uncover_skin
from portrait360.pipeline.avatar.view.photo_border import ease_border
from portrait360.pipeline.avatar.view.relief_view import fade_at_border
from portrait360.synth.build import build_person
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.sampling.parameters import Clothes, Hair, HeadParameters
from portrait360.synth.scene import Material, Mesh, Part, Scene
from portrait360.synth.wear.clothes import make_clothes
from portrait360.synth.wear.necklines import NECKLINES, below_line
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

CAMERA = Camera(look_at(8, 0), FOCAL)
SIDE = 256
AROUND = 2 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS
SHAPES = {
    "round": -0.80 + 0.10 * (1 - np.cos(AROUND)) / 2,
    "pointed": -0.66 - 0.24 * np.maximum(1 - np.abs((AROUND + np.pi) % (2 * np.pi) - np.pi) / 0.7, 0),
    "lopsided": -0.78 + 0.10 * np.sin(AROUND),
}


def dress(head: Head, heights: np.ndarray) -> Scene:
    person = HeadParameters(hair=Hair(style="bald"), clothes=Clothes(collar="crew"))
    geometry = build_person(head, person, np.random.default_rng(0), neckline=tuple(map(float, heights)))
    return Scene(tuple(geometry.meshes), (), WHITE)


def photograph(scene: Scene) -> Photo:
    film = render_linear(prepare_scene(scene, occlusion=False, quality=DRAFT), CAMERA, SIDE)
    rgb, known = np.clip(film.radiance, 0, 1), np.ones((SIDE, SIDE), np.float32)
    labels = np.where(film.alpha > 0.5, film.labels, np.uint8(Label.BACKGROUND))
    return Photo(rgb, rgb, film.alpha, known, labels, known, np.zeros((SIDE, SIDE, 2), np.float32), CAMERA)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_neckline_of_any_shape_is_found_where_it_is_seen(head, shape):
    true = SHAPES[shape]
    found = np.array(fit_neckline(head, photograph(dress(head, true)), Clothes(collar="crew")))
    front = np.abs((AROUND + np.pi) % (2 * np.pi) - np.pi) < np.radians(50)
    assert np.median(np.abs(found - true)[front]) < 0.02 and np.abs(found - true)[front].max() < 0.08
    assert np.abs(np.diff(found, append=found[0])).max() < 0.12  # it closes round the back


@pytest.mark.parametrize(
    ("front", "side", "read", "is_folded"),
    [(-0.85, -0.62, "shirt", True), (-0.85, -0.62, "crew", False), (-0.95, -0.85, "shirt", False),
     (-0.60, -0.60, "shirt", False)],
)  # fmt: skip
def test_a_collar_falls_back_if_the_reader_says_so_and_it_lies_high_about_a_free_throat(
    head, front, side, read, is_folded
):
    heights = side + (front - side) * np.maximum(np.cos(AROUND), 0)
    collars = {"shirt": 0.25, "polo": 0.2, "crew": 0.1} if read == "shirt" else {"crew": 0.6, "shirt": 0.3}
    photo = photograph(dress(head, heights))
    assert shows_folded_collar(head, photo, Clothes(collar="crew"), collars) is is_folded


def test_a_neckline_lies_below_the_skin_at_which_a_photo_ends(head):
    photo = photograph(dress(head, SHAPES["round"]))
    last = int(np.nonzero((photo.labels == Label.CLOTHES)[:, SIDE // 2 - 8 : SIDE // 2 + 8].any(1))[0][0]) - 4
    labels = np.where(np.arange(SIDE)[:, None] > last, np.uint8(VOID), photo.labels)
    cut = replace(photo, labels=labels)
    evidence = count_pixels(head, cut)
    found, front = np.array(fit_neckline(head, cut, Clothes(collar="crew"))), np.abs(np.sin(AROUND / 2)) < 0.1
    lowest = HEIGHTS[(evidence.last[front].sum(0) > 0).argmax()]
    assert (found[front] < lowest - 0.02).all() and (found[front] > lowest - 0.2).all()


def test_stray_pixels_do_not_bend_a_neckline():
    skin, cloth = np.zeros((2, AZIMUTHS, len(HEIGHTS)))
    skin[:, HEIGHTS > -0.8], cloth[:, HEIGHTS < -0.8] = 1.0, 1.0
    cloth[4, HEIGHTS > -0.7] = 1.0  # an earring, say
    edge = find_edge(Evidence(skin, cloth, np.zeros_like(skin)), np.full(AZIMUTHS, -0.6), np.full(AZIMUTHS, -0.5))
    np.testing.assert_allclose(edge, -0.8, atol=0.021)


def test_cloth_lies_below_a_fitted_neckline(head):
    heights = tuple(map(float, SHAPES["lopsided"]))
    garment = find_garment(make_clothes(head, HeadParameters(), heights)[0])
    depth = below_line(garment.rest, replace(NECKLINES["crew"], heights=heights))
    assert depth.min() > -0.01 and np.abs(depth).min() < 1e-3


def test_a_finer_garment_has_the_same_surface(head):
    garment = find_garment(make_clothes(head, HeadParameters())[0])
    fine = split_near(garment)
    before, after = (trimesh.Trimesh(m.vertices, m.triangles, process=False) for m in (garment, fine))
    assert len(fine.triangles) > 1.5 * len(garment.triangles) and after.area == pytest.approx(before.area, rel=1e-4)
    assert len(fine.triangles) == len(fine.material) == len(fine.part) and np.isfinite(fine.normals).all()


def test_bands_go_round_at_the_same_way_down_and_a_brooch_does_not():
    azimuth, down = (
        a.ravel().astype(np.float32) for a in np.meshgrid(np.arange(-180, 180, 2.0), np.arange(0, 0.6, 0.01))
    )
    band, brooch = down > 0.3, (np.abs(azimuth - 40) < 5) & (np.abs(down - 0.15) < 0.03)
    colours = np.where(band, -1.0, -3.0)[:, None] * np.ones(3, np.float32)
    colours[brooch] = 0.0
    weight = (np.abs(azimuth) < 70).astype(np.float32)
    colours[weight == 0] = 9.0  # unseen: nobody may look
    carried = carry_cloth(Unwrapped(azimuth, down), colours.astype(np.float32), weight)
    behind = (np.abs(azimuth) > 110) & (np.abs(down - 0.3) > 0.08) & (down < 0.5)
    wanted = np.where(band, -1.0, -3.0)[behind]
    np.testing.assert_allclose(carried[behind].mean(1), wanted, atol=0.3)


def test_the_outer_garment_goes_round_not_what_is_worn_beneath():
    azimuth, down = (
        a.ravel().astype(np.float32) for a in np.meshgrid(np.arange(-180, 180, 2.0), np.arange(0, 0.6, 0.01))
    )
    shirt = (np.abs(azimuth) < 30)[:, None]
    colours = np.where(shirt, [-1.0, -3.0, -3.0], [-3.0, -3.0, -1.0]).astype(np.float32)
    weight = (np.abs(azimuth) < 80).astype(np.float32)
    colours[weight == 0] = 9.0
    carried = carry_cloth(Unwrapped(azimuth, down), colours, weight)
    behind = carried[np.abs(azimuth) > 120]
    np.testing.assert_allclose(behind, np.broadcast_to([-3.0, -3.0, -1.0], behind.shape), atol=0.1)


def test_bands_are_the_fewest_that_explain_colours_and_a_gradient_is_none():
    steps = np.repeat([[0.0, 0.0], [2.0, 0.0], [2.0, 1.5]], [7, 9, 12], axis=0)
    noisy = steps + np.random.default_rng(0).normal(0, 0.05, steps.shape)
    assert find_steps(noisy) == [0, 7, 16]
    assert find_steps(np.linspace(0, 0.5, 30)[:, None] * np.ones(2)) == [0]


def test_clothes_take_the_colours_of_the_photo_whatever_they_had(head):
    worn = dress(head, SHAPES["round"])
    x = {id(m): unwrap(m).down for m in worn.meshes if m.part[0] == Part.CLOTHES}
    striped = tuple(
        replace(m, albedo=np.where(x[id(m)][:, None] < 0.15, [0.5, 0.05, 0.05], [0.03, 0.1, 0.4]).astype(np.float32))
        if id(m) in x
        else m
        for m in worn.meshes
    )
    photo = photograph(replace(worn, meshes=striped))
    plain = paint_clothes_grey(worn)
    assert all((m.albedo == np.float32(GREY)).all() for m in plain.meshes if m.part[0] == Part.CLOTHES)
    garment = find_garment(bake_clothes(plain.meshes, expose(plain, photo, DRAFT)))
    down, behind = unwrap(garment).down, garment.vertices[:, 2] < -0.2
    red, blue = (garment.albedo[behind & where] for where in (down < 0.1, (down > 0.2) & (down < 0.3)))
    assert np.median(red[:, 0] / red[:, 2]) > 3 and np.median(blue[:, 2] / blue[:, 0]) > 3


@pytest.mark.parametrize(
    ("chest", "is_bare"), [((0.8, 0.6, 0.5), True), ((0.2, 0.25, 0.6), False), ((0.62, 0.45, 0.37), False)]
)
def test_a_chest_is_bare_if_it_has_the_necks_colours_and_no_edge_parts_them(chest, is_bare):
    rng = np.random.default_rng(0)
    labels = np.full((200, 200), int(Label.BACKGROUND), np.uint8)
    rgb = np.full((200, 200, 3), 0.1, np.float32)
    for rows, columns, label, colour in (
        (slice(20, 80), slice(60, 140), Label.FACE, (0.8, 0.6, 0.5)),
        (slice(80, 120), slice(80, 120), Label.SKIN, (0.8, 0.6, 0.5)),
        (slice(120, 200), slice(10, 190), Label.CLOTHES, (0.1, 0.3, 0.1)),
        (slice(120, 150), slice(70, 130), Label.CLOTHES, chest),
    ):
        labels[rows, columns], rgb[rows, columns] = int(label), colour
    rgb = np.clip(rgb + 0.02 * rng.standard_normal(rgb.shape), 0, 1).astype(np.float32)
    found = uncover_skin(labels, rgb, find_colourless(labels, rgb))
    assert (found[125:145, 75:125] == Label.SKIN).mean() == pytest.approx(float(is_bare), abs=0.1)
    assert (found[155:, 15:185] == Label.CLOTHES).all() and (found[:120] == labels[:120]).all()


def test_the_photo_ends_softly_but_for_its_own_direction():
    uv = np.stack(np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101)), -1)
    assert (fade_at_border(uv, np.zeros((101, 101))) == 1).all()
    aside = fade_at_border(uv, np.full((101, 101), 20.0))
    assert aside[0].max() == 0 and aside[:, -1].max() == 0 and aside[50, 50] == 1
    assert np.abs(np.diff(aside[:, 50])).max() < 0.4


@pytest.mark.parametrize("azimuth", [-95, 95])
def test_nothing_is_seen_between_lapels_and_the_chest(head, azimuth):
    meshes, _ = make_clothes(head, HeadParameters(clothes=Clothes(collar="jacket")))
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.concatenate([*(mesh.vertices for mesh in meshes), head.body])
    corners = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]
    triangles = np.concatenate([*corners, head.triangles + starts[-1]])
    shown = rasterise(vertices, triangles, Camera(look_at(azimuth, 0), FOCAL), 512).ids >= 0
    holes = binary_fill_holes(shown) & ~shown
    front = slice(None, 256) if azimuth > 0 else slice(256, None)
    assert holes[:, front].sum() == 0


def test_a_patch_of_a_rare_colour_is_no_cloth_of_a_drawing():
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (4000, 3)).astype(np.float32) * np.array([1, 1, 0], np.float32)
    patch = np.hypot(points[:, 0], points[:, 1]) < 0.25  # 5 % of them
    white, beige = np.log([0.8, 0.8, 0.85]), np.log([0.6, 0.5, 0.4])
    colours = np.where(patch[:, None], beige, white) + random.normal(0, 0.01, (len(points), 3))
    weight = leave_out_rare(points, colours.astype(np.float32), np.ones(len(points), np.float32))
    assert np.median(weight[patch]) == 0
    assert np.median(weight[~patch]) > 0.7


def photograph_shirt(head: Head, collar: float, cloth: float, shaded: float) -> list[Mesh]:
    """Return the baked meshes of a head in cloth of one brightness, its collar of another, and its left side's."""
    worn = dress(head, SHAPES["round"])
    garment = find_garment(worn.meshes)

    def paint(mesh: Mesh) -> Mesh:
        if mesh.part[0] != Part.CLOTHES:
            return mesh
        light = np.full(len(mesh.vertices), cloth if mesh is garment else collar)
        light = np.where((mesh.vertices[:, 0] > 0) & (mesh is not garment), shaded, light)
        return replace(mesh, albedo=np.repeat(light[:, None], 3, 1).astype(np.float32))

    photo = photograph(replace(worn, meshes=tuple(map(paint, worn.meshes))))
    plain = paint_clothes_grey(worn)
    return bake_clothes(plain.meshes, expose(plain, photo, DRAFT))


@pytest.mark.parametrize(
    ("collar", "cloth", "shaded", "nape"),
    [(0.7, 0.05, 0.7, 0.7), (0.3, 0.3, 0.3, 0.3), (0.3, 0.3, 0.02, 0.3), (0.05, 0.05, 0.7, 0.05)],
)
def test_a_collar_of_another_cloth_goes_all_around_and_light_on_one_side_does_not(head, collar, cloth, shaded, nape):
    meshes = photograph_shirt(head, collar, cloth, shaded)
    garment = find_garment(meshes)
    band = next(mesh for mesh in meshes if mesh.part[0] == Part.CLOTHES and mesh is not garment)
    behind = band.vertices[:, 2] < np.quantile(band.vertices[:, 2], 0.2)
    assert np.median(band.albedo[behind]) == pytest.approx(nape, rel=0.4)


@pytest.mark.parametrize(("width", "cloth", "is_bare"), [(160, 0, True), (160, 60, False), (70, 0, False)])
def test_shoulders_are_bare_if_skin_is_wide_below_the_face_and_no_cloth_lies_on_it(width, cloth, is_bare):
    labels, light = np.zeros((200, 200), np.uint8), np.full((200, 200), 0.3, np.float32)
    labels[40:120, 50:150], labels[120:160, 70:130] = Label.FACE, Label.SKIN
    labels[160:, 100 - width // 2 : 100 + width // 2], labels[160:, :cloth] = Label.SKIN, Label.CLOTHES
    photo = Photo(np.dstack([light] * 3), np.dstack([light] * 3), light, light, labels, light, light, CAMERA)
    assert shows_bare_shoulders(photo) == is_bare


def test_bare_shoulders_wear_no_clothes(head):
    parameters = HeadParameters(clothes=Clothes(collar="none"))
    meshes = build_person(head, parameters, np.random.default_rng(0)).meshes
    assert find_garment(meshes) is None and refine_clothes(meshes) == meshes


def test_clothes_come_down_to_the_layers_where_the_photo_ends():
    known = np.zeros((200, 200), np.float32)
    known[:, :150] = 1
    labels = np.zeros((200, 200), np.uint8)
    labels[60:] = Label.CLOTHES
    shown = (labels > 0).astype(np.float32)
    rgb, flow = np.full((200, 200, 3), 0.3, np.float32), np.zeros((200, 200, 2), np.float32)
    photo = Photo(rgb, rgb, shown, known, labels, shown, flow, CAMERA)
    covered = np.zeros((200, 200), bool)
    covered[100:] = True
    eased = ease_border(photo, covered).alpha
    heights = np.argmax(eased > 0.5, axis=0)[:150]
    assert (heights[:60] == 60).all() and heights[148] > 95 and (np.diff(heights) >= -1).all()
    assert (eased[101:] == 1).all() and np.abs(np.diff(heights)).max() <= 4
    assert ease_border(replace(photo, known=np.ones_like(known)), covered).alpha is shown


def test_folds_shade_the_cloth_that_a_photo_does_not_show_and_no_metal(head):
    garment = split_near(find_garment(dress(head, SHAPES["round"]).meshes))
    shown = (garment.vertices[:, 2] > 0).astype(np.float32)
    folded = fold_cloth(garment, unwrap(garment), 1 - shown, 3.0)
    gain = np.log(folded.albedo / garment.albedo).mean(-1)
    back = (garment.vertices[:, 2] < -0.1) & (garment.vertices[:, 1] > -0.5)
    assert (gain[shown > 0] == 0).all() and gain[back].std() > 0.03
    assert abs(gain[back].mean()) < 0.5 * gain[back].std()  # no cloth gets darker as a whole
    metal = replace(garment, material=np.full_like(garment.material, Material.METAL))
    assert fold_cloth(metal, unwrap(metal), 1.0, 3.0) is metal


def test_folds_hang_from_side_to_side_below_the_nape():
    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(-1.1, -0.7, 60))
    height = raise_folds(np.stack([x, y, 0 * x - 0.3], -1).reshape(-1, 3).astype(np.float32)).reshape(x.shape)
    down, across = (np.abs(np.diff(height, axis=axis)).mean() for axis in (0, 1))
    assert down > 2 * across


def test_cloth_with_deeper_folds_has_stronger_ones_and_a_print_on_a_part_of_it_counts_for_none():
    left = np.random.default_rng(0).normal(0, 1, (2000, 1)) * np.ones(3)
    sure = np.ones(2000, np.bool_)
    weak, middle, strong = (measure_folds(scale * left, sure) for scale in (0.01, 0.12, 0.5))
    assert (weak, strong) == CONTRAST and weak < middle < strong
    motif = np.where(np.arange(2000)[:, None] < 200, 3.0, 0.01 * left)
    assert measure_folds(motif, sure) == weak
