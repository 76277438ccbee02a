"""Label-only: votes by hand, and what is said where nothing was asked."""

from __future__ import annotations

import numpy as np

from edgeaudit.attacks.base import Evidence
from edgeaudit.attacks.label_only import LabelOnly
from edgeaudit.attacks.threshold import learn_threshold
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


def test_more_queries_tell_more_than_the_gap(world_of: MakeWorld) -> None:
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
