from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import delong, ppv_interval
from edgeaudit.leakage.metrics import Figure, figures
from edgeaudit.leakage.operating_points import tpr_at_fpr

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
    # Rank floor(.01 * 201) = 2 is 198: the 20 members at 250 are above it, and 199. Beta(2, 199): .0012 to .0276.
    tpr = rows_of["tpr@fpr=0.01"]
    assert (tpr.value, tpr.realised_fpr) == (0.2, 0.005)
    point = tpr_at_fpr(ladder(), MEMBERS, 0.01)
    assert (tpr.low, tpr.high) == (point.low, point.high)
    assert tpr.note == (
        "20 of 100 members, 1 of 200 nonmembers; FPR interval 0.0012 to 0.028; expected FPR 0.00995; cannot show a "
        "breach: with fewer than 368 nonmembers the interval begins at 0"
    )
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
    # The upper end is valid for any number of nonmembers; the lower one is 0.
    assert (row.value, row.low, row.realised_fpr) == (None, 0.0, None)
    assert row.high is not None
    assert 0.2 < row.high < 1
    assert row.note == "not resolvable: an FPR of 0.001 needs 999 nonmembers, and there are 200"


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


def test_groups_of_one_are_no_groups() -> None:
    alone = figures(ladder(), MEMBERS, 150.0, groups=np.arange(300)[::-1].copy())
    for one, none in zip(alone, figures(ladder(), MEMBERS, 150.0), strict=True):
        assert (one.metric, one.value, one.note) == (none.metric, none.value, none.note)
        assert (one.low, one.high) == (none.low, none.high) or (one.low, one.high) == pytest.approx(
            (none.low, none.high), rel=1e-12
        )


def test_pairs_of_copies_have_the_intervals_of_the_single_records() -> None:
    rng = np.random.default_rng(1)
    members = np.arange(1000) < 500
    scores = rng.normal(size=1000) + members
    one = by_name(figures(scores, members, 0.5))
    two = by_name(figures(np.repeat(scores, 2), np.repeat(members, 2), 0.5, groups=np.repeat(np.arange(1000), 2)))
    naive = by_name(figures(np.repeat(scores, 2), np.repeat(members, 2), 0.5))
    for name in NAMES:
        if name.startswith("tpr"):
            continue  # the rank of the threshold moves with the number of records
        assert two[name].value == pytest.approx(one[name].value)
        assert (two[name].low, two[name].high) == pytest.approx((one[name].low, one[name].high), abs=1e-3)
        assert width(naive[name]) < 0.8 * width(one[name])
    tpr, single = two["tpr@fpr=0.01"], one["tpr@fpr=0.01"]
    assert width(tpr) == pytest.approx(width(single), rel=0.1)
    assert two["auc"].note == "interval over 500 groups of related members and 500 of nonmembers"
    assert one["auc"].note is None


def width(row: Figure) -> float:
    assert row.low is not None
    assert row.high is not None
    return row.high - row.low


def test_few_groups_resolve_nothing() -> None:
    groups = np.where(MEMBERS, np.arange(300) % 19, 1000 + np.arange(300))
    for row in figures(ladder(), MEMBERS, 150.0, groups=groups):
        assert (row.value, row.low, row.high) == (None, None, None)
        assert row.note == "not resolvable: 19 groups of related members and 200 of nonmembers; 20 of each are needed"
    assert figures(ladder(), MEMBERS, 150.0, groups=np.where(MEMBERS, np.arange(300) % 20, 1000))[0].value is None
    enough = np.where(MEMBERS, np.arange(300) % 20, 1000 + np.arange(300) % 20)
    assert figures(ladder(), MEMBERS, 150.0, groups=enough)[0].value is not None


def test_a_lower_level_is_narrower() -> None:
    wide, narrow = (by_name(figures(ladder(), MEMBERS, 150.0, level=level)) for level in (0.99, 0.9))
    for name in NAMES:
        if wide[name].value is not None:
            assert width(narrow[name]) < width(wide[name])


def test_values_at_the_edges_have_ends_at_the_edges() -> None:
    # All members above all nonmembers: nothing above 1 is possible, and 1 is not excluded.
    members = np.arange(800) < 400
    rows = by_name(figures(members.astype(np.float64), members, 0.5))
    for name in ("auc", "tpr@fpr=0.01", "balanced_accuracy", "advantage"):
        assert rows[name].value == 1.0
        assert rows[name].high == 1.0
    none = by_name(figures(-members.astype(np.float64), members, 0.5))["tpr@fpr=0.01"]
    # One value for all nonmembers, and every member below it.
    assert (none.value, none.low) == (0.0, 0.0)
    tied = by_name(figures(np.zeros(800), members, 0.5))
    assert tied["auc"].value == 0.5
    # Rank 4 of 400 nonmembers, tied with 400 members: 400 * 4/401 of them precede it.
    assert tied["tpr@fpr=0.01"].value == pytest.approx(4 / 401)
