from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson, delong, ppv_interval
from edgeaudit.leakage.metrics import Figure, figures

NAMES = [
    "auc",
    "tpr@fpr=0.01",
    "tpr@fpr=0.001",
    "balanced_accuracy",
    "advantage",
    "ppv@prior=0.5",
    "ppv@prior=0.1",
    "ppv@prior=0.01",
]
MEMBERS = np.arange(300) < 100


def by_name(rows: list[Figure]) -> dict[str, Figure]:
    return {row.metric: row for row in rows}


def ladder() -> np.ndarray:
    """200 nonmembers at 0..199; of 100 members 20 at 250, 20 at 197.5 and 60 at 0.5."""
    return np.concatenate((np.repeat([250.0, 197.5, 0.5], [20, 20, 60]), np.arange(200.0)))


def test_all_figures_by_hand() -> None:
    rows = figures(ladder(), MEMBERS, 150.0)
    assert [row.metric for row in rows] == NAMES
    rows_of = by_name(rows)
    assert all((row.n_members, row.n_nonmembers) == (100, 200) for row in rows)
    # 250 beats all, 197.5 beats 198 of 200, .5 beats 1: (20 * 1 + 20 * .99 + 60 * .005) / 100 = .401.
    assert rows_of["auc"].value == pytest.approx(0.401)
    assert (rows_of["auc"].low, rows_of["auc"].high) == (
        delong(ladder(), MEMBERS).low,
        delong(ladder(), MEMBERS).high,
    )
    assert rows_of["auc"].realised_fpr is None
    # 1% of 200 allows 198 and 199; both groups above them: 40 of 100.
    tpr = rows_of["tpr@fpr=0.01"]
    assert (tpr.value, tpr.realised_fpr) == (0.4, 0.01)
    assert (tpr.low, tpr.high) == clopper_pearson(40, 100)
    assert tpr.note == "40 of 100 members, 2 of 200 nonmembers; FPR interval 0.0012 to 0.036"
    # At 150: 40 of 100 members, 50 of 200 nonmembers.
    assert rows_of["advantage"].value == pytest.approx(0.15)
    assert rows_of["balanced_accuracy"].value == pytest.approx(0.575)
    assert rows_of["advantage"].low is not None
    assert rows_of["balanced_accuracy"].low == pytest.approx((1 + rows_of["advantage"].low) / 2)
    # Prior .1: .04 / (.04 + .225) = 8/53.
    assert rows_of["ppv@prior=0.1"].value == pytest.approx(8 / 53)
    assert (rows_of["ppv@prior=0.1"].low, rows_of["ppv@prior=0.1"].high) == ppv_interval(40, 100, 50, 200, 0.1)
    for name in NAMES[3:]:
        assert rows_of[name].realised_fpr == 0.25


def test_the_threshold_is_inclusive() -> None:
    rows = by_name(figures(ladder(), MEMBERS, 197.5))
    # 197.5 itself is accused: 40 members; 198 and 199.
    assert rows["advantage"].value == pytest.approx(0.4 - 0.01)


def test_unresolvable_rows_are_null_with_a_reason() -> None:
    rows = by_name(figures(ladder(), MEMBERS, 150.0))
    row = rows["tpr@fpr=0.001"]
    assert (row.value, row.low, row.high, row.realised_fpr) == (None, None, None, None)
    assert "1000 nonmembers are needed" in str(row.note)


def test_without_a_threshold_rows_give_the_reason() -> None:
    rows = figures(ladder(), MEMBERS, None, "shadows trained on all of the pool")
    assert [row.metric for row in rows] == NAMES
    for row in rows[3:]:
        assert (row.value, row.note) == (None, "shadows trained on all of the pool")
    assert rows[0].value is not None


def test_no_record_called_a_member() -> None:
    rows = by_name(figures(ladder(), MEMBERS, 1000.0, "fallback"))
    assert rows["advantage"].value == 0.0
    assert rows["advantage"].low is not None
    assert rows["advantage"].low < 0 < (rows["advantage"].high or 0)
    assert rows["balanced_accuracy"].value == 0.5
    for name in NAMES[5:]:
        assert rows[name].value is None
        assert "no record is called a member" in str(rows[name].note)
        assert "fallback" in str(rows[name].note)


def test_every_value_is_inside_its_interval() -> None:
    rng = np.random.default_rng(0)
    for shift in (-1.0, 0.0, 1.0, 50.0):
        for row in figures(rng.normal(size=300) + shift * MEMBERS, MEMBERS, 0.5):
            if row.value is not None:
                assert row.low is not None
                assert row.high is not None
                assert row.low - 1e-12 <= row.value <= row.high + 1e-12
                assert row.low < row.high


def test_nan_scores_are_rejected() -> None:
    scores = ladder()
    scores[5] = np.nan
    with pytest.raises(AttackError, match="1 of 300"):
        figures(scores, MEMBERS, 0.0)
