"""Measure the portrait reader on synthetic people that it has never seen.

python -m benchmarks.reader SAMPLES [--weights FILE] [--limit 600] [--plain]

SAMPLES is a folder of `portrait360 train samples reader --split test`. Every picture is taken once
(background, occluders, filters) with a seed of its own, read with its mirror image, and compared with the truth.
With --plain all are ordinary photos: what is painted, scanned, monochrome or strongly coloured does not show colours.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from portrait360.assets import READER
from portrait360.models.portrait_reader import SIDE, PortraitReader, load_reader
from portrait360.pipeline.reading.reading import Reading, read_picture
from portrait360.synth.photography.compose import VOID
from portrait360.training.data.identity_sampler import list_samples, spread_evenly
from portrait360.training.data.reader_pictures import ReaderPicture, take_picture
from portrait360.training.data.reader_samples import ReaderSample
from portrait360.training.data.reader_targets import CLASSES, NUMBERS, UNKNOWN
from portrait360.training.tasks.reader import count_overlap
from portrait360.utils.portrait_labels import FACE_LABELS, SKIN_LABELS, Label

BANDS = ((0, 15), (15, 35), (35, 60), (60, 80))  # degrees of azimuth to either side
GROUPS = {"hair": (Label.HAIR,), "skin": SKIN_LABELS, "face": FACE_LABELS, "clothes": (Label.CLOTHES,)}
COLOURS = ("hair", "skin", "cloth", "hat_colour", "beard")


@dataclass
class Tally:
    """What was counted over some pictures."""

    overlap: np.ndarray = field(default_factory=lambda: np.zeros((3, len(Label))))
    groups: dict[str, np.ndarray] = field(default_factory=lambda: {name: np.zeros(2) for name in GROUPS})
    angles: list[np.ndarray] = field(default_factory=list)
    alpha: list[float] = field(default_factory=list)
    classes: dict[str, list[tuple[int, int, float]]] = field(default_factory=lambda: {q: [] for q in CLASSES})
    numbers: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def add(self, reading: Reading, truth: ReaderPicture) -> None:
        picture = truth.picture
        counted = picture.labels != VOID
        self.overlap += count_overlap(reading.labels, picture.labels)
        for name, labels in GROUPS.items():
            a, b = np.isin(reading.labels, labels) & counted, np.isin(picture.labels, labels) & counted
            self.groups[name] += [(a & b).sum(), (a | b).sum()]
        self.alpha.append(float(np.abs(reading.alpha - picture.alpha / np.float32(255))[counted].mean()))
        hair = counted & (picture.labels == Label.HAIR) & (np.abs(picture.flow).sum(-1) > 0)
        if hair.sum() > 100:
            a, b = (np.arctan2(f[hair][:, 1], f[hair][:, 0]) for f in (reading.flow, picture.flow.astype(np.float32)))
            self.angles.append(np.degrees(np.abs(np.angle(np.exp(1j * (a - b))))) / 2)
        for i, (question, names) in enumerate(CLASSES.items()):
            if truth.classes[i] != UNKNOWN:
                order = [names.index(name) for name in reading.answers[question]]
                rank = order.index(int(truth.classes[i]))
                self.classes[question].append((int(truth.classes[i]), order[0], float(rank)))
        values = [reading.values[name] for name in NUMBERS]
        self.numbers.append(
            (truth.numbers, np.array([v.mean for v in values]), np.array([v.deviation for v in values]))
        )

    def figures(self) -> dict[str, float]:
        overlap = self.overlap[0] / np.maximum(self.overlap[1] + self.overlap[2] - self.overlap[0], 1)
        seen = self.overlap[2] > 0
        out = {"mean IoU": float(overlap[seen].mean())}
        out |= {f"{name} IoU": float(a / max(b, 1)) for name, (a, b) in self.groups.items()}
        out |= {f"IoU of {label.name.lower()}": float(overlap[label]) for label in Label if seen[label]}
        out["alpha error"] = float(np.mean(self.alpha))
        if self.angles:
            out["direction, median degrees"] = float(np.median(np.concatenate(self.angles)))
        return out | self._class_figures() | self._number_figures()

    def _class_figures(self) -> dict[str, float]:
        out: dict[str, float] = {}
        for question, rows in self.classes.items():
            if not rows:
                continue
            true, read, rank = np.array(rows).T
            out[f"{question} right"] = float((rank == 0).mean())
            if question == "style":
                out["style among three"] = float((rank < 3).mean())
            out[f"{question} balanced"] = float(np.mean([(read[true == c] == c).mean() for c in np.unique(true)]))
        return out

    def _number_figures(self) -> dict[str, float]:
        true, read, deviation = (np.stack(values) for values in zip(*self.numbers, strict=True))
        out: dict[str, float] = {}
        for name in COLOURS:
            columns = [NUMBERS.index(f"{name}_{axis}") for axis in "Lab"]
            known = np.isfinite(true[:, columns]).all(1)
            if known.any():
                error = np.linalg.norm((true - read)[known][:, columns], axis=1)
                out[f"{name} dE, median"] = float(np.median(error))
        for i, name in enumerate(NUMBERS):
            known = np.isfinite(true[:, i])
            if known.sum() > 10 and not name.endswith(("_L", "_a", "_b")) and not name.startswith("light"):
                rest = ((true - read)[known, i] ** 2).mean() / max(true[known, i].var(), 1e-9)
                out[f"R2 of {name}"] = float(1 - rest)
        z = np.abs(true - read) / deviation
        out["numbers within one deviation"] = float((z < 1)[np.isfinite(true)].mean())
        return out


def measure(
    network: PortraitReader, paths: list[Path], treatment: str | None = None
) -> tuple[Tally, dict[str, Tally]]:
    """Read all pictures; return the tally of all and of each band of azimuth."""
    whole, bands = Tally(), {f"{low} to {high}": Tally() for low, high in BANDS}
    sine, cosine = NUMBERS.index("azimuth_sin"), NUMBERS.index("azimuth_cos")
    for i, path in enumerate(paths):
        truth = take_picture(ReaderSample.load(path), [], np.random.default_rng([8, i]), SIDE, treatment)
        reading = read_picture(truth.picture.rgb / np.float32(255), network)
        whole.add(reading, truth)
        azimuth = abs(np.degrees(np.arctan2(truth.numbers[sine], truth.numbers[cosine])))
        for low, high in BANDS:
            if low <= azimuth < high:
                bands[f"{low} to {high}"].add(reading, truth)
    return whole, bands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--weights", type=Path, default=READER)
    parser.add_argument("--limit", type=int, default=10**6, help="pictures at most")
    parser.add_argument("--plain", action="store_true", help="take ordinary photos only")
    args = parser.parse_args()
    paths = spread_evenly(list_samples(args.samples, "reader_samples"), args.limit)
    whole, bands = measure(load_reader(args.weights), paths, "photo" if args.plain else None)
    columns = {"all": whole.figures(), **{name: tally.figures() for name, tally in bands.items() if tally.alpha}}
    print(f"{'':34s}" + "".join(f"{name:>10s}" for name in columns))
    for name in columns["all"]:
        print(f"{name:34s}" + "".join(f"{figures.get(name, np.nan):10.3f}" for figures in columns.values()))


if __name__ == "__main__":
    main()
