"""Choose the hairstyle of a photo: render a few styles coarsely and compare their outline and direction with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.hair.baldness import RING_LENGTH, RING_STYLE, has_ring, share_of_hair
from portrait360.pipeline.avatar.hair.buns import Mass, find_masses, make_tied_style
from portrait360.pipeline.avatar.hair.curl_size import CurlSize, measure_curls
from portrait360.pipeline.avatar.hair.depth import drape
from portrait360.pipeline.avatar.hair.ends import NAPE, measure_end, measure_hidden, measure_lowest
from portrait360.pipeline.avatar.hair.outline import CENTRE, bare_skin, clean_hair, make_frame, trace_outline
from portrait360.pipeline.avatar.hair.texture import (
    KNOT,
    add_curls,
    find_hidden_knot,
    order_strands,
    read_grain,
    size_curls,
)
from portrait360.pipeline.avatar.hair.wave_size import measure_waves
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.hair.hairdo import Hairdo, make_hair
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.skin_labels import COVERED, label_skin
from portrait360.synth.meshes import with_label
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.sampling.hairstyles import HairStyle, find_style
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.synth.sampling.style_descriptor import DESCRIPTOR, FAMILY_OF, describe_style
from portrait360.synth.wear.hat_fit import cover_hair, cover_meshes, fit_hat
from portrait360.synth.wear.hat_meshes import hat_meshes
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import map_in_threads
from portrait360.utils.portrait_labels import Label

SIDE = 144  # pixels of a coarse render
FEWER, WIDER = 4, 2.0  # strands of a coarse render
READ_STYLES, READ_FAMILIES = 6, 3
PLAIN: dict[str, tuple[str, ...]] = {  # the plainest styles of each family; of unlikely families only the first two
    "bald": ("receding", "buzz"),
    "short": ("side_part", "crew", "quiff", "swept_pixie", "messy", "pompadour"),
    "special": ("bowl", "undercut_back"),
    "medium": ("curtains", "bob", "short_bob", "flow", "shag"),
    "long": ("long", "lob", "long_wavy", "swept", "layered"),
    "curly": ("curly_short", "curly_fringe", "curly_top", "afro_medium", "long_curly"),
    "bun": ("bun", "low_bun"),
    "tail": ("low_ponytail", "pigtails"),
    "locks": ("short_locs",),
}
TIED_FAMILIES, TIED, SHOWN_TIED = ("bun", "tail"), 0.15, 0.5  # what a tie costs, unless it is so probable
TOP_KNOT, SIDE_KNOTS = "top_knot", "space_buns"  # names of styles whose ties are measured in the photo
LIKELY_TIED, SURELY_TIED = 0.12, 0.5  # the reader's least probability of a knot on top, and of one that may be seen
PLAINER, SPECIAL = 0.015, 0.06  # what the plain styles of a family are given, and what special ones cost
STUBBLE, SIDE_SHARE, BACK_SHARE, NAPE_SHARE = 0.045, 0.2, 0.4, 0.12  # head heights; least shares of the top's length
FALLING = 0.12  # least gravity on hair combed back, which falls behind the whorl
CALMER, CURLED_WAVE = 0.6, 0.12  # share of a style's clumping that stays; radius times turns of curls, which stay
POOR, PLAINEST_STEPS = 0.5, (("length", (0.75, 1.3)), ("volume", (0.75,)))  # overlap below which no style is found
MENS_TIES = ("top_knot", "half_bun", "locs_tied", "braids_tied")
"""Those of which the front shows something: the reader takes short hair that is swept back for a bun behind."""
THIN = 0.25  # probability of a bald head from which hair may be thin on top
MAN = 0.25  # probability of a woman below which hair is a man's; the reader gives women 0.5 and more
DIRECTION, CURL, PRIOR, WORN = 0.4, 0.8, 0.02, 0.03  # weights against the overlap of the outlines
CURL_TOLERANCE, CURLY = 0.07, 0.18
UNLIKELY = 0.006  # least probability of a style or family: the reader may be wrong
RARELY_WORN, BEARDED = 0.04, 0.004  # least frequency of a style; share of the crop that makes a beard
TEXTURE = {"curl_radius": 0.02, "coily": 0.4, "tied": 0.5, "locks": 0.5, "comb_up": 0.4, "comb_back": 0.4}
"""Numbers of a style that the reader tells better than an outline, and what they may be off by."""
SHORT, SHORT_CURL = 0.15, 0.10  # hair shorter than this looks as uneven as if it had such curls
BARE = 0.03  # share of the head's pixels below which there is no hair
EAR_PIXELS = 0.0008  # share of the crop from which an ear is seen
FINALISTS = 5
UNEVEN_CURLS = 0.06  # canonical
JAW, CROPS, CROPPED = -0.13, ("bald", "short"), 0.15  # canonical height; families of hair that hangs no lower, and
# what they cost where it does
HIDDEN, MOST_HIDDEN, CUT_OFF = 1.5, 0.25, 0.05
"""What each canonical unit costs by which hair hangs behind unseen, and most of it; how much is simply cut off."""
BOBS = ("bob_fringe", "short_bob", "pixie")  # women's cuts that end behind where they do beside the neck
UNCUT, NEAR_CUT, BELOW_CHIN = "long", 0.03, -0.24
"""Style as long as hair whose end nobody sees; canonical: how near its cut, and how low, the photo shows that."""
SURE_KNOT = 0.6  # least overlap that is assumed of hair drawn back, which takes the outline of the photo
FLYAWAY = 0.6  # loose strands, which no outline tells
PARTINGS = (-0.1, 0.1)
TUCKED = 0.3  # head heights: shorter hair is not tucked behind an ear
FLATTER = ("size", (0.75,))  # length and volume at once: many catalogue styles are fuller than they are worn
SWEEP_STEP, FIRST_STEPS = ("sweep", (-0.5, 0.5)), (("length", (0.75, 1.3)), ("volume", (0.75, 1.35)))
LAST_STEPS: tuple[tuple[str, tuple[float, ...]], ...] = (  # coordinate steps of the winner, coarse to fine
    ("parting", (-0.06, 0.06)),
    ("sweep", (-0.4, 0.4)),
    ("receding", (0.4, 0.8)),
    ("height", (-0.6, 0.6)),
    ("temples", (0.5, 1.0)),
    ("tuck_left", (1.0,)),
    ("tuck_right", (1.0,)),
    ("curl", (0.65, 1.4)),
    ("length", (0.85, 1.18)),
    ("volume", (0.85, 1.18)),
    ("height", (-0.3, 0.3)),
    ("parting", (-0.03, 0.03)),
    ("length", (0.93, 1.08)),
)
Steps: TypeAlias = tuple[tuple[str, tuple[float, ...]], ...]
FACTORS = ("length", "volume", "curl")
LIMITS: dict[str, tuple[float, float]] = {
    "length": (0.5, 1.7),
    "volume": (0.5, 1.6),
    "curl": (0.5, 1.6),
    "parting": (-0.16, 0.16),
    "sweep": (-1, 1),
    "height": (-1, 1),
}


@dataclass(frozen=True)
class Match:
    """How well a hairstyle agrees with the photo."""

    score: float
    overlap: float  # intersection over union of the hair
    direction: float  # mean cosine of twice the angle between the strands
    hair: Hair


@dataclass(frozen=True, eq=False)
class Target:
    """What the photo shows, at the size of the coarse renders."""

    is_hair: np.ndarray
    is_known: np.ndarray
    flow: F32
    curl: float  # radius times turns, as styles have it
    trust: float  # 0..1: how much the direction of the hair counts
    is_bearded: bool
    ears: tuple[bool, bool]  # whether the subject's left and right ear are seen
    in_front: tuple[bool, bool]  # whether hair hangs before the shoulders, left and right in the picture
    masses: tuple[Mass, ...]  # knots that stand off the head
    end: float | None  # canonical height of the lowest hair, if the photo tells
    lowest: float  # the same of what it shows, whether hair ends there or not
    knot: HairStyle | None = None  # the style of hair that is drawn back to a knot out of sight

    @property
    def is_short(self) -> bool:
        """Return whether no hair hangs below the ears."""
        return self.end is not None and self.end > JAW

    @property
    def hangs(self) -> bool:
        """Return whether hair hangs to the jaw, and is seen to end below that."""
        return self.end is not None and self.end <= JAW


@dataclass(frozen=True)
class HairFit:
    """The hair that agrees best with a photo."""

    hair: Hair
    style: HairStyle  # in place of the one that the hair names
    score: float  # overlap of its outline with the photo's
    end: float | None = None  # canonical height below which no hair hangs, if the photo tells
    curls: CurlSize | None = None

    @property
    def trust(self) -> float:
        """Return how far (0..1) it may be moved to meet the photo's outline."""
        return float(0.3 + 0.7 * smoothstep(POOR - 0.1, POOR + 0.1, np.asarray(self.score)))


