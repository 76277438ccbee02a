"""A model, a training loop and data of your own, as audit.yaml beside this file names them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_wine
from torch import nn


def make_data() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Records [n, ...] and integer labels [n]; here scikit-learn's wines, resampled with a little noise."""
    wine = load_wine()
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(wine.data), 900)
    return (wine.data[rows] + rng.normal(0, 0.3, (900, 13))).astype(np.float32), wine.target[rows]


def make_model(input_shape: tuple[int, ...], n_classes: int, hidden: int = 16) -> nn.Module:
    """An untrained module that answers logits [batch, n_classes]; keyword arguments come from model.options."""
    return nn.Sequential(nn.Linear(input_shape[0], hidden), nn.Tanh(), nn.Linear(hidden, n_classes))


def train_model(
    module: nn.Module, x: npt.NDArray[np.float32], y: npt.NDArray[np.int64], *, seed: int, epochs: int
) -> None:
    """Train in place. The same loop serves the target, its shadows and the fine-tuning after pruning."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    module.train()
    for _ in range(5 * epochs):
        optimizer.zero_grad()
        loss: torch.Tensor = criterion(module(torch.from_numpy(x)), torch.from_numpy(y))
        torch.autograd.backward(loss)
        optimizer.step()
