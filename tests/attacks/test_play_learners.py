from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from edgeaudit.attacks.calibrated_features import COLUMNS
from edgeaudit.attacks.play_learners import Network, Quadratic, Standardised, Trees, smooth_learners
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc


def _rows(n: int, seed: int, share: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of three columns, memberships, and the true log odds at even shares: x0 * x1 + x2, which no line gives."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4 * n, 3))
    odds = x[:, 0] * x[:, 1] + x[:, 2]
    member = rng.random(4 * n) < 1 / (1 + np.exp(-odds))
    # Thin members, so that their share is as wanted.
    kept = np.flatnonzero(~member | (rng.random(4 * n) < share / (1 - share)))[:n]
    return x[kept], member[kept], odds[kept]


@pytest.mark.parametrize("kind", [Network, Quadratic])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_log_odds_are_those_of_even_shares(kind: Any, share: float) -> None:
    learner = kind.fit(*_rows(40_000, 0, share)[:2])
    rows, members, odds = _rows(4000, 1)
    found = learner.log_odds(rows)
    assert auc(found, members) > auc(odds, members) - 0.01
    assert np.corrcoef(found, odds)[0, 1] > 0.97
    assert abs(np.mean(found - odds)) < 0.15


@pytest.mark.parametrize("kind", [Network, Quadratic])
def test_one_class_is_refused(kind: Any) -> None:
    with pytest.raises(AttackError, match="answers of shadows on members and on nonmembers"):
        kind.fit(np.zeros((20, 3)), np.ones(20, dtype=np.bool_))


@pytest.mark.parametrize("kind", [Network, Quadratic])
def test_a_row_is_scored_by_itself_and_the_same_again(kind: Any) -> None:
    x, members, _ = _rows(3000, 2)
    first, second = kind.fit(x, members), kind.fit(x + 1e-12, members)
    whole = first.log_odds(x)
    np.testing.assert_allclose(first.log_odds(x[7:9]), whole[7:9], rtol=1e-12)
    np.testing.assert_array_equal(second.log_odds(x + 1e-12), whole)


def _weak(n: int, seed: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of as many columns as trees have, which all measure one signal, as ratios do, and memberships."""
    rng = np.random.default_rng(seed)
    members = rng.random(n) < 0.3
    signal = rng.normal(size=n) + strength * members
    return signal[:, None] + 0.5 * rng.normal(size=(n, len(COLUMNS))), members


def _areas(kind: Any, strength: float, seed: int) -> tuple[float, float]:
    """AUC on new rows with settings chosen by halves, and without."""
    x, members = _weak(3000, seed, strength)
    new, of_new = _weak(20_000, seed + 1, strength)
    half = np.arange(len(x)) % 2 == 0
    chosen, plain = (auc(kind.fit(x, members, each).log_odds(new), of_new) for each in (half, None))
    return chosen, plain


@pytest.mark.parametrize("kind", [Quadratic, Trees])
def test_a_weak_signal_in_few_rows_is_not_drowned_in_noise(kind: Any) -> None:
    chosen, plain = _areas(kind, 0.25, seed=3)
    # The signal itself has .570; the standard error of a difference is below .003.
    assert chosen > plain + 0.01
    assert chosen > 0.54


@pytest.mark.parametrize("kind", [Quadratic, Trees])
def test_a_strong_signal_is_learned_as_far_as_without_a_choice(kind: Any) -> None:
    chosen, plain = _areas(kind, 3.0, seed=5)
    assert chosen > plain - 0.002


@pytest.mark.parametrize("kind", [Quadratic, Trees])
def test_nothing_is_chosen_where_a_half_has_members_alone(kind: Any) -> None:
    x, members = _weak(400, 7, 1.0)
    same = [kind.fit(x, members, half).log_odds(x) for half in (members, None)]
    np.testing.assert_array_equal(*same)


def test_constant_columns_are_left_out() -> None:
    x = np.column_stack((np.full(50, 0.1), np.arange(50.0)))
    scaled = Standardised.fit(x, clip=1.0)(x)
    np.testing.assert_allclose(scaled[:, 0], 0.0, atol=1e-6)
    assert scaled[:, 1].max() == 1.0


def test_without_torch_there_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    assert smooth_learners() == (Network, Quadratic)
    plain = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert smooth_learners() == (Quadratic,)
