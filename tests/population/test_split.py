"""Sides never overlap, copies stay together, impossible splits say how many records are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from edgeaudit.errors import DataError, SplitError
from edgeaudit.population.groups import content_groups, copies, joined, near_groups, numbered_values
from edgeaudit.population.split import Split, draw_split, in_groups, listed_split, partition


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
    with pytest.raises(SplitError, match="related records"):
        draw_split(np.zeros(10, np.int64), 3, 3, None, _rng())


def test_a_listed_nonmember_that_repeats_a_member_is_removed() -> None:
    groups = np.array([0, 1, 0, 3, 4, 5])
    split = listed_split(groups, np.array([0, 1]), np.array([2, 3]), None, _rng())
    assert split.nonmembers.tolist() == [3]
    assert split.moved == 1
    assert split.reference.tolist() == [4, 5]


def _copied(sizes: list[int]) -> np.ndarray:
    """Group number of each record, of groups of these sizes, in mixed order."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(99).permutation(groups)


def test_large_groups_are_drawn_as_often_as_single_records() -> None:
    # 40 groups of 10 and 400 single records; sides of 150 from shuffled groups. A side of 150 records in groups of
    # 800 / 440 on average has 82.5 groups, which is 7.5 groups of 10. Ordering by the earliest record of a group gives
    # more than twice as many (a group of 10 comes first ten times as often).
    groups = _copied([10] * 40 + [1] * 400)
    large = np.bincount(groups)[groups] == 10
    inside, outside = [], []
    for seed in range(300):
        split = draw_split(groups, 150, 150, None, np.random.default_rng(seed))
        assert len(split.members) == len(split.nonmembers) == 150
        _assert_disjoint(split, groups)
        inside.append(len(np.unique(groups[split.members][large[split.members]])))
        outside.append(len(np.unique(groups[split.nonmembers][large[split.nonmembers]])))
    # The number of groups of 10 has a deviation below 2.5 (75 groups' records, drawn without replacement): four
    # standard errors of the mean are .6. A cut group adds at most half a group.
    assert abs(np.mean(inside) - 7.5) < 1.1
    assert abs(np.mean(inside) - np.mean(outside)) < 0.85


def test_the_rest_of_a_cut_group_is_on_no_side() -> None:
    groups = _copied([7] * 30)
    split = draw_split(groups, 10, 10, None, _rng())  # 10 = 7 + 3: each side cuts a group of 7
    _assert_disjoint(split, groups)
    assert len(split.reference) == 7 * 30 - 4 * 7


def test_sides_that_need_every_record_keep_groups_whole() -> None:
    groups = _copied([3] * 5 + [1] * 15)
    for seed in range(20):
        split = draw_split(groups, 15, 15, 0, np.random.default_rng(seed))
        _assert_disjoint(split, groups)
        assert len(split.members) == len(split.nonmembers) == 15


def test_a_partition_gives_both_parts_equal_rights() -> None:
    # 10 groups of 4 and 40 single records in halves of 40: each group is in the first half as often as in the second.
    groups = _copied([4] * 10 + [1] * 40)
    counts = np.zeros(50)
    for seed in range(400):
        part = partition(groups, 40, np.random.default_rng(seed))
        assert len(part) == 40
        inside = np.unique(groups[part])
        assert not np.isin(inside, np.delete(groups, part)).any()
        counts[inside] += 1
    assert np.abs(counts - 200).max() < 4.5 * 10  # sd sqrt(400 / 4)


def test_groups_of_one_record_are_a_plain_permutation() -> None:
    order, ends = in_groups(np.array([5, 2, 9, 0]), np.random.default_rng(3))
    assert order.tolist() == np.random.default_rng(3).permutation(4).tolist()
    assert ends.tolist() == [1, 2, 3, 4]


def test_records_related_through_others_are_one_group() -> None:
    # 0 and 1 are copies, 1 and 2 of one person, 3 and 4 copies.
    assert joined(np.array([0, 0, 2, 3, 3]), np.array([7, 8, 8, 9, 9])).tolist() == [0, 0, 0, 3, 3]


def test_near_copies_of_images_are_grouped() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (300, 1, 12, 12)).astype(np.uint8)
    x[7] = np.clip(x[3].astype(int) + rng.integers(-3, 4, (1, 12, 12)), 0, 255)  # noise of 2 against 74: cosine .9996
    x[8] = np.clip(x[4].astype(int) + rng.integers(-30, 31, (1, 12, 12)), 0, 255)  # 17 against 74: cosine .97
    x[9] = x[5]
    found = copies(x, np.zeros(300, np.int64), near=True).numbers
    assert [found[7] == found[3], found[8] == found[4], found[9] == found[5]] == [True, False, True]
    assert len(np.unique(found)) == 298
    assert len(np.unique(copies(x, np.zeros(300, np.int64), near=False).numbers)) == 299


def test_near_copies_are_those_of_a_search_in_full() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(40, 1, 9, 9))
    x = base[rng.integers(0, 40, 200)] + rng.normal(size=(200, 1, 9, 9)) * rng.choice([0.01, 0.03, 0.1], (200, 1, 1, 1))
    flat = x.reshape(200, -1) - x.reshape(200, -1).mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    expected = connected_components(flat @ flat.T > 0.999)[1]
    found = near_groups(x.astype(np.float32))
    assert found is not None
    assert ((found[:, None] == found) == (expected[:, None] == expected)).all()
    assert 40 < len(np.unique(expected)) < 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], r"data\.groups: needs an integer or a text for each of the 3 records; it has int64 \(2,\)"),
        ([0.5, 1.0, 2.0], "float64"),
        ([None, "a", "b"], "object"),
    ],
)
def test_reject_groups_that_are_no_names(values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        numbered_values(values, 3, "data.groups")  # type: ignore[arg-type]


def test_copies_of_listed_records_are_counted_where_too_few_are_left() -> None:
    groups = np.array([0, 0, 1, 1, 2, 3])
    with pytest.raises(SplitError, match=r"data.reference: 3 .* 2 are left, without 2 copies of listed records"):
        listed_split(groups, np.array([0]), np.array([2]), 3, _rng())


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
