from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.attacks.attack_p import AttackP
from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.evidence import Evidence, FloatArray
from edgeaudit.attacks.gap import Gap
from edgeaudit.attacks.info_rmia import InfoRmia
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.registry import attack_specs, find_attack
from edgeaudit.attacks.rmia import Rmia
from edgeaudit.attacks.signals import target_losses
from edgeaudit.attacks.threshold import learn_threshold, youden_threshold
from edgeaudit.attacks.yeom import Yeom

from .conftest import MakeEvidence


def test_youden_by_hand() -> None:
    # Members 5, 4, 2; nonmembers 3, 1, 0. At >= 4: J = 2/3; at >= 2: 1 - 1/3 = 2/3. The higher one, and half-way to
    # the next score below: 3.5.
    scores = np.array([5.0, 4.0, 2.0, 3.0, 1.0, 0.0])
    members = np.array([True, True, True, False, False, False])
    assert youden_threshold(scores, members) == 3.5


def test_youden_calls_no_record_a_member_where_no_threshold_is_better_than_chance() -> None:
    scores, members = np.array([0.0, 1.0]), np.array([True, False])
    assert youden_threshold(scores, members) == math.nextafter(1.0, math.inf)
    # One tied group: J is 0 with it and without it.
    assert youden_threshold(np.zeros(2), members) > 0


@settings(derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=30))
def test_youden_is_the_best_of_all_thresholds(pairs: list[tuple[int, bool]]) -> None:
    scores, members = np.array([float(p[0]) for p in pairs]), np.array([p[1] for p in pairs])
    if members.all() or not members.any():
        return

    def j(threshold: float) -> float:
        accused = scores >= threshold
        return float(accused[members].mean() - accused[~members].mean())

    assert j(youden_threshold(scores, members)) >= max(j(t) for t in range(10)) - 1e-12


def test_learned_on_shadows_is_near_the_optimum(evidence_of: MakeEvidence) -> None:
    # No difficulty: margins N(0, 1) and N(2, 1), so J is best at margin 1, score -log(1 + e^-1) = -.313, where it is
    # 2 Phi(1) - 1 = .683. J falls by phi'' ~ .24 x^2 at margin 1 + x: within .3 it is at least .66.
    reference, _ = evidence_of(0, n=1000, k=9, spread=0.0, shift=2.0, halves=True, floor=0.0)
    threshold = learn_threshold(Yeom(), "loss", reference)
    assert threshold.note is None
    assert threshold.value is not None
    assert abs(-math.log(math.expm1(-threshold.value)) - 1) < 0.3


def test_the_target_s_answers_do_not_matter(evidence_of: MakeEvidence) -> None:
    reference, _ = evidence_of(1, n=300, halves=True)
    garbled = replace(reference, target=-reference.target)
    for spec in attack_specs():
        for variant in spec.variants:
            if spec.needs_of(variant).views or spec.needs_of(variant).trace:
                continue  # they read more than these answers
            attack = find_attack(spec.name)()
            learned = learn_threshold(attack, variant, reference, max_plays=3)
            assert learned.note is None
            assert learned == learn_threshold(attack, variant, garbled, max_plays=3)


def test_a_natural_threshold_is_kept(evidence_of: MakeEvidence) -> None:
    reference, _ = evidence_of(2, n=50)
    assert learn_threshold(Gap(), "label", reference).value == 0.5


def test_all_out_falls_back_to_known_nonmembers(evidence_of: MakeEvidence) -> None:
    reference, _ = evidence_of(3, n=200)
    threshold = learn_threshold(CmMia(), "t", reference)
    assert threshold.value is not None
    assert "95% quantile" in str(threshold.note)
    # The quantile is at place .95 * 199 = 189.05, so score 190 of 0..199: it and the 9 above it are 5% of 200.
    assert (CmMia().score(reference, "t").score >= threshold.value).sum() == 10


def test_all_in_leaves_none(evidence_of: MakeEvidence) -> None:
    reference, _ = evidence_of(4, n=50)
    closed = replace(reference, out=np.zeros_like(reference.out))
    threshold = learn_threshold(Lira(), "offline-global", closed)
    assert threshold.value is None
    assert "no a-priori threshold" in str(threshold.note)


def test_two_shadows_cannot_play_an_attack_that_needs_two(evidence_of: MakeEvidence) -> None:
    reference, _ = evidence_of(5, n=200, k=2, halves=True)
    assert learn_threshold(CmMia(), "ecdf", reference).note is not None
    assert learn_threshold(Yeom(), "loss", reference).note is None


def test_records_are_bounded_evenly(evidence_of: MakeEvidence) -> None:
    reference, _ = evidence_of(6, n=400, halves=True)
    some = learn_threshold(Yeom(), "loss", reference, max_records=100)
    rows = np.linspace(0, 399, 100).astype(np.int64)
    assert some == learn_threshold(Yeom(), "loss", reference.take(rows))


@pytest.mark.parametrize("variant", CmMia.spec.variants)
def test_records_without_out_shadow_left_are_left_out_of_the_play(evidence_of: MakeEvidence, variant: str) -> None:
    reference, _ = evidence_of(7, n=300, k=3, halves=True)
    assert (reference.out.sum(axis=0) == 0).any()
    assert learn_threshold(CmMia(), variant, reference).value is not None