def find_hair(head: Head, photo: Photo, base: HeadParameters, reading: Reading, only: str | None = None) -> HairFit:
    """Return the hair that agrees best with the photo; `only` names the one style that may be tried.

    What the base says of the hair's colours stays; what it wears on the head covers hair as in the photo.
    """
    if only is None and base.wear.hat in ("none", "headphones") and has_ring(photo, reading):
        hair = replace(base.hair, style=RING_STYLE, length=RING_LENGTH)
        return HairFit(hair, find_style(RING_STYLE), 1.0)
    if only is None and share_of_hair(photo) < BARE:
        name = _bald_style(reading, base.wear.hat, is_bare=share_of_hair(photo) == 0)
        return HairFit(replace(base.hair, style=name), find_style(name), 1.0)
    target = read_target(photo, _shown_masses(photo, head, base, reading))
    is_free = base.wear.hat in ("none", "headphones") and only in (None, KNOT)
    if is_free and not target.masses and not target.is_bearded:
        target = replace(target, knot=find_hidden_knot(photo, head, reading))
    search = _Search(head, photo, base, reading, target)
    names = choose_styles(reading, target) if only is None else [only]
    found = sorted(map_in_threads(search.try_style, names), key=lambda match: -match.score)
    finalists = found[:FINALISTS]
    # curls fill their outline only once their size is right
    finalists += [m for m in found[FINALISTS:] if _miss_of_curl(m.hair, target) == 0][
        : 2 if target.curl > CURLY else 0
    ]
    finalists = search.refine_all(finalists, (*FIRST_STEPS, SWEEP_STEP))
    finalists = sorted(finalists, key=lambda match: -match.score)[:2]
    best = max(search.refine_all(finalists, LAST_STEPS), key=lambda match: match.score)
    if best.overlap < POOR and target.knot is None and only is None:
        plain = [replace(base.hair, style=PLAIN[family][0]) for family in PLAIN if family not in TIED_FAMILIES]
        best = max(map(search.rate, plain), key=lambda match: match.score)
        best = search.refine(best, PLAINEST_STEPS)
    style, has_waves = search.style_of(best.hair.style), measure_waves(photo) is not None
    style = style if only else drop_cut(style, best.hair, target)
    style = add_curls(style, best.hair, target.curl, reading, shows_waves=has_waves)
    style = order_strands(size_curls(style, best.hair, target.curl, reading), best.hair, target.curl, target.trust)
    score = best.overlap if target.knot is None else max(best.overlap, SURE_KNOT)
    end = None if only or style.ties else _limit_end(target, style)
    curls = None if only or style.ties or style.locks != "none" else measure_curls(photo, reading)
    return HairFit(replace(best.hair, flyaway=0.0 if style.ties else FLYAWAY), style, score, end, curls)


