"""Hairstyles as data, read by a few growth models. Lengths are in head heights."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tie:
    """A point where hair is gathered, and the shape it takes beyond it."""

    azimuth: float  # degrees around the head; 180 is the back
    elevation: float
    end: str = "tail"  # tail, braid, bun, puff; crown: a braid round the head, whatever the azimuth and elevation
    size: float = 0.5  # length of a tail or braid, radius of a bun or puff
    rough: float = 0.0  # 0 a smooth bun .. 1 one of loose loops
    forward: float = 0.0  # how strongly a tail or braid is laid over the front of the shoulder


@dataclass(frozen=True)
class HairStyle:
    lengths: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.2)  # top, sides, back, nape
    # weights of growth directions along the scalp (radial from the crown, side away from the parting, forward, back,
    # down, inward to the middle), off the scalp (up) and in the world (vertical)
    comb: dict[str, float] = field(default_factory=lambda: {"radial": 1.0})
    lift: float = 0.3  # how steeply the roots leave the scalp
    gravity: float = 0.5
    stiff: float = 0.7  # how long a strand keeps its direction
    offset: float = 0.03  # distance of lying hair from the scalp
    cut: float | None = None  # height of a blunt cut; the chin is at -0.5
    fringe: float = 0.0  # length of the hair combed over the forehead
    wave: tuple[float, float] = (0.0, 0.0)  # radius, turns per head height
    clump: float = 0.35
    frizz: float = 0.004
    count: int = 8000
    width: float = 0.0088
    region: str = "full"  # strip: a mohawk; ring: bald on top; patchy: thin on top; else the whole scalp
    fade: float = 0.0  # height above the ears up to which the sides are stubble
    ties: tuple[Tie, ...] = ()
    loose_below: float | None = None  # with ties: hair below this height stays loose
    locks: str = "none"  # none, locs, braids, cornrows
    locks_count: int = 0
    worn_by: tuple[float, float] = (1.0, 1.0)  # relative frequency among women and among men
    texture: str = "any"  # natural hair texture the style needs: straight, curly, coily or any
    sweep: float = 0.0  # added to the wearer's own
    fringe_parts: float = 0.0  # 0 a straight fringe .. 1 one that falls to both sides of the parting


def _style(**values) -> HairStyle:
    return HairStyle(**values)


SHORT = {"count": 11000, "width": 0.0062, "stiff": 0.8, "gravity": 0.15}
LONG = {"gravity": 0.75, "offset": 0.045, "clump": 0.45, "stiff": 0.62, "worn_by": (1.0, 0.08)}
TIED = {"lengths": (0.6, 0.6, 0.6, 0.6), "offset": 0.02, "count": 6000, "worn_by": (1.0, 0.05)}
COILY = {"texture": "coily"}

STYLES: dict[str, HairStyle] = {
    "bald": _style(count=0, worn_by=(0.1, 1.0)),
    "buzz": _style(lengths=(0.03, 0.025, 0.025, 0.02), comb={"up": 1.0}, lift=1.0, gravity=0, count=11000,
        width=0.006, worn_by=(0.15, 1.0)),
    "stubbled": _style(lengths=(0.014, 0.012, 0.012, 0.01), comb={"up": 1.0}, lift=1.0, gravity=0,
        count=9000, width=0.005, worn_by=(0.05, 0.5)),
    "fade": _style(**SHORT, lengths=(0.1, 0.05, 0.06, 0.02), comb={"radial": 0.6, "forward": 0.5}, lift=0.7,
        fade=0.2, offset=0.012, worn_by=(0.05, 1.5)),
    "crew": _style(**SHORT, lengths=(0.09, 0.05, 0.06, 0.04), comb={"radial": 0.7, "forward": 0.5},
        lift=0.7, offset=0.012, worn_by=(0.05, 1.5)),
    "crop": _style(**SHORT, lengths=(0.16, 0.09, 0.1, 0.05), comb={"radial": 0.4, "forward": 0.9},
        lift=0.35, offset=0.015, fringe=0.16, clump=0.5, worn_by=(0.3, 1.0)),
    "caesar": _style(**SHORT, lengths=(0.09, 0.06, 0.07, 0.04), comb={"forward": 1.0, "radial": 0.5},
        lift=0.2, offset=0.012, fringe=0.12, worn_by=(0.0, 0.8)),
    "side_part": _style(lengths=(0.3, 0.1, 0.11, 0.05), comb={"side": 1.0, "back": 0.25}, lift=0.45,
        gravity=0.2, stiff=0.8, offset=0.03, clump=0.4, width=0.0095, worn_by=(0.1, 1.4)),
    "comb_over": _style(lengths=(0.34, 0.05, 0.05, 0.03), comb={"side": 1.0, "back": 0.4}, lift=0.6,
        gravity=0.15, stiff=0.85, offset=0.035, fade=0.14, clump=0.4, width=0.0095, worn_by=(0.0, 1.0)),
    "slick_back": _style(lengths=(0.36, 0.18, 0.2, 0.1), comb={"back": 1.0}, lift=0.25, gravity=0.2,
        stiff=0.8, offset=0.022, clump=0.55, worn_by=(0.3, 1.0)),
    "quiff": _style(lengths=(0.32, 0.07, 0.08, 0.04), comb={"back": 1.1, "up": 0.45}, lift=1.2, gravity=0.10,
        stiff=0.80, offset=0.055, fade=0.1, clump=0.5, worn_by=(0.05, 1.2)),
    "pompadour": _style(lengths=(0.42, 0.1, 0.12, 0.06), comb={"back": 1.2, "up": 0.2}, lift=1.5,
        gravity=0.16, stiff=0.80, offset=0.085, clump=0.4, worn_by=(0.05, 0.6)),
    "spiky": _style(lengths=(0.2, 0.1, 0.12, 0.07), comb={"up": 1.0, "forward": 0.15}, lift=1.4, gravity=0,
        stiff=0.9, clump=0.85, offset=0.02, frizz=0.008, worn_by=(0.15, 0.8)),
    "messy": _style(lengths=(0.26, 0.18, 0.18, 0.12), comb={"radial": 0.7, "forward": 0.3}, lift=0.8,
        gravity=0.15, stiff=0.75, wave=(0.02, 5.0), clump=0.7, frizz=0.03, offset=0.03, fringe=0.2,
        worn_by=(0.3, 1.2)),
    "undercut": _style(lengths=(0.5, 0.02, 0.02, 0.02), comb={"side": 1.0, "back": 0.3}, lift=0.5,
        gravity=0.35, stiff=0.75, offset=0.035, fade=0.26, clump=0.45, worn_by=(0.4, 1.0)),
    "mohawk": _style(lengths=(0.42, 0.3, 0.34, 0.26), comb={"up": 1.0}, lift=2.0, gravity=0, stiff=0.95,
        clump=0.7, region="strip", count=3800, width=0.012, worn_by=(0.25, 0.5)),
    "faux_hawk": _style(lengths=(0.24, 0.05, 0.06, 0.04), comb={"up": 1.0, "inward": 0.9}, lift=1.4,
        gravity=0, stiff=0.9, clump=0.6, fade=0.18, worn_by=(0.1, 0.7)),
    "bowl": _style(lengths=(0.62, 0.5, 0.45, 0.1), comb={"radial": 1.0}, lift=0.25, gravity=0.5,
        offset=0.04, cut=-0.01, fringe=0.36, clump=0.25, worn_by=(0.2, 0.6)),
    "mullet": _style(lengths=(0.22, 0.12, 0.55, 0.5), comb={"radial": 0.8, "back": 0.5}, lift=0.5,
        gravity=0.5, offset=0.03, wave=(0.014, 4.0), clump=0.5, fringe=0.18, worn_by=(0.15, 0.7)),
    "curtains": _style(lengths=(0.34, 0.2, 0.18, 0.1), comb={"side": 1.0, "forward": 0.35}, lift=0.6,
        gravity=0.45, stiff=0.72, offset=0.035, clump=0.5, worn_by=(0.1, 1.0)),
    "middle_part": _style(lengths=(0.52, 0.42, 0.38, 0.3), comb={"side": 1.0, "radial": 0.3}, lift=0.4,
        gravity=0.6, offset=0.04, clump=0.5, cut=-0.3, worn_by=(0.6, 0.6)),
    "receding": _style(**SHORT, lengths=(0.07, 0.06, 0.07, 0.04), comb={"radial": 0.6, "back": 0.6},
        lift=0.4, offset=0.012, region="patchy", worn_by=(0.0, 1.2)),
    "tonsure": _style(**SHORT, lengths=(0.12, 0.1, 0.1, 0.06), comb={"down": 1.0}, lift=0.5, offset=0.015,
        region="ring", worn_by=(0.0, 0.8)),
    "pixie": _style(lengths=(0.26, 0.15, 0.13, 0.06), comb={"side": 0.8, "forward": 0.6, "radial": 0.4},
        lift=0.4, gravity=0.3, stiff=0.75, offset=0.022, fringe=0.26, clump=0.55, worn_by=(1.2, 0.1)),
    "bob": _style(**LONG, lengths=(1.0, 0.9, 0.7, 0.4), comb={"side": 0.9, "radial": 0.5}, cut=-0.36),
    "bob_fringe": _style(**LONG, lengths=(1.0, 0.9, 0.7, 0.4), comb={"radial": 1.0}, cut=-0.32, fringe=0.33),
    "short_bob": _style(**LONG, lengths=(0.8, 0.7, 0.5, 0.15), comb={"side": 0.9, "radial": 0.5}, cut=-0.2),
    "wavy_bob": _style(**LONG, lengths=(0.95, 0.85, 0.7, 0.4), comb={"side": 0.9, "radial": 0.5}, cut=-0.36,
        wave=(0.03, 3.2)),
    "lob": _style(**LONG, lengths=(1.2, 1.0, 0.9, 0.6), comb={"side": 1.0, "radial": 0.4}, cut=-0.6),
    "long": _style(**LONG, lengths=(1.5, 1.25, 1.15, 0.9), comb={"side": 1.0, "radial": 0.4}),
    "long_fringe": _style(**LONG, lengths=(1.5, 1.25, 1.15, 0.9), comb={"radial": 1.0}, fringe=0.33),
    "long_wavy": _style(**LONG, lengths=(1.45, 1.2, 1.1, 0.85), comb={"side": 1.0, "radial": 0.4},
        wave=(0.032, 2.8)),
    "long_curly": _style(lengths=(1.3, 1.1, 1.0, 0.8), comb={"side": 0.9, "radial": 0.6}, lift=0.9,
        gravity=0.6, offset=0.08, clump=0.6, wave=(0.042, 5.0), frizz=0.006, count=3000, width=0.0145,
        texture="curly", worn_by=(1.2, 0.1)),
    "layered": _style(**LONG, lengths=(0.75, 0.85, 1.0, 0.9),
        comb={"side": 0.9, "radial": 0.4, "back": 0.2}, wave=(0.02, 2.2), lift=0.6),
    "swept": _style(**LONG, lengths=(1.3, 1.1, 1.0, 0.8), comb={"back": 1.0, "side": 0.3}, lift=0.6,
        wave=(0.018, 2.0)),
    "curly_top": _style(lengths=(0.3, 0.07, 0.08, 0.04), comb={"radial": 0.7, "forward": 0.3}, lift=1.0,
        gravity=0.15, offset=0.05, wave=(0.035, 8.0), clump=0.7, fade=0.16, frizz=0.012, texture="curly",
        worn_by=(0.1, 1.2)),
    "curly_short": _style(lengths=(0.3, 0.24, 0.24, 0.18), comb={"radial": 0.8}, lift=1.0, gravity=0.25,
        offset=0.06, wave=(0.035, 7.0), clump=0.65, frizz=0.015, texture="curly", worn_by=(0.8, 1.0)),
    "afro_small": _style(**COILY, lengths=(0.2, 0.18, 0.18, 0.14), comb={"up": 1.0}, lift=1.5, gravity=0,
        stiff=0.8, wave=(0.02, 14.0), clump=0.4, frizz=0.016, count=5200, width=0.0155, worn_by=(0.8, 1.0)),
    "afro": _style(**COILY, lengths=(0.4, 0.36, 0.36, 0.26), comb={"up": 1.0}, lift=1.5, gravity=0.03,
        stiff=0.8, wave=(0.024, 11.0), clump=0.45, frizz=0.02, count=4600, width=0.017, worn_by=(1.0, 0.5)),
    "coils": _style(**COILY, lengths=(0.5, 0.46, 0.44, 0.36), comb={"radial": 0.8}, lift=1.0, gravity=0.45,
        offset=0.07, wave=(0.03, 10.0), clump=0.85, frizz=0.005, count=4200, width=0.0145, worn_by=(1.0, 0.5)),
    "high_top": _style(**COILY, lengths=(0.3, 0.04, 0.04, 0.03), comb={"vertical": 1.0}, lift=0.6,
        gravity=0, stiff=0.9, wave=(0.018, 16.0), clump=0.35, frizz=0.012, fade=0.24, count=9000, width=0.012,
        worn_by=(0.05, 0.7)),
    "cornrows": _style(**COILY, lengths=(0.9, 0.9, 0.9, 0.7), locks="cornrows", locks_count=12,
        offset=0.012, worn_by=(0.8, 0.8)),
    "box_braids": _style(**COILY, lengths=(1.25, 1.15, 1.1, 0.9), comb={"side": 0.8, "radial": 0.6},
        lift=0.4, gravity=0.75, offset=0.035, locks="braids", locks_count=110, worn_by=(1.0, 0.2)),
    "dreadlocks": _style(**COILY, lengths=(1.0, 0.9, 0.9, 0.7), comb={"radial": 1.0, "back": 0.4}, lift=0.7,
        gravity=0.6, offset=0.05, locks="locs", locks_count=75, worn_by=(0.4, 0.8)),
    "short_locs": _style(**COILY, lengths=(0.4, 0.34, 0.34, 0.26), comb={"radial": 1.0}, lift=1.0,
        gravity=0.4, offset=0.05, locks="locs", locks_count=95, worn_by=(0.3, 0.8)),
    "bun": _style(**TIED, ties=(Tie(180, 12, "bun", 0.15),)),
    "low_bun": _style(**TIED, ties=(Tie(180, -18, "bun", 0.13),), comb={"side": 1.0}),
    "top_knot": _style(lengths=(0.6,) * 4, offset=0.02, count=6000, ties=(Tie(180, 68, "bun", 0.12),),
        worn_by=(0.8, 0.5)),
    "double_buns": _style(**TIED, ties=(Tie(125, 48, "bun", 0.115), Tie(-125, 48, "bun", 0.115))),
    "ponytail": _style(**TIED, ties=(Tie(180, 10, "tail", 0.75),)),
    "high_ponytail": _style(**TIED, ties=(Tie(180, 52, "tail", 0.85),)),
    "low_ponytail": _style(lengths=(0.6,) * 4, offset=0.02, count=6000, ties=(Tie(180, -22, "tail", 0.6),),
        worn_by=(0.8, 0.4)),
    "side_ponytail": _style(**TIED, ties=(Tie(118, -6, "tail", 0.7),)),
    "pigtails": _style(**TIED, ties=(Tie(112, 8, "tail", 0.6), Tie(-112, 8, "tail", 0.6))),
    "two_braids": _style(**TIED, ties=(Tie(122, -16, "braid", 0.95), Tie(-122, -16, "braid", 0.95))),
    "braid": _style(**TIED, ties=(Tie(180, -8, "braid", 1.0),)),
    "puffs": _style(**COILY, lengths=(0.6,) * 4, offset=0.015, count=5500,
        ties=(Tie(120, 45, "puff", 0.2), Tie(-120, 45, "puff", 0.2)), worn_by=(1.0, 0.0)),
    "puff": _style(**COILY, lengths=(0.6,) * 4, offset=0.015, count=5500,
        ties=(Tie(180, 58, "puff", 0.28),), worn_by=(1.0, 0.2)),
    "crown_braid": _style(**TIED, ties=(Tie(0, 0, "crown", 0.0),)),
    "half_up": _style(lengths=(1.4, 1.2, 1.1, 0.9), comb={"side": 1.0, "radial": 0.5}, gravity=0.75,
        offset=0.04, clump=0.45, stiff=0.62, ties=(Tie(180, 22, "tail", 0.6),), loose_below=0.12,
        worn_by=(1.0, 0.1)),
    "half_bun": _style(lengths=(1.1, 0.9, 0.8, 0.6), comb={"side": 1.0, "radial": 0.5}, gravity=0.75,
        offset=0.035, clump=0.5, stiff=0.62, ties=(Tie(180, 42, "bun", 0.11),), loose_below=0.14,
        worn_by=(0.7, 0.4)),
    "victory": _style(**LONG, lengths=(0.95, 0.9, 0.9, 0.6), comb={"back": 0.8, "side": 0.5}, cut=-0.45,
        lift=1.0, wave=(0.04, 2.6), fringe=0.0),
}  # fmt: skip

EXTRA_STYLES: dict[str, HairStyle] = {  # `sample` never draws these, so that a seed keeps its head
    "high_bun": _style(**TIED, ties=(Tie(180, 44, "bun", 0.17),)),
    "messy_bun": _style(lengths=(0.6, 0.5, 0.12, 0.1), comb={"side": 0.8, "radial": 0.5}, gravity=0.6, offset=0.045,
        count=6500, clump=0.5, wave=(0.014, 4.0), frizz=0.012, ties=(Tie(180, 42, "bun", 0.17, rough=1.0),),
        loose_below=-0.21),
    "man_bun": _style(lengths=(0.5, 0.03, 0.03, 0.03), offset=0.02, count=7000, fade=0.2,
        ties=(Tie(180, 34, "bun", 0.09, rough=0.3),), loose_below=0.12, worn_by=(0.1, 1.0)),
    "space_buns": _style(**TIED, ties=(Tie(62, 58, "bun", 0.125), Tie(-62, 58, "bun", 0.125))),
    "front_braids": _style(**TIED, ties=(Tie(108, -34, "braid", 1.35, forward=1.0),
        Tie(-108, -34, "braid", 1.35, forward=1.0))),
    "front_pigtails": _style(**TIED, ties=(Tie(106, -28, "tail", 1.2, forward=1.0),
        Tie(-106, -28, "tail", 1.2, forward=1.0))),
    "wavy_lob": _style(**LONG, lengths=(1.25, 1.05, 0.95, 0.65), comb={"side": 1.0, "radial": 0.3}, cut=-0.62,
        wave=(0.036, 3.0)),
    "curly_fringe": _style(lengths=(0.5, 0.42, 0.4, 0.3), comb={"radial": 0.9}, lift=0.9, gravity=0.35, offset=0.055,
        wave=(0.034, 6.5), clump=0.65, frizz=0.012, fringe=0.34, texture="curly", worn_by=(1.0, 0.6)),
    "afro_medium": _style(**COILY, lengths=(0.3, 0.27, 0.27, 0.2), comb={"up": 1.0}, lift=1.5, gravity=0.01,
        stiff=0.8, wave=(0.022, 12.5), clump=0.42, frizz=0.018, count=5000, width=0.0165, worn_by=(1.0, 0.7)),
    "afro_big": _style(**COILY, lengths=(0.58, 0.54, 0.52, 0.36), comb={"up": 1.0}, lift=1.5, gravity=0.04,
        stiff=0.84, wave=(0.026, 9.0), clump=0.45, frizz=0.02, count=5200, width=0.0185, worn_by=(1.0, 0.3)),
    "very_long": _style(lengths=(2.2, 1.95, 1.8, 1.5), comb={"side": 1.0, "radial": 0.35}, gravity=0.85, offset=0.032,
        clump=0.3, stiff=0.6, frizz=0.002, worn_by=(1.0, 0.05)),
    "curly_mullet": _style(lengths=(0.3, 0.09, 0.5, 0.46), comb={"radial": 0.8, "forward": 0.3}, lift=0.9,
        gravity=0.4, offset=0.045, wave=(0.034, 6.0), clump=0.65, frizz=0.014, fringe=0.2, texture="curly",
        worn_by=(0.2, 0.8)),
    "undercut_back": _style(lengths=(0.5, 0.02, 0.02, 0.02), comb={"back": 1.2}, lift=0.7, gravity=0.22, stiff=0.78,
        offset=0.045, fade=0.27, clump=0.5, worn_by=(0.3, 1.0)),
    "swept_pixie": _style(lengths=(0.34, 0.13, 0.12, 0.05), comb={"side": 0.6, "forward": 0.7}, lift=0.45,
        gravity=0.32, stiff=0.75, offset=0.026, fringe=0.34, clump=0.55, sweep=0.8, worn_by=(1.2, 0.1)),
    "curtain_fringe": _style(**LONG, lengths=(1.4, 1.15, 1.1, 0.85), comb={"side": 1.0, "radial": 0.4},
        fringe=0.42, fringe_parts=1.0, wave=(0.016, 2.0)),
    "slick_long": _style(lengths=(1.1, 0.95, 0.85, 0.6), comb={"back": 1.0}, lift=0.1, gravity=0.74, stiff=0.6,
        offset=0.018, clump=0.62, frizz=0.002, worn_by=(0.7, 0.7)),
    "locs_tied": _style(**COILY, lengths=(0.6,) * 4, offset=0.03, locks="locs", locks_count=130,
        ties=(Tie(180, 46, "tail", 0.6),), worn_by=(0.7, 0.7)),
    "braids_tied": _style(**COILY, lengths=(0.6,) * 4, offset=0.022, locks="braids", locks_count=150,
        ties=(Tie(180, 40, "tail", 1.0),), worn_by=(1.0, 0.2)),
    "shag": _style(lengths=(0.5, 0.62, 0.8, 0.75), comb={"radial": 1.0}, lift=0.7, gravity=0.6, stiff=0.66,
        offset=0.05, wave=(0.026, 3.4), clump=0.6, frizz=0.014, fringe=0.34, worn_by=(1.0, 0.3)),
    "flow": _style(lengths=(0.6, 0.42, 0.42, 0.36), comb={"back": 1.0, "side": 0.4}, lift=0.7, gravity=0.45,
        stiff=0.72, offset=0.035, wave=(0.016, 2.6), clump=0.5, worn_by=(0.2, 1.0)),
}  # fmt: skip


def find_style(name: str) -> HairStyle:
    """Return the style of this name from STYLES or EXTRA_STYLES."""
    return STYLES[name] if name in STYLES else EXTRA_STYLES[name]
