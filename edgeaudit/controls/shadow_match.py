"""Shadow-target match: are the shadows as accurate as a target that the audit did not train?

Attacks transfer from shadows that match the target, and are weaker with shadows that do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeaudit.controls.base import Control

__all__ = ["AccuracyPair", "shadow_target_match"]

NAME = "shadow-target match"
MAX_DIFFERENCE = 0.1
"""Largest difference in accuracy, on members or on nonmembers, at which shadows still match the target."""


@dataclass(frozen=True)
class AccuracyPair:
    """Accuracies in [0, 1] of a target (`train` on members, `test` on nonmembers) and of its shadows, averaged."""

    train: float
    test: float
    shadow_train: float
    shadow_test: float


def shadow_target_match(formats: Mapping[str, AccuracyPair]) -> list[Control]:
    """Return one finding a format: a warning where the accuracies differ by more than `MAX_DIFFERENCE`."""
    return [_finding(name, pair) for name, pair in formats.items()]


def _finding(name: str, pair: AccuracyPair) -> Control:
    difference = max(abs(pair.train - pair.shadow_train), abs(pair.test - pair.shadow_test))
    statement = (
        f"the target's accuracy is {pair.train:.1%} on its members and {pair.test:.1%} on nonmembers; its shadows' "
        f"accuracy is {pair.shadow_train:.1%} and {pair.shadow_test:.1%}"
    )
    if difference <= MAX_DIFFERENCE:
        return Control(NAME, "holds", statement, difference, format=name)
    advice = (
        "shadows trained differently make attacks weaker, so figures may be too low but not too high: train them as "
        "the target was trained (recipe, epochs, augmentation, records)"
    )
    return Control(NAME, "warning", f"{statement}; {advice}", difference, format=name)
