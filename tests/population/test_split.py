"""Sides never overlap, copies stay together, impossible splits say how many records are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.errors import SplitError
from edgeaudit.population.split import Split, content_groups, draw_split, listed_split


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _assert_disjoint(split: Split, groups: np.ndarray) -> None:
    sides = [set(groups[s].tolist()) for s in (split.members, split.nonmembers, split.reference)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_copies_are_found_by_content() -> None:
    x = np.array([[1, 2], [3, 4], [1, 2], [1, 2], [3, 4], [5, 6]], np.uint8)
    y = np.array([0, 1, 0, 1, 1, 2])
    groups, duplicates = content_groups(x, y)
    assert groups.tolist() == [0, 1, 0, 0, 1, 5]
    assert duplicates.copies == 3  # records 2, 3 and 4 repeat an earlier one
    assert duplicates.conflicting == 1  # the group of record 0 has labels 0 and 1


def test_negative_zero_and_zero_are_different_bytes_but_equal_images_match() -> None:
    x = np.zeros((3, 1, 2, 2), np.float32)
    x[1] = 1
    groups, duplicates = content_groups(x, np.zeros(3, np.int64))
    assert duplicates.copies == 1
    assert groups.tolist() == [0, 1, 0]


@given(
    contents=st.lists(st.integers(0, 12), min_size=12, max_size=60),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_no_group_is_on_two_sides(contents: list[int], seed: int) -> None:
    x = np.array(contents, np.int64)[:, None]
    groups, _ = content_groups(x, np.zeros(len(x), np.int64))
    try:
        split = draw_split(groups, 3, 3, None, np.random.default_rng(seed))
    except SplitError:
        return  # large groups can make 3 + 3 impossible; the message is tested below
    assert len(split.members) == len(split.nonmembers) == 3
    _assert_disjoint(split, groups)


def test_sizes_are_exact_and_the_seed_decides() -> None:
    groups = np.arange(100)
    first = draw_split(groups, 20, 30, 40, np.random.default_rng(1))
    again = draw_split(groups, 20, 30, 40, np.random.default_rng(1))
    other = draw_split(groups, 20, 30, 40, np.random.default_rng(2))
    assert [len(s) for s in (first.members, first.nonmembers, first.reference)] == [20, 30, 40]
    assert np.array_equal(first.members, again.members)
    assert not np.array_equal(first.members, other.members)


def test_members_are_a_uniform_draw() -> None:
    # Each of 50 records is a member with chance 10/50; over 400 draws the count has mean 80 and sd sqrt(400*.2*.8) = 8.
    counts = np.zeros(50)
    for seed in range(400):
        counts[draw_split(np.arange(50), 10, 10, None, np.random.default_rng(seed)).members] += 1
    assert np.abs(counts - 80).max() < 4.5 * 8  # P < 7e-6 a record


def test_too_small_a_source_states_how_many_are_missing() -> None:
    with pytest.raises(SplitError, match="10 are missing"):
        draw_split(np.arange(90), 40, 40, 20, _rng())


def test_reject_groups_too_large_to_place() -> None:
    with pytest.raises(SplitError, match="identical records"):
        draw_split(np.zeros(10, np.int64), 3, 3, None, _rng())


def test_a_listed_nonmember_that_repeats_a_member_is_removed() -> None:
    groups = np.array([0, 1, 0, 3, 4, 5])
    split = listed_split(groups, np.array([0, 1]), np.array([2, 3]), None, _rng())
    assert split.nonmembers.tolist() == [3]
    assert split.moved == 1
    assert split.reference.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("members", "nonmembers", "reference", "message"),
    [
        ([0, 9], [1], None, "record 9 does not exist"),
        ([0, 0], [1], None, "appears twice"),
        ([0, 1], [1, 2], None, "record 1 is in members and in nonmembers"),
        ([], [1], None, "the list is empty"),
        ([0], [1], 7, "4 are left"),
    ],
)
def test_reject_invalid_lists(members: list[int], nonmembers: list[int], reference: int | None, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        listed_split(np.arange(6), np.array(members, np.int64), np.array(nonmembers, np.int64), reference, _rng())
