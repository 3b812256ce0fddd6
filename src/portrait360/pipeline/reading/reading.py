"""What the portrait reader says about a picture.

Pixels hold 8-bit values, so that saving and loading loses nothing.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import cv2
import numpy as np
import torch
from torch import Tensor

from portrait360.models.portrait_reader import SIDE, HeadReading, PixelReading, PortraitReader, load_reader
from portrait360.utils.array_types import F32, Bytes, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write
from portrait360.utils.images import to_uint8
from portrait360.utils.portrait_labels import FACE_LABELS, Label

MAX_WORDS = 1 << 20  # bytes of a file's answers and numbers
ODD = {"parting", "sweep", "wind", "azimuth_sin", "roll_sin"} | {f"light_{i}{c}" for i in (3, 4, 7) for c in "rgb"}
"""Numbers that change their sign in a mirror; those whose names end in _left and _right change places."""
QUESTIONS_ON_PEOPLE = {"style": "hair", "beard": "beard", "glasses": "glasses", "hat": "hat"}  # question: noun
HAT_SHARE = 0.12  # pixels of a hat per pixel of the face
ANIMAL, ANIMAL_WITH_FACE = 0.5, 0.7  # probability from which a head is an animal's; more if a face was found in it
PIXELS = (  # name, type and shape in the file
    ("probabilities", np.uint8, (len(Label), SIDE, SIDE)),
    ("alpha", np.uint8, (SIDE, SIDE)),
    ("flow", np.int8, (SIDE, SIDE, 2)),
    ("normals", np.int8, (SIDE, SIDE, 3)),
)
DAMAGE = (  # what Python raises for a file that is cut off, altered, or of another kind
    *(OSError, EOFError, BadZipFile, zlib.error, RuntimeError),
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError),
)


def _read_array(file: ZipFile, name: str, kind: type, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Read an array of an .npz file whose header says what is expected, so that a hostile file takes no memory.

    Without a shape it is a line of at most MAX_WORDS.
    """
    with file.open(f"{name}.npy") as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{name} has another version")
        found, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        expected = found == shape if shape else len(found) == 1 and 0 <= found[0] <= MAX_WORDS
        if not expected or is_fortran or dtype != kind:
            raise ValueError(f"{name} has another type or shape")
        return np.frombuffer(stream.read(int(np.prod(found))), kind).reshape(found)  # a value is one byte


@dataclass(frozen=True)
class Value:
    """A number with its standard deviation."""

    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Reading:
    """The pixels of a square picture, and the head that it shows."""

    probabilities: F32  # (LABELS, s, s)
    alpha: F32  # (s, s)
    flow: F32  # (s, s, 2) cos and sin of twice the angle of the hair (x right, y down), shorter where unsure
    normals: F32  # (s, s, 3) unit: x right, y down, z away from the camera
    answers: dict[str, dict[str, float]]  # probability of each answer to each question, the likeliest first
    values: dict[str, Value]

    @property
    def labels(self) -> Bytes:
        return self.probabilities.argmax(0).astype(np.uint8)

    def share(self, *labels: Label) -> F32:
        """Return the probability of these labels at every pixel."""
        return self.probabilities[list(map(int, labels))].sum(0)

    def save(self, path: Path) -> None:
        """Write the reading as one .npz file."""
        words = {"answers": self.answers, "values": {name: asdict(value) for name, value in self.values.items()}}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                probabilities=to_uint8(self.probabilities),
                alpha=to_uint8(self.alpha),
                flow=np.rint(127 * self.flow).astype(np.int8),
                normals=np.rint(127 * self.normals).astype(np.int8),
                words=np.frombuffer(json.dumps(words).encode(), np.uint8),
            )

    @classmethod
    def load(cls, path: Path) -> Reading:
        """Load a file that `save` wrote."""
        try:
            with ZipFile(path) as file:
                words = json.loads(_read_array(file, "words", np.uint8).tobytes())
                pixels = [_read_array(file, name, kind, shape) for name, kind, shape in PIXELS]
            probabilities, alpha, flow, normals = pixels
            return cls(
                _scale(probabilities, 255),
                _scale(alpha, 255),
                _scale(flow, 127),
                _scale(normals, 127),
                {str(q): {str(a): float(p) for a, p in rows.items()} for q, rows in words["answers"].items()},
                {str(n): Value(float(v["mean"]), float(v["deviation"])) for n, v in words["values"].items()},
            )
        except DAMAGE as error:
            raise UserError(f"{path} is damaged; make it again with `portrait360 align`.") from error

    def best(self, question: str) -> tuple[str, float]:
        """Return the likeliest answer and its probability."""
        return next(iter(self.answers[question].items()))


def shows_animal(reading: Reading, *, has_face: bool) -> bool:
    """Whether the head is an animal's; detectors of human faces find one in some muzzles."""
    return reading.answers.get("kind", {}).get("animal", 0) > (ANIMAL_WITH_FACE if has_face else ANIMAL)


