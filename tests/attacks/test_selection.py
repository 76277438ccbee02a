from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.attacks.evidence import BoolArray, Evidence, IntArray
from edgeaudit.attacks.selection import SelectionRule, alpha_for_share, largest_share, neighbours_needed, select
from edgeaudit.errors import AttackError

from .conftest import MakeEvidence


def pick(
    rule: SelectionRule, audited: Evidence, pool: Evidence, n_target: int, self_index: IntArray | None = None
) -> BoolArray:
    return select(rule, audited.shadow_answers, pool.shadow_answers, n_target, self_index)


def at_angles(degrees: list[float]) -> Evidence:
    """One shadow whose two "probabilities" point in the given direction, so cosine distance is 1 - cos(difference)."""
    radians = np.deg2rad(degrees)
    shadows = np.stack((np.cos(radians), np.sin(radians)), axis=-1)[None]
    n = len(degrees)
    return Evidence(shadows[0], shadows, np.ones((1, n), dtype=np.bool_), np.zeros(n, dtype=np.int64), "probabilities")


POOL = at_angles([0, 1, 2, 3, 4, 5, 80, 90])


def test_fraction_takes_the_most_distant() -> None:
    audited = at_angles([2, 3, 40, 2.5, 1.5, 3.5, 2, 2, 2, 2])
    mask = pick(SelectionRule("fraction", fraction=0.1), audited, POOL, n_target=4)
    np.testing.assert_array_equal(np.flatnonzero(mask), [2])


def test_fraction_uses_the_mean_of_the_nearest() -> None:
    # 85 has neighbours at 5 and 5 degrees and then none; 30 has all at 25 or more. With two neighbours 30 is more
    # distant, with five 85 is: its third to fifth are at 80 or more.
    audited = at_angles([85, 30])
    for neighbours, expected in ((2, [1]), (5, [0])):
        mask = pick(
            SelectionRule("fraction", fraction=0.5, neighbours=neighbours),
            audited,
            POOL,
            n_target=4,
        )
        np.testing.assert_array_equal(np.flatnonzero(mask), expected)


def test_alpha_beta_counts_expected_neighbours() -> None:
    # n_target / n_reference = 1/8 of 8; beta .3 needs r/8 >= .3, 3 neighbours. Within 6 degrees: 2 has 6 neighbours,
    # 85 has 2 (expected .25 < .3: abnormal), 40 none. With beta .2 (2 neighbours) only 40 is abnormal.
    audited = at_angles([2, 85, 40])
    alpha = 1 - np.cos(np.deg2rad(6))
    for beta, expected in ((0.3, [1, 2]), (0.2, [2])):
        mask = pick(SelectionRule("alpha_beta", alpha=alpha, beta=beta), audited, POOL, n_target=1)
        np.testing.assert_array_equal(np.flatnonzero(mask), expected)


def test_alpha_beta_finds_the_share(evidence_of: MakeEvidence) -> None:
    audited, _ = evidence_of(0, n=200, k=6)
    pool, _ = evidence_of(1, n=300, k=6)
    for n_target in (100, 9):
        mask = pick(SelectionRule("alpha_beta", fraction=0.1), audited, pool, n_target)
        assert mask.sum() == 20


def test_self_is_no_neighbour(evidence_of: MakeEvidence) -> None:
    # A pool that holds the audited records: each is its own nearest neighbour unless told otherwise.
    pool, _ = evidence_of(2, n=50, k=4)
    rule = SelectionRule("alpha_beta", alpha=1e-6, beta=0.5)
    assert not pick(rule, pool, pool, n_target=25).any()
    assert pick(rule, pool, pool, n_target=25, self_index=np.arange(50)).all()


def test_hardness_is_the_mean_out_loss() -> None:
    # Mean OUT losses: -log of (.5, .9, .2, .8) for the first shadow; the second is OUT only for record 1 (p = .01).
    first = np.array([0.5, 0.9, 0.2, 0.8])
    second = np.array([0.01, 0.01, 0.99, 0.99])
    shadows = np.stack([np.stack((p, 1 - p), axis=-1) for p in (first, second)])
    out = np.array([[True] * 4, [False, True, False, False]])
    audited = Evidence(shadows[0], shadows, out, np.zeros(4, dtype=np.int64), "probabilities", 1e-6)
    # (-log .9 - log .01) / 2 = 2.36 for record 1, 1.61 for record 2, .69, .22.
    mask = pick(SelectionRule("hardness", fraction=0.5), audited, POOL, n_target=4)
    np.testing.assert_array_equal(np.flatnonzero(mask), [1, 2])
    with pytest.raises(AttackError, match="2 of 4 records have no OUT shadow"):
        closed = replace(audited, out=np.array([[True, True, False, False], [False] * 4]))
        pick(SelectionRule("hardness"), closed, POOL, n_target=4)


def test_all_is_all(evidence_of: MakeEvidence) -> None:
    audited, _ = evidence_of(3, n=30)
    assert pick(SelectionRule("all"), audited, audited, 5).all()


def test_selection_moves_with_the_records(evidence_of: MakeEvidence) -> None:
    audited, _ = evidence_of(4, n=100, k=5)
    pool, _ = evidence_of(5, n=80, k=5)
    order = np.random.default_rng(6).permutation(100)
    for rule in (SelectionRule("fraction"), SelectionRule("alpha_beta"), SelectionRule("hardness")):
        mask = pick(rule, audited, pool, 40)
        assert mask.sum() == 10
        np.testing.assert_array_equal(pick(rule, audited.take(order), pool, 40), mask[order])


def test_largest_share_is_deterministic() -> None:
    np.testing.assert_array_equal(largest_share(np.array([1.0, 3.0, 3.0, 3.0]), 0.5), [False, True, True, False])
    assert largest_share(np.arange(5.0), 0.5).sum() == 3
    assert largest_share(np.arange(5.0), 0.01).sum() == 1
    assert largest_share(np.arange(5.0), 1.0).all()


@pytest.mark.parametrize(
    ("beta", "n_target", "n_reference", "needed"),
    # r n_target / n_reference >= beta: r/50 >= .1 is exactly 5; r/2 >= .1 is 1; r/30 >= .1 is 3, r/31 is 3.1 -> 4.
    [(0.1, 1, 50, 5), (0.1, 500, 1000, 1), (0.1, 100, 3000, 3), (0.1, 100, 3100, 4), (0.3, 7, 70, 3)],
)
def test_neighbours_needed(beta: float, n_target: int, n_reference: int, needed: int) -> None:
    assert neighbours_needed(beta, n_target, n_reference) == needed


@settings(derandomize=True)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_alpha_for_share_is_nearest(last: list[int], fraction: float) -> None:
    distances = np.array(last) / 10
    share = (distances > alpha_for_share(distances, fraction)).mean()
    candidates = [(distances > alpha).mean() for alpha in np.arange(-1, 11) / 10]
    assert abs(share - fraction) <= min(abs(c - fraction) for c in candidates) + 1e-12


def test_invalid_rules_are_rejected() -> None:
    for arguments in ({"fraction": 0.0}, {"fraction": 1.1}, {"neighbours": 0}, {"beta": 0.0}):
        with pytest.raises(AttackError):
            SelectionRule(**arguments)
    with pytest.raises(AttackError, match="must not be empty"):
        neighbours_needed(0.1, 0, 10)
