"""When p-values that are printed stop being printed."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.attacks.base import Scores
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.evidence import Evidence, FloatArray
from edgeaudit.leakage.rows import Place, Series
from edgeaudit.stages.evidence import Case
from edgeaudit.stages.p_values import calibrate

SERIES = Series(Place("f", "local", "matched"), "cm-mia", "t", "probabilities")
M, N = 999, 1000


def case(role: str = "target", n: int = N) -> Case:
    """A target's n members and n nonmembers; their answers are not read."""
    nothing = Evidence(np.zeros((2 * n, 2)), np.zeros((1, 2 * n, 2)), np.ones((1, 2 * n), np.bool_),
                       np.zeros(2 * n, np.int64), "logits", 1e-3)  # fmt: skip
    members = np.arange(2 * n) < n
    return Case(role, nothing, nothing, members, np.zeros(0, np.int64), n)


def judged(p_value: FloatArray, known: int = M) -> tuple[list[str], bool]:
    """Statuses by level of a target's nonmembers with these p-values, and whether p is still a p-value."""
    scores = Scores(-np.concatenate((p_value, p_value)), np.concatenate((p_value, p_value)), known=known)
    rows, ranking = calibrate(CmMia.spec, SERIES, [(case(n=len(p_value)), scores)])
    assert {row.is_p_value for row in rows} == {ranking is None}
    return [row.status for row in rows], ranking is None


def conformal(rng: np.random.Generator) -> FloatArray:
    z = np.sort(rng.normal(size=M))
    return (1 + M - np.searchsorted(z, rng.normal(size=N), side="left")) / (M + 1)


def test_at_most_one_valid_test_in_forty_is_called_a_ranking() -> None:
    # Of 600 valid tests 14% have a level above its own band. At most 2.5% may be called rankings: SE .0064.
    rng = np.random.default_rng(0)
    found = [judged(conformal(rng)) for _ in range(600)]
    some_row = np.mean(["anti-conservative" in statuses for statuses, _ in found])
    rankings = np.mean([not kept for _, kept in found])
    assert rankings <= 0.025 + 3 * 0.0064
    assert some_row > 2 * rankings


def test_a_row_above_only_its_own_band_is_reported_and_no_ranking() -> None:
    # a = .05: k = 50 of Beta(50, 950), n = 1000: 97.5% quantile 70 and, for five rows, 99.5% quantile 78.
    statuses, kept = judged(np.repeat([0.04, 0.5], [73, 927]))
    assert statuses[3] == "anti-conservative"
    assert kept


@pytest.mark.parametrize("accused", [85, 150])
def test_too_many_flagged_nonmembers_make_a_ranking(accused: int) -> None:
    statuses, kept = judged(np.repeat([0.04, 0.5], [accused, N - accused]))
    assert statuses[3] == "anti-conservative"
    assert not kept
