"""Differentially private training: what is spent, what one record can do, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from opacus.accountants import PRVAccountant
from opacus.accountants.analysis import rdp
from torch import nn

from edgeaudit.errors import RecipeError, TrainingError
from edgeaudit.recipes.base import Privacy, Recipe, Training, build
from edgeaudit.recipes.training import Fitted, fit

N, BATCH, EPOCHS = 96, 16, 5
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 6)).astype(np.float32)
Y = RNG.integers(0, 3, N)
PRIVACY = Privacy(epsilon=4.0, delta=1e-4, clip=0.5)
RECIPE = Recipe("mlp", (6,), 3, {"hidden": [8]}, Training(epochs=EPOCHS, batch=BATCH, privacy=PRIVACY))


def _recipe(**settings: Any) -> Recipe:
    return replace(RECIPE, training=replace(RECIPE.training, **settings))


def _fitted(recipe: Recipe = RECIPE, seed: int = 1, x: npt.NDArray[np.float32] = X) -> tuple[Fitted, torch.Tensor]:
    module = build(recipe, 0)
    found = fit(module, x, Y[: len(x)], recipe, seed)
    return found, nn.utils.parameters_to_vector(module.parameters()).detach()


def test_the_epsilon_that_was_spent_is_recorded() -> None:
    spent = _fitted()[0].privacy
    assert spent is not None
    assert (spent["delta"], spent["clip"], spent["accountant"]) == (1e-4, 0.5, "rdp")
    assert spent["sample_rate"] == pytest.approx(16 / 96)
    assert spent["steps"] == 5 * (96 // 16)
    # By Opacus' functions alone, at every order that its accountant tries.
    orders = [1 + k / 10 for k in range(1, 100)] + list(range(12, 64))
    at_orders = rdp.compute_rdp(q=16 / 96, noise_multiplier=spent["noise_multiplier"], steps=30, orders=orders)
    expected, _ = rdp.get_privacy_spent(orders=orders, rdp=at_orders, delta=1e-4)
    assert spent["epsilon"] == pytest.approx(expected, abs=1e-9)
    assert 3.95 < expected <= 4.0


def test_another_accountant_finds_no_more() -> None:
    """The one of numerical composition is the tighter one."""
    spent = _fitted()[0].privacy
    assert spent is not None
    accountant = PRVAccountant()
    accountant.history = [(spent["noise_multiplier"], 16 / 96, 30)]
    assert 2.0 < accountant.get_epsilon(delta=1e-4) < 4.0


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_a_record_moves_a_step_by_no_more_than_its_clipped_gradient(scale: float) -> None:
    """One step on all records: two data sets that differ in one record differ by at most rate x 2 clip / records."""
    one_step = {"epochs": 1, "batch": N, "lr": 0.3, "momentum": 0.0, "weight_decay": 0.0}
    other = X.copy()
    other[17] = -scale * X[17]
    apart = float((_fitted(_recipe(**one_step))[1] - _fitted(_recipe(**one_step), x=other)[1]).norm())
    bound = 0.3 * 2 * 0.5 / N
    assert 0.1 * bound < apart <= bound * 1.001
    if scale > 1:
        plain = {**one_step, "privacy": None}
        assert float((_fitted(_recipe(**plain))[1] - _fitted(_recipe(**plain), x=other)[1]).norm()) > bound


def test_noise_is_as_large_as_stated() -> None:
    """Of constant answers gradients are nothing, so that a step is the noise: rate x multiplier x clip / records."""
    layer = nn.Linear(6, 400, bias=False)
    module = nn.Sequential(layer, _Nothing())
    recipe = Recipe("m:f", (6,), 3, training=replace(
        _recipe(epochs=1, batch=N, lr=1.0, momentum=0.0, weight_decay=0.0).training
    ))  # fmt: skip
    before = layer.weight.detach().clone()
    spent = fit(module, X, Y, recipe, 3).privacy
    assert spent is not None
    noise = (layer.weight.detach() - before) * N / 0.5
    assert float(noise.std()) == pytest.approx(float(str(spent["noise_multiplier"])), rel=0.05)  # of 2,400 values


class _Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] * 0


def test_the_same_seed_gives_the_same_bits() -> None:
    assert torch.equal(_fitted()[1], _fitted()[1])
    assert not torch.equal(_fitted()[1], _fitted(seed=2)[1])


class _Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        found: torch.Tensor = self.layer(x)
        return found


def test_every_record_is_drawn_by_itself() -> None:
    """2 of 96 records are expected in a draw, so that of 480 steps about exp(-2) = 13.5% have none."""
    module = _Counted()
    fit(module, X, Y, _recipe(batch=2, epochs=10), 1)
    empty = 480 - len(module.sizes)
    assert 480 * 0.08 < empty < 480 * 0.2
    assert np.mean([*module.sizes, *[0] * empty]) == pytest.approx(2, abs=0.3)


def test_the_module_is_left_as_it_came() -> None:
    module = build(RECIPE, 0)
    names = list(module.state_dict())
    fit(module, X, Y, RECIPE, 1)
    assert list(module.state_dict()) == names
    assert not any(one._forward_hooks or one._backward_hooks for one in module.modules())
    assert not module.training
    assert all(one.grad is None and getattr(one, "grad_sample", None) is None for one in module.parameters())


def test_fine_tuning_is_not_private() -> None:
    module = build(RECIPE, 0)
    assert fit(module, X, Y, RECIPE, 1, epochs=1).privacy is None


@pytest.mark.parametrize("frozen", [False, True])
def test_a_layer_that_mixes_records_is_named(frozen: bool) -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, affine=not frozen), nn.Linear(4, 3))
    with pytest.raises(RecipeError, match=r"the layer '1' \(BatchNorm1d\) .* mixes the records .* nn\.GroupNorm"):
        fit(module, X, Y, RECIPE, 1)


class _Centred(nn.Module):
    """Statistics of a batch that no buffer keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        self.centred = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(x - x.mean(dim=0) if self.centred else x)
        return found


def test_answers_that_depend_on_other_records_are_refused() -> None:
    with pytest.raises(RecipeError, match="depends on the other records of its batch"):
        fit(_Centred(), X, Y, RECIPE, 1)
    alone = _Centred()
    alone.centred = False
    assert fit(alone, X, Y, RECIPE, 1).privacy is not None  # dropout alone is no such dependence


class _Mean(nn.Module):
    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean += 0.1 * (x.detach().mean(dim=0) - self.mean)
        return x


def test_statistics_of_records_are_found() -> None:
    with pytest.raises(RecipeError, match=r"'0\.mean' .* keeps statistics of records without noise"):
        fit(nn.Sequential(_Mean(), nn.Linear(6, 3)), X, Y, RECIPE, 1)


@pytest.mark.parametrize(
    ("privacy", "message"),
    [
        (Privacy(4.0, 0.02), r"delta: 0\.02 is 1/50, and a model trains on 96 records"),
        (Privacy(1e-9, 1e-5), r"epsilon: no noise spends as little as 1e-09 in 30 steps"),
    ],
)
def test_what_cannot_be_met_is_refused(privacy: Privacy, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        _fitted(_recipe(privacy=privacy))


def test_it_learns() -> None:
    x = X.copy()
    x[:, 0] += 4 * Y
    recipe = _recipe(epochs=20, privacy=Privacy(20.0, 1e-4, 1.0))
    module = build(recipe, 0)
    fit(module, x, Y, recipe, 1)
    with torch.no_grad():
        assert float((module(torch.from_numpy(x)).argmax(dim=1).numpy() == Y).mean()) > 0.7
