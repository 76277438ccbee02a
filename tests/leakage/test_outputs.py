from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.outputs import Granularity, granularity


def test_by_hand() -> None:
    # Values .5 (twice), .9 (three times), .1: three distinct, five of six records share theirs.
    assert granularity(np.array([0.5, 0.9, 0.1, 0.9, 0.5, 0.9])) == Granularity(3, 5 / 6)


def test_continuous_and_constant() -> None:
    assert granularity(np.random.default_rng(0).random(1000)) == Granularity(1000, 0.0)
    assert granularity(np.zeros(10)) == Granularity(1, 1.0)


def test_rounding_to_a_byte_ties() -> None:
    values = np.random.default_rng(1).random(10_000)
    coarse = granularity(np.round(values * 256) / 256)
    assert coarse.distinct == 257
    assert coarse.tie_mass == 1.0


@pytest.mark.parametrize("bad", [[], [0.1, np.nan]])
def test_nothing_to_count(bad: list[float]) -> None:
    with pytest.raises(AttackError):
        granularity(np.array(bad))
