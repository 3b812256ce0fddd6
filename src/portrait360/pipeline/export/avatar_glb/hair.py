"""The hair of the head: cards over an undercoat."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.cameras import pixel_centres
from portrait360.geometry.pixel_points import unproject_pixels
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.hair.tone import Tone, tone_colours, tone_hair
from portrait360.pipeline.avatar.skin.mesh import coarse_count
from portrait360.pipeline.export.avatar_glb.bust import FLOOR, Neck
from portrait360.pipeline.export.avatar_glb.card_texture import CUTOFF, finish_texture
from portrait360.pipeline.export.avatar_glb.hair_cards import Cards, make_cards
from portrait360.pipeline.export.avatar_glb.hair_volume import make_hair_volume, make_undercoat
from portrait360.pipeline.export.avatar_glb.light import HairLight, show_linear
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_glb.shown_colours import ShownColours, find_light
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.export.avatar_glb.texture import find_texels
from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.parallel.threads import count_threads
from portrait360.utils.portrait_labels import Label

HAIR_LOOK = Look("hair", 0.7, texture="hair", cutoff=CUTOFF, double=True, specular=0.15)
UNDERCOAT_LOOK = Look("undercoat", 0.9, double=True, specular=0.2)
UNDERCOAT, UNDERCOAT_SHARE = 3000, 0.12  # most triangles, and their share of those for all hair
BELOW, BESIDE, SUNK = 0.018, 8, 0.05  # canonical depth of the undercoat below the cards beside it, how many, and most
OVER_SKIN, SCALP = 0.003, 0.02  # canonical height that it keeps over the scalp, and distance from which it need not
SIZE, FEW, GAIN = 256, 200, (0.6, 2.5)  # of a render, pixels of hair that say too little, and the range of gains
CENTRE = np.array([0.0, 0.03, -0.02])  # of the head, canonical
BLEED = 5  # texels
MATCHED, LEAST_LIGHT = 0.8, 1e-4  # how far hair that no view shows is as bright as that beside it
WEIGHTS = LUMINANCE.astype(np.float32)
CROWN, HAT_REACH, BELOW_HAT = 0.5, 0.05, 0.008  # cosine at a hat's crown; canonical distances from and below it
DARKER = 0.6  # the undercoat's albedo against that of the strands in it


def make_hair(avatar: Avatar, neck: Neck, triangles: int, shown: ShownColours, *, unlit: bool) -> list[Piece]:
    """Return the hair in at most about this many triangles; nothing for bald heads and hair of stone."""
    groups = [g for g in avatar.scene.strands if g.part[0] == Part.HAIR and len(g.points) and g.widths.max() > 0]
    if not groups or triangles < 1000:
        return []
    volume, skin, light = make_hair_volume(groups), find_skin(avatar), HairLight(avatar, Part.HAIR, shown=unlit)
    assert skin.normals is not None
    used = np.unique(skin.triangles)
    used = used[used < coarse_count()]  # they are dense enough
    count = min(UNDERCOAT, round(UNDERCOAT_SHARE * triangles))
    vertices, faces = make_undercoat(volume, skin.vertices[used], skin.normals[used], count)
    film = show_hair(avatar)
    pieces, gain = [], find_gain(avatar, film, light, Part.HAIR)
    cards = make_cards(groups, volume.outward, light.openness, triangles - len(faces))
    if len(faces):
        if cards is not None:
            scalp = used[find_scalp(skin)[used]]
            body = (skin.vertices[scalp], skin.normals[scalp])
            vertices = sink(vertices, volume.outward(vertices), cards.vertices, *body)
        normals = vertex_normals(vertices, faces)
        plain = gain * light.colour_at(vertices) * light.openness(vertices) * light.sky
        radiance = DARKER * mix_shown(shown, vertices, normals, plain)
        colours = show_linear(radiance) if unlit else radiance / find_light(avatar, normals)
        share = neck.head_share(vertices)
        pieces.append(Piece("undercoat", UNDERCOAT_LOOK, vertices, normals, faces, colours=colours, head=share))
    if cards is not None:
        assert cards.texture is not None
        texture = colour_cards(cards.texture, gain * light.sky, avatar.projection.tone)
        texture = colour_by_views(avatar, cards, texture, shown, unlit=unlit)
        pieces.append(
            Piece(
                "hair", HAIR_LOOK, cards.vertices, cards.normals, cards.triangles, uv=cards.uv,
                head=neck.head_share(cards.vertices), image=finish_texture(texture, shown=unlit),
            )
        )  # fmt: skip
    return [keep_below(piece, find_hat(avatar)) for piece in pieces]


def find_scalp(skin: Mesh) -> Bools:
    """Return which vertices of the skin hair grows on; all of them where that is not known."""
    out = np.full(len(skin.vertices), skin.labels is None)
    if skin.labels is not None:
        out[skin.triangles[skin.labels == Label.HAIR]] = True
    return out if out.any() else ~out


def sink(vertices: F32, outward: F32, cards: F32, skin: F32, normals: F32) -> F32:
    """Return an undercoat (n, 3) below the cards beside it, but above the scalp (m, 3): it shows between them."""
    near = KDTree(cards).query(vertices, k=min(BESIDE, len(cards)), workers=count_threads())[1]
    beside = cards[np.asarray(near).reshape(len(vertices), -1)]
    height = ((beside - vertices[:, None]) * outward[:, None]).sum(2).mean(1)
    distance, root = KDTree(skin).query(vertices, workers=count_threads())
    room = ((vertices - skin[root]) * normals[root]).sum(1) - OVER_SKIN
    room = np.where(distance < SCALP, room, SUNK)
    depth = np.clip(BELOW - height, 0, np.clip(room, 0, SUNK))
    low = np.array([-np.inf, FLOOR, -np.inf], np.float32)
    return np.maximum(vertices - depth[:, None] * outward, low).astype(np.float32)


def find_hat(avatar: Avatar) -> F32:
    """Return the points (n, 6) of the crown of a hat, and its directions outward."""
    out = [np.zeros((0, 6), np.float32)]
    for mesh in avatar.scene.meshes:
        if mesh.labels is not None and mesh.labels[0] == Label.HAT:
            normals = vertex_normals(mesh.vertices, mesh.triangles)
            away = unit(mesh.vertices - CENTRE)
            out.append(np.concatenate([mesh.vertices, away], 1)[np.abs((normals * away).sum(1)) > CROWN])
    return np.concatenate(out).astype(np.float32)


def keep_below(piece: Piece, hat: F32) -> Piece:
    """Return the hair with what lies on or above the crown of a hat moved below it."""
    if len(hat) == 0:
        return piece
    distance, near = KDTree(hat[:, :3]).query(piece.vertices)
    away = hat[near, 3:]
    height = ((piece.vertices - hat[near, :3]) * away).sum(1)
    excess = np.where(distance < HAT_REACH, np.maximum(height + BELOW_HAT, 0), 0)
    return replace(piece, vertices=(piece.vertices - excess[:, None] * away).astype(np.float32))


def show_hair(avatar: Avatar) -> Film:
    """Return a render at the photo's camera, whose hair has the photo's hues."""
    film = render_linear(avatar.prepared_scene, avatar.camera, SIZE)
    return tone_hair(film, avatar.projection.tone, unproject_pixels(avatar.camera, film.depth)[..., 1])


def colour_cards(texture: F32, gain: F32, tone: Tone | None) -> F32:
    """Return a texture (h, w, 4) of cards in the light of the sky, which gives its colours this gain (3,).

    `tone` is what hues of strands lack.
    """
    out, solid = texture * np.append(gain, 1).astype(np.float32), texture[..., 3] > CUTOFF
    if tone is not None and solid.any():
        out[solid, :3] = tone_colours(out[solid][:, :3], tone)
    return out


def colour_by_views(avatar: Avatar, cards: Cards, texture: F32, shown: ShownColours, *, unlit: bool) -> F32:
    """Return a texture (h, w, 4) of cards in light with the colours of the avatar's views, as albedo unless `unlit`.

    What no view shows keeps the colours of its strands.
    """
    out = np.zeros_like(texture)
    level = find_level(cards, shown)
    light = np.ones_like(cards.normals) if unlit else find_light(avatar, cards.normals)
    values = np.concatenate([cards.vertices, cards.normals, level[:, None], light], 1)
    where, found = find_texels(cards.uv, cards.triangles, cards.triangles, values, len(texture))
    points, normals = found[:, :3], np.asarray(unit(found[:, 3:6]), np.float32)
    flat = out.reshape(-1, 4)
    plain = texture.reshape(-1, 4)[where, :3]
    plain = plain * (found[:, 6:7] / np.maximum(plain @ WEIGHTS, LEAST_LIGHT)[:, None]) ** MATCHED
    flat[where, :3] = mix_shown(shown, points, normals, plain) / found[:, 7:]
    flat[where, 3] = 1
    around = cv2.blur(out, (BLEED, BLEED))  # the texels beside a card are seen at its edges
    around[..., :3] /= np.maximum(around[..., 3:], 1e-6)
    out[..., :3] = np.where(out[..., 3:] > 0, out, around)[..., :3]
    out[..., 3] = texture[..., 3]
    return out


def find_level(cards: Cards, shown: ShownColours) -> F32:
    """Return the luminance (n,) that views show at the vertices of cards, or at the nearest that they show."""
    radiance, trust = shown.find(cards.vertices, cards.normals)
    seen = np.flatnonzero(trust > 0.5)
    if len(seen) == 0:
        return cards.colours @ WEIGHTS
    near = KDTree(cards.vertices[seen]).query(cards.vertices, workers=count_threads())[1]
    return (radiance @ WEIGHTS)[seen[np.asarray(near)]]


def mix_shown(shown: ShownColours, points: F32, normals: F32, plain: Floats) -> F32:
    """Return the radiance (n, 3) that views show at points, or `plain` where they show none."""
    radiance, trust = shown.find(points, normals)
    return np.asarray(plain + trust[:, None] * (radiance - plain), np.float32)


def find_gain(avatar: Avatar, film: Film, light: HairLight, part: Part) -> F32:
    """Return gains (3,) that give the strands' diffuse colours the brightness and hue that renders of the hair have.

    Of the strands the most open are seen, and part of their colour is gloss, which has no hue of its own.
    """
    shown = (film.parts == part) & (film.alpha > 0.9)
    if shown.sum() < FEW:
        return np.ones(3, np.float32)
    rendered = film.radiance[shown].mean(0)
    depth = film.depth[shown].astype(np.float64)
    points = avatar.camera.unproject(pixel_centres(SIZE, SIZE)[shown], depth).astype(np.float32)
    diffuse = (light.colour_at(points) * light.openness(points) * light.sky).mean(0)
    return np.clip(rendered / np.maximum(diffuse, 1e-4), *GAIN).astype(np.float32)
