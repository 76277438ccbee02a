"""A combination is said to add something where it beats every version, whichever of them is best."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.combined import adjusted, gain
from edgeaudit.leakage.comparisons import Scored
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray

N = 1000


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(len(name))


def _scored(scores: FloatArray, members: BoolArray) -> Scored:
    return Scored((scores,), (members,))


def _versions(seed: int, shifts: tuple[float, ...]) -> tuple[BoolArray, list[FloatArray]]:
    rng = np.random.default_rng(seed)
    members = np.arange(N) < N // 2
    return members, [rng.normal(size=N) + shift * members for shift in shifts]


def test_p_is_that_of_the_version_that_is_hardest_to_beat() -> None:
    members, (a, b) = _versions(0, (1.0, 0.5))
    combined = _scored(a + b / 2, members)
    found = gain(combined, {"a": _scored(a, members), "b": _scored(b, members)}, "auc", _rng)
    one, two = (auc_difference(a + b / 2, x, members) for x in (a, b))
    assert one.p_value is not None
    assert two.p_value is not None
    assert found.best == "a"
    # Both differences are above 0, so each one-sided p is half of the two-sided one, and doubling gives that back.
    assert found.p_value == pytest.approx(max(one.p_value, two.p_value))
    assert found.singles["a"].value == one.value
    assert found.singles["b"].low == two.low


def test_a_combination_worse_than_one_version_has_no_gain() -> None:
    members, (a, b) = _versions(1, (2.0, 0.2))
    found = gain(_scored(a + 3 * b, members), {"a": _scored(a, members), "b": _scored(b, members)}, "auc", _rng)
    assert found.singles["a"].value is not None
    assert found.singles["a"].value < 0
    assert found.p_value == 1


def test_a_copy_adds_nothing() -> None:
    members, (a,) = _versions(2, (1.0,))
    found = gain(_scored(2 * a, members), {"a": _scored(a, members), "b": _scored(a, members)}, "auc", _rng)
    assert found.singles["a"].value == 0
    assert found.p_value == 1


def test_the_test_holds_its_level_where_the_combination_is_as_good_as_the_best() -> None:
    # The combination is a third independent score, as good as "a": with "b" far behind, p is that against "a". It is
    # below .1 and on the right side in 5% of 400 draws; 4 standard errors are 4.4%.
    hits = 0
    for seed in range(400):
        members, (c, a, b) = _versions(seed, (1.0, 1.0, 0.0))
        p = gain(_scored(c, members), {"a": _scored(a, members), "b": _scored(b, members)}, "auc", _rng).p_value
        hits += p is not None and p <= 0.1
    assert 0.006 < hits / 400 < 0.094
    # Against the better of two equally good versions, picked on the same data, and against each: never more.
    both = 0
    for seed in range(400):
        members, (c, a, b) = _versions(seed, (1.0, 1.0, 1.0))
        p = gain(_scored(c, members), {"a": _scored(a, members), "b": _scored(b, members)}, "auc", _rng).p_value
        both += p is not None and p <= 0.1
    assert both <= hits


def test_a_figure_that_is_not_resolvable_is_not_tested() -> None:
    members, (a,) = _versions(3, (1.0,))
    tied = np.zeros(N)
    singles = {"a": _scored(a, members), "tied": _scored(tied, members)}
    found = gain(_scored(a + 1, members), singles, "tpr@fpr=0.01", _rng)
    assert found.p_value is None
    assert found.best == "a"
    assert found.note is not None
    assert found.note.startswith("not compared with tied: ")
    # In its family it counts as a test that found nothing.
    tested = gain(_scored(a, members), {"a": _scored(np.flip(a), members)}, "auc", _rng)
    first, second = adjusted([tested, found])
    assert tested.p_value is not None
    assert first.adjusted_p == pytest.approx(min(1.0, 2 * tested.p_value))
    assert second.adjusted_p is None
    assert adjusted([]) == []


def test_nothing_to_compare_with_is_rejected() -> None:
    members, (a,) = _versions(4, (1.0,))
    with pytest.raises(AttackError, match="at least one version"):
        gain(_scored(a, members), {}, "auc", _rng)
