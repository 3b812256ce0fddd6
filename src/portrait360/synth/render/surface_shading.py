"""Surface materials of a head: skin, wet eyes, teeth, cloth, fur, plastic, metal, stone, glass.

Every material passes the furnace test: with albedo 1 in uniform light it reflects exactly that light, because
specular reflection is subtracted from diffuse reflection.
"""

from __future__ import annotations

import math

from portrait360.geometry.numba_jit import njit_fast_inline
from portrait360.synth.render import spherical_harmonics
from portrait360.synth.render.bump_noise import slope
from portrait360.synth.render.hair_shading import quantise_light
from portrait360.synth.render.shadow_maps import key_light as lightmap_key
from portrait360.synth.scene import Material

SKIN, EYE, HAIR, CLOTH = int(Material.SKIN), int(Material.EYE), int(Material.HAIR), int(Material.CLOTH)
PLASTIC, METAL, STONE = int(Material.PLASTIC), int(Material.METAL), int(Material.STONE)
FUR, GLASS, ENAMEL = int(Material.FUR), int(Material.GLASS), int(Material.ENAMEL)
INK = 255  # not a material of a scene: the ink outline, which is unlit

SCATTER = 0.007  # distance that red light travels under the skin
GRAZING = 0.1  # least cosine to a light at which the slope of a surface in its map is exact
PORES = 640.0  # relief cells per unit; a head is 0.54 units high
RIDGES = 260.0


@njit_fast_inline
def smoothstep(low, high, x):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit_fast_inline
def mix(a, b, t):
    return a + (b - a) * t


@njit_fast_inline
def key_light(maps, j, px, py, pz, nx, ny, nz, softness, scatter):
    """Return the light of key j at a position, and the same blurred by `scatter`, the reach of red light."""
    lift = 1.2 * maps.texel  # off the surface, so that it does not shadow itself
    px, py, pz = px + nx * lift, py + ny * lift, pz + nz * lift
    m = maps.matrices[j]
    x = m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]
    y = m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]
    height = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
    rise = -maps.texel * maps.texel / max(m[2, 0] * nx + m[2, 1] * ny + m[2, 2] * nz, GRAZING)
    across = rise * (m[0, 0] * nx + m[0, 1] * ny + m[0, 2] * nz)
    up = rise * (m[1, 0] * nx + m[1, 1] * ny + m[1, 2] * nz)
    return lightmap_key(maps, j, x, y, height, across, up, softness, 1.5 * maps.texel, scatter / maps.texel)


@njit_fast_inline
def mirror(nx, ny, nz, vx, vy, vz):
    """Return the direction v mirrored about the normal n."""
    d = 2.0 * (nx * vx + ny * vy + nz * vz)
    return d * nx - vx, d * ny - vy, d * nz - vz


@njit_fast_inline
def fresnel(cosine, front, grazing):
    """Return the specular share; a rough surface does not become a mirror even at grazing angles."""
    return front + (max(grazing, front) - front) * (1.0 - min(max(cosine, 0.0), 1.0)) ** 5


@njit_fast_inline
def gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, rough, front):
    """Return the highlight of a key on a rough surface (GGX, Hammon's visibility), times the cosine to the light."""
    facing = nx * lx + ny * ly + nz * lz
    if facing <= 0.0:
        return 0.0
    hx, hy, hz = lx + vx, ly + vy, lz + vz
    length = math.sqrt(hx * hx + hy * hy + hz * hz)
    if length < 1e-6:
        return 0.0
    nh = min((nx * hx + ny * hy + nz * hz) / length, 1.0)
    lh = max((lx * hx + ly * hy + lz * hz) / length, 0.0)
    nv = max(nx * vx + ny * vy + nz * vz, 0.0)
    a = rough * rough
    d = nh * nh * (a * a - 1.0) + 1.0
    visible = 0.5 / max(mix(2.0 * facing * nv, facing + nv, a), 0.1)
    return a * a / (d * d) * fresnel(lh, front, 1.0 - rough) * facing * visible


@njit_fast_inline
def relief(x, y, z, strength, footprint, nx, ny, nz):
    """Return the normal, tilted by pores and fine ridges that fade out before they alias."""
    for octave in range(2):
        frequency = RIDGES if octave == 0 else PORES
        fade = strength * (1.0 - smoothstep(0.25, 0.7, footprint * frequency))
        if fade <= 0.001:
            continue
        # evaluated in axes rotated against those of the head, so that the noise lattice is not visible
        u, v, w = (
            0.74 * x + 0.58 * y + 0.34 * z,
            -0.67 * x + 0.66 * y + 0.34 * z,
            -0.03 * x - 0.48 * y + 0.88 * z,
        )
        gu, gv, gw = slope(u * frequency, v * frequency, w * frequency)
        amount = fade * (0.014 if octave == 0 else 0.024)
        nx -= amount * (0.74 * gu - 0.67 * gv - 0.03 * gw)
        ny -= amount * (0.58 * gu + 0.66 * gv - 0.48 * gw)
        nz -= amount * (0.34 * gu + 0.34 * gv + 0.88 * gw)
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length


