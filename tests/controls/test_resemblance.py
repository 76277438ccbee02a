"""Shadows that learned otherwise than the target are named."""

from __future__ import annotations

from edgeaudit.controls.resemblance import Right, resemblance


def test_accuracies_ten_points_apart_are_a_warning() -> None:
    alike, other = resemblance({"a": Right(0.9, 0.8, 0.95, 0.71), "b": Right(0.9, 0.8, 0.88, 0.69)})
    assert (alike.status, alike.format) == ("holds", "a")
    assert other.status == "warning"
    assert "80.0% of nonmembers" in other.statement
    assert "88.0% and 69.0% of theirs" in other.statement
