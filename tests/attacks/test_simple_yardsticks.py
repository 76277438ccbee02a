"""Watson, Attack R and Attack P by hand and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks.attack_p import AttackP
from edgeaudit.attacks.attack_r import AttackR
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.registry import find_attack
from edgeaudit.attacks.watson import Watson
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld


def from_losses(target: list[float], shadows: list[list[float]], out: list[list[int]] | None = None) -> Evidence:
    """Two classes, label 0, with these losses."""
    t, s = np.exp(-np.array(target)), np.exp(-np.array(shadows))
    mask = np.ones(s.shape, dtype=np.bool_) if out is None else np.array(out, dtype=np.bool_)
    return Evidence(
        np.stack((t, 1 - t), axis=-1),
        np.stack((s, 1 - s), axis=-1),
        mask,
        np.zeros(len(t), dtype=np.int64),
        "probabilities",
    )


def test_watson_by_hand() -> None:
    # Record 0: OUT 1, 3 -> 2 - .5 = 1.5. Record 1: the second shadow trained on it: 2 - 2.5 = -.5.
    evidence = from_losses([0.5, 2.5], [[1.0, 2.0], [3.0, 0.1]], [[1, 1], [1, 0]])
    np.testing.assert_allclose(Watson().score(evidence, "loss").score, [1.5, -0.5])


def test_attack_r_by_hand() -> None:
    # Larger than 2 is one of OUT 1, 2, 3, and none of OUT 1, 2 (the third is IN); larger than .5 are all.
    evidence = from_losses([2.0, 2.0, 0.5], [[1.0] * 3, [2.0] * 3, [3.0] * 3], [[1, 1, 1], [1, 1, 1], [1, 0, 1]])
    np.testing.assert_allclose(AttackR().score(evidence, "rank").score, [1 / 3, 0.0, 1.0])


def test_attack_r_cannot_go_below_one_in_k(world_of: MakeWorld) -> None:
    # Of nonmembers 1 in K + 1 = 21 lies below all its shadows, all tied at the top: FPR .048 +- .0067.
    world = world_of(0, n=2000, k=20, spread=0.0)
    top = AttackR().score(world.evidence, "rank").score[~world.members] == 1
    assert abs(top.mean() - 1 / 21) < 4 * math.sqrt(1 / 21 * 20 / 21 / 1000)


def test_attack_p_by_hand() -> None:
    # m = 19 losses 1..19 (times .2): at .5 there are 2 as small: 3/20; at 4 all: 1; at .1 none: 1/20. Ties count.
    reference = from_losses([0.2 * i for i in range(1, 20)], [[1.0] * 19])
    scores = AttackP().score(from_losses([0.5, 4.0, 0.1, 0.4], [[1.0] * 4]), "quantile", reference)
    assert scores.p_value is not None
    np.testing.assert_allclose(scores.p_value, [3 / 20, 1.0, 1 / 20, 3 / 20])
    np.testing.assert_array_equal(scores.score, -scores.p_value)


def test_attack_p_s_p_values_hold_their_level(world_of: MakeWorld) -> None:
    # P(p <= a) = floor(a (m + 1)) / (m + 1) over draws of population and record; 200 populations, all records of each.
    rates = []
    for seed in range(200):
        world = world_of(seed, n=100, k=1, reference=99, member_share=0.0)
        p = AttackP().score(world.evidence, "quantile", world.reference).p_value
        assert p is not None
        rates.append((p <= 0.05).mean())
    # sd of a rate: sqrt(.05 * .95 (1/100 + 1/100)) = .031; of the mean of 200: .0022.
    assert abs(np.mean(rates) - 0.05) < 4 * 0.0022


@pytest.mark.parametrize(
    ("name", "variant", "shadows", "spread"),
    [
        # Difference of two records' signals: sd sqrt(2 (1 + spread^2)) without difficulty calibration ...
        ("yeom", "loss", 0, 1.0),
        ("attack-p", "quantile", 0, 1.0),
        # ... and sqrt(2 (1 + 1/K)) with it, where the signal is the margin less its OUT mean.
        ("lira", "offline-global", 32, 1.0),
        ("cm-mia", "t", 32, 1.0),
    ],
)
def test_gaussian_shift_has_its_auc(world_of: MakeWorld, name: str, variant: str, shadows: int, spread: float) -> None:
    world = world_of(3, n=4000, k=max(shadows, 2), reference=4000, shift=1.5, spread=spread, floor=0.0)
    variance = 1 + 1 / shadows if shadows else 1 + spread**2
    expected = stats.norm.cdf(1.5 / math.sqrt(2 * variance))
    area = auc(find_attack(name)().score(world.evidence, variant, world.reference).score, world.members)
    # Standard error at most sqrt(A (1 - A) / 2000) = .0105 for A = .7; attack-p adds ties in steps of 1/4001.
    assert abs(area - expected) < 4 * math.sqrt(expected * (1 - expected) / 2000)
