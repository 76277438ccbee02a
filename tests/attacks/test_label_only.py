"""Label-only: scores by hand, and the messages where no query was made."""

from __future__ import annotations

import numpy as np

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.label_only import LabelOnly
from edgeaudit.attacks.many_queries import queries_of, with_views
from edgeaudit.attacks.threshold import learn_threshold
from edgeaudit.attacks.traces import Trace
from edgeaudit.attacks.views import View
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld


def test_votes_by_hand() -> None:
    # Labels 0, 1, 1. The record as it is: right, right, wrong; first query: right, wrong, wrong; second: right, a tie
    # that the first class takes (wrong), right.
    asked = [[[3, 1], [0, 2], [5, 1]], [[2, 0], [1, 0], [1, 0]], [[1, 0], [1, 1], [0, 1]]]
    answers = [np.array(a, dtype=np.float64) for a in asked]
    shadows = np.zeros((1, 3, 2))
    views = tuple(View("shift-1", a, shadows) for a in answers[1:])
    out = np.ones((1, 3), dtype=np.bool_)
    evidence = Evidence(answers[0], shadows, out, np.array([0, 1, 1]), "logits", views=views)
    assert LabelOnly().score(evidence, "augmentation").score.tolist() == [3, 1, 1]


def test_augmentation_outperforms_gap(world_of: MakeWorld) -> None:
    # The margins of ten queries are drawn anew, so votes count how far a record's mean margin lies above 0: far more
    # than the one bit of the gap attack.
    world = world_of(0, n=600, shift=1.5, views=("noise-1",) * 10)
    votes = LabelOnly().score(world.evidence, "augmentation", world.reference).score
    assert set(votes) <= set(range(12))
    right = (world.evidence.target.argmax(axis=1) == 0).astype(float)
    assert auc(votes, world.members) > auc(right, world.members) + 0.05


def test_its_threshold_is_learned_from_shadows(world_of: MakeWorld) -> None:
    world = world_of(1, n=200, shift=2.0, views=("noise-1",) * 3)
    threshold = learn_threshold(LabelOnly(), "augmentation", world.reference)
    assert threshold.note is None
    assert threshold.value is not None
    assert 0 < threshold.value < 4


def _traced(target: list[float], shadows: list[list[float]], out: list[list[bool]]) -> Evidence:
    """Evidence of which only the distances matter."""
    n, k = len(target), len(shadows)
    looked = {number: np.array(one)[:, None] for number, one in enumerate(shadows) if not np.isnan(one).all()}
    trace = Trace(np.array(target)[:, None], looked, np.linspace(90, 91, n))
    answers = np.zeros((n, 2)), np.zeros((k, n, 2))
    return Evidence(*answers, np.array(out), np.zeros(n, dtype=np.int64), "logits", traces={"boundary": trace})


def test_the_threshold_of_distances_is_learned_from_shadows() -> None:
    # One shadow was looked at, on twenty records: 2 and 3 away where it trained, 0 and 1 where it did not. The
    # threshold that tells them apart lies half-way, at 1.5; the other shadow was not.
    nan = float("nan")
    seen, unseen = [2.0, 3.0] * 5, [0.0, 1.0] * 5
    reference = _traced([nan] * 20, [seen + unseen, [nan] * 20], [[False] * 10 + [True] * 10, [True] * 20])
    audited = _traced([0.0, 1.5, 4.0], [[nan] * 3] * 2, [[True] * 3] * 2)
    assert LabelOnly().score(audited, "boundary", reference).score.tolist() == [-1.5, 0.0, 2.5]
    assert LabelOnly.spec.threshold_of("boundary") == 0.0
    # 1 for the record as it is and 90.5 on average for the search, rounded up.
    assert queries_of(LabelOnly.spec.needs_of("boundary"), audited) == 1 + 91
    assert len(with_views(LabelOnly(), audited)) == 1


def test_records_without_a_search_are_not_scored() -> None:
    nan = float("nan")
    some = _traced([1.0, nan], [[nan] * 2], [[True] * 2])
    reason = LabelOnly().inapplicable(some, some, "boundary")
    assert reason is not None
    assert "add 'label-only' to attacks" in reason
    assert some.take(np.array([0])).traces["boundary"].taken.all()
