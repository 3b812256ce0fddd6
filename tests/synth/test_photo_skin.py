"""Laws of photographed skin: it reaches the right place, leaves out what is not skin, and changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait360.synth.build import build
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head.photo_skin import load_skins, mirror_rows, sample_detail
from portrait360.synth.head_pack import load_pack
from portrait360.synth.sampling.parameters import Facial, Hair, HeadParameters, Toon
from portrait360.utils.errors import UserError
from tests.fixtures.scene_digest import digest

SIDE = 256
TONE = (200, 150, 120)
REST = load_average_head().fine[1]
PERSON = HeadParameters(seed=3, hair=Hair(style="bald"), facial=Facial(brow_weight=0.0))


def write_texture(file: Path, *, dot: str | None = None, noise: int = 0) -> None:
    """Write a texture of one tone, with a red dot at a landmark or with noise."""
    values = np.full((SIDE, SIDE, 3), TONE, np.int64)
    values += np.random.default_rng(1).integers(-noise, noise + 1, values.shape)
    if dot is not None:
        pack = load_pack()
        u, v = pack.uv[(pack.quads == pack.landmarks[dot]).nonzero()][0]
        y, x = np.mgrid[:SIDE, :SIDE] + 0.5
        values[np.hypot(x - u * SIDE, y - (1 - v) * SIDE) < 3] = (200, 115, 92)
    Image.fromarray(values.astype(np.uint8)).save(file)


@lru_cache(maxsize=1)
def load_head():
    return make_head(PERSON)


def test_a_texture_of_one_colour_has_no_detail(tmp_path):
    write_texture(tmp_path / "young_male.png")
    skins = load_skins(tmp_path)
    assert np.abs(skins.detail[1]).max() < 1e-3 and np.abs(skins.detail[2]).max() < 1e-3
    assert np.abs(sample_detail(skins, load_head(), PERSON) - 1).max() < 1e-3


@pytest.mark.parametrize("place", ["nose_tip", "chin"])
def test_a_red_dot_arrives_where_it_was_painted(tmp_path, place):
    write_texture(tmp_path / "a.png", dot=place)
    detail = load_skins(tmp_path).detail[1][0].astype(np.float32)
    redness = detail[:, 0] - detail[:, 1:].mean(1)
    assert redness.max() > 0.15
    dot = np.maximum(redness - redness.max() / 2, 0)
    assert np.linalg.norm(dot @ REST / dot.sum() - REST[load_pack().landmarks[place]]) < 0.04
    far = np.linalg.norm(REST - REST[load_pack().landmarks[place]], axis=1) > 0.6
    assert np.abs(redness[far]).max() < 0.02


def test_hair_shoulders_and_mouth_stay_without_detail(tmp_path):
    write_texture(tmp_path / "a.png", noise=40)
    detail = np.abs(load_skins(tmp_path).detail[1][0]).max(1)
    assert detail.max() > 0.1
    for outside in (REST[:, 1] > 0.25, REST[:, 1] < -0.76, load_pack().mask("inside_mouth") > 0.6):
        assert detail[outside].max() == 0


def test_detail_depends_on_the_seed_alone_and_is_a_moderate_factor(tmp_path):
    for name in ("young_male", "old_female"):
        write_texture(tmp_path / f"{name}.png", noise=60)
    skins, again = load_skins(tmp_path), load_skins(tmp_path)
    assert skins.names == ("old_female", "young_male")
    first = sample_detail(skins, load_head(), PERSON)
    assert first.tobytes() == sample_detail(again, load_head(), PERSON).tobytes()
    assert (first != sample_detail(skins, load_head(), replace(PERSON, seed=4))).any()
    assert first.dtype == np.float32 and 0.3 < first.min() < 0.98 and 1.02 < first.max() < 3


def test_mirrored_vertices_lie_opposite():
    rows = mirror_rows(1)
    assert np.abs(REST[rows] - REST * [-1, 1, 1]).max() < 1e-3
    assert (rows[rows] == np.arange(len(rows))).mean() > 0.99


def test_textures_change_the_colour_of_skin_and_nothing_else(tmp_path):
    write_texture(tmp_path / "a.png", noise=40)
    skins = load_skins(tmp_path)
    plain, photographed = build(PERSON), build(PERSON, skins=skins)
    assert (plain.meshes[0].albedo != photographed.meshes[0].albedo).any()
    skin = replace(photographed.meshes[0], albedo=plain.meshes[0].albedo)
    assert digest(replace(photographed, meshes=(skin, *photographed.meshes[1:]))) == digest(plain)
    toon = replace(PERSON, kind="toon", toon=Toon())
    assert digest(build(toon, skins=skins)) == digest(build(toon))


def test_bad_folders_are_explained_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"^There is no folder .*missing; give one that contains skin textures\.$"):
        load_skins(tmp_path / "missing")
    with pytest.raises(UserError, match="contains no skin textures"):
        load_skins(tmp_path)
    (tmp_path / "a.webp").write_bytes(b"RIFF\x00\x00no picture")
    with pytest.raises(UserError, match="is not a JPEG"):
        load_skins(tmp_path)
    Image.new("RGB", (128, 64)).save(tmp_path / "a.webp")
    with pytest.raises(UserError, match="is 128 x 64 pixels; a skin texture must be a square"):
        load_skins(tmp_path)
