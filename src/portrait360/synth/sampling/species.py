"""Animal species as data: the build of the head and the coats. Canonical units; +x is the left side."""

from __future__ import annotations

from dataclasses import dataclass

Vec = tuple[float, float, float]


@dataclass(frozen=True)
class Species:
    skull: Vec = (0.165, 0.15, 0.165)  # radii
    skull_at: Vec = (0.0, 0.065, -0.03)
    cheek: Vec = (0.085, 0.080, 0.090)
    cheek_at: Vec = (0.095, -0.055, 0.035)
    bridge: Vec = (0.0, 0.015, 0.10)  # where the muzzle begins at the face
    bridge_radius: float = 0.070
    tip: Vec = (0.0, -0.050, 0.285)  # the end of the muzzle, before the nose pad
    tip_radius: float = 0.036
    muzzle_width: float = 1.1
    pads: float = 0.0  # radius of the whisker pads on both sides of the nose; 0: none
    jaw: Vec = (0.0, -0.095, 0.250)  # the end of the lower jaw
    jaw_radius: float = 0.024
    nose: Vec = (0.030, 0.022, 0.020)
    eye: Vec = (0.072, 0.055, 0.112)
    eye_radius: float = 0.034
    eye_open: float = 0.74  # height of the eye opening over the eyeball's radius
    eye_slant: float = 0.0  # degrees, outer corners up
    brow: float = 0.03
    ear: str = "point"  # point, round, flop, long
    ear_at: Vec = (0.100, 0.165, -0.03)
    ear_tip: Vec = (0.150, 0.340, -0.04)
    ear_width: float = 0.070
    neck: float = 0.095
    fur: float = 0.022
    ruff: float = 0.0  # longer fur on the cheeks
    mane: float = 0.0
    whiskers: bool = False
    slit: float = 0.0
    pattern_scale: float = 1.0
    nose_colour: str = "#1c1516"
    irises: tuple[Vec, ...] = ((0.10, 0.045, 0.012),)
    coats: tuple[tuple[str, str, str, str], ...] = (("#8a6a48", "#e8dcc8", "#2a2220", "plain"),)


GREEN, GOLD, BROWN, BLUE = (0.16, 0.26, 0.08), (0.45, 0.24, 0.03), (0.075, 0.032, 0.012), (0.12, 0.25, 0.42)

