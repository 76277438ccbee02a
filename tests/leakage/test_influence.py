"""Shares of records in a figure: their squares sum to the figure's variance, by formula and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.influence import auc_shares, balanced_accuracy_shares, target_figure, tpr_shares
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.operating_points import tpr_at_fpr


def test_auc_shares_are_delong_s_terms() -> None:
    rng = np.random.default_rng(0)
    members = rng.random(400) < 0.3
    scores = np.round(rng.normal(size=400) + members, 1)
    shares = auc_shares(scores, members)
    m, n = members.sum(), (~members).sum()
    variance = (shares[members] ** 2).sum() * m / (m - 1) + (shares[~members] ** 2).sum() * n / (n - 1)
    assert variance == pytest.approx(delong(scores, members).variance)
    assert shares[members].sum() == pytest.approx(0, abs=1e-12)
    assert shares[~members].sum() == pytest.approx(0, abs=1e-12)


def test_an_auc_share_is_the_effect_of_the_record() -> None:
    # Leaving record i out of m members moves the mean of the members' placements by -share m / (m - 1).
    rng = np.random.default_rng(1)
    members = np.arange(60) < 25
    scores = rng.normal(size=60) + members
    shares, area = auc_shares(scores, members), delong(scores, members).auc
    for i in (0, 24):
        kept = np.arange(60) != i
        assert delong(scores[kept], members[kept]).auc - area == pytest.approx(-shares[i] * 25 / 24)


def test_balanced_accuracy_shares_by_hand() -> None:
    # 2 of 4 members and 1 of 2 nonmembers at or above 1: members +-.5 / 8, nonmembers -+.5 / 4.
    scores = np.array([2.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    members = np.arange(6) < 4
    np.testing.assert_allclose(
        balanced_accuracy_shares(scores, members, 1.0), [1 / 16, 1 / 16, -1 / 16, -1 / 16, -1 / 8, 1 / 8]
    )


@pytest.mark.parametrize(("alpha", "d"), [(0.05, 1.0), (0.2, 0.0)])
def test_tpr_shares_have_the_variance_of_the_figure(alpha: float, d: float) -> None:
    # 500 draws of 400 + 600: relative standard error of a variance .063; the slope's estimate adds a few percent.
    rng = np.random.default_rng(2)
    members = np.arange(1000) < 400
    values, variances = [], []
    for _ in range(500):
        scores = rng.normal(size=1000) + d * members
        values.append(tpr_at_fpr(scores, members, alpha).accused_members / 400)
        variances.append((tpr_shares(scores, members, alpha) ** 2).sum())
    assert np.mean(variances) == pytest.approx(np.var(values), rel=4 * 0.063)
    # Hsieh & Turnbull 1996: TPR (1 - TPR) / m + slope^2 alpha (1 - alpha) / n.
    c = stats.norm.isf(alpha)
    tpr, slope = stats.norm.sf(c - d), stats.norm.pdf(c - d) / stats.norm.pdf(c)
    assert np.mean(variances) == pytest.approx(tpr * (1 - tpr) / 400 + slope**2 * alpha * (1 - alpha) / 600, rel=0.1)


def test_tpr_shares_of_a_figure_that_is_none_are_refused() -> None:
    with pytest.raises(AttackError, match=r"0\.01 is not resolvable with 20 nonmembers"):
        tpr_shares(np.arange(40.0), np.arange(40) < 20, 0.01)


def test_a_target_s_figures_are_those_of_the_report() -> None:
    rng = np.random.default_rng(3)
    members = rng.random(800) < 0.5
    scores, units = np.round(rng.normal(size=800) + members, 1), rng.permutation(800)
    reported = {row.metric: row.value for row in figures(scores, members, 0.3)}
    for metric in ("auc", "tpr@fpr=0.01", "balanced_accuracy", "advantage"):
        found = target_figure(scores, members, metric, units, 0.3)
        assert found is not None
        assert found.value == pytest.approx(reported[metric])
        assert found.units is units
        assert found.shares.sum() == pytest.approx(0, abs=1e-12)
        if not metric.startswith("tpr"):
            assert found.upper is None


def test_the_upper_end_of_a_tpr_is_half_a_rank_on() -> None:
    # 249 nonmembers at 1%: rank 2.5 is rounded to 2; the upper end is at 3, where one more member lies above.
    outside = np.arange(249.0)
    scores = np.r_[outside, 300.0, 247.5, 246.5, 1.5]
    found = target_figure(scores, np.arange(253) >= 249, "tpr@fpr=0.01", np.arange(253))
    assert found is not None
    assert found.value == 0.5
    assert found.upper == pytest.approx(0.75)


def test_figures_of_a_target_that_are_none() -> None:
    scores, members = np.arange(300.0), np.arange(300) % 3 == 0
    assert target_figure(scores[:299], members[:299], "tpr@fpr=0.001", np.arange(299)) is None
    assert target_figure(scores, members, "balanced_accuracy", np.arange(300)) is None
    with pytest.raises(AttackError, match=r"'ppv@prior=0\.5' has no figure over targets"):
        target_figure(scores, members, "ppv@prior=0.5", np.arange(300))