def describe_reading(reading: Reading) -> str:
    """Say the likeliest kind of head, hairstyle and worn things, and how sure the reader is.

    Of an animal only the kind is said: the other answers are those to questions about people.
    """
    kind, odds = reading.best("kind")
    said = [f"{kind} ({100 * odds:.0f} %)"]
    for question, noun in QUESTIONS_ON_PEOPLE.items() if kind != "animal" else ():
        answer, odds = reading.best(question)
        if question == "hat" and answer == "none" and _shows_hat(reading):
            said.append("hat (from the segmentation)")
            continue
        word = f"no {noun}" if answer == "none" else f"{noun} {answer.replace('_', ' ')}"
        said.append(f"{word} ({100 * odds:.0f} %)")
    return ", ".join(said)


def _shows_hat(reading: Reading) -> bool:
    """Whether the labels show a hat; they are right more often than the answer, which has to know which hat it is."""
    labels = reading.labels
    return bool((labels == Label.HAT).sum() > HAT_SHARE * np.isin(labels, FACE_LABELS).sum())


def read_picture(rgb: Floats, network: PortraitReader | None = None) -> Reading:
    """Read a square picture (s, s, 3) in [0, 1], of which a head fills about half: the mean of it and its mirror."""
    network = network or load_reader()
    small = np.asarray(cv2.resize(np.ascontiguousarray(rgb), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    picture = torch.from_numpy(to_uint8(small)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        pixels, head = network(torch.cat([picture, picture.flip(3)]))
        return _to_reading(network, average_mirrored_pixels(pixels), average_mirrored_heads(network, head))


def average_mirrored_pixels(pixels: PixelReading) -> PixelReading:
    """Return the mean of the outputs for a picture and for its mirror image (the second row)."""

    def average(values: Tensor, sign: tuple[float, ...] = (1.0,)) -> Tensor:
        mirrored = values[1].flip(-1)
        return (values[0] + mirrored * torch.tensor(sign).reshape(-1, *[1] * (mirrored.ndim - 1))) / 2

    labels = average(pixels.labels.softmax(1))
    alpha = (pixels.alpha[0].sigmoid() + pixels.alpha[1].flip(-1).sigmoid()) / 2
    flow = average(torch.nn.functional.normalize(pixels.flow, dim=1), (1.0, -1.0))  # a mirrored angle is negative
    normals = average(torch.nn.functional.normalize(pixels.normals, dim=1), (-1.0, 1.0, 1.0))
    return PixelReading(labels, alpha, flow, torch.nn.functional.normalize(normals, dim=0))


def average_mirrored_heads(network: PortraitReader, head: HeadReading) -> HeadReading:
    """Return probabilities, numbers and their standard deviations: the mean over a picture and its mirror image."""
    classes = {question: logits.softmax(1).mean(0) for question, logits in head.classes.items()}
    mean, deviation = torch.tensor(network.outputs.mean), torch.tensor(network.outputs.deviation)
    numbers = head.numbers * deviation + mean
    order, sign = mirror_order(network.outputs.numbers)
    numbers = torch.stack([numbers[0], numbers[1][order] * torch.tensor(sign)]).mean(0)
    variance = torch.stack([head.log_variance[0], head.log_variance[1][order]]).mean(0)
    return HeadReading(classes, numbers, (0.5 * variance).exp() * deviation)


def mirror_order(names: tuple[str, ...]) -> tuple[list[int], list[float]]:
    """Return where each number comes from in a mirror, and its sign: left and right change places."""
    swapped, order = {"left": "right", "right": "left"}, []
    for name in names:
        stem, _, side = name.rpartition("_")
        order.append(names.index(f"{stem}_{swapped[side]}" if side in swapped else name))
    return order, [-1.0 if name in ODD else 1.0 for name in names]


def _to_reading(network: PortraitReader, pixels: PixelReading, head: HeadReading) -> Reading:
    answers = {}
    for question, names in network.outputs.classes.items():
        probability = head.classes[question].tolist()
        answers[question] = dict(sorted(zip(names, probability, strict=True), key=lambda pair: -pair[1]))
    values = {
        name: Value(mean, deviation)
        for name, mean, deviation in zip(
            network.outputs.numbers, head.numbers.tolist(), head.log_variance.tolist(), strict=True
        )
    }
    return Reading(
        _round(pixels.labels.numpy(), 255),
        _round(pixels.alpha.numpy(), 255),
        _round(pixels.flow.permute(1, 2, 0).numpy(), 127),
        _round(pixels.normals.permute(1, 2, 0).numpy(), 127),
        answers,
        values,
    )


def _round(values: np.ndarray, steps: int) -> F32:
    return _scale(np.rint(values * steps), steps)


def _scale(values: np.ndarray, steps: int) -> F32:
    return (values / steps).astype(np.float32)
