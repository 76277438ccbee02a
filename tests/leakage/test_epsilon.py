from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.epsilon import epsilon_bound, split_epsilon_bound
from edgeaudit.leakage.intervals import clopper_pearson

MEMBERS = np.arange(1000) < 500


def scores_with(hits: int, alarms: int, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores 1 for that many members and nonmembers, else 0."""
    scores = np.concatenate((np.arange(m) < hits, np.arange(n) < alarms)).astype(np.float64)
    return scores, np.arange(m + n) < m


def test_bound_by_hand() -> None:
    # 60 of 100 members, 0 of 1000 nonmembers. FPR_U = 1 - .025^(1/1000) = .003682; TPR_L = .4972 (Clopper-Pearson).
    bound = epsilon_bound(*scores_with(60, 0, 100, 1000), 0.5)
    tpr_low = clopper_pearson(60, 100)[0]
    assert bound.epsilon == pytest.approx(math.log(tpr_low / (1 - 0.025**0.001)))
    assert (bound.direction, bound.true_positives, bound.false_positives) == ("members", 60, 0)
    assert (bound.n_members, bound.n_nonmembers, bound.threshold) == (100, 1000, 0.5)
    # A score at the threshold is accused, as everywhere.
    assert epsilon_bound(*scores_with(60, 0, 100, 1000), 1.0).epsilon == bound.epsilon
    less = epsilon_bound(*scores_with(60, 0, 100, 1000), 0.5, delta=0.1)
    assert less.epsilon == pytest.approx(math.log((tpr_low - 0.1) / (1 - 0.025**0.001)))


def test_the_mirrored_bound_takes_the_same_two_events() -> None:
    # All 1000 members and 60 of 100 nonmembers: nobody acquitted was a member. FNR_U = 1 - .025^(1/1000).
    bound = epsilon_bound(*scores_with(1000, 40, 1000, 100), 0.5)
    assert bound.direction == "nonmembers"
    assert bound.epsilon == pytest.approx(math.log(clopper_pearson(60, 100)[0] / (1 - 0.025**0.001)))


def test_clipping_is_noted() -> None:
    bound = epsilon_bound(*scores_with(10, 12, 100, 100), 0.5)
    assert bound.epsilon == 0.0
    assert bound.unclipped < 0
    assert "clipped to 0, which is not evidence of privacy" in bound.note
    nothing = epsilon_bound(*scores_with(0, 100, 100, 100), 0.5, delta=0.01)
    assert (nothing.epsilon, nothing.unclipped) == (0.0, -math.inf)
    assert "clipped" not in epsilon_bound(*scores_with(60, 0, 100, 100), 0.5).note


def test_no_leak_has_epsilon_0() -> None:
    # 400 runs; at most 5% above 0, standard error .0109. The mirrored bound included.
    rng = np.random.default_rng(0)
    thresholds = np.repeat([-1.0, 0.0, 1.0, 2.0], 100).tolist()
    fixed = [epsilon_bound(rng.normal(size=1000), MEMBERS, t).epsilon for t in thresholds]
    split = [split_epsilon_bound(rng.normal(size=1000), MEMBERS, rng).epsilon for _ in range(400)]
    assert np.mean(np.array(fixed) > 0) < 0.05 + 4 * 0.0109
    assert np.mean(np.array(split) > 0) < 0.05 + 4 * 0.0109
    assert max(split) < 1


def test_both_events_hold_together_at_the_level() -> None:
    # TPR = FPR = 1/2, so both directions are near their edge at once: still at most 5% of 4000 runs (error .0034).
    rng = np.random.default_rng(1)
    hits, alarms = rng.binomial(500, 0.5, (2, 4000))
    pairs, counts = np.unique(np.stack((hits, alarms)), axis=1, return_counts=True)
    above = [epsilon_bound(*scores_with(int(h), int(a), 500, 500), 0.5).unclipped > 0 for h, a in pairs.T]
    assert np.average(above, weights=counts) < 0.05 + 4 * 0.0034


@pytest.mark.parametrize("threshold", [0.5, 1.0, 3.0, -1.0])
def test_laplace_mechanism_is_not_exceeded(threshold: float) -> None:
    # A counting query with Laplace noise of scale 1/eps is eps-DP, and exactly so beyond 1 and below 0: at 1 and at
    # -1 the ratio of the tails is e^eps.
    eps, rng = 1.5, np.random.default_rng(2)
    bounds = np.array(
        [epsilon_bound(MEMBERS + rng.laplace(scale=1 / eps, size=1000), MEMBERS, threshold).epsilon for _ in range(300)]
    )
    assert np.mean(bounds > eps) < 0.05 + 4 * 0.0126
    assert bounds.max() > 0


def test_laplace_mechanism_by_halves() -> None:
    eps, rng = 1.5, np.random.default_rng(3)
    bounds = np.array(
        [split_epsilon_bound(MEMBERS + rng.laplace(scale=1 / eps, size=1000), MEMBERS, rng).epsilon for _ in range(300)]
    )
    assert np.mean(bounds > eps) < 0.05 + 4 * 0.0126
    assert np.median(bounds) > 0.5


def gaussian_delta(eps: float, sigma: float) -> float:
    """Smallest delta of the Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, theorem 8)."""
    half, ratio = 1 / (2 * sigma), eps * sigma
    return float(stats.norm.cdf(half - ratio) - math.exp(eps) * stats.norm.cdf(-half - ratio))


def test_gaussian_mechanism_with_its_delta() -> None:
    # (TPR - delta) / FPR = e^eps exactly at the likelihood ratio's threshold eps sigma^2 + 1/2: the worst case.
    eps, sigma = 1.0, 0.8
    delta, threshold = gaussian_delta(eps, sigma), eps * sigma**2 + 0.5
    tpr, fpr = stats.norm.sf(threshold - 1, scale=sigma), stats.norm.sf(threshold, scale=sigma)
    assert math.log((tpr - delta) / fpr) == pytest.approx(eps)
    rng = np.random.default_rng(4)
    bounds = np.array(
        [epsilon_bound(MEMBERS + rng.normal(0, sigma, 1000), MEMBERS, threshold, delta).epsilon for _ in range(400)]
    )
    assert np.mean(bounds > eps) < 0.05 + 4 * 0.0109
    # TPR .431 - 1.96 * .0221 = .387, FPR .077 + 1.96 * .0119 = .100 (Clopper-Pearson a little wider), delta .221:
    # log(.166 / .100) = .50.
    assert abs(np.median(bounds) - 0.50) < 0.08
    # Without delta the same counts claim more than (eps, delta) allows.
    rng = np.random.default_rng(4)
    scores = MEMBERS + rng.normal(0, sigma, 1000)
    assert epsilon_bound(scores, MEMBERS, threshold).epsilon > epsilon_bound(scores, MEMBERS, threshold, delta).epsilon


def test_randomised_response_is_approached() -> None:
    # Truth with probability e^eps / (1 + e^eps) = .8808. With 200,000 of each kind FPR .1192 is known to a relative
    # 1.96 sqrt(.88 / (.12 * 2e5)) = .012 and TPR to .0016: the bound is .014 below, give or take .006.
    eps, rng = 2.0, np.random.default_rng(5)
    members = np.arange(400_000) < 200_000
    scores = (members == (rng.random(400_000) < 1 / (1 + math.exp(-eps)))).astype(np.float64)
    bound = epsilon_bound(scores, members, 0.5).epsilon
    assert eps - 0.014 - 4 * 0.006 < bound < eps


def test_halves_are_disjoint_and_hold_both_kinds() -> None:
    rng = np.random.default_rng(6)
    scores, members = rng.normal(size=41) + (np.arange(41) < 11), np.arange(41) < 11
    bound = split_epsilon_bound(scores, members, np.random.default_rng(7))
    # 5 of 11 members and 15 of 30 nonmembers choose; 6 and 15 remain.
    assert (bound.n_members, bound.n_nonmembers) == (6, 15)
    assert bound.note.startswith("threshold chosen on the other half (20 records)")
    assert bound == split_epsilon_bound(scores, members, np.random.default_rng(7))
    assert bound.threshold in scores


def test_invalid_arguments_are_rejected() -> None:
    scores, members = scores_with(1, 0, 2, 1)
    for delta, level in ((-0.1, 0.95), (1.0, 0.95), (0.0, 1.0), (math.nan, 0.95)):
        with pytest.raises(AttackError, match="delta"):
            epsilon_bound(scores, members, 0.5, delta, level)
    with pytest.raises(AttackError, match="threshold"):
        epsilon_bound(scores, members, math.nan)
    with pytest.raises(AttackError, match="there are 2 members and 1 nonmembers"):
        split_epsilon_bound(scores, members, np.random.default_rng(0))
