"""A model is trained once for the same content, and never served for another."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from edgeaudit.attacks.kept_models import forget, kept


@pytest.fixture(autouse=True)
def _empty() -> None:
    forget()


def test_equal_content_is_made_once() -> None:
    made: list[int] = []
    rows = np.arange(6.0).reshape(2, 3)
    for _ in range(3):
        kept("a", [rows.copy()], lambda: made.append(1))
    assert len(made) == 1


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("b", np.arange(6.0).reshape(2, 3)),
        ("a", np.arange(6.0).reshape(3, 2)),
        ("a", np.arange(6).reshape(2, 3)),
        ("a", np.arange(6.0).reshape(2, 3) + 1e-12),
    ],
)
def test_anything_else_is_made_anew(name: str, array: np.ndarray) -> None:
    assert kept("a", [np.arange(6.0).reshape(2, 3)], lambda: "first") == "first"
    assert kept(name, [array], lambda: "second") == "second"


def test_what_is_kept_is_bounded() -> None:
    for number in range(20):
        kept("a", [np.array([number])], partial(int, number))
    assert kept("a", [np.array([19])], lambda: "again") == 19
    assert kept("a", [np.array([0])], lambda: "again") == "again"