@njit_fast_inline
def wrap_cosines(material):
    """Return how far light wraps around to the dark side, per colour, as the negated cosine at which it ends."""
    if material == SKIN:
        return 0.42, 0.16, 0.09
    if material in (STONE, ENAMEL):
        return 0.16, 0.13, 0.10
    if material in (FUR, HAIR):
        return 0.4, 0.35, 0.35
    if material == CLOTH:
        return 0.2, 0.2, 0.2
    return 0.05, 0.05, 0.05


@njit_fast_inline
def specular_parameters(material):
    """Return roughness, reflectance at normal incidence, and the reflected share of the environment."""
    if material == SKIN:
        return 0.52, 0.028, 0.6
    if material == EYE:
        return 0.10, 0.035, 0.9
    if material == ENAMEL:
        return 0.45, 0.035, 0.5
    if material == PLASTIC:
        return 0.28, 0.045, 0.9
    if material == STONE:
        return 0.75, 0.015, 0.15
    if material == METAL:
        return 0.34, 0.0, 1.0
    return 0.75, 0.02, 0.15


@njit_fast_inline
def disc(rx, ry, rz, lx, ly, lz, angle):
    """Return the round reflection of a light of an angular radius in a smooth mirror."""
    edge = math.cos(angle)
    inner = math.cos(angle * 0.7)
    return smoothstep(edge, inner, rx * lx + ry * ly + rz * lz)


@njit_fast_inline
def glints(rig, rx, ry, rz, keys):
    """Return the catchlight of all eyes, plus reflections of the keys whose frontal component is at least `keys`.

    Too many reflections look wrong in an eye, and a lens shows one highlight.
    """
    d = disc(rx, ry, rz, 0.38, 0.46, 0.80, 0.20)
    r, g, b = rig.glint[0] * d, rig.glint[1] * d, rig.glint[2] * d
    for j in range(rig.directions.shape[0]):
        if rig.directions[j, 2] < keys:
            continue
        d = disc(rx, ry, rz, rig.directions[j, 0], rig.directions[j, 1], rig.directions[j, 2], 0.16)
        r, g, b = r + rig.colours[j, 0] * d, g + rig.colours[j, 1] * d, b + rig.colours[j, 2] * d
    return r, g, b


@njit_fast_inline
def reflected_environment(rig, material, rx, ry, rz):
    """Return the environment that a surface reflects in direction r.

    Metal sees a darker ground below the horizon, which makes it look metallic, in proportion to the light's contrast.
    """
    if material == METAL:
        r, g, b = spherical_harmonics.light(rig.sh, rx, ry, rz, 1.4, 2.0)
        dim = 1.0 + rig.contrast * (0.5 * smoothstep(-0.25, 0.15, ry) + 0.35 * smoothstep(0.3, 0.8, ry) - 0.45)
        return r * dim, g * dim, b * dim
    if material == EYE:
        return spherical_harmonics.light(rig.sh, rx, ry, rz, 1.5, 2.5)
    return spherical_harmonics.light(rig.sh, rx, ry, rz, 1.2, 1.5)


@njit_fast_inline
def key_lights_at(rig, maps, material, px, py, pz, nx, ny, nz, vx, vy, vz):
    """Return the light of all keys at a position: diffuse (3) and specular (3, without the surface colour)."""
    wr, wg, wb = wrap_cosines(material)
    rough, front, _ = specular_parameters(material)
    scatter = SCATTER if material == SKIN else 0.0
    dr, dg, db, sr, sg, sb = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(rig.directions.shape[0]):
        lx, ly, lz = rig.directions[j, 0], rig.directions[j, 1], rig.directions[j, 2]
        facing = nx * lx + ny * ly + nz * lz
        if facing <= -max(wr, wg, wb):
            continue
        sharp, wide = key_light(maps, j, px, py, pz, nx, ny, nz, rig.softness[j], scatter)
        red = mix(sharp, wide, 0.85) if material == SKIN else sharp
        green_blue = mix(sharp, wide, 0.25) if material == SKIN else sharp
        lr = max((facing + wr) / (1.0 + wr), 0.0) * red
        lg = max((facing + wg) / (1.0 + wg), 0.0) * green_blue
        lb = max((facing + wb) / (1.0 + wb), 0.0) * green_blue
        specular = 0.0
        if material == METAL:
            specular = 0.75 * gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, rough, 1.0)
        elif material == SKIN:
            specular = 0.85 * gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, rough, front)
            specular += 0.15 * gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, 0.30, front)
        elif material != EYE:
            specular = gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, rough, front)
        specular *= sharp
        if rig.steps > 0:
            lg = quantise_light(smoothstep(0.0, 1.0, lg), rig.steps)
            lr, lb = lg, lg
            specular = 0.35 * smoothstep(0.30, 0.36, specular)
        dr, dg, db = dr + rig.colours[j, 0] * lr, dg + rig.colours[j, 1] * lg, db + rig.colours[j, 2] * lb
        sr, sg, sb = (
            sr + rig.colours[j, 0] * specular,
            sg + rig.colours[j, 1] * specular,
            sb + rig.colours[j, 2] * specular,
        )
    return dr, dg, db, sr, sg, sb


