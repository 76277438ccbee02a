from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks.evidence import BoolArray, Evidence
from edgeaudit.attacks.quantile_regression import QuantileRegression
from edgeaudit.attacks.yeom import Yeom
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld, logits_with_margins

LEVELS = {"q-0.99": 0.01, "q-0.95": 0.05}


def regression_world(seed: int, n: int, members: BoolArray, shift: float, d: int = 4) -> Evidence:
    """Margin = 3 x_0 + 2 [y = 1] + (1 + [x_1 > 0]) (N(0, 1) + shift if member): predictable but for the last."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[:, 0] *= 5
    labels = rng.integers(0, 2, size=n)
    noise = (1 + (x[:, 1] > 0)) * (rng.normal(size=n) + shift * members)
    z = logits_with_margins(3 * x[:, 0] / 5 + 2 * labels + noise, np.zeros((n, 1)))
    z[labels == 1] = z[labels == 1, ::-1]
    return Evidence(z, np.empty((0, n, 2)), np.empty((0, n), dtype=np.bool_), labels, "logits", inputs=x)


@pytest.mark.parametrize("variant", QuantileRegression.spec.variants)
def test_it_beats_the_loss_where_difficulty_can_be_read_off_the_input(variant: str) -> None:
    # Known m and s: the AUC of z is Phi(1.5 / sqrt 2) = .856. The loss also has the variance of 3 x_0 + 2 y: 9 + 1,
    # beside 1 or 4: the AUC is about Phi(2.25 / sqrt(2 * 12.5)) = .67.
    members = np.arange(2000) < 1000
    audited = regression_world(0, 2000, members, 1.5)
    reference = regression_world(1, 3000, np.zeros(3000, dtype=np.bool_), 0.0)
    area = auc(QuantileRegression().score(audited, variant, reference).score, members)
    assert area > auc(Yeom().score(audited, "loss").score, members) + 0.08
    assert area < stats.norm.cdf(1.5 / math.sqrt(2)) + 3 * 0.009
    assert variant != "gaussian" or area > 0.83


@pytest.mark.parametrize("variant", LEVELS)
@pytest.mark.parametrize("d", [4, 60])
def test_nonmembers_exceed_their_quantile_as_often_as_it_says(variant: str, d: int) -> None:
    # Threshold 0; the quantile is raised by what models that did not see a record miss, so the rate is not inflated
    # by overfitting. It is estimated from 3000 records, and counted on 6000.
    level = LEVELS[variant]
    audited = regression_world(2, 6000, np.zeros(6000, dtype=np.bool_), 0.0, d)
    reference = regression_world(3, 3000, np.zeros(3000, dtype=np.bool_), 0.0, d)
    rate = (QuantileRegression().score(audited, variant, reference).score >= 0).mean()
    assert abs(rate - level) < 4 * math.sqrt(level * (1 - level) * (1 / 6000 + 1 / 3000))
    assert QuantileRegression.spec.threshold_of(variant) == 0


def test_the_gaussian_variant_knows_the_spread() -> None:
    # z has standard deviation 1 for both kinds of records, though the noise of one kind is twice that of the other.
    audited = regression_world(4, 4000, np.zeros(4000, dtype=np.bool_), 0.0)
    reference = regression_world(5, 4000, np.zeros(4000, dtype=np.bool_), 0.0)
    z = QuantileRegression().score(audited, "gaussian", reference).score
    assert audited.inputs is not None
    for kind in (audited.inputs[:, 1] > 0, audited.inputs[:, 1] <= 0):
        assert z[kind].std() == pytest.approx(1, abs=0.12)
    assert QuantileRegression.spec.threshold_of("gaussian") is None


@pytest.mark.parametrize("variant", QuantileRegression.spec.variants)
def test_wide_inputs_are_reduced_and_order_does_not_matter(variant: str) -> None:
    audited = regression_world(6, 50, np.zeros(50, dtype=np.bool_), 0.0, 60)
    reference = regression_world(7, 300, np.zeros(300, dtype=np.bool_), 0.0, 60)
    plain = QuantileRegression().score(audited, variant, reference).score
    moved = QuantileRegression().score(audited, variant, reference.take(np.random.default_rng(8).permutation(300)))
    np.testing.assert_array_equal(moved.score, plain)


def test_inputs_are_needed_and_must_agree(world_of: MakeWorld) -> None:
    world = world_of(9, n=40)
    attack = QuantileRegression()
    for one, two in ((None, world.reference.inputs), (world.evidence.inputs, None)):
        evidence, reference = replace(world.evidence, inputs=one), replace(world.reference, inputs=two)
        reason = attack.inapplicable(evidence, reference, "q-0.99")
        assert reason == "'quantile-regression' reads the records themselves, and only answers are available"
    with pytest.raises(AttackError, match="inputs of 5 and 4 values"):
        attack.score(world.evidence, "q-0.99", replace(world.reference, inputs=np.zeros((300, 4))))
    bad: list[tuple[Any, str]] = [
        (np.zeros((40, 2, 2)), r"\[40, 1 or more values\]"),
        (np.zeros((39, 5)), r"the shape is \(39, 5\)"),
        (np.zeros((40, 5), dtype=np.uint8), "must be floating point"),
        (np.full((40, 5), np.nan), "40 of 40 records contain NaN or infinity"),
    ]
    for inputs, words in bad:
        with pytest.raises(AttackError, match=words):
            replace(world.evidence, inputs=inputs)
