"""Many small networks at once, for benchmarks of attacks whose unit is the population: seconds for dozens of models."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

DATA = Path(os.environ.get("EDGEAUDIT_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
_GROUP = 16


@dataclass(frozen=True)
class Setting:
    """How a data set's networks are trained, and how many records a population has."""

    file: str
    hidden: tuple[int, ...]
    epochs: int
    members: int
    nonmembers: int
    rate: float = 0.05
    batch: int = 64


SETTINGS = {
    "letter": Setting("letter.npz", (64,), 40, 2000, 8000),
    "fashion-mnist": Setting("fashion_mnist.npz", (64,), 30, 2000, 6000),
    "location30": Setting("location30.npz", (256, 128), 30, 1000, 2010),
    "adult": Setting("adult.npz", (64,), 30, 2000, 8000),
    "cwru": Setting("cwru_de12k_w256.npz", (64,), 30, 2000, 6000),
}
"""Data set -> setting."""


def records(name: str) -> tuple[npt.NDArray[np.float32], IntArray]:
    """Return all records of a data set, standardised by column, float32 [n, d], and labels, int64 [n]."""
    with np.load(DATA / SETTINGS[name].file) as stored:
        parts = [("x", "y")] if "x" in stored else [("x_train", "y_train"), ("x_test", "y_test")]
        x = np.concatenate([stored[a] for a, _ in parts])
        y = np.concatenate([stored[b] for _, b in parts])
    flat = x.reshape(len(x), -1).astype(np.float32)
    return (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6), y.ravel().astype(np.int64)


def answers(
    x: npt.NDArray[np.float32], y: IntArray, masks: BoolArray, setting: Setting, seed: int
) -> npt.NDArray[np.float32]:
    """Train a network on the records of each mask, bool [models, n]; return logits, float32 [models, n, classes].

    Multilayer perceptrons with ReLU; SGD with momentum .9 and weight decay 5e-4 on a cosine.
    """
    return np.concatenate(
        [_group(x, y, masks[first : first + _GROUP], setting, seed + first) for first in range(0, len(masks), _GROUP)]
    )


def _group(
    x: npt.NDArray[np.float32], y: IntArray, masks: BoolArray, setting: Setting, seed: int
) -> npt.NDArray[np.float32]:
    generator = torch.Generator().manual_seed(seed)
    inputs, labels, models = torch.from_numpy(x), torch.from_numpy(y), len(masks)
    sizes = [x.shape[1], *setting.hidden, int(y.max()) + 1]
    layers = []
    for width, outputs in pairwise(sizes):
        for shape in ((models, width, outputs), (models, 1, outputs)):
            values = (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(width)
            layers.append(values.requires_grad_())
    least = int(masks.sum(axis=1).min())
    own = torch.stack([torch.from_numpy(np.flatnonzero(mask)[:least]) for mask in masks])
    steps = least // setting.batch
    optimizer = torch.optim.SGD(layers, lr=setting.rate, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.epochs * steps)
    for _ in range(setting.epochs):
        order = torch.stack([one[torch.randperm(least, generator=generator)] for one in own])
        for step in range(steps):
            rows = order[:, step * setting.batch : (step + 1) * setting.batch]
            loss = torch.nn.functional.cross_entropy(
                _forward(layers, inputs[rows]).flatten(0, 1), labels[rows].flatten(), reduction="sum"
            )
            optimizer.zero_grad()
            (loss / setting.batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        chunks = [_forward(layers, chunk.expand(models, -1, -1)) for chunk in torch.split(inputs, 2000)]
    return np.asarray(torch.cat(chunks, dim=1).numpy(), dtype=np.float32)


def _forward(layers: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = torch.relu(torch.baddbmm(bias, x, weight))
    return torch.baddbmm(layers[-1], x, layers[-2])