class Recorder(Attack):
    """Scores -loss, and keeps what it was given."""

    spec: ClassVar[AttackSpec] = AttackSpec("recorder", ("only",), "", "", Needs(shadows=1, reference=10))

    def __init__(self) -> None:
        self.seen: list[tuple[Evidence, Evidence]] = []

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        self.seen.append((evidence, reference))
        return Scores(-target_losses(evidence))


def rows_of(part: FloatArray, whole: FloatArray) -> list[int]:
    """Where the rows of `part` stand in `whole`; every one must."""
    where = {row.tobytes(): i for i, row in enumerate(whole)}
    return [where[row.tobytes()] for row in part]


def test_a_play_s_reference_is_the_other_half_without_what_the_player_trained_on(evidence_of: MakeEvidence) -> None:
    known, _ = evidence_of(8, n=101, k=4, halves=True)
    attack = Recorder()
    learn_threshold(attack, "only", known, max_plays=3, seed=5)
    assert len(attack.seen) == 3
    scored_first = rows_of(attack.seen[0][0].target, known.shadows[0])
    assert len(scored_first) == 50
    for shadow, (scored, serving) in enumerate(attack.seen):
        one, two = rows_of(scored.target, known.shadows[shadow]), rows_of(serving.target, known.shadows[shadow])
        assert one == scored_first
        assert not set(one) & set(two)
        assert set(two) == {i for i in range(101) if i not in set(one) and known.out[shadow, i]}
        for part, rows in ((scored, one), (serving, two)):
            np.testing.assert_array_equal(part.out, np.delete(known.out, shadow, axis=0)[:, rows])
            np.testing.assert_array_equal(part.shadows, np.delete(known.shadows, shadow, axis=0)[:, rows])


def test_a_play_on_other_records_has_the_whole_reference_and_nothing_of_the_target(evidence_of: MakeEvidence) -> None:
    known, _ = evidence_of(13, n=60, k=4)
    audited, _ = evidence_of(14, n=300, k=4, halves=True)
    attack = Recorder()
    learned = learn_threshold(attack, "only", known, max_plays=2, played=audited.shadow_answers)
    assert learned.note is None
    for shadow, (scored, serving) in enumerate(attack.seen):
        np.testing.assert_array_equal(scored.target, audited.shadows[shadow])
        np.testing.assert_array_equal(serving.target, known.shadows[shadow])
        np.testing.assert_array_equal(scored.out, np.delete(audited.out, shadow, axis=0))


def test_without_plays_the_threshold_is_of_known_nonmembers_not_of_audited_records(evidence_of: MakeEvidence) -> None:
    # Shadows that trained on all audited records or on none of them cannot play: no record is both.
    known, _ = evidence_of(15, n=400, k=4)
    audited, _ = evidence_of(16, n=400, k=4, shift=6.0)
    assert audited.out.all()
    learned = learn_threshold(Yeom(), "loss", known, played=audited.shadow_answers)
    assert learned == learn_threshold(Yeom(), "loss", known)
    assert "reference records" in str(learned.note)
    # The 95% quantile of 400 known nonmembers: 19 or 20 of them lie at or above it.
    scores = Yeom().score(known, "loss").score
    assert learned.value is not None
    assert 19 <= (scores >= learned.value).sum() <= 21
    # An online test has no IN shadow on reference records, and so no threshold.
    assert learn_threshold(InfoRmia(), "online", known, played=audited.shadow_answers).value is None


def test_halves_follow_the_seed(evidence_of: MakeEvidence) -> None:
    known, _ = evidence_of(9, n=300, halves=True)
    first, again, other = (learn_threshold(Rmia(), "offline-0.3", known, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_learned_with_a_reference_is_near_the_optimum(evidence_of: MakeEvidence) -> None:
    # As for Yeom above: J is best at margin 1, which P[N(0, 1) > 1] = 15.9% of known nonmembers exceed, so at score
    # -.159; J at margins within .3 of it, 9.7% to 24.2%, is at least .66 of .683.
    known, _ = evidence_of(10, n=2000, k=9, spread=0.0, shift=2.0, halves=True, floor=0.0, member_share=0.0)
    threshold = learn_threshold(AttackP(), "quantile", known)
    assert threshold.note is None
    assert threshold.value is not None
    assert -0.242 < threshold.value < -0.097


def test_without_plays_an_attack_with_a_reference_falls_back_on_half(evidence_of: MakeEvidence) -> None:
    known, _ = evidence_of(11, n=200)
    threshold = learn_threshold(AttackP(), "quantile", known)
    assert "95% quantile" in str(threshold.note)
    assert threshold.value is not None
    # The target trained on none of them, so p is uniform: the 95% quantile of -p is near -.05.
    assert -0.15 < threshold.value < 0
    assert learn_threshold(AttackP(), "quantile", known.take(np.arange(15))).value is None


def test_online_plays_keep_records_with_both_kinds_of_shadows(evidence_of: MakeEvidence) -> None:
    known, _ = evidence_of(12, n=300, k=4, halves=True)
    assert ((~known.out).sum(axis=0) == 0).any()
    threshold = learn_threshold(InfoRmia(), "online", known)
    assert threshold.value is not None
    assert threshold.note is None
