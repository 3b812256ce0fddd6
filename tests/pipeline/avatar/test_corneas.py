"""Corneas of an avatar bulge, and with them nothing else of an eye."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.pipeline.avatar.skin.corneas import bulge_corneas
from portrait360.synth.head.eyes import eye_meshes
from portrait360.synth.meshes import unit
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Material

PERSON = HeadParameters()
IRIS = PERSON.eyes.iris_size


def measure(mesh, eye):
    """Return the angles of an eye's vertices from its line of sight, and how far they reach, in radii of the ball."""
    offset = (mesh.vertices - eye.center) / eye.radii
    angle = np.arccos(np.clip(unit(offset) @ unit(offset[0]), -1, 1))
    return angle, np.linalg.norm(offset, axis=1)


def test_a_cornea_reaches_as_far_before_the_ball_as_that_of_people_and_the_white_stays(head):
    meshes = eye_meshes(head, PERSON)
    for mesh, eye in zip(bulge_corneas(meshes, head, IRIS), head.eyes, strict=True):
        angle, reach = measure(mesh, eye)
        assert 1.07 < reach.max() < 1.12 and reach.argmax() == 0
        assert np.abs(reach[angle > 1.4 * IRIS] - 1).max() < 1e-3
        assert (reach > 1 - 1e-4).all()


def test_a_cornea_is_rounder_than_the_ball_so_that_it_shows_lights_from_before_it_to_the_side(head):
    mesh = bulge_corneas(eye_meshes(head, PERSON), head, IRIS)[0]
    assert mesh.normals is not None
    angle, _ = measure(mesh, head.eyes[0])
    sight = unit(mesh.vertices[0] - head.eyes[0].center)
    edge = np.abs(angle - 0.85 * IRIS) < 0.04
    tilt = np.arccos(np.abs(mesh.normals[edge] @ sight))
    assert np.median(tilt) == pytest.approx(np.arcsin(np.sin(0.85 * IRIS) / (1.36 * np.sin(IRIS))), abs=0.12)
    assert np.median(tilt) > 1.25 * 0.85 * IRIS


def test_colours_and_eyes_of_stone_stay(head):
    meshes = eye_meshes(head, PERSON)
    stone = [replace(mesh, material=np.full_like(mesh.material, Material.STONE)) for mesh in meshes]
    assert bulge_corneas(stone, head, IRIS) == stone
    for before, after in zip(meshes, bulge_corneas(meshes, head, IRIS), strict=True):
        np.testing.assert_array_equal(before.albedo, after.albedo)
