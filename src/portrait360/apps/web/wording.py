"""Messages as the page says them: they name its inputs, where those of the command line name flags."""

from __future__ import annotations

import re

from portrait360.pipeline.options import MakeOptions
from portrait360.utils.option_fields import flags_for, name_flags, option_fields

AUTOMATIC = "press “Reset to automatic” under “Where the photo was taken from”"
SENTENCES = {
    "no face found;": "no face was found;",
    "choose another with --face N": "click another one under “Which face?”",
    "Use --azimuth and --elevation to say where the camera was (a profile: 90 or -90, from behind: 180)": (
        "Under “More settings”, set the azimuth to 90 or -90 for a profile, or to 180 for a photo from behind"
    ),
    "for a profile, add --azimuth 90 or --azimuth -90": (
        "for a profile, set the azimuth to 90 or -90 under “More settings”"
    ),
    "make fewer views, make smaller ones, or skip": "reduce “Number of views”, or skip",
    "skip the fit with --no-fit": "choose “Pictures only, no 3D head”",
    "; use --device cpu, or a smaller --size": "; close other programs that use it",
    "; do not set --azimuth when a face is visible": f"; if a face is visible, {AUTOMATIC}",
    "; if in doubt, do not set --azimuth": f"; if in doubt, {AUTOMATIC}",
    "leave splats out of --as": "choose “Pictures only, no 3D head”",
    "--hair, --hair-length and --parameters have": "“Hairstyle” and “Hair length” have",
    "; pass it as --reference": "",  # the form has one photo besides the one from behind
}
LABELS = {flags_for(name, info)[0]: info.label for name, _, _, info in option_fields(MakeOptions) if info.label}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def name_inputs(message: str) -> str:
    """The message with the page's own inputs instead of flags; commands between backquotes stay as they are."""
    parts = name_flags(message).split("`")
    return "`".join(part if i % 2 else _name_labels(part) for i, part in enumerate(parts))


def _name_labels(text: str) -> str:
    for sentence, said in SENTENCES.items():
        text = text.replace(sentence, said)
    return FLAG.sub(lambda flag: f"“{LABELS[flag[0]].split(',')[0]}”" if flag[0] in LABELS else flag[0], text)
