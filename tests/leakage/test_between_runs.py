"""Differences of figures between two audits: what can be paired, and what intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.leakage.between_runs import (
    Matched,
    RecordSet,
    accuracy_difference,
    adjusted,
    covariance,
    independent_accuracies,
    independent_difference,
    independent_nonmembers,
    match_records,
    paired_difference,
    saturated_note,
)
from edgeaudit.leakage.influence import target_figure
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.rows import Figure

AUC, TPR, BALANCED = "auc", "tpr@fpr=0.01", "balanced_accuracy"
NAMES = ("int8", "int8", "local", "lira/offline-global")


def _figure(value: float | None, low: float | None, high: float | None) -> Figure:
    return Figure(AUC, value, low, high, 500, 500, note=None if value is not None else "too few records")


def _drawn(n: int, shifts: tuple[float, float], relation: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Scores of two files on n members and n nonmembers: normal, correlated, members higher by the shifts."""
    common, own = rng.normal(size=2 * n), rng.normal(size=(2, 2 * n))
    members = np.arange(2 * n) < n
    scores = math.sqrt(relation) * common + math.sqrt(1 - relation) * own
    return [members, *(scores + np.array(shifts)[:, None] * members)]


# ---- which records can be paired


def test_the_same_records_are_matched_in_any_order() -> None:
    ids, members = np.array([4, 9, 2, 7]), np.array([True, False, True, False])
    groups = np.array([1, 1, 2, 2])
    order = np.array([2, 0, 3, 1])
    # Another numbering of the same groups.
    other = RecordSet(ids[order], members[order], np.array([30, 10])[groups - 1][order])
    matched = match_records(RecordSet(ids, members, groups), other)
    assert isinstance(matched, Matched)
    np.testing.assert_array_equal(ids[matched.first], ids[order][matched.second])
    np.testing.assert_array_equal(members[matched.first], members[order][matched.second])


@pytest.mark.parametrize(
    ("ids", "members", "groups", "said"),
    [
        ([1, 2, 3, 9], [1, 1, 0, 0], None, "3 of 4 records are audited in both runs"),
        ([1, 2, 3, 4, 5], [1, 1, 0, 0, 0], None, "4 of 5 records are audited in both runs"),
        ([5, 6, 7, 8], [1, 1, 0, 0], None, "no record is audited in both"),
        ([1, 2, 3, 4], [1, 0, 1, 0], None, "2 of 4 records are members in one run and nonmembers in the other"),
        ([1, 2, 3, 4], [1, 1, 0, 0], [1, 1, 2, 3], "related records are grouped otherwise in the two runs"),
    ],
)
def test_other_records_are_not_matched(ids: list[int], members: list[int], groups: list[int] | None, said: str) -> None:
    first = RecordSet(np.array([1, 2, 3, 4]), np.array([True, True, False, False]))
    second = RecordSet(np.array(ids), np.array(members, dtype=bool), None if groups is None else np.array(groups))
    assert match_records(first, second) == said


# ---- paired


def test_a_paired_difference_of_balanced_accuracy_is_that_of_the_accused() -> None:
    members = np.array([True] * 4 + [False] * 4)
    old = np.array([3.0, 1, 1, 1, 3, 1, 1, 1])  # accuses 1 of 4 members, 1 of 4 nonmembers: (1 + 0) / 2
    new = np.array([9.0, 9, 9, 2, 9, 2, 2, 2])  # accuses 3 of 4 members, 1 of 4 nonmembers: (1 + 1/2) / 2
    found = paired_difference(new, old, members, BALANCED, NAMES, 1, thresholds=(5.0, 2.0))
    assert found.value == pytest.approx(0.25)
    # Of members 2 of 4 differ by 1, halved: the variance of their mean is .25 * (1/3) / 4; nonmembers do not differ.
    half = float(stats.t.isf(0.025, 3)) * math.sqrt(0.25 / 3 / 4)
    assert found.low == pytest.approx(0.25 - half)
    assert found.high == pytest.approx(0.25 + half)
    assert paired_difference(new, old, members, BALANCED, NAMES, 1).value is None


def test_a_bootstrap_can_be_significant_in_a_large_family() -> None:
    members, new, old = _drawn(1000, (3.0, 0.0), 0.5, np.random.default_rng(1))
    alone, among = (paired_difference(new, old, members, TPR, NAMES, rows) for rows in (1, 100))
    assert alone.p_value is not None
    assert among.p_value is not None
    # 2,000 resamples give 2 / 2,001 at least, 100 times which is .1.
    assert alone.p_value == pytest.approx(2 / 2001)
    assert 100 * among.p_value < 0.05
    again = paired_difference(new, old, members, TPR, NAMES, 100)
    assert again == among


