"""A model must be right more often than its most frequent label."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.controls.majority import beats_majority, majority

LABELS = np.repeat(np.arange(4), (40, 20, 20, 20))


def test_the_share_of_the_most_frequent_label() -> None:
    assert majority(LABELS) == 0.4


@pytest.mark.parametrize(("right", "beats"), [(40, False), (47, False), (50, True), (100, True)])
def test_more_than_the_most_frequent_label_beyond_chance(right: int, beats: bool) -> None:
    assert beats_majority(np.arange(100) < right, LABELS) is beats


def test_chance_gets_by_less_often_than_the_level() -> None:
    rng = np.random.default_rng(0)
    assert sum(beats_majority(rng.permutation(LABELS) == LABELS, LABELS) for _ in range(400)) <= 20


def test_one_label_cannot_be_beaten() -> None:
    assert not beats_majority(np.ones(50, np.bool_), np.zeros(50, np.int64))
