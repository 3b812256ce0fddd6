"""Measure labels and mattes on photos whose outlines were drawn by hand.

python -m benchmarks.reader_photos PHOTOS OUTLINES [--answers FILE] [--sheets DIR]

OUTLINES holds a label map NAME.png as large as each photo NAME.*: 0 background, 1 skin, 8 hair, 9 beard, 10 glasses,
11 hat, 12 jewellery, 13 clothes, 14 other objects, 255 not counted. The crop of the portrait stage is measured.
FILE says for each NAME which answers to the reader's questions are right: {"NAME": {"family": ["bun", "tail"]}}.
Beside the reader stand the matte of the U2-Net alone and, for hair and skin, grabCut seeded by the fitted face.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from portrait360.evaluation.image_metrics import mask_iou
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.crop import CropSquare
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reading.overlay import draw_labels
from portrait360.utils.array_types import Bytes
from portrait360.utils.images import load_picture, save_picture
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

VOID, SURE = 255, 0.9
GROUPS = {
    "skin": (SKIN_LABELS, (Label.FACE,)),  # labels that are read, labels that were drawn
    "hair": ((Label.HAIR,), (Label.HAIR,)),
    "beard": ((Label.BEARD,), (Label.BEARD,)),
    "hat": ((Label.HAT,), (Label.HAT,)),
    "clothes": ((Label.CLOTHES,), (Label.CLOTHES,)),
}


def cut_labels(labels: Bytes, square: CropSquare, size: int) -> Bytes:
    """Cut a label map; beyond the photo nothing counts."""
    step = square.side / size
    matrix = np.array([[step, 0, square.corner[0] + step / 2 - 0.5], [0, step, square.corner[1] + step / 2 - 0.5]])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(labels, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=VOID)
    return np.asarray(out, np.uint8)


def grab_hair(portrait: Portrait) -> np.ndarray:
    """Hair by grabCut: the matte above the chin against the oval of the fitted face."""
    rgb, size = portrait.rgb, len(portrait.rgb)
    if portrait.landmarks is None:
        return np.zeros((size, size), bool)
    oval = cv2.convexHull((portrait.landmarks * size).astype(np.float32)).astype(np.int32)
    face = cv2.fillConvexPoly(np.zeros((size, size), np.uint8), oval, 1)
    face = cv2.erode(face, np.ones((size // 25, size // 25), np.uint8)).astype(bool)
    chin = int(portrait.landmarks[:, 1].max() * size)
    inside, above = portrait.alpha > 0.5, np.arange(size)[:, None] < chin
    mask = np.full((size, size), cv2.GC_BGD, np.uint8)
    mask[inside & above] = cv2.GC_PR_FGD
    near = cv2.dilate(face.astype(np.uint8), np.ones((size // 8, size // 8), np.uint8)).astype(bool)
    mask[inside & above & near] = cv2.GC_PR_BGD
    mask[face] = cv2.GC_BGD
    if not (mask == cv2.GC_PR_FGD).any():
        return np.zeros((size, size), bool)
    cv2.setRNGSeed(1)
    picture = (rgb[..., ::-1] * 255).astype(np.uint8)
    cv2.grabCut(picture, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)  # pyright: ignore
    return ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)) & inside


def measure(photo: Path, outline: Path, sheets: Path | None) -> dict[str, float]:
    picture = load_picture(photo)
    drawn = cv2.imread(str(outline), cv2.IMREAD_GRAYSCALE)
    if drawn is None:
        raise SystemExit(f"{outline} is no picture; draw its labels again.")
    portrait = make_portrait(picture)
    size = len(portrait.rgb)
    square = CropSquare(portrait.corner, portrait.side)
    truth = cut_labels(np.asarray(drawn, np.uint8), square, size)
    counted = truth != VOID
    sure = counted & (truth != Label.OBJECT)  # what is held may be cut out with the person or not
    read = portrait.labels
    assert read is not None
    row = {"matte": mask_iou((portrait.alpha > 0.5) & sure, (truth > 0) & sure)}
    plain = cut_labels((find_matte(picture.rgb) > 0.5).astype(np.uint8), square, size)
    row["matte of U2-Net"] = mask_iou((plain == 1) & sure, (truth > 0) & sure)
    for name, (found, hand) in GROUPS.items():
        expected = np.isin(truth, hand) & counted
        if expected.any():
            row[name] = mask_iou(np.isin(read, found) & counted, expected)
        elif name != "skin":
            row[f"false {name}"] = float((np.isin(read, found) & counted).mean())
    if (truth == Label.HAIR).any():
        row["hair by grabCut"] = mask_iou(grab_hair(portrait) & counted, (truth == Label.HAIR) & counted)
    if sheets:
        tiles = [
            portrait.rgb,
            draw_labels(portrait.rgb, read),
            draw_labels(portrait.rgb, np.where(counted, truth, 0)),
        ]
        tiles.append(portrait.rgb * portrait.alpha[..., None] + 0.5 * (1 - portrait.alpha[..., None]))
        save_picture(sheets / f"{photo.stem}.png", np.concatenate(tiles, 1).astype(np.float32))
    return row


def judge(portrait: Portrait, right: dict[str, list[str]]) -> list[tuple[str, str, float, bool]]:
    """Return for each question the likeliest answer, its probability, and whether it is right."""
    assert portrait.reading is not None
    best = {question: portrait.reading.best(question) for question in right}
    return [(question, *best[question], best[question][0] in answers) for question, answers in right.items()]


def print_answers(photos: list[Path], truth: dict[str, dict[str, list[str]]]) -> None:
    """Print every answer, how many are right, and how many of those that the reader is sure of."""
    rows = []
    for photo in photos:
        found = judge(make_portrait(load_picture(photo)), truth[photo.stem])
        words = ", ".join(f"{q} {a} {p:.2f}{'' if ok else ' (WRONG)'}" for q, a, p, ok in found)
        print(f"{photo.stem}: {words}")
        rows += found
    for question in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == question]
        sure = [row for row in own if row[2] > SURE]
        print(f"{question}: {sum(row[3] for row in own)} of {len(own)} right", end="; ")
        print(f"of {len(sure)} above {SURE}: {sum(row[3] for row in sure)}")
    sure = [row for row in rows if row[2] > SURE]
    print(f"all that is said with more than {SURE}: {sum(row[3] for row in sure)} of {len(sure)} right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("outlines", type=Path)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--sheets", type=Path)
    args = parser.parse_args()
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
    rows = {}
    for photo in sorted(args.photos.iterdir()):
        outline = args.outlines / f"{photo.stem}.png"
        if outline.is_file() and photo.suffix != ".md":
            rows[photo.stem] = measure(photo, outline, args.sheets)
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"{'':22s}" + "".join(f"{name:>16s}" for name in names))
    for photo, row in rows.items():
        print(f"{photo:22s}" + "".join(f"{row.get(name, np.nan):16.3f}" for name in names))
    means = [float(np.nanmean([row.get(name, np.nan) for row in rows.values()])) for name in names]
    print(f"{'mean':22s}" + "".join(f"{mean:16.3f}" for mean in means))
    if args.answers:
        truth = json.loads(args.answers.read_text())
        print_answers([photo for photo in sorted(args.photos.iterdir()) if photo.stem in truth], truth)


if __name__ == "__main__":
    main()
