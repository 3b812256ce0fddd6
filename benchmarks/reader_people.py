"""How much more people would help the portrait reader: what a linear readout of its features learns from how many.

python -m benchmarks.reader_people TRAIN TEST [--weights FILE] [--people 500 1000 2000 4000] [--pictures 2]

TRAIN and TEST are folders of `portrait360 train samples reader`. Encoder and decoder stay as they
are in the weights; a ridge regression over the encoder's features and the statistics of the regions found is
fitted to ever more people and compared on the same test pictures. Style and family are the nearest of the means of
what the regression says of each class, as the number of people changes and nothing else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from portrait360.assets import READER
from portrait360.models.head_readout import describe_pixels, describe_regions, pool_regions, region_shares
from portrait360.models.portrait_reader import MEAN, SIDE, STD, PortraitReader, load_reader
from portrait360.training.data.identity_sampler import group_by_identity, list_samples
from portrait360.training.data.reader_pictures import take_picture
from portrait360.training.data.reader_samples import ReaderSample
from portrait360.training.data.reader_targets import CLASSES, NUMBERS, UNKNOWN
from portrait360.utils.array_types import F32, F64

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of the ridge
GRID = 4  # cells each way of the map of labels that the readout sees, beside the features


@torch.inference_mode()
def describe_picture(network: PortraitReader, rgb: np.ndarray) -> F32:
    """Return the features of a picture from which a head is described."""
    x = (torch.from_numpy(rgb)[None].permute(0, 3, 1, 2).float() - MEAN) / STD
    features = network.encoder.features(x)
    pixels = network.decoder(x, features.taps)
    found = describe_pixels(x, pixels.labels, pixels.alpha, pixels.flow, pixels.normals)
    shares = region_shares(found)
    grid = torch.nn.functional.adaptive_avg_pool2d(found, GRID).flatten(1)
    parts = [features.pooled, pool_regions(features.taps[3], shares), describe_regions(found, shares), grid]
    return torch.cat([part.float() for part in parts], 1)[0].numpy()


def read_samples(network: PortraitReader, people: list[list[Path]], pictures: int) -> tuple[F32, np.ndarray, F32]:
    """Return features, classes and numbers of some pictures of each person, person after person."""
    rows = []
    for i, paths in enumerate(people):
        for j, path in enumerate(paths[:pictures]):
            picture = take_picture(ReaderSample.load(path), [], np.random.default_rng([9, i, j]), SIDE)
            rows.append((describe_picture(network, picture.picture.rgb), picture.classes, picture.numbers))
        if (i + 1) % 250 == 0:
            print(f"read {i + 1} of {len(people)} people", flush=True)
    features, classes, numbers = zip(*rows, strict=True)
    return np.stack(features), np.stack(classes), np.stack(numbers)


def encode_targets(classes: np.ndarray, numbers: F32) -> F64:
    """Return all classes as indicators and all numbers; NaN where unknown."""
    columns = [numbers.astype(np.float64)]
    for i, answers in enumerate(CLASSES.values()):
        indicator = np.eye(len(answers))[np.maximum(classes[:, i], 0)]
        columns.append(np.where((classes[:, i] == UNKNOWN)[:, None], np.nan, indicator))
    return np.concatenate(columns, 1)


def fit_ridge(x: F64, y: F64, strength: float) -> F64:
    """Return weights (features + 1, targets); unknown targets count as their mean."""
    mean = np.nanmean(y, 0)
    filled = np.where(np.isnan(y), mean, y) - mean
    system = x.T @ x + strength * len(x) / 1000 * np.eye(x.shape[1])
    return np.concatenate([np.linalg.solve(system, x.T @ filled), mean[None]])


def predict(x: F64, weights: F64) -> F64:
    return x @ weights[:-1] + weights[-1]


def rate(said: F64, classes: np.ndarray, numbers: F32, centres: dict[str, F64]) -> dict[str, float]:
    """Return how often classes are right, and R2 of some numbers."""
    out: dict[str, float] = {}
    for question in ("style", "family", "kind", "hat", "glasses", "beard"):
        true = classes[:, list(CLASSES).index(question)]
        known = true != UNKNOWN
        distance = ((said[known][:, None] - centres[question][None]) ** 2).sum(-1)
        order = distance.argsort(1)
        out[question] = float((order[:, 0] == true[known]).mean())
        if question == "style":
            out["style among 3"] = float((order[:, :3] == true[known][:, None]).any(1).mean())
    for name in ("length_top", "length_sides", "length_back", "azimuth_sin", "hair_L", "skin_L"):
        if name in NUMBERS:
            i = NUMBERS.index(name)
            known = np.isfinite(numbers[:, i])
            rest = ((said[known, i] - numbers[known, i]) ** 2).mean() / max(float(numbers[known, i].var()), 1e-9)
            out[f"R2 {name}"] = float(1 - rest)
    return out


def find_centres(said: F64, classes: np.ndarray) -> dict[str, F64]:
    """Return the mean of what is said of each class; far away where nobody has it."""
    out = {}
    for i, (question, answers) in enumerate(CLASSES.items()):
        centres = np.full((len(answers), said.shape[1]), 1e3)
        for answer in np.unique(classes[classes[:, i] != UNKNOWN, i]):
            centres[answer] = said[classes[:, i] == answer].mean(0)
        out[question] = centres
    return out


def learn(train: tuple[F32, np.ndarray, F32], test: tuple[F32, np.ndarray, F32]) -> dict[str, float]:
    """Fit on the training pictures with the strength that predicts halves best from each other; rate on the test."""
    mean, deviation = train[0].mean(0), train[0].std(0) + 1e-6
    x, t = ((f - mean).astype(np.float64) / deviation for f in (train[0], test[0]))
    y = encode_targets(train[1], train[2])
    scale = np.nanstd(y, 0) + 1e-6
    y /= scale
    crossed = {strength: predict_halves(x, y, strength) for strength in STRENGTHS}
    strength = min(STRENGTHS, key=lambda s: float(np.nanmean((crossed[s] - y) ** 2)))
    said = predict(t, fit_ridge(x, y, strength))
    figures = rate(said, test[1], test[2] / scale[: len(NUMBERS)], find_centres(crossed[strength], train[1]))
    return figures | {"strength": strength}


def predict_halves(x: F64, y: F64, strength: float) -> F64:
    """Predict each half of the people from the other."""
    middle = len(x) // 2
    halves = (slice(middle, None), slice(0, middle))
    return np.concatenate([predict(x[b], fit_ridge(x[a], y[a], strength)) for a, b in (halves, halves[::-1])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--weights", type=Path, default=READER)
    parser.add_argument("--people", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--pictures", type=int, default=2, help="of each person")
    args = parser.parse_args()
    network = load_reader(args.weights)
    people = group_by_identity(list_samples(args.train, "reader_samples"))[: max(args.people)]
    train = read_samples(network, people, args.pictures)
    others = group_by_identity(list_samples(args.test, "reader_samples"))
    test = read_samples(network, others, args.pictures)
    columns = {}
    for count in args.people:
        first = min(count, len(people)) * args.pictures
        columns[str(count)] = learn((train[0][:first], train[1][:first], train[2][:first]), test)
    print(f"{'':24s}" + "".join(f"{name:>10s}" for name in columns))
    for name in next(iter(columns.values())):
        print(f"{name:24s}" + "".join(f"{figures[name]:10.3f}" for figures in columns.values()))


if __name__ == "__main__":
    main()
