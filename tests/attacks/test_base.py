from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.lira import Lira
from edgeaudit.errors import AttackError

from .conftest import MakeEvidence


class Broken(Attack):
    spec: ClassVar[AttackSpec] = AttackSpec(
        "broken", ("short", "nan", "p", "unknown", "fine"), "", "", Needs(shadows=2, out=1)
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        n = len(evidence.labels)
        answers = {
            "short": Scores(np.zeros(n - 1)),
            "nan": Scores(np.full(n, np.nan)),
            "p": Scores(np.zeros(n), np.full(n, np.nan)),
            "unknown": Scores(np.zeros(n), np.zeros(n)),
            "fine": Scores(np.zeros(n), np.zeros(n), known=5),
        }
        return answers[variant]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_rejected_with_a_count(evidence_of: MakeEvidence, bad: float) -> None:
    evidence, _ = evidence_of(0, n=10, k=3)
    target, shadows = evidence.target.copy(), evidence.shadows.copy()
    target[3, 1], shadows[2, 3, 0], shadows[0, 7, 2] = bad, bad, bad
    with pytest.raises(AttackError, match="2 of 10 records"):
        replace(evidence, target=target, shadows=shadows)


def test_evidence_with_mismatched_shapes_is_rejected(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(0, n=10, k=3)
    with pytest.raises(AttackError, match="do not match"):
        replace(evidence, shadows=evidence.shadows[:, 1:])
    with pytest.raises(AttackError, match="must be bool"):
        replace(evidence, out=evidence.out.astype(np.int64))
    with pytest.raises(AttackError, match="one a record"):
        replace(evidence, labels=evidence.labels[1:])
    # A label of -1 would silently read the last class.
    with pytest.raises(AttackError, match="labels run from -1"):
        replace(evidence, labels=evidence.labels - 1)
    with pytest.raises(AttackError, match="2 or more classes"):
        replace(evidence, target=evidence.target[:, :1])
    with pytest.raises(AttackError, match="floor"):
        replace(evidence, exposure="probabilities", floor=0.0)
    assert replace(evidence, floor=0.0).floor == 0


def test_play_removes_the_shadow_and_returns_its_training_set(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(1, n=20, k=4, halves=True)
    played, trained = evidence.play(2)
    np.testing.assert_array_equal(played.target, evidence.shadows[2])
    np.testing.assert_array_equal(played.shadows, evidence.shadows[[0, 1, 3]])
    np.testing.assert_array_equal(played.out, evidence.out[[0, 1, 3]])
    np.testing.assert_array_equal(trained, ~evidence.out[2])


def test_take_selects_the_same_records_everywhere(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(1, n=20, k=4, halves=True)
    few = evidence.take(np.array([5, 2]))
    np.testing.assert_array_equal(few.target, evidence.target[[5, 2]])
    np.testing.assert_array_equal(few.shadows, evidence.shadows[:, [5, 2]])
    np.testing.assert_array_equal(few.out, evidence.out[:, [5, 2]])


def test_attacks_must_score_every_record(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(0, n=10, k=3)
    refused = {
        "short": "finite score",
        "nan": "finite score",
        "p": "p-value",
        "unknown": "number of known nonmembers",
        "x": "no variant",
    }
    for variant, message in refused.items():
        with pytest.raises(AttackError, match=message):
            Broken().score(evidence, variant)
    assert Broken().score(evidence, "fine").score.shape == (10,)


def test_needs_are_checked(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(0, n=10, k=3)
    one = evidence.keep(np.array([0]))
    with pytest.raises(AttackError, match="at least 2 shadows and has 1"):
        Broken().score(one, "fine")
    out = evidence.out.copy()
    out[:, 4] = False
    with pytest.raises(AttackError, match="1 of 10 records have fewer"):
        Broken().score(replace(evidence, out=out), "fine")


def test_reference_and_evidence_must_match(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(0, n=10, k=3)
    other, _ = evidence_of(1, n=10, k=4)
    with pytest.raises(AttackError, match="do not match"):
        Broken().score(evidence, "fine", other)
    with pytest.raises(AttackError, match="do not match"):
        Broken().inapplicable(evidence, replace(evidence, floor=0.1), "fine")
    assert Broken().inapplicable(evidence, evidence.take(np.arange(3)), "fine") is None


def test_a_variance_needs_two_shadows_on_some_record(evidence_of: MakeEvidence) -> None:
    # Two shadows that trained on complementary halves: every record has one OUT shadow, none has two.
    evidence, _ = evidence_of(0, n=10, k=2)
    out = np.stack((np.arange(10) < 5, np.arange(10) >= 5))
    reason = Lira().inapplicable(replace(evidence, out=out), None, "offline-global")
    assert reason is not None
    assert "two OUT shadows on at least one record" in reason
    out[1, 0] = True
    assert Lira().inapplicable(replace(evidence, out=out), None, "offline-global") is None
