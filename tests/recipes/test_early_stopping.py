"""Early stopping: which records are held out, when training stops, and which weights are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeaudit.errors import TrainingError
from edgeaudit.recipes.base import EarlyStopping, Recipe, Training
from edgeaudit.recipes.training import fit

N, EPOCHS = 120, 40
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N, 6)).astype(np.float32)
Y = RNG.integers(0, 3, N)  # labels of nothing: held-out losses rise soon
STOPPING = EarlyStopping(patience=4, share=0.2)
RECIPE = Recipe("mlp", (6,), 3, training=Training(epochs=EPOCHS, batch=16, lr=0.1, early_stopping=STOPPING))


class _Watched(nn.Module):
    """Keeps what it was shown, and its weights each time it answered in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
        self.trained: list[torch.Tensor] = []
        self.validated: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.trained.append(x.clone())
        else:
            self.validated.append((x.clone(), {name: one.clone() for name, one in self.state_dict().items()}))
        found: torch.Tensor = self.layers(x)
        return found


def _watched(seed: int = 1) -> _Watched:
    torch.manual_seed(seed)
    return _Watched()


def _rows(shown: torch.Tensor) -> list[int]:
    """Row numbers of records in X, which are all different."""
    return [int(np.flatnonzero((record == X).all(axis=1))[0]) for record in shown.numpy()]


def _loss(state: dict[str, torch.Tensor], rows: list[int]) -> float:
    """Mean cross-entropy in numpy."""
    w = {name: value.numpy().astype(np.float64) for name, value in state.items()}
    hidden = np.maximum(X[rows] @ w["layers.0.weight"].T + w["layers.0.bias"], 0)
    answers = hidden @ w["layers.2.weight"].T + w["layers.2.bias"]
    return float(np.mean(np.log(np.exp(answers).sum(axis=1)) - answers[np.arange(len(rows)), Y[rows]]))


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    module = _watched()
    found = fit(module, X, Y, RECIPE, 7).stopped
    assert found is not None
    rows = _rows(module.validated[0][0])
    losses = [_loss(state, rows) for _, state in module.validated]
    best = int(np.argmin(losses))
    assert 0 < best + 1 < found.epochs  # else the last weights were the best ones, and nothing was restored
    assert (found.best_epoch, found.epochs) == (best + 1, len(losses))
    assert found.held_out_loss == pytest.approx(losses[best], abs=1e-5)
    assert all(torch.equal(value, module.validated[best][1][name]) for name, value in module.state_dict().items())


def test_it_stops_once_the_loss_has_not_fallen_for_as_many_epochs() -> None:
    module = _watched()
    found = fit(module, X, Y, RECIPE, 7).stopped
    assert found is not None
    assert found.epochs - found.best_epoch == 4
    assert found.epochs < EPOCHS


def test_held_out_records_are_never_trained_on() -> None:
    module = _watched()
    found = fit(module, X, Y, RECIPE, 7).stopped
    held = {row for shown, _ in module.validated for row in _rows(shown)}
    trained = {row for shown in module.trained for row in _rows(shown)}
    assert found is not None
    assert len(held) == found.held_out == 24  # a fifth of 120
    assert not held & trained
    assert trained == set(range(N)) - held


def test_the_seed_draws_them() -> None:
    held = []
    for seed in (7, 7, 8):
        module = _watched()
        fit(module, X, Y, RECIPE, seed)
        held.append(_rows(module.validated[0][0]))
    assert held[0] == held[1] != held[2]


def test_fine_tuning_runs_all_of_its_epochs() -> None:
    module = _watched()
    assert fit(module, X, Y, RECIPE, 7, epochs=3).stopped is None
    assert {row for shown in module.trained for row in _rows(shown)} == set(range(N))
    assert len(module.trained) == 3 * (N // 16)


def test_too_few_records_are_refused() -> None:
    settings: dict[str, Any] = {"early_stopping": EarlyStopping(1, 0.5)}
    recipe = Recipe("mlp", (6,), 3, training=Training(epochs=1, batch=2, **settings))
    with pytest.raises(TrainingError, match=r"1 of 2 training records are held out, which leaves 1; lower 'share'"):
        fit(_watched(), X[:2], Y[:2], recipe, 0)


def test_a_recipe_survives_its_manifest() -> None:
    assert Recipe.from_dict(RECIPE.to_dict()) == RECIPE
