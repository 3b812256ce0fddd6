"""The gender that a face shows, and how it enters the reading."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.portrait.face_gender import ERROR, cut_face, judge_face, settle_gender


def test_the_astronauts_face_is_a_womans(portrait):
    assert judge_face(portrait.rgb, portrait.landmarks) > 0.9
    assert portrait.reading.answers["woman"]["yes"] == 1 - ERROR


def test_the_aligned_face_does_not_depend_on_the_crop(portrait):
    """Turned, smaller and moved, the picture gives the same chip."""
    size = len(portrait.rgb)
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), 25, 0.8) + np.array([[0, 0, 12], [0, 0, -9]])
    turned = cv2.warpAffine(portrait.rgb, turn, (size, size), borderMode=cv2.BORDER_REPLICATE)
    pixels = portrait.landmarks[:, :2] * size - 0.5
    landmarks = (pixels @ turn[:, :2].T + turn[:, 2] + 0.5) / size
    difference = cut_face(turned, landmarks) - cut_face(portrait.rgb, portrait.landmarks)
    assert np.abs(difference).mean() < 3.0
    assert (
        np.abs(
            cut_face(portrait.rgb[:, ::-1], portrait.landmarks) - cut_face(portrait.rgb, portrait.landmarks)
        ).mean()
        > 10
    )


def test_a_profile_keeps_the_readers_answer_and_answers_stay_sorted_odds(portrait):
    reader = {**portrait.reading.answers, "woman": {"no": 0.7, "yes": 0.3}}
    reading = replace(portrait.reading, answers=reader)
    seen = [
        settle_gender(reading, portrait.rgb, portrait.landmarks, azimuth).answers["woman"]
        for azimuth in (0.0, -30.0, 60.0, 80.0, -90.0, 180.0)
    ]
    assert seen[-3:] == [reader["woman"]] * 3
    assert seen[0] == seen[1] and seen[0]["yes"] > seen[2]["yes"] > 0.3
    for odds in seen:
        assert list(odds.values()) == sorted(odds.values(), reverse=True) and abs(sum(odds.values()) - 1) < 1e-9
