"""The portrait reader's task: labels, matte, directions and normals of pixels, and what head a picture shows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait360.models.head_readout import HIDDEN
from portrait360.models.perceptual_loss import load_effnet
from portrait360.models.portrait_reader import (
    SIDE,
    HeadReading,
    PixelReading,
    PortraitReader,
    ReaderOutputs,
    load_reader,
)
from portrait360.models.weights.tensor_files import write_half
from portrait360.synth.photography.compose import VOID
from portrait360.training.data.identity_sampler import group_by_identity, list_samples, sample_for_step, spread_evenly
from portrait360.training.data.reader_pictures import ReaderPicture, take_picture
from portrait360.training.data.reader_samples import DATA, ReaderSample
from portrait360.training.data.reader_targets import CLASSES, NUMBERS, UNKNOWN
from portrait360.training.trainer import Batch, Figures
from portrait360.utils.array_types import Floats
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

CROWD = 0.1  # share of pictures that others are in
STATISTICS = 600  # identities from which mean and deviation of the numbers come
VALIDATION_SAMPLES, PREVIEW_SAMPLES = 160, 8
SMALL = {  # labels of few pixels count more
    Label.EAR: 2.0, Label.BROW: 2.0, Label.EYE: 3.0, Label.LIPS: 2.0, Label.MOUTH: 3.0, Label.BEARD: 1.5,
    Label.GLASSES: 3.0, Label.JEWELLERY: 3.0, Label.OBJECT: 1.5,
}  # fmt: skip
ALPHA_WEIGHT, FLOW_WEIGHT, NORMAL_WEIGHT, CLASS_WEIGHT, NUMBER_WEIGHT = 2.0, 0.5, 0.3, 0.2, 0.4
CLASS_WEIGHTS = {"style": 2.5, "family": 1.5}
SMOOTHING, DROPPED = 0.05, 0.2  # of the classes' answers; share of the features left out


class ReaderTask:
    """Trains the portrait reader on folders written by `portrait360.training.data.reader_samples`.

    `readout_only` keeps what is said of pixels and trains what is said of the head, in a third of the time.
    """

    saved = "weights.safetensors"

    def __init__(
        self,
        train: Path,
        val: Path,
        *,
        init_from: Path | None = None,
        readout_only: bool = False,
        batch: int = 16,
        seed: int = 0,
    ) -> None:
        self.name, self.readout_only = "reader-head" if readout_only else "reader", readout_only
        self.init_from, self.batch_size, self.seed = init_from, batch, seed
        self.train, self.val = (list_samples(folder, "reader") for folder in (train, val))
        self.identities = group_by_identity(self.train)
        self.outputs = measure_outputs(self.identities) if init_from is None else load_reader(init_from).outputs
        self.mean, self.deviation = (np.array(v, np.float32) for v in (self.outputs.mean, self.outputs.deviation))

    def network(self) -> nn.Module:
        network = PortraitReader(self.outputs)
        if self.init_from is not None:
            network.load_state_dict(load_reader(self.init_from).state_dict())
        else:  # the encoder begins with the weights of ImageNet
            state = {k: v for k, v in load_effnet().state_dict().items() if k in network.encoder.state_dict()}
            network.encoder.load_state_dict(state)
        if self.readout_only:
            network.encoder.requires_grad_(False)
            network.decoder.requires_grad_(False)
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return network.train()

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        assert isinstance(network, PortraitReader)
        header = {"outputs": json.dumps(asdict(network.outputs)), "people": str(len(self.identities)), "data": DATA}
        write_half(network, path, header | metadata)

    def sample(self, step: int, index: int) -> Batch:
        position, rng = step * self.batch_size + index, np.random.default_rng([self.seed, step, index])
        sample = ReaderSample.load(sample_for_step(self.identities, position, self.seed))
        others: list[ReaderSample] = []
        if rng.random() < CROWD:
            chosen = rng.integers(len(self.train), size=int(rng.integers(1, 3)))
            others = [ReaderSample.load(self.train[i]) for i in chosen]
        return self.make_row(take_picture(sample, others, rng, SIDE))

    def make_row(self, picture: ReaderPicture) -> Batch:
        p = picture.picture
        return {
            "rgb": torch.from_numpy(p.rgb)[None].permute(0, 3, 1, 2),
            "labels": torch.from_numpy(p.labels)[None],
            "alpha": torch.from_numpy(p.alpha)[None],
            "flow": torch.from_numpy(p.flow)[None].permute(0, 3, 1, 2),
            "normals": torch.from_numpy(p.normals)[None].permute(0, 3, 1, 2),
            "classes": torch.from_numpy(picture.classes.astype(np.int64))[None],
            "numbers": torch.from_numpy((picture.numbers - self.mean) / self.deviation)[None],
        }

    def add_noise(self, batch: Batch, generator: torch.Generator) -> Batch:
        kept = torch.rand((len(batch["rgb"]), HIDDEN), generator=generator, device=generator.device) > DROPPED
        return batch | {"keep": kept / (1 - DROPPED)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        rgb = batch["rgb"].float().contiguous(memory_format=torch.channels_last)
        pixels, head = network(rgb, batch["keep"])
        return head_loss(head, batch) + (0 if self.readout_only else pixel_loss(pixels, batch))

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Return the overlap of labels, and how often the hairstyle and its family are right."""
        counts, right = np.zeros((3, len(Label))), {"style": [], "family": []}
        for i, path in enumerate(spread_evenly(self.val, VALIDATION_SAMPLES)):
            batch = self.make_row(take_picture(ReaderSample.load(path), [], np.random.default_rng([7, i]), SIDE))
            pixels, head = network(batch["rgb"].float().to(next(network.parameters()).device))
            counts += count_overlap(pixels.labels.argmax(1).cpu().numpy(), batch["labels"].numpy())
            for question, answers in right.items():
                truth = int(batch["classes"][0, list(CLASSES).index(question)])
                if truth != UNKNOWN:
                    answers.append(int(head.classes[question].argmax()) == truth)
        overlap = counts[0] / np.maximum(counts[1] + counts[2] - counts[0], 1)
        seen = counts[2] > 0
        figures = {"mean IoU": float(overlap[seen].mean())}
        figures |= {f"{k.name.lower()} IoU": float(overlap[k]) for k in (Label.HAIR, Label.FACE, Label.CLOTHES)}
        return figures | {f"{q} right": float(np.mean(a)) for q, a in right.items()}

    @torch.inference_mode()
    def preview(self, network: nn.Module) -> Floats:
        """Show pictures, true labels and the labels that were read."""
        rows = []
        for i, path in enumerate(spread_evenly(self.val, PREVIEW_SAMPLES)):
            picture = take_picture(ReaderSample.load(path), [], np.random.default_rng([7, i]), SIDE)
            batch = self.make_row(picture)
            pixels, _ = network(batch["rgb"].float().to(next(network.parameters()).device))
            read = pixels.labels.argmax(1)[0].cpu().numpy()
            tiles = [picture.picture.rgb / 255, PALETTE[picture.picture.labels], PALETTE[read]]
            rows.append(np.concatenate(tiles, 1))
        return np.concatenate(rows).astype(np.float32)


