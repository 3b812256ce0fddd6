"""What the page says of a photo: it names its own inputs, and no flag of the command line."""

from types import SimpleNamespace

import numpy as np
import pytest

from portrait360.apps.web.markup import render_message, render_warnings
from portrait360.apps.web.wording import name_inputs
from portrait360.pipeline.portrait import alignment
from portrait360.utils.option_fields import name_flags


def face_warnings():
    face = SimpleNamespace(box=(0.0, 0.0, 400.0, 400.0))
    return alignment._face_warnings([(face, None), (face, None)], None)


def outline_warnings(monkeypatch, azimuth):
    matte, head = SimpleNamespace(values=np.ones((8, 8)), scale=1.0), SimpleNamespace(center=(4, 4), height=8.0)
    monkeypatch.setattr(alignment, "photo_matte", lambda picture: matte)
    monkeypatch.setattr(alignment, "find_head_in_matte", lambda values: head)
    monkeypatch.setattr(alignment, "_find_animal_head", lambda picture, matte: None)
    return alignment._place_by_outline(None, azimuth, None, 1.0).warnings


@pytest.mark.parametrize("say", [str, name_flags])  # as a run on this machine says it, and as its process does
def test_warnings_of_a_photo_name_what_the_page_shows(monkeypatch, say):
    several, none, set_already = (
        render_warnings(map(say, texts))
        for texts in (face_warnings(), outline_warnings(monkeypatch, None), outline_warnings(monkeypatch, 90.0))
    )
    assert "<li>2 faces were found and the largest was used; click another one under “Which face?”.</li>" in several
    assert (
        "<li>No face was found; the head was located by its outline. Under “More settings”, set the azimuth to "
        "90 or -90 for a profile, or to 180 for a photo from behind.</li>"
    ) in none
    assert "<li>No face was found; the head was located by its outline.</li>" in set_already


def test_other_flags_become_labels_and_commands_stay():
    assert "but “Face” 3 was given" in render_message("There is 1 face, but `face=3` was given.")
    assert name_inputs("--hair-length 9 is not valid") == "“Hair length” 9 is not valid"
    for command in ("`portrait360 make --hair list` prints all", "add --overwrite", "10--seed"):
        assert name_inputs(command) == command
