"""Do the shadows resemble a target that the audit did not train? Attacks transfer from shadows that do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeaudit.controls.base import Finding

__all__ = ["Right", "resemblance"]

NAME = "shadow resemblance"
FAR = 0.1
"""Difference of accuracy, on records trained on or on others, above which shadows are said not to resemble a target."""


@dataclass(frozen=True)
class Right:
    """Shares of records answered right: by the target on those it trained on and on others, and by its shadows."""

    train: float
    test: float
    shadow_train: float
    shadow_test: float


def resemblance(formats: Mapping[str, Right]) -> list[Finding]:
    """One finding a format: a warning where accuracies are far apart."""
    return [_finding(name, right) for name, right in formats.items()]


def _finding(name: str, right: Right) -> Finding:
    far = max(abs(right.train - right.shadow_train), abs(right.test - right.shadow_test))
    said = (
        f"the target is right on {right.train:.1%} of its members and {right.test:.1%} of nonmembers, its shadows on "
        f"{right.shadow_train:.1%} and {right.shadow_test:.1%} of theirs"
    )
    if far <= FAR:
        return Finding(NAME, "holds", said, far, format=name)
    advice = (
        "shadows that learned otherwise make attacks weaker, and no figure too large: train them as the target was "
        "(recipe, epochs, augmentation, records)"
    )
    return Finding(NAME, "warning", f"{said}; {advice}", far, format=name)
