"""The fits: what they reach on a body that is known, corrections, bytes, resuming, files."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from typer.testing import CliRunner

from portrait360.apps.cli import main
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.gaussians.rasterizer import render_image
from portrait360.geometry.surfaces.surface_cells import find_surface_cells
from portrait360.geometry.volumes.radiance_field import FieldOptions
from portrait360.geometry.volumes.volume import CELLS, HALF
from portrait360.pipeline.export import AVATAR_FORMATS, FORMATS, writer
from portrait360.pipeline.export.writer import open_head, render_mesh, write_head
from portrait360.pipeline.reconstruction import RESULTS, fit
from portrait360.pipeline.reconstruction.fit import FitSettings, fit_head
from portrait360.pipeline.reconstruction.gaussians import SplatFit, select_often_framed
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.reconstruction.mesh import MeshFit
from portrait360.pipeline.reconstruction.radiance_field import FieldFit, fit_field
from portrait360.pipeline.reconstruction.view_corrections import (
    Correction,
    center_corrections,
    corrections_agree,
    estimate_correction,
)
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.errors import UserError
from tests.fixtures.runs import use_small_fields
from tests.fixtures.viewer_scene import mesh

FOCAL = focal_from_fov(18.8)
SETTINGS = FitSettings(
    FieldFit(steps=120, samples=12_000),
    SplatFit(steps=80, count=3000, every=30),
    MeshFit(cells=48, depth_size=96, looks=8, texture=256),
)


def view(camera: Camera, size: int = 64) -> View:
    drawn = mesh().draw(camera, 4 * size)
    both = np.concatenate([drawn.rgb, drawn.mask[..., None]], -1).reshape(size, 4, size, 4, 4).mean((1, 3))
    rgb = both[..., :3] / np.maximum(both[..., 3:], 1e-6)
    return View(rgb.astype(np.float32), both[..., 3].astype(np.float32), camera)


@pytest.fixture(scope="module")
def sheet() -> ViewSet:
    return ViewSet(tuple(view(c) for c in orbit(12, focal=FOCAL)), view(Camera(look_at(5, 3), FOCAL), 128))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fit") / "head"


@pytest.fixture(scope="module")
def head(sheet, folder) -> Head:
    return fit_head(sheet, SETTINGS, folder=folder)


@pytest.fixture
def small_fields(monkeypatch):
    use_small_fields(monkeypatch)


def psnr(got: tuple[np.ndarray, np.ndarray], goal: View) -> float:
    a, b = (rgb * alpha[..., None] + 0.5 * (1 - alpha[..., None]) for rgb, alpha in (got, (goal.rgb, goal.alpha)))
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def test_every_result_shows_the_body_from_where_no_view_was(head):
    goal = view(Camera(look_at(45, 8), FOCAL), 64)
    assert psnr(head.field.render_image(goal.camera, 64)[:2], goal) > 25
    assert psnr(render_image(head.splats, goal.camera, 64)[:2], goal) > 25
    assert psnr(render_mesh(head.mesh, goal.camera, 64), goal) > 23
    assert len(head.mesh.triangles) <= SETTINGS.mesh.faces


def test_a_finished_fit_is_not_done_again_and_another_is(head, sheet, folder):
    steps = []
    again = fit_head(sheet, SETTINGS, folder=folder, on_step=lambda *step: steps.append(step))
    assert steps == []
    for name in ("splats", "mesh"):
        for part in fields(getattr(head, name)):
            np.testing.assert_array_equal(
                getattr(getattr(again, name), part.name), getattr(getattr(head, name), part.name)
            )
    (folder / "mesh.safetensors").unlink()  # as after a kill
    fit_head(sheet, SETTINGS, folder=folder, on_step=lambda *step: steps.append(step))
    assert {what for what, _, _ in steps} == {"mesh"}


def test_the_views_that_splats_and_mesh_see_are_the_corrected_ones_also_after_a_kill(
    small_fields, sheet, tmp_path, monkeypatch
):
    """Half of the views are darker: the field says so; what is made later, in the same run or the next, knows it."""
    dark = [replace(v, rgb=v.rgb * 0.8) if i % 2 else v for i, v in enumerate(sheet.views)]
    uneven = ViewSet(tuple(dark), sheet.reference)
    seen = []

    def spy(start, views, options, **rest):
        seen.append(np.array([v.rgb.mean() for v in views[: len(dark)]]))
        return start

    monkeypatch.setattr(fit, "fit_splats", spy)
    settings = replace(SETTINGS, field=replace(SETTINGS.field, steps=60, compare_at=(0.5, 0.7)))
    fit_head(uneven, settings, folder=tmp_path, results=("field", "splats"))
    (tmp_path / "splats.safetensors").unlink()
    fit_head(uneven, settings, folder=tmp_path, results=("splats",))
    np.testing.assert_array_equal(seen[0], seen[1])
    given = np.array([v.rgb.mean() for v in dark])
    gain = seen[0] / given
    assert gain[1::2].mean() / gain[::2].mean() > 1.15  # brought together


def test_places_at_the_rim_of_most_frames_are_left_out(sheet):
    """The frame ends .447 from the middle: what lies lower is in no level view, and in few of those from above."""
    above = [replace(sheet.views[0], camera=c) for c in orbit(4, elevation=30, focal=FOCAL)]
    places = np.array([[0.0, y, 0.0] for y in (0.3, 0.0, -0.3, -0.46, -3.0)])
    assert select_often_framed(places, (*sheet.views, *above)).tolist() == [0, 1, 2]
    near = [replace(v, camera=replace(v.camera, focal=v.camera.focal * 8)) for v in sheet.views]
    assert select_often_framed(places[:3], (*sheet.views, *near)).tolist() == [0, 1, 2]  # close-ups cost nothing


def test_a_damaged_result_is_fitted_again(small_fields, sheet, tmp_path):
    settings = replace(SETTINGS, field=replace(SETTINGS.field, steps=3, compare_at=()))
    fit_head(sheet, settings, folder=tmp_path, results=("field",))
    whole = (tmp_path / "field.safetensors").read_bytes()
    (tmp_path / "field.safetensors").write_bytes(whole[:100])
    fit_head(sheet, settings, folder=tmp_path, results=("field",))
    assert (tmp_path / "field.safetensors").read_bytes() == whole


def test_other_views_or_settings_begin_anew(small_fields, sheet, tmp_path):
    settings = replace(SETTINGS, field=replace(SETTINGS.field, steps=3, compare_at=()))
    fit_head(sheet, settings, folder=tmp_path, results=("field",))
    before = (tmp_path / "field.safetensors").read_bytes()
    other = ViewSet(sheet.views[::-1])
    fit_head(other, settings, folder=tmp_path, results=("field",))
    assert (tmp_path / "field.safetensors").read_bytes() != before


def test_the_same_seed_gives_the_same_field(sheet):
    options = FieldFit(steps=12, samples=4000, compare_at=(0.5,))
    sizes = FieldOptions(levels=4, rows=1 << 12)
    first, second = (fit_field(sheet.views, options, sizes=sizes)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_known_surface_makes_the_same_work_go_further(sheet):
    """The field is empty away from the surface, and shows the body better from where no view was."""
    maps = [(v.camera, mesh().draw(v.camera, 64).buffers.depth) for v in sheet.views]
    surface = find_surface_cells(maps, half=HALF, cells=CELLS)
    sizes, options = FieldOptions(levels=6, finest=96, rows=1 << 14, hidden=16), FieldFit(steps=60, samples=6000)
    blind = fit_field(sheet.views, replace(options, compare_at=()), sizes=sizes)[0]
    guided = fit_field(sheet.views, options.for_known_surface(), sizes=sizes, surface=surface)[0]
    assert (guided.density.numpy() > 0)[~surface].mean() < 1e-4  # places on the rim of a cell are rounded
    goal = view(Camera(look_at(45, 8), FOCAL), 64)
    scores = [psnr(field.render_image(goal.camera, 64)[:2], goal) for field in (blind, guided)]
    assert scores[1] > scores[0] + 1


def test_the_surface_of_a_view_set_reaches_the_field(sheet, tmp_path, monkeypatch):
    surface, found = np.ones((CELLS,) * 3, bool), []

    def spy(views, options, **rest):
        found.append((rest["surface"] is surface, views[-1].weight))
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "fit_field", spy)
    for given in (replace(sheet, surface=surface), sheet):
        with pytest.raises(KeyboardInterrupt):
            fit_head(given, SETTINGS, folder=tmp_path)
    assert found == [(True, fit.KNOWN_PHOTO_RAYS), (False, fit.PHOTO_RAYS)]


def test_a_known_fault_of_a_view_is_found():
    good = view(Camera(look_at(20), FOCAL), 96)
    gain, bias = np.array([1.06, 0.94, 1.0]), np.array([0.02, 0.0, -0.03])
    lens = Camera(look_at(20), FOCAL, (0.5 + 0.7 / 96, 0.5 - 0.5 / 96))
    right = view(lens, 96)
    bad = replace(right, rgb=(right.rgb * gain + bias).clip(0, 1).astype(np.float32), camera=good.camera)
    found = estimate_correction(bad, good.rgb, good.alpha)
    nearer = view(found.apply(bad).camera, 96)  # a second round, as the fit does
    found = found.then(estimate_correction(found.apply(bad), nearer.rgb, nearer.alpha))
    np.testing.assert_allclose(found.shift * 96, [-0.7, 0.5], atol=0.15)
    mended = found.apply(bad)
    np.testing.assert_allclose(mended.camera.center, lens.center, atol=0.15 / 96)
    inside = right.alpha > 0.99
    before, after = (np.abs((one.rgb - right.rgb)[inside].mean(0)) for one in (bad, mended))
    assert before.max() > 0.025 and after.max() < 0.01


def test_corrections_follow_one_another_and_leave_the_mean_or_the_photo_alone():
    rng = np.random.default_rng(0)
    some = [Correction(rng.uniform(0.9, 1.1, 3), rng.normal(0, 0.02, 3), rng.normal(0, 0.003, 2)) for _ in range(5)]
    one, two = some[:2]
    values = rng.random((4, 3))
    np.testing.assert_allclose(one.gain * (two.gain * values + two.bias) + one.bias,
                               one.then(two).gain * values + one.then(two).bias)  # fmt: skip
    still = center_corrections(some, fixed=3)[3]
    np.testing.assert_allclose([*still.gain, *still.bias, *still.shift], [1, 1, 1, 0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(np.mean([c.shift for c in center_corrections(some, None)], 0), 0, atol=1e-12)
    assert corrections_agree([Correction()] * 4) and not corrections_agree(some)


def test_a_head_comes_back_from_its_files_and_damage_is_told(head, folder, tmp_path):
    head.save(tmp_path)
    again = Head.load(tmp_path)
    camera = Camera(look_at(30), FOCAL)
    for a, b in zip(head.field.render_image(camera, 24), again.field.render_image(camera, 24), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in RESULTS:
        path = tmp_path / f"{name}.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match="damaged"):
            Head.load(tmp_path)
        path.write_bytes(whole)
    with pytest.raises(UserError, match="no fitted head"):
        Head.load(tmp_path / "nothing")


def resave(path: Path, change) -> None:
    """Write a file of tensors anew with what `change` makes of its tensors and its metadata."""
    with safe_open(path, "np") as file:
        arrays, said = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    change(arrays, said)
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path, said or None)


def put(name, value, at=0):
    def change(arrays, said):
        arrays[name] = arrays[name].copy()
        arrays[name].reshape(-1)[at] = value

    return change


def become(name, make):
    return lambda arrays, said: arrays.update({name: make(arrays[name])})


def say(**options):
    return lambda arrays, said: said.update(options=json.dumps(json.loads(said["options"]) | options))


BROKEN = {
    "endless levels": ("field", say(levels=10**9)),
    "no levels": ("field", say(levels=0)),
    "levels of halves": ("field", say(levels=8.5)),
    "levels that are true": ("field", say(levels=True)),
    "a table beyond memory": ("field", say(rows=1 << 24, coarsest=1 << 20, finest=1 << 24, levels=60)),
    "a large network": ("field", say(hidden=1 << 24)),
    "nested options": ("field", lambda arrays, said: said.update(options="[" * 100_000)),
    "an infinite weight": ("field", put("last.weight", np.inf)),
    "an infinite splat": ("splats", put("means", np.inf)),
    "a splat nowhere": ("splats", put("colours", np.nan)),
    "a negative scale": ("splats", put("scales", -1)),
    "a turn by nothing": ("splats", become("rotations", np.zeros_like)),
    "opaque beyond": ("splats", put("opacities", 2)),
    "no splats": ("splats", lambda arrays, said: arrays.update({n: v[:0] for n, v in arrays.items()})),
    "a vertex nowhere": ("mesh", put("vertices", np.nan)),
    "flat vertices": ("mesh", become("vertices", lambda v: v[:, :2])),
    "vertices of halves": ("mesh", become("vertices", lambda v: v.astype(np.float16))),
    "half the normals": ("mesh", become("normals", lambda v: v[::2])),
    "uv of three": ("mesh", become("uv", lambda v: np.repeat(v[:, :1], 3, 1))),
    "no triangles": ("mesh", become("triangles", lambda v: v[:0])),
    "squares": ("mesh", become("triangles", lambda v: np.repeat(v[:, :1], 4, 1))),
    "a corner beyond": ("mesh", put("triangles", 1 << 30)),
    "a grey texture": ("mesh", become("texture", lambda v: v[..., 0])),
    "no texture": ("mesh", become("texture", lambda v: v[:0])),
}


@pytest.mark.parametrize("what", BROKEN)
def test_values_that_no_head_has_are_told_on_loading(head, tmp_path, what):
    result, change = BROKEN[what]
    Head(**{result: getattr(head, result)}).save(tmp_path)
    Head.load(tmp_path)
    resave(tmp_path / f"{result}.safetensors", change)
    with pytest.raises(UserError, match="damaged"):
        Head.load(tmp_path)


def test_every_format_is_written_and_files_of_others_are_opened(head, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "FRAMES", 8)
    monkeypatch.setattr(writer, "FILM", 64)
    monkeypatch.setattr(writer, "CELL", 48)
    files = write_head(head, tmp_path, FORMATS)  # those that only an avatar has are left out
    assert len(files) == len(FORMATS) - len(AVATAR_FORMATS) and all(file.exists() for file in files)
    camera = Camera(look_at(30), FOCAL)
    goal = view(camera, 64)
    for name in ("ply", "splat", "spz", "splats.glb"):
        got = open_head(tmp_path / f"head.{name}")
        assert (
            psnr(render_image(got.splats, camera, 64)[:2], View(*render_image(head.splats, camera, 64)[:2], camera))
            > 35
        ), name
    assert psnr(render_mesh(open_head(tmp_path / "head.glb").mesh, camera, 64), goal) > 22
    only = open_head(tmp_path / "head.ply")
    assert write_head(only, tmp_path / "b", ("ply", "glb")) == [tmp_path / "b" / "head.ply"]
    mist = Head(field=head.field)
    assert [file.name for file in write_head(mist, tmp_path / "d", ("html", "sheet"))] == ["head.png"]
    with pytest.raises(UserError, match="no splats or mesh for html"):
        write_head(mist, tmp_path / "d", ("html",))
    for formats, path in ((("stl",), "orbit"), (("ply",), "zigzag"), (("glb",), "orbit")):
        with pytest.raises(UserError):
            write_head(only, tmp_path / "c", formats, path=path)


def test_the_commands_take_a_folder_of_views(small_fields, sheet, tmp_path, monkeypatch):
    small = replace(
        SETTINGS, field=replace(SETTINGS.field, steps=8, compare_at=()), splats=replace(SETTINGS.splats, steps=4)
    )
    monkeypatch.setattr(fit, "FitSettings", lambda: small)
    monkeypatch.setattr(writer, "FRAMES", 4)
    monkeypatch.setattr(writer, "CELL", 48)
    sheet.save(tmp_path / "views")
    run = CliRunner().invoke(main.app, ["fit", str(tmp_path), "--only", "splats"])
    assert run.exit_code == 0 and "splats from 13 views" in run.output
    run = CliRunner().invoke(main.app, ["export", str(tmp_path), "--format", "ply", "--format", "sheet"])
    assert run.exit_code == 0 and (tmp_path / "head.ply").is_file() and (tmp_path / "head.png").is_file()
    run = CliRunner().invoke(main.app, ["export", str(tmp_path / "head.ply"), "--format", "spz", "--format", "glb"])
    assert run.exit_code == 0 and (tmp_path / "head.spz").is_file() and "No glb: this head has no mesh" in run.output
    before = (tmp_path / "head.ply").read_bytes()
    for arguments in (
        ["export", str(tmp_path / "head.ply")],  # would replace what it reads
        ["fit", str(tmp_path / "none")],
        ["fit", str(tmp_path), "--only", "hair"],
        ["fit", str(tmp_path), "--device", "abacus"],
    ):
        assert isinstance(CliRunner().invoke(main.app, arguments).exception, UserError)
    assert (tmp_path / "head.ply").read_bytes() == before
