from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.attacks.cm_mia import CmMia, check_cutoff, decide, smallest_cutoff_shadows
from edgeaudit.attacks.null_tests import ModeratedNull
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc

from .conftest import MakeEvidence


@pytest.mark.parametrize(
    ("cutoff", "shadows"),
    [(0.05, 19), (0.01, 99), (0.02, 49), (0.1, 9), (0.001, 999), (1 / 3, 2), (0.07, 14), (0.5, 1), (1 / 49, 48)],
)
def test_smallest_cutoff_shadows(cutoff: float, shadows: int) -> None:
    assert smallest_cutoff_shadows(cutoff) == shadows


@settings(derandomize=True)
@given(st.integers(1, 5000))
def test_reciprocals_are_not_off_by_one(k: int) -> None:
    assert smallest_cutoff_shadows(1 / (k + 1)) == k


@settings(derandomize=True)
@given(st.floats(1e-6, 0.99))
def test_it_is_the_smallest(cutoff: float) -> None:
    k = smallest_cutoff_shadows(cutoff)
    assert 1 / (k + 1) <= cutoff
    assert k == 1 or 1 / k > cutoff


@pytest.mark.parametrize("cutoff", [0.0, 1.0, -0.1, float("nan"), 1e-300])
def test_invalid_cutoffs_are_rejected(cutoff: float) -> None:
    with pytest.raises(AttackError, match="cutoff"):
        smallest_cutoff_shadows(cutoff)


@pytest.mark.parametrize("variant", ["ecdf", "pchip"])
def test_unresolvable_cutoffs_are_rejected_with_the_number_of_shadows(variant: str) -> None:
    check_cutoff(0.05, 19, variant)
    with pytest.raises(AttackError) as caught:
        check_cutoff(0.01, 20, variant)
    assert str(caught.value) == (
        f"cutoff 0.01 needs at least 99 shadows for the rank test '{variant}' "
        "(the smallest p-value is 1/(K+1)); this audit has 20"
    )
    check_cutoff(0.01, 20, "t")


def test_a_resolvable_cutoff_can_be_reached(evidence_of: MakeEvidence) -> None:
    evidence, members = evidence_of(0, k=19, shift=9.0)
    p = CmMia().score(evidence, "ecdf").nominal
    assert p is not None
    accused = decide(p, np.ones(len(members), dtype=np.bool_), 0.05)
    assert accused[members].mean() > 0.9


def test_decide_by_hand() -> None:
    p = np.array([0.01, 0.05, 0.051, 0.01])
    abnormal = np.array([True, True, True, False])
    np.testing.assert_array_equal(decide(p, abnormal, 0.05), [True, True, False, False])
    with pytest.raises(AttackError, match="do not match"):
        decide(p, abnormal[1:], 0.05)
    with pytest.raises(AttackError, match="do not match"):
        decide(p, abnormal.astype(np.int64), 0.05)


def test_variant_t_uses_margins_and_its_d0(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(1)
    for d0 in (None, 16.0):
        expected = ModeratedNull.fit(shadow_margins(evidence.shadow_answers), evidence.out, d0).test(
            target_margins(evidence)
        )
        scores = CmMia(d0).score(evidence, "t")
        np.testing.assert_array_equal(scores.score, expected.score)
        np.testing.assert_array_equal(scores.nominal, expected.p_value)
        assert scores.p_value is None  # no known nonmembers


def test_rank_scores_are_minus_p_and_keep_ties(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(2, n=500, k=12)
    for variant in ("ecdf", "pchip"):
        scores = CmMia().score(evidence, variant)
        assert scores.nominal is not None
        np.testing.assert_array_equal(scores.score, -scores.nominal)
    assert len(np.unique(CmMia().score(evidence, "ecdf").score)) == 13


def test_logits_saturate_the_loss_unless_the_floor_is_zero(evidence_of: MakeEvidence) -> None:
    # Margins around 9 have p > 511/512, so the clipped losses of target and shadows tie and nobody is accused;
    # with floor 0 the same evidence ranks.
    def lifted(floor: float) -> float:
        evidence, members = evidence_of(3, n=600, spread=0.1, shift=2.0, floor=floor)
        evidence.target[:, 0] += 14
        evidence.shadows[:, :, 0] += 14
        return auc(CmMia().score(evidence, "ecdf").score, members)

    assert lifted(1 / 512) == 0.5
    assert lifted(0.0) > 0.8
