"""Labels as people have them -> classes 0 to K-1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgeaudit.errors import DataError
from edgeaudit.population.labels import numbered_labels, same_kind

CYCLE = np.arange(12) % 3


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.array(["cat", "dog", "eel"])[CYCLE], ("cat", "dog", "eel")),
        (np.array([b"a", b"b", "ü".encode()])[CYCLE], ("a", "b", "ü")),
        (np.array(["cat", "dog", "eel"], object)[CYCLE], ("cat", "dog", "eel")),
        (pd.Series(np.array(["x", "y", "z"])[CYCLE], dtype="category").to_numpy(), ("x", "y", "z")),
        (CYCLE + 1, ("1", "2", "3")),
        (np.array([0, 7, 900])[CYCLE], ("0", "7", "900")),
        (np.array([-1, 0, 1])[CYCLE], ("-1", "0", "1")),
        (np.array([0, 7, 9], np.uint64)[CYCLE], ("0", "7", "9")),
        ((CYCLE + 1)[:, None], ("1", "2", "3")),
        ((CYCLE + 1).astype(np.float32), ("1", "2", "3")),
    ],
)
def test_other_labels_are_numbered_in_sorted_order_and_it_is_said(y: Any, names: tuple[str, ...]) -> None:
    found = numbered_labels(y)
    assert found.numbers.dtype == np.int64
    assert found.numbers.tolist() == CYCLE.tolist()
    assert (found.names, found.count) == (names, 3)
    assert found.note == f"labels were numbered: {names[0]} is 0, {names[1]} is 1, {names[2]} is 2"


@pytest.mark.parametrize("y", [CYCLE, CYCLE[:, None], CYCLE.astype(np.float64), CYCLE.astype(np.uint8)])
def test_labels_from_0_stay_as_they_are(y: Any) -> None:
    found = numbered_labels(y)
    assert (found.numbers.tolist(), found.names, found.count, found.note) == (CYCLE.tolist(), (), 3, None)


def test_truth_values_are_two_classes() -> None:
    assert numbered_labels(CYCLE > 0).numbers.tolist() == (CYCLE > 0).astype(int).tolist()


def test_one_hot_rows_keep_a_class_that_never_occurs() -> None:
    found = numbered_labels(np.eye(4, dtype=np.float32)[CYCLE])
    assert (found.numbers.tolist(), found.count, found.note) == (CYCLE.tolist(), 4, "labels were one-hot rows")


def test_a_class_that_is_missing_keeps_its_number() -> None:
    found = numbered_labels(np.array([0, 1, 3, 0, 1, 3]))
    assert (found.numbers.tolist(), found.count) == ([0, 1, 3, 0, 1, 3], 4)
    assert found.note == "1 of 4 classes never occur"


def test_names_of_a_source_stay_with_their_numbers() -> None:
    found = numbered_labels(np.array([1, 2, 1, 2, 1, 2]), names=("plane", "car", "bird", "cat"))
    assert (found.numbers.tolist(), found.names, found.count) == (
        [1, 2, 1, 2, 1, 2],
        ("plane", "car", "bird", "cat"),
        4,
    )


def test_declared_classes_have_the_order_of_the_model() -> None:
    texts = np.array(["cat", "dog", "eel"])[CYCLE]
    found = numbered_labels(texts, ["eel", "cat", "dog", "fox"])
    assert found.numbers.tolist() == [[1, 2, 0][i] for i in CYCLE]
    assert (found.count, found.names) == (4, ("eel", "cat", "dog", "fox"))
    assert numbered_labels(np.array([7, 9, 7, 9]), [9, 7]).numbers.tolist() == [1, 0, 1, 0]
    named = numbered_labels(np.array([0, 1, 0, 1]), ["car", "plane"], names=("plane", "car"))
    assert named.numbers.tolist() == [1, 0, 1, 0]


def test_a_declared_number_of_classes_keeps_labels_as_they_are() -> None:
    found = numbered_labels(CYCLE + 1, 10)
    assert (found.numbers.tolist(), found.count, found.note) == ((CYCLE + 1).tolist(), 10, None)


@pytest.mark.parametrize(
    ("y", "declared", "message"),
    [
        (np.random.default_rng(0).normal(size=12), None, "real numbers, such as .*: that is a regression"),
        (np.array([[1, 1, 0], [0, 0, 1]] * 6), None, r"several labels a record: .*record 0 has 2 of them.*y\[:, 0\]"),
        (np.array([[0, 0, 0], [0, 0, 1]] * 6), None, "record 0 has 0 of them"),
        (np.array([[3, 5], [2, 2]] * 6), None, "several labels a record"),
        (np.array([["a", "b"]] * 6), None, "several labels a record"),
        (np.array([[1], [1, 2]], object), None, "several labels a record: record 0 has a list"),
        (np.array([[0.3, 0.7], [0.5, 0.5]] * 6), None, r"probabilities of classes; .*argmax"),
        (np.array([0.0, 1.0, np.nan] * 4), None, "record 2 has no label"),
        (np.array(["a", None, "b"] * 4, object), None, "record 1 has no label"),
        (np.array(["a", float("nan"), "b"] * 4, object), None, "record 1 has no label"),
        (np.array([b"\xff", b"a"] * 6), None, r"label of record 0, b'\\xff', is no UTF-8 text"),
        (np.array(["a", 1] * 6, object), None, "of the types int, str"),
        (np.arange(12), None, "12 records have 12 different labels, such as 0 and 11; are they class labels"),
        (np.array([1e300, 0.0] * 6), None, "too large"),
        (np.array(["2024-01-01"], "datetime64[D]").repeat(12), None, "are no classes"),
        (CYCLE + 1, 3, "record 2 has 3"),
        (np.array(["a", "b"] * 6), 2, "list the texts in the order of the model's outputs"),
        (np.array(["a", "b"] * 6), ["a", "c"], "the label 'b' of record 1 is not in the list"),
        (np.eye(3)[CYCLE], 4, "4 classes, but the one-hot labels have 3 columns"),
        (np.array(1), None, r"shape \(\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused_with_a_remedy(y: Any, declared: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        numbered_labels(y, declared)


def test_many_classes_are_listed_shortly() -> None:
    note = numbered_labels(np.tile(np.arange(1, 41), 4)).note
    assert note == (
        "labels were numbered: 1 is 0, 2 is 1, 3 is 2, 4 is 3, 5 is 4, 6 is 5, and so on to 40, 39"
    )  # 40 classes, of which the last is number 39


def test_labels_of_different_kinds_are_not_joined() -> None:
    assert same_kind([np.array(["a"]), np.array(["longer"])]).tolist() == ["a", "longer"]
    with pytest.raises(
        DataError, match=r"labels of different kinds \(numbers of shape \(n\) and text of shape \(n\)\)"
    ):
        same_kind([np.array(["a"]), np.array([1])])