@pytest.mark.parametrize("metric", [AUC, BALANCED])
def test_paired_intervals_cover_and_are_narrower_than_independent_ones(metric: str) -> None:
    """Two files of one model: scores correlate by .9, and the new one leaks a little more."""
    n, shifts, threshold, rounds = 200, (1.1, 1.0), 0.5, 400
    if metric == AUC:
        truth = float(np.diff(stats.norm.cdf(np.array(shifts[::-1]) / math.sqrt(2)))[0])
    else:  # (TPR + 1 - FPR) / 2 at a threshold; nonmembers are the same in law
        truth = float(np.diff(stats.norm.cdf(np.array(shifts[::-1]) - threshold))[0]) / 2
    rng, covered, widths = np.random.default_rng(2), np.zeros(2), np.zeros(2)
    for _ in range(rounds):
        members, new, old = _drawn(n, shifts, 0.9, rng)
        paired = paired_difference(new, old, members, metric, NAMES, 1, thresholds=(threshold, threshold))
        rows = [
            next(row for row in figures(scores, members, threshold) if row.metric == metric) for scores in (new, old)
        ]
        for i, found in enumerate((paired, independent_difference(rows[0], rows[1]))):
            assert found.low is not None
            assert found.high is not None
            covered[i] += found.low <= truth <= found.high
            widths[i] += found.high - found.low
    covered /= rounds
    # A coverage of .95 has a standard error of .011 in 400 rounds.
    assert 0.915 <= covered[0] <= 0.985
    assert covered[1] >= 0.99
    assert widths[0] < 0.6 * widths[1]


# ---- independent


def test_an_independent_difference_adds_the_inner_ends_in_squares() -> None:
    found = independent_difference(_figure(0.70, 0.64, 0.74), _figure(0.60, 0.57, 0.68))
    assert found.value == pytest.approx(0.1)
    # Down: .06 of the first and .08 of the second. Up: .04 and .03.
    assert found.low == pytest.approx(0.1 - 0.10)
    assert found.high == pytest.approx(0.1 + 0.05)
    # The lower end is 0, so that the p-value is 5%.
    assert found.p_value == pytest.approx(0.05)
    back = independent_difference(_figure(0.60, 0.57, 0.68), _figure(0.70, 0.64, 0.74))
    assert back.low == pytest.approx(-0.15)
    assert back.high == pytest.approx(0.0)
    assert back.p_value == pytest.approx(0.05)


def test_a_figure_without_ends_has_no_difference() -> None:
    found = independent_difference(_figure(0.7, 0.6, 0.8), _figure(None, None, None))
    assert (found.value, found.p_value, found.note) == (None, None, "too few records")
    equal = independent_difference(_figure(0.7, 0.6, 0.8), _figure(0.7, 0.6, 0.8))
    assert (equal.value, equal.p_value) == (0.0, 1.0)


def test_records_on_opposite_sides_widen_the_interval() -> None:
    """A record that is easy raises the AUC as a member and lowers it as a nonmember: the difference scatters more."""
    n, rounds, truth = 150, 400, 0.0
    rng, covered = np.random.default_rng(3), np.zeros(2)
    for _ in range(rounds):
        members, new, old = _drawn(n, (1.0, 0.0), 0.9, rng)
        old = old + 1.0 * ~members  # of OLD the other half are members
        units = np.arange(2 * n)
        first, second = (Figure(AUC, a.auc, a.low, a.high, n, n) for a in (delong(new, members), delong(old, ~members)))
        related = covariance(target_figure(new, members, AUC, units), target_figure(old, ~members, AUC, units))
        assert related < 0
        for i, found in enumerate(independent_difference(first, second, shared) for shared in (0.0, related)):
            assert found.low is not None
            assert found.high is not None
            covered[i] += found.low <= truth <= found.high
    assert covered[0] / rounds < 0.88
    assert 0.915 <= covered[1] / rounds <= 0.985


def test_figures_without_shares_have_no_covariance() -> None:
    members, new, _ = _drawn(50, (1.0, 0.0), 0.5, np.random.default_rng(4))
    assert covariance(None, target_figure(new, members, AUC, np.arange(100))) == 0


# ---- accuracy, ties, families


def test_a_paired_difference_of_accuracies() -> None:
    members = np.array([True] * 5 + [False] * 5)
    old = np.array([1.0, 1, 1, 1, 1, 1, 0, 0, 0, 1])  # 2 of 5 nonmembers are right
    new = np.array([0.0, 0, 1, 1, 1, 1, 1, 1, 0, 1])  # 4 of 5
    found = accuracy_difference(new, old, members)
    assert found.value == pytest.approx(0.4)
    # Differences of nonmembers: 0, 1, 1, 0, 0, with a variance of .3; that of their mean is .06.
    half = float(stats.t.isf(0.025, 4)) * math.sqrt(0.3 / 5)
    assert found.low == pytest.approx(0.4 - half)
    assert 0.4 + half > 1
    assert found.high == 1.0


def test_independent_accuracies_and_their_sizes() -> None:
    value, (low, high) = independent_accuracies((0.9, 400), (0.8, 400))
    # 1.96 sqrt(.09/400 + .16/400) is .049; exact ends are a little wider.
    assert value == pytest.approx(0.1)
    assert low == pytest.approx(0.051, abs=0.006)
    assert high == pytest.approx(0.149, abs=0.006)
    members = np.array([True, False, False, False, False])
    # Groups of 3 and 1: 4^2 / (9 + 1).
    assert independent_nonmembers(members, np.array([0, 1, 1, 1, 2])) == pytest.approx(1.6)


def test_a_saturated_score_has_no_difference_of_a_tpr() -> None:
    members = np.arange(400) < 200
    scores = np.where(members, 1.0, (np.arange(400) % 2).astype(float))
    assert "100 of 200 nonmembers tie" in str(saturated_note(scores, members, TPR))
    assert saturated_note(scores, members, AUC) is None


def test_what_is_not_resolvable_counts_in_the_family() -> None:
    # Of three, the smallest is multiplied by 3 although one has no test.
    assert adjusted([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]
    assert adjusted([]) == []