PALETTE = np.random.default_rng(3).uniform(0.1, 1, (256, 3)).astype(np.float32)


def measure_outputs(identities: list[list[Path]]) -> ReaderOutputs:
    """Return what is read, with mean and deviation of the numbers over the first identities."""
    values = np.stack([ReaderSample.load(paths[0]).numbers for paths in identities[:STATISTICS]]).astype(np.float64)
    known = np.isfinite(values)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, values, 0).sum(0) / count
    deviation = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(0) / count)
    return ReaderOutputs(
        dict(CLASSES), NUMBERS, tuple(map(float, mean)), tuple(float(max(d, 1e-3)) for d in deviation)
    )


def pixel_loss(pixels: PixelReading, batch: Batch) -> Tensor:
    labels = batch["labels"].long()
    counted = labels != VOID
    weights = torch.ones(len(Label), device=labels.device)
    for label, weight in SMALL.items():
        weights[label] = weight
    entropy = F.cross_entropy(pixels.labels, labels, weights, ignore_index=VOID)
    alpha = batch["alpha"].float() / 255
    matte = F.binary_cross_entropy_with_logits(pixels.alpha, alpha, reduction="none")
    matte = matte + (pixels.alpha.sigmoid() - alpha).abs()
    hair = (labels == Label.HAIR) & (batch["flow"].abs().sum(1) > 0)
    bare = torch.isin(labels, torch.tensor([*map(int, SKIN_LABELS), int(Label.CLOTHES)], device=labels.device))
    return (
        entropy
        + ALPHA_WEIGHT * average(matte, counted)
        + FLOW_WEIGHT * average(angle_error(pixels.flow, batch["flow"].float()), hair)
        + NORMAL_WEIGHT * average(angle_error(pixels.normals, batch["normals"].float()), bare)
    )


def angle_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 1 - cos of the angle between vectors (b c h w); directions of hair hold twice their angle."""
    return 1 - (F.normalize(predicted, dim=1, eps=1e-4) * F.normalize(true, dim=1, eps=1e-4)).sum(1)


def average(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def head_loss(head: HeadReading, batch: Batch) -> Tensor:
    """Cross-entropy of the classes and the negative log-likelihood of the numbers; unknown ones do not count."""
    total = torch.zeros((), device=batch["classes"].device)
    for i, (question, logits) in enumerate(head.classes.items()):
        truth = batch["classes"][:, i]
        if (truth != UNKNOWN).any():
            entropy = F.cross_entropy(logits, truth, ignore_index=UNKNOWN, label_smoothing=SMOOTHING)
            total = total + CLASS_WEIGHT * CLASS_WEIGHTS.get(question, 1.0) * entropy
    known = batch["numbers"].isfinite()
    error = (head.numbers - batch["numbers"].nan_to_num()).abs()
    # errors beyond three deviations grow linearly, such that a wrong style does not outweigh everything else
    square = torch.where(error < 3, error**2, 6 * error - 9)
    likelihood = 0.5 * (square * (-head.log_variance).exp() + head.log_variance)
    return total + NUMBER_WEIGHT * average(likelihood, known)


def count_overlap(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return for every label the pixels in which both agree, those read and those that are true (3, labels)."""
    counted = true != VOID
    read, true = read[counted], true[counted]
    n = len(Label)
    both = np.bincount(true[read == true], minlength=n)
    return np.stack([both, np.bincount(read, minlength=n), np.bincount(true, minlength=n)]).astype(np.float64)