SPECIES: dict[str, Species] = {
    "fox": Species(skull=(0.15, 0.128, 0.155), cheek=(0.092, 0.075, 0.085), cheek_at=(0.1, -0.06, 0.02),
        bridge=(0.0, 0.005, 0.105), bridge_radius=0.060, tip=(0.0, -0.060, 0.252), tip_radius=0.026,
        muzzle_width=1.0, jaw=(0.0, -0.096, 0.215), jaw_radius=0.018, nose=(0.025, 0.019, 0.018),
        eye=(0.068, 0.045, 0.108), eye_radius=0.032, eye_slant=16, eye_open=0.66,
        ear_at=(0.098, 0.135, -0.03), ear_tip=(0.158, 0.345, -0.035), ear_width=0.074, ruff=0.034,
        whiskers=True, slit=0.8, irises=(GOLD, BROWN),
        coats=(("#c8622a", "#f1e8dc", "#2a1c18", "fox"), ("#b5521f", "#efe4d4", "#221714", "fox"),
          ("#e6e4e2", "#f6f4f0", "#8a8a90", "fox"), ("#4a4a52", "#c9c6c2", "#1b1b20", "fox"),)),
    "wolf": Species(skull=(0.155, 0.135, 0.165), cheek=(0.1, 0.085, 0.095), bridge=(0.0, 0.01, 0.1),
        bridge_radius=0.072, tip=(0.0, -0.055, 0.262), tip_radius=0.038, jaw=(0.0, -0.106, 0.222),
        jaw_radius=0.028, nose=(0.032, 0.024, 0.021), eye=(0.068, 0.052, 0.12), eye_radius=0.029,
        eye_slant=14, eye_open=0.62, ear_tip=(0.135, 0.315, -0.04), ear_width=0.06, ruff=0.034, fur=0.028,
        irises=(GOLD, BLUE),
        coats=(("#7d7c7e", "#e9e6e0", "#2c2c30", "fox"), ("#5a4c42", "#d9cbb8", "#231d1a", "fox"),
          ("#e4e2de", "#f5f3ef", "#9a9a9e", "fox"),)),
    "cat": Species(skull=(0.195, 0.148, 0.165), skull_at=(0.0, 0.045, -0.03), cheek=(0.105, 0.085, 0.09),
        cheek_at=(0.098, -0.052, 0.04), bridge=(0.0, 0.005, 0.105), bridge_radius=0.055,
        tip=(0.0, -0.038, 0.180), tip_radius=0.028, pads=0.042, jaw=(0.0, -0.100, 0.145), jaw_radius=0.032,
        nose=(0.021, 0.015, 0.014), eye=(0.082, 0.038, 0.115), eye_radius=0.036, eye_slant=16, eye_open=0.70,
        ear_at=(0.130, 0.130, -0.015), ear_tip=(0.185, 0.275, -0.015), ear_width=0.078, neck=0.105, ruff=0.016,
        whiskers=True,
        slit=1.0, nose_colour="#c9868a", irises=(GREEN, GOLD, BLUE),
        coats=(("#8d8a86", "#ece8e2", "#2f2d2c", "tabby"), ("#c98a4c", "#f3e8d8", "#8a4e20", "tabby"),
          ("#24221f", "#2e2b28", "#151414", "plain"), ("#ece6dc", "#f7f3ec", "#b48a62", "points"),
          ("#f0ebe2", "#f7f4ee", "#2a2624", "patches"), ("#6f655a", "#e8dfd2", "#241f1b", "tabby"),)),
    "tiger": Species(skull=(0.18, 0.15, 0.17), cheek=(0.1, 0.09, 0.095), bridge=(0.0, 0.0, 0.11),
        bridge_radius=0.066, tip=(0.0, -0.045, 0.215), tip_radius=0.04, pads=0.052, jaw=(0.0, -0.12, 0.18),
        jaw_radius=0.04, nose=(0.034, 0.022, 0.018), eye=(0.078, 0.052, 0.118), eye_radius=0.032,
        eye_slant=10, eye_open=0.68, ear="round", ear_at=(0.13, 0.175, -0.03),
        ear_tip=(0.165, 0.225, -0.03), ear_width=0.052, ruff=0.032, whiskers=True, nose_colour="#b86a66",
        irises=(GOLD, GREEN), pattern_scale=0.8,
        coats=(("#d0762c", "#f4eee4", "#17120f", "tiger"), ("#efece6", "#fbf9f5", "#25211f", "tiger"))),
    "lion": Species(skull=(0.165, 0.145, 0.165), cheek=(0.09, 0.085, 0.09), bridge=(0.0, 0.005, 0.11),
        bridge_radius=0.066, tip=(0.0, -0.05, 0.225), tip_radius=0.042, pads=0.05, jaw=(0.0, -0.122, 0.19),
        jaw_radius=0.04, nose=(0.036, 0.023, 0.019), eye=(0.072, 0.052, 0.118), eye_radius=0.029,
        eye_slant=8, eye_open=0.66, ear="round", ear_at=(0.125, 0.165, -0.02), ear_tip=(0.16, 0.215, -0.02),
        ear_width=0.048, mane=0.165, whiskers=True, nose_colour="#6a4038", irises=(GOLD, BROWN),
        coats=(("#c89a5c", "#ecdcc0", "#6a3c1c", "plain"), ("#b98850", "#e6d2b0", "#3a2418", "plain"))),
    "bear": Species(skull=(0.18, 0.155, 0.17), cheek=(0.105, 0.095, 0.1), cheek_at=(0.092, -0.06, 0.03),
        bridge=(0.0, -0.02, 0.105), bridge_radius=0.078, tip=(0.0, -0.06, 0.23), tip_radius=0.05,
        muzzle_width=1.15, jaw=(0.0, -0.125, 0.19), jaw_radius=0.036, nose=(0.038, 0.027, 0.022),
        eye=(0.07, 0.048, 0.122), eye_radius=0.024, eye_open=0.84, ear="round",
        ear_at=(0.135, 0.165, -0.03), ear_tip=(0.165, 0.21, -0.03), ear_width=0.055, fur=0.03,
        irises=(BROWN,),
        coats=(("#5c3b22", "#a07a52", "#2a1a10", "plain"), ("#2b2220", "#a8825c", "#151010", "plain"),
          ("#ece8de", "#f4f1ea", "#b8b2a6", "plain"), ("#8a6440", "#c9a87e", "#4a3220", "plain"),)),
    "panda": Species(skull=(0.19, 0.158, 0.172), cheek=(0.118, 0.1, 0.1), cheek_at=(0.095, -0.062, 0.03),
        bridge=(0.0, -0.03, 0.11), bridge_radius=0.07, tip=(0.0, -0.062, 0.2), tip_radius=0.048,
        muzzle_width=1.15, jaw=(0.0, -0.122, 0.165), jaw_radius=0.036, nose=(0.033, 0.023, 0.02),
        eye=(0.075, 0.04, 0.122), eye_radius=0.026, eye_open=0.84, eye_slant=-12, ear="round",
        ear_at=(0.145, 0.165, -0.03), ear_tip=(0.175, 0.21, -0.03), ear_width=0.058, fur=0.028,
        irises=(BROWN,), coats=(("#eeebe4", "#f6f4ee", "#191718", "panda"),)),
    "dog": Species(skull=(0.155, 0.14, 0.162), cheek=(0.08, 0.08, 0.085), bridge=(0.0, 0.0, 0.1),
        bridge_radius=0.066, tip=(0.0, -0.048, 0.275), tip_radius=0.046, muzzle_width=1.08, pads=0.04,
        jaw=(0.0, -0.118, 0.235), jaw_radius=0.03, nose=(0.037, 0.027, 0.023), eye=(0.066, 0.056, 0.116),
        eye_radius=0.031, eye_open=0.8, eye_slant=-6, ear="flop", ear_at=(0.135, 0.13, -0.03),
        ear_tip=(0.205, -0.11, 0.0), ear_width=0.074, irises=(BROWN, (0.12, 0.06, 0.02), BLUE),
        coats=(("#b98a52", "#efe4d2", "#5a3a20", "plain"), ("#2a2422", "#b5793f", "#171313", "plain"),
          ("#efe9df", "#f7f3ec", "#6a4428", "patches"), ("#8a5a34", "#e8d8c0", "#3a2416", "plain"),
          ("#e9dfcf", "#f5efe4", "#2a2422", "patches"),)),
    "rabbit": Species(skull=(0.145, 0.14, 0.158), cheek=(0.09, 0.085, 0.085),
        cheek_at=(0.075, -0.065, 0.06), bridge=(0.0, -0.005, 0.11), bridge_radius=0.064,
        tip=(0.0, -0.045, 0.185), tip_radius=0.038, pads=0.042, jaw=(0.0, -0.105, 0.15), jaw_radius=0.028,
        nose=(0.018, 0.012, 0.012), eye=(0.092, 0.045, 0.088), eye_radius=0.038, eye_open=0.84, ear="long",
        ear_at=(0.055, 0.165, -0.05), ear_tip=(0.1, 0.47, -0.1), ear_width=0.05, whiskers=True,
        nose_colour="#c98a8c", irises=(BROWN, (0.3, 0.03, 0.03)),
        coats=(("#d9d2c8", "#f5f1ea", "#a89a8a", "plain"), ("#a5876a", "#efe6d8", "#5a4634", "plain"),
          ("#f4f1ec", "#fbf9f5", "#2e2a28", "patches"), ("#6e6a68", "#dedad4", "#3a3836", "plain"),)),
}  # fmt: skip
