"""Comparisons: over records of one target, over several targets, and families of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.comparisons import METRICS, Scored, compare, compare_family, figure
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray
from edgeaudit.leakage.targets import paired_over_targets


def scored(strength: float, targets: int, seed: int = 0, n: int = 400) -> Scored:
    """Targets whose members score `strength` higher; the noise is the same for every strength."""
    members, scores = [], []
    for target in range(targets):
        rng = np.random.default_rng([seed, target])
        members.append(rng.permutation(np.arange(n) < n // 2))
        scores.append(rng.normal(size=n) + strength * members[-1])
    return Scored(tuple(scores), tuple(members))


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_target_is_compared_over_its_records() -> None:
    strong, weak = scored(1.5, 1), scored(0.5, 1, seed=0)
    found = compare(strong, weak, "auc", generator)
    expected = auc_difference(strong.scores[0], weak.scores[0], strong.members[0])
    assert (found.value, found.low, found.high, found.p_value) == (
        expected.value, expected.low, expected.high, expected.p_value,
    )  # fmt: skip
    assert found.targets == 1
    assert found.first == pytest.approx(figure(strong.scores[0], strong.members[0], "auc"))
    tpr = compare(strong, weak, "tpr@fpr=0.05", generator)
    assert tpr.value == pytest.approx(tpr.first - tpr.second)  # type: ignore[operator]


@pytest.mark.parametrize("metric", METRICS[:2])
def test_several_targets_are_compared_over_targets(metric: str) -> None:
    strong, weak = scored(1.5, 5), scored(0.5, 5)
    found = compare(strong, weak, metric, generator)
    ours, theirs = ([figure(s, m, metric) for s, m in zip(x.scores, x.members, strict=True)] for x in (strong, weak))
    expected = paired_over_targets(ours, theirs)
    assert (found.value, found.low, found.high, found.p_value) == (
        expected.value, expected.low, expected.high, expected.p_value,
    )  # fmt: skip
    assert found.targets == 5
    assert found.value == pytest.approx(found.first - found.second)  # type: ignore[operator]
    assert found.value > 0  # type: ignore[operator]


def test_other_targets_or_memberships_are_rejected() -> None:
    with pytest.raises(AttackError, match="same targets"):
        compare(scored(1.0, 2), scored(1.0, 3), "auc", generator)
    with pytest.raises(AttackError, match="same targets"):
        compare(scored(1.0, 2), scored(1.0, 2, seed=1), "auc", generator)


def test_a_metric_without_a_paired_test_is_rejected() -> None:
    with pytest.raises(AttackError, match="no paired test"):
        figure(np.arange(4.0), np.arange(4) < 2, "advantage")


def test_a_family_is_adjusted_by_holm_and_keeps_what_is_not_resolvable() -> None:
    base = scored(0.5, 6)
    # A score with one value for all cannot be said to leak less at 1% FPR: no comparison, and it still counts.
    constant = Scored(tuple(np.zeros(400) for _ in range(6)), base.members)
    pairs = {"strong": (scored(0.9, 6), base), "same": (scored(0.52, 6), base), "none": (constant, base)}
    rows = compare_family(pairs, ("tpr@fpr=0.01",), lambda *_: generator())
    p = [rows[name, "tpr@fpr=0.01"].p_value for name in pairs]
    assert p[2] is None
    expected = holm(np.array([p[0], p[1], 1.0]))
    assert rows["strong", "tpr@fpr=0.01"].adjusted_p == pytest.approx(expected[0])
    assert rows["same", "tpr@fpr=0.01"].adjusted_p == pytest.approx(expected[1])
    assert rows["none", "tpr@fpr=0.01"].adjusted_p is None
    assert rows["none", "tpr@fpr=0.01"].note == (
        "6 of 6 pairs have no value; not resolvable: 200 of 200 nonmembers tie at the highest score, more than an FPR "
        "of 0.01"
    )


def test_related_records_widen_the_interval_of_one_target() -> None:
    rng = np.random.default_rng(1)
    groups = np.arange(800) // 4
    members = groups % 2 == 0
    first, second = (scored_by_group(rng, groups, members, shift) for shift in (0.8, 0.5))
    for metric in ("auc", "tpr@fpr=0.1"):
        plain, grouped = (
            compare(Scored((first,), (members,), g), Scored((second,), (members,), g), metric, generator)
            for g in ((), (groups,))
        )
        assert plain.value == grouped.value
        assert grouped.high - grouped.low > 1.2 * (plain.high - plain.low)  # type: ignore[operator]
    with pytest.raises(AttackError, match="same targets"):
        compare(Scored((first,), (members,), (groups,)), Scored((second,), (members,)), "auc", generator)


def scored_by_group(rng: np.random.Generator, groups: IntArray, members: BoolArray, shift: float) -> FloatArray:
    return np.asarray(rng.normal(size=groups.max() + 1)[groups] + 0.3 * rng.normal(size=len(groups)) + shift * members)