def drop_cut(style: HairStyle, hair: Hair, target: Target) -> HairStyle:
    """Return the style without its blunt cut where hair hangs as low, and goes behind the shoulders unseen."""
    if style.cut is None or target.end is not None:
        return style
    if target.lowest > min(style.cut * HEAD_HEIGHT + NEAR_CUT, BELOW_CHIN):
        return style
    lengths = zip(style.lengths, find_style(UNCUT).lengths, strict=True)
    return replace(style, cut=None, lengths=tuple(max(own, long / hair.length) for own, long in lengths))


def _limit_end(target: Target, style: HairStyle) -> float | None:
    """Return the height below which hair of a style may not hang; curls end less evenly than at the ears."""
    if target.end is None:
        return None
    return min(target.end, NAPE) - UNEVEN_CURLS * (style.texture in ("curly", "coily"))


def _shown_masses(photo: Photo, head: Head, base: HeadParameters, reading: Reading) -> tuple[Mass, ...]:
    """Return the knots that the photo shows; one alone must be likely to the reader, too."""
    masses = find_masses(photo, head) if base.wear.hat in ("none", "headphones") else ()
    return masses if len(masses) > 1 or _odds_of_ties(reading) > LIKELY_TIED else ()


def _odds_of_ties(reading: Reading) -> float:
    return sum(reading.answers["family"].get(family, 0.0) for family in TIED_FAMILIES)