@njit_fast_inline
def shade_surface(rig, maps, material, position, normal, view, albedo, ambient_share):
    """Return an opaque surface's radiance (3,); `ambient_share` (3,) is the unoccluded share of ambient light."""
    px, py, pz = position
    nx, ny, nz = normal
    vx, vy, vz = view
    nv = max(nx * vx + ny * vy + nz * vz, 0.0)
    ar, ag, ab = ambient_share
    if material in (SKIN, ENAMEL):  # occluded light is partly replaced by redder light from inside the skin, or lips
        ar, ag = ar**0.72, ag**0.94
    if rig.steps > 0:
        ar, ag, ab = math.sqrt(ar), math.sqrt(ag), math.sqrt(ab)
    er, eg, eb = spherical_harmonics.light(rig.sh, nx, ny, nz, 1.0, 1.0)
    er, eg, eb = er * ar, eg * ag, eb * ab
    dr, dg, db, sr, sg, sb = key_lights_at(rig, maps, material, px, py, pz, nx, ny, nz, vx, vy, vz)
    rx, ry, rz = mirror(nx, ny, nz, vx, vy, vz)
    mr, mg, mb = reflected_environment(rig, material, rx, ry, rz)
    mr, mg, mb = mr * ar, mg * ag, mb * ab
    cr, cg, cb = albedo
    if material == METAL:
        edge = (1.0 - nv) ** 5
        cr, cg, cb = mix(cr, 1.0, edge), mix(cg, 1.0, edge), mix(cb, 1.0, edge)
        return cr * (mr + sr + 0.12 * dr), cg * (mg + sg + 0.12 * dg), cb * (mb + sb + 0.12 * db)
    rough, front, share = specular_parameters(material)
    k = fresnel(nv, front, 1.0 - rough) * share
    if rig.steps > 0 and material != EYE:
        k = 0.0
    r = mix(cr * (er + dr), mr, k) + sr
    g = mix(cg * (eg + dg), mg, k) + sg
    b = mix(cb * (eb + db), mb, k) + sb
    if material == EYE:
        gr, gg, gb = glints(rig, rx, ry, rz, 0.25)
        open_eye = smoothstep(0.05, 0.5, ag)
        return r + gr * open_eye, g + gg * open_eye, b + gb * open_eye
    if material == CLOTH and rig.steps == 0:  # protruding fibres catch light at the silhouette
        fuzz = 0.30 * (1.0 - nv) ** 3
        r, g, b = mix(r, er * (0.4 + 0.6 * cr), fuzz), mix(g, eg * (0.4 + 0.6 * cg), fuzz), b
        b = mix(b, eb * (0.4 + 0.6 * cb), fuzz)
    return r, g, b


@njit_fast_inline
def shade_lens(rig, normal, view, albedo, opacity):
    """Return the light (3,) that a clear pane adds, and the share of the background that it blocks."""
    nx, ny, nz = normal
    vx, vy, vz = view
    k = fresnel(nx * vx + ny * vy + nz * vz, 0.02, 1.0)  # coated: half of the reflectance of bare glass
    rx, ry, rz = mirror(nx, ny, nz, vx, vy, vz)
    mr, mg, mb = reflected_environment(rig, EYE, rx, ry, rz)
    er, eg, eb = spherical_harmonics.light(rig.sh, nx, ny, nz, 1.0, 1.0)
    gr, gg, gb = glints(rig, rx, ry, rz, 2.0)
    r = albedo[0] * er * opacity * (1 - k) + mr * k + 0.35 * gr
    g = albedo[1] * eg * opacity * (1 - k) + mg * k + 0.35 * gg
    b = albedo[2] * eb * opacity * (1 - k) + mb * k + 0.35 * gb
    return r, g, b, opacity + (1.0 - opacity) * k
