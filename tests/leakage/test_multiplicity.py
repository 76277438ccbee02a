from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.multiplicity import ClaimMethod, claim_figures, claim_records, holm

P_VALUES = st.lists(st.integers(0, 40).map(lambda k: k / 40), min_size=1, max_size=30)
METHODS: tuple[ClaimMethod, ...] = ("bh", "by")


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .2: times 4, 3, 2, 1 = .04 .06 .06 .2, none below the one before it.
    np.testing.assert_allclose(holm(np.array([0.2, 0.01, 0.03, 0.02])), [0.2, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, 0.5])), [1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.03])), [0.03])


# statsmodels 0.15 collects garbage in every Holm call, .15 s each: few examples.
@settings(derandomize=True, deadline=None, max_examples=15)
@given(P_VALUES)
def test_holm_against_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(np.array(p_values)), expected, atol=1e-12)


def test_holm_holds_the_family_under_dependence() -> None:
    # Five comparisons against one common baseline (correlation 1/2), none of them real: some rejection in at most 5%
    # of 2000 families, standard error .0049.
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(2000, 5)) - rng.normal(size=(2000, 1))) / np.sqrt(2)
    wrong = [bool((holm(p) <= 0.05).any()) for p in 2 * stats.norm.sf(np.abs(z))]
    assert 0.02 < np.mean(wrong) < 0.05 + 4 * 0.0049


def test_claims_by_hand() -> None:
    # BH at .05 with n = 5: i/n q = .01 .02 .03 .04 .05. Sorted .005 .018 .04 .04 .9: .04 <= .04 at i = 4, so four.
    # BY divides q by 1 + 1/2 + 1/3 + 1/4 + 1/5 = 137/60: limits .0044 .0088 .0131 .0175: none.
    p_values = np.array([0.04, 0.9, 0.005, 0.018, 0.04])
    bh, by = (claim_records(p_values, 0.05, method) for method in METHODS)
    assert bh.claimed.tolist() == [True, False, True, True, True]
    assert not by.claimed.any()
    # Adjusted: min over j >= i of 5 p_j / j = .025 .045 .05 .05 .9.
    np.testing.assert_allclose(bh.adjusted, [0.05, 0.9, 0.025, 0.045, 0.05])
    np.testing.assert_allclose(by.adjusted, np.minimum(1, bh.adjusted * 137 / 60))


@settings(derandomize=True, deadline=None)
@given(P_VALUES, st.sampled_from([0.05, 0.13, 0.3]))
def test_claims_against_statsmodels(p_values: list[float], level: float) -> None:
    for method, theirs in zip(METHODS, ("fdr_bh", "fdr_by"), strict=True):
        claims = claim_records(np.array(p_values), level, method)
        rejected, adjusted = multipletests(p_values, alpha=level, method=theirs)[:2]
        np.testing.assert_allclose(claims.adjusted, adjusted, atol=1e-12)
        # At exact equality the two may round to different sides.
        clear = np.abs(adjusted - level) > 1e-9
        assert (claims.claimed == rejected)[clear].all()
    assert (
        claim_records(np.array(p_values), level, "bh").claimed >= claim_records(np.array(p_values), level).claimed
    ).all()


def rank_p_values(rng: np.random.Generator, members: np.ndarray, k: int) -> np.ndarray:
    """Conformal p-values against k known nonmembers that all records share."""
    known = rng.normal(size=k)
    scores = rng.normal(size=len(members)) + 3.0 * members
    return np.asarray((1 + (known[None, :] >= scores[:, None]).sum(axis=1)) / (k + 1))


def test_false_discovery_rate_of_p_values_that_share_their_shadows() -> None:
    # Half are nonmembers: the FDR is at most .1 / 2 = .05 for both (conformal p-values are PRDS; BY always). 400 runs
    # with a standard deviation below .1: standard error .005.
    rng = np.random.default_rng(1)
    members = np.arange(200) < 100
    shares: dict[ClaimMethod, list[float]] = {"bh": [], "by": []}
    found = dict.fromkeys(shares, 0)
    for _ in range(400):
        p_values = rank_p_values(rng, members, 500)
        for method in METHODS:
            claimed = claim_records(p_values, 0.1, method).claimed
            shares[method].append(float((claimed & ~members).sum() / max(1, claimed.sum())))
            found[method] += int((claimed & members).sum())
    assert 0.03 < np.mean(shares["bh"]) < 0.05 + 4 * 0.005
    assert np.mean(shares["by"]) < np.mean(shares["bh"])
    assert found["bh"] > found["by"] > 0.3 * 400 * 100


def test_few_shadows_claim_no_record() -> None:
    # K = 19: smallest p .05; BH at .05 over 100 records needs all 100 to have it.
    p_values = np.full(100, 0.05)
    assert claim_records(p_values, 0.05, "bh").claimed.all()
    p_values[0] = 0.1
    assert not claim_records(p_values, 0.05, "bh").claimed.any()


def test_claim_figures_by_hand() -> None:
    # 12 claims: 9 of 30 members, 3 of 70 nonmembers.
    members = np.arange(100) < 30
    p_values = np.ones(100)
    p_values[[*range(9), 50, 60, 70]] = 1e-6
    rows = {row.metric: row for row in claim_figures(claim_records(p_values, 0.05), members)}
    assert list(rows) == ["claimed@by=0.05", "fdp@by=0.05", "recall@by=0.05"]
    for name, count, trials in (("claimed", 12, 100), ("fdp", 3, 12), ("recall", 9, 30)):
        row = rows[f"{name}@by=0.05"]
        assert (row.value, (row.low, row.high)) == (count / trials, clopper_pearson(count, trials))
        assert row.realised_fpr == 3 / 70
        assert row.note == "12 of 100 records claimed; 9 of 30 members, 3 of 70 nonmembers"


def test_no_claim_has_no_false_discovery_proportion() -> None:
    claimed, fdp, recall = claim_figures(claim_records(np.ones(10), 0.05), np.arange(10) < 5)
    assert (claimed.value, fdp.value, recall.value) == (0.0, None, 0.0)
    assert "no record is claimed" in str(fdp.note)


def test_invalid_arguments_are_rejected() -> None:
    members = np.arange(4) < 2
    good = claim_records(np.full(4, 0.5), 0.05)
    for bad in ([0.1, np.nan], [-0.1], [1.1, 2.0], []):
        with pytest.raises(AttackError, match="p-values"):
            holm(np.array(bad, dtype=np.float64))
    for level in (0.0, 1.0):
        with pytest.raises(AttackError, match="level"):
            claim_records(np.array([0.1]), level)
    with pytest.raises(AttackError, match="bonferroni"):
        claim_records(np.array([0.1]), 0.05, "bonferroni")  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="do not match"):
        claim_figures(good, members[:3])
    with pytest.raises(AttackError, match="at least one member"):
        claim_figures(good, np.ones(4, dtype=bool))
