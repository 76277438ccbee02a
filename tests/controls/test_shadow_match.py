"""A warning names shadows whose accuracy does not match the target's."""

from __future__ import annotations

from edgeaudit.controls.shadow_match import AccuracyPair, shadow_target_match


def test_accuracies_ten_points_apart_are_a_warning() -> None:
    close, far = shadow_target_match({"a": AccuracyPair(0.9, 0.8, 0.95, 0.71), "b": AccuracyPair(0.9, 0.8, 0.88, 0.69)})
    assert (close.status, close.format) == ("holds", "a")
    assert far.status == "warning"
    assert "80.0% on nonmembers" in far.statement
    assert "accuracy is 88.0% and 69.0%" in far.statement
