"""Hats as data. Heights and lengths are in head heights."""

from __future__ import annotations

from dataclasses import dataclass

from portrait360.synth.scene import Material


@dataclass(frozen=True)
class Hat:
    """Heights and lengths in head heights."""

    front: float = 0.23  # the rim at the forehead
    back: float = -0.02  # the rim at the back of the head
    thick: float = 0.030
    rise: float = 0.04  # height of the top over the crown of the head
    power: float = 2.3  # superellipse exponent of the crown's profile: 2 a dome .. 10 a cylinder
    flare: float = 0.0  # the crown widens (+) or narrows (-) upwards
    brim: float = 0.0
    curl: float = 0.0  # upward curl of the brim at the sides
    bill: float = 0.0
    cuff: float = 0.0  # height of the turned-up edge
    band: float = 0.0  # height of a ribbon
    ribs: int = 0
    pinch: float = 0.0
    opening: tuple[float, float] | None = None  # half width and height of a face opening, in degrees
    lowest: float = 180.0  # degrees from the pole at which a cover with a face opening ends
    material: Material = Material.CLOTH
    folds: float = 0.0
    spikes: int = 0
    pompon: float = 0.0


HATS: dict[str, Hat] = {
    "beanie": Hat(front=0.2, back=-0.12, thick=0.035, rise=0.06, cuff=0.12, ribs=44),
    "slouch": Hat(front=0.22, back=-0.1, thick=0.032, rise=0.14, power=2.0, ribs=36, folds=0.02),
    "bobble": Hat(front=0.2, back=-0.12, thick=0.036, rise=0.06, cuff=0.13, ribs=40, pompon=0.085),
    "cap": Hat(front=0.235, back=-0.02, thick=0.026, rise=0.05, power=2.5, bill=0.3),
    "visor_back": Hat(front=0.215, back=0.0, thick=0.026, rise=0.045, power=2.5, bill=-0.28),
    "fedora": Hat(front=0.235, back=0.03, thick=0.028, rise=0.14, power=4.5, flare=-0.06, brim=0.21,
        curl=0.05, band=0.09, pinch=0.06),
    "sun_hat": Hat(front=0.235, back=0.02, thick=0.03, rise=0.08, power=2.8, brim=0.34, curl=-0.08,
        band=0.07),
    "bowler": Hat(front=0.235, back=0.03, thick=0.028, rise=0.11, power=2.6, brim=0.13, curl=0.07, band=0.06),
    "top_hat": Hat(front=0.245, back=0.04, thick=0.028, rise=0.32, power=14, flare=0.04, brim=0.16,
        curl=0.06, band=0.1),
    "cowboy": Hat(front=0.24, back=0.02, thick=0.03, rise=0.15, power=4.0, flare=-0.05, brim=0.26, curl=0.16,
        band=0.04, pinch=0.08),
    "straw": Hat(front=0.245, back=0.03, thick=0.028, rise=0.1, power=5.0, brim=0.26, curl=0.02, band=0.06),
    "boater": Hat(front=0.27, back=0.08, thick=0.028, rise=0.06, power=16, brim=0.15, band=0.06),
    "bucket": Hat(front=0.2, back=-0.04, thick=0.028, rise=0.07, power=4.0, flare=-0.08, brim=0.12, curl=-0.1),
    "pillbox": Hat(front=0.3, back=0.08, thick=0.03, rise=0.06, power=12, ribs=0),
    "chef": Hat(front=0.25, back=0.0, thick=0.04, rise=0.34, power=6.0, flare=0.22, band=0.1, folds=0.03),
    "bandana": Hat(front=0.25, back=-0.16, thick=0.022, rise=0.02, power=2.1, folds=0.012),
    "beret": Hat(front=0.26, back=0.0, thick=0.04, rise=-0.01, power=3.2, flare=0.38),
    "helmet": Hat(front=0.22, back=-0.14, thick=0.075, rise=0.09, power=2.2, material=Material.PLASTIC,
        band=0.05),
    "knight": Hat(front=0.2, back=-0.22, thick=0.055, rise=0.08, power=2.0, material=Material.METAL,
        band=0.06, pinch=-0.03),
    "turban": Hat(front=0.24, back=-0.06, thick=0.095, rise=0.1, power=2.4, folds=0.05),
    "headband": Hat(front=0.25, back=0.02, thick=0.03, band=0.09),
    "crown": Hat(front=0.33, back=0.14, thick=0.04, band=0.09, spikes=8, material=Material.METAL),
    "hood": Hat(opening=(50, 66), thick=0.1, lowest=152, folds=0.03),
    "hijab": Hat(opening=(40, 50), thick=0.042, lowest=158, folds=0.012),
}  # fmt: skip


HIDES_ALL_HAIR = ("hijab",)
HOOPS = ("headband", "crown")  # the hair above these remains visible
