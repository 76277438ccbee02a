"""Copies of members among the nonmembers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.controls.duplicates import DuplicateCounts, copies, near_copies, nearest_cosines

COUNTS: DuplicateCounts = {"records": 500, "duplicates": 0, "conflicting_labels": 0, "moved": 0}


def test_a_copy_across_sides_fails_and_one_within_does_not() -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = rng.integers(0, 256, (40, 1, 4, 4), np.uint8), rng.integers(0, 256, (50, 1, 4, 4), np.uint8)
    nonmembers[1] = nonmembers[0]
    assert copies(members, nonmembers, COUNTS).status == "holds"
    nonmembers[7] = members[3]
    finding = copies(members, nonmembers, COUNTS)
    assert finding.status == "failed"
    assert finding.value == 1 / 50
    # Clopper-Pearson of 1 in 50 (R: binom.test(1, 50)): 0.0506% to 10.647%.
    assert (finding.low, finding.high) == pytest.approx((0.000506, 0.10647), rel=1e-3)


def test_the_note_gives_the_counts_of_the_population() -> None:
    rows = np.eye(3)
    counts: DuplicateCounts = {"records": 500, "duplicates": 12, "conflicting_labels": 1, "moved": 2}
    note = copies(rows, -rows, counts).note
    assert note is not None
    assert "12 of 500 records are exact copies of another" in note
    assert "2 listed nonmembers were copies of members and were removed" in note


def test_near_copies_are_a_warning_with_their_share() -> None:
    rng = np.random.default_rng(0)
    members = rng.normal(size=(600, 1, 8, 8)).astype(np.float32)
    nonmembers = rng.normal(size=(700, 1, 8, 8)).astype(np.float32)
    clean = near_copies(members, nonmembers)
    assert (clean.status, clean.value) == ("holds", 0.0)
    # Brighter, with more contrast and a little noise: the same image. Noise of 1% of the deviation: cosine .99995.
    nonmembers[:70] = 3 * members[100:170] + 5 + 0.03 * rng.normal(size=(70, 1, 8, 8)).astype(np.float32)
    finding = near_copies(members, nonmembers)
    assert (finding.status, finding.value) == ("warning", 0.1)


def test_blockwise_cosines_equal_those_of_the_whole_matrix() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=(n, 5)).astype(np.float32) for n in (1100, 1300))
    cosines = (left @ right.T) / np.outer(np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1))
    assert nearest_cosines(left, right) == pytest.approx(cosines.max(axis=1), abs=1e-6)


def test_blank_images_are_similar_to_none() -> None:
    blank = np.full((3, 1, 8, 8), 7, np.float32)
    assert nearest_cosines(blank, blank).max() == 0