def _odds_of_hidden_ties(reading: Reading) -> float:
    """Return how likely hair is tied behind the head: short hair of men, too, leaves neck and ears bare."""
    return _odds_of_ties(reading) * reading.answers["woman"].get("yes", 0.5)


def choose_styles(reading: Reading, target: Target) -> list[str]:
    """Return the styles worth a render: the reader's likeliest, and the plainest of each family."""
    if len(target.masses) > 1:
        return [SIDE_KNOTS]
    if target.knot is not None:
        return [KNOT, *_read_ties(reading)]
    named = list(reading.answers["style"])[:READ_STYLES]
    families = [name for name in reading.answers["family"] if name in PLAIN]
    plain = [style for i, name in enumerate(families) for style in PLAIN[name][: 6 if i < READ_FAMILIES else 2]]
    if target.is_short:  # whatever family the reader takes it for
        plain += PLAIN["short"]
    knots = [TOP_KNOT] if target.masses else []
    is_man = target.is_bearded or reading.answers["woman"].get("yes", 0.5) < MAN
    bobs = BOBS if target.end is not None and not is_man else ()
    names = dict.fromkeys([*named, *plain, *knots, *bobs])
    thins = reading.answers["family"].get("bald", 0.0) > THIN or "receding" in named
    unlikely = [name for name in names if (is_man and _is_womens_tie(name)) or (name == "receding" and not thins)]
    return [name for name in names if name not in unlikely]


def _read_ties(reading: Reading) -> list[str]:
    """Return the ties that the reader names, if it is sure of one: unlike a low knot, some of it may be seen."""
    if _odds_of_ties(reading) < SURELY_TIED:
        return []
    named = list(reading.answers["style"])[:READ_STYLES]
    return [name for name in named if FAMILY_OF[name] in TIED_FAMILIES and name != KNOT]


def _is_womens_tie(name: str) -> bool:
    """Return whether hardly any man ties his hair like this: drawn back, it fits the outline of any short cut."""
    return bool(find_style(name).ties) and name not in MENS_TIES


def _hangs_behind(style: HairStyle) -> bool:
    """Return whether hair is gathered and hangs or is knotted where a photo from the front doesn't show it."""
    return bool(style.ties) or style.locks == "cornrows"


def _start(hair: Hair, name: str) -> list[Hair]:
    """Return where the search of a style begins: with its parting on either side, if it has one."""
    is_parted = find_style(name).comb.get("side", 0.0) > 0.5 and not find_style(name).ties
    return [replace(hair, style=name, parting=x) for x in (PARTINGS if is_parted else (0.0,))]


def read_target(photo: Photo, masses: tuple[Mass, ...] = ()) -> Target:
    size = (SIDE, SIDE)
    labels = np.asarray(cv2.resize(photo.labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    flow = np.asarray(cv2.resize(photo.flow, size, interpolation=cv2.INTER_AREA), np.float32)
    middle = photo.camera.project(CENTRE)[0][0] * SIDE
    columns = np.flatnonzero((labels == Label.EAR).any(0))
    count = np.array([(labels[:, columns[s]] == Label.EAR).sum() for s in (columns > middle, columns <= middle)])
    ears = count > EAR_PIXELS * SIDE * SIDE
    return Target(
        labels == Label.HAIR,
        labels != VOID,
        flow,
        *read_grain(photo),
        bool((labels == Label.BEARD).mean() > BEARDED),
        (bool(ears[0]), bool(ears[1])),
        trace_outline(clean_hair(photo.labels), make_frame(photo.camera)).in_front,
        masses,
        measure_end(photo),
        measure_lowest(photo),
    )


def _bald_style(reading: Reading, hat: str, *, is_bare: bool) -> str:
    if hat not in ("none", "headphones"):
        return "bald"  # what is hidden is put up beneath it: no hairline or stubble below it is the sitter's
    odds = reading.answers["style"]
    names = ("bald", "receding") if is_bare else ("bald", "stubbled", "receding")  # stubble is seen, and called hair
    return max(names, key=lambda name: odds.get(name, 0.0))


def soften_style(style: HairStyle) -> HairStyle:
    """Return the style without stubble under longer hair, and with weaker locks, which get others from the avatar.

    A step at the back is not told from a photo.
    """
    if style.wave[0] * style.wave[1] < CURLED_WAVE and style.locks == "none":
        style = replace(style, clump=CALMER * style.clump)
    if style.count == 0 or max(style.lengths) < SHORT or style.region == "strip":
        return style
    top, side, back, nape = style.lengths
    shares = (SIDE_SHARE, BACK_SHARE, NAPE_SHARE)
    least = (max(length, STUBBLE, share * top) for length, share in zip((side, back, nape), shares, strict=True))
    gravity = max(style.gravity, FALLING) if style.comb.get("back") else style.gravity
    return replace(style, lengths=(top, *least), fade=0.0, gravity=gravity)


def _coarsen(style: HairStyle) -> HairStyle:
    """Return the style with fewer and wider strands."""
    return replace(style, count=-(-style.count // FEWER), width=style.width * WIDER)


class _Search:
    """Rates hairstyles on one head against one photo."""

    def __init__(self, head: Head, photo: Photo, base: HeadParameters, reading: Reading, target: Target) -> None:
        self.head, self.photo, self.base, self.reading, self.target = head, photo, base, reading, target
        self.right, none = make_frame(photo.camera).axes[0], np.zeros(len(head.body), np.float32)
        self.bare_labels = label_skin(head, head.triangles, none, none, [])
        self.measured: dict[str, HairStyle] = {}
        if target.masses:
            name = SIDE_KNOTS if len(target.masses) > 1 else TOP_KNOT
            end = "puff" if target.curl > CURLY else "bun"
            self.measured[name] = make_tied_style(target.masses, head, photo, end=end)
        if target.knot is not None:
            self.measured[KNOT] = target.knot
        hat = base.wear.hat
        self.cover = None if hat in ("none", "headphones") else fit_hat(head, hat, base.wear.fit)
        meshes = [] if hat == "none" else hat_meshes(head, self.cover, base)
        self.backdrop = draw_backdrop([bare_skin(head), *with_label(meshes, Label.HAT)], photo.camera, SIDE)

    def style_of(self, name: str) -> HairStyle:
        """Return the style of this name as the photo has it."""
        return self.measured[name] if name in self.measured else soften_style(find_style(name))

    def rate(self, hair: Hair) -> Match:
        hairdo, target = self._make(hair), self.target
        backdrop = self.backdrop.relabel(self._label_skin(hairdo)).add(with_label(hairdo.meshes, Label.HAIR))
        film = see_labels(backdrop, hairdo.strands)
        found = (film.labels == Label.HAIR) & (film.alpha > 0.5) & target.is_known
        both = found & target.is_hair
        overlap = both.sum() / max((found | target.is_hair).sum(), 1)
        weight = np.linalg.norm(target.flow[both], axis=-1)
        agreement = (target.flow[both] * film.flow[both]).sum() / max(weight.sum(), 1e-6)
        likely = self._log_prior(hair) - CURL * _miss_of_curl(hair, target) - self._cost_of_hidden(hair, hairdo)
        score = overlap + DIRECTION * (0.25 + 0.75 * target.trust) * agreement + likely
        return Match(float(score), float(overlap), float(agreement), hair)

    def _cost_of_hidden(self, hair: Hair, hairdo: Hairdo) -> float:
        """Return what it costs that hair hangs behind where the photo shows none: a mullet, or a tail."""
        is_sure = bool(find_style(hair.style).ties) and _odds_of_hidden_ties(self.reading) > SURELY_TIED
        if self.target.end is None or is_sure or hair.style in self.measured:
            return 0.0
        below = measure_hidden(hairdo.strands, min(self.target.end, NAPE))
        return float(np.clip(HIDDEN * (below - CUT_OFF), 0, MOST_HIDDEN))

    def try_style(self, name: str) -> Match:
        best = max(map(self.rate, _start(self.base.hair, name)), key=lambda match: match.score)
        return self.refine(best, (FLATTER,))

    def refine_all(self, matches: Iterable[Match], steps: Steps) -> list[Match]:
        return list(map_in_threads(lambda match: self.refine(match, steps), matches, lone_first=False))

    def refine(self, match: Match, steps: Steps) -> Match:
        """Try each step from the best match so far."""
        for name, changes in steps:
            if name.startswith("tuck") and not self._may_tuck(match.hair, name):
                continue
            options = [_change(match.hair, name, change) for change in changes]
            options = [hair for hair in options if hair != match.hair]
            match = max([match, *map(self.rate, options)], key=lambda m: m.score)
        return match

    def _may_tuck(self, hair: Hair, name: str) -> bool:
        """Return whether hair is long enough to go behind an ear, which is seen."""
        sides = self.style_of(hair.style).lengths[1] * hair.length
        return sides > TUCKED and self.target.ears[name == "tuck_right"]

    def _make(self, hair: Hair) -> Hairdo:
        """Make hair as coarse as its picture, over the shoulders and beneath the hat."""
        parameters = replace(self.base, hair=hair)
        rng = np.random.default_rng([self.base.seed, 1])
        hairdo = make_hair(self.head, parameters, rng, _coarsen(self.style_of(hair.style)))
        strands = [drape(group, self.head, self.target.in_front, self.right) for group in hairdo.strands]
        if self.cover is None:
            return replace(hairdo, strands=strands)
        hat = self.base.wear.hat
        meshes = cover_meshes(self.cover, hairdo.meshes, hat)
        return Hairdo(cover_hair(self.cover, strands, hat), meshes, hairdo.tint)

    def _label_skin(self, hairdo: Hairdo) -> Bytes:
        """Return the labels of the skin, hair where roots colour it."""
        a, b, c = (hairdo.tint[column] > COVERED for column in self.head.triangles.T)
        return np.where((a & b) | (b & c) | (c & a), np.uint8(Label.HAIR), self.bare_labels)

    def _log_prior(self, hair: Hair) -> float:
        """Return the weighted logarithm of the odds of this style: its wearer, and its name and texture as read."""
        answers, style = self.reading.answers, find_style(hair.style)
        woman = 0.0 if self.target.is_bearded else answers["woman"].get("yes", 0.5)
        worn = woman * style.worn_by[0] + (1 - woman) * style.worn_by[1]
        odds = 0.0
        if hair.style not in self.measured:
            odds += np.log(max(answers["style"].get(hair.style, 0.0), UNLIKELY))
            odds += np.log(max(answers["family"].get(FAMILY_OF[hair.style], 0.0), UNLIKELY))
        numbers = describe_style(hair)
        for name, tolerance in TEXTURE.items():
            value = self.reading.values[name]
            off = (numbers[DESCRIPTOR.index(name)] - value.mean) / np.hypot(value.deviation, tolerance)
            odds -= 0.5 * float(off) ** 2
        odds_of_ties = (
            answers["style"].get(hair.style, 0.0) if style.locks == "cornrows" else _odds_of_hidden_ties(self.reading)
        )
        is_doubtful = _hangs_behind(style) and hair.style not in self.measured and odds_of_ties < SHOWN_TIED
        family = FAMILY_OF[hair.style]
        plain = PLAINER * (hair.style in PLAIN[family]) - TIED * is_doubtful - SPECIAL * (family == "special")
        plain -= CROPPED * (self.target.hangs and family in CROPS)
        return float(plain + PRIOR * odds + WORN * np.log(min(worn, 1.0) + RARELY_WORN))


def _curl_of(hair: Hair) -> float:
    """Return radius times turns of the curls; short hair looks curly, too."""
    style = find_style(hair.style)
    curl = style.wave[0] * style.wave[1] * hair.curl if style.locks == "none" else SHORT_CURL
    return max(curl, SHORT_CURL) if max(style.lengths) * hair.length < SHORT else curl


def _miss_of_curl(hair: Hair, target: Target) -> float:
    return max(abs(_curl_of(hair) - target.curl) - CURL_TOLERANCE, 0.0)


def _change(hair: Hair, name: str, change: float) -> Hair:
    """Return the hair with one number changed: multiplied where it is a factor, else added to."""
    if name == "size":
        return replace(hair, length=hair.length * change, volume=hair.volume * change)
    owner = hair.hairline if name in ("height", "temples") else hair
    value = getattr(owner, name)
    value = value * change if name in FACTORS else value + change
    low, high = LIMITS.get(name, (0.0, 1.0))
    changed = replace(owner, **{name: round(float(np.clip(value, low, high)), 4)})
    return changed if isinstance(changed, Hair) else replace(hair, hairline=changed)
