"""Names of series (`attack/variant`) that are no variants of attacks, but figures that are judged beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

__all__ = [
    "AT_COMMON_FLOOR",
    "TAUGHT",
    "TAUGHT_ATTACK",
    "TAUGHT_VARIANT",
    "at_common_floor",
    "compared",
    "is_judged_beside",
]

TAUGHT_ATTACK, TAUGHT_VARIANT = "taught", "classifier"
TAUGHT = f"{TAUGHT_ATTACK}/{TAUGHT_VARIANT}"
"""The classifier of `edgeaudit.leakage.taught`."""
AT_COMMON_FLOOR = " at common floor"

_Values = TypeVar("_Values")


def at_common_floor(name: str) -> str:
    """Return the name of a series, or variant, scored with the probability floor at which formats are compared."""
    return f"{name}{AT_COMMON_FLOOR}"


def is_judged_beside(name: str) -> bool:
    """Return whether a series is judged beside the attacks of a budget, which do not name it."""
    return name == TAUGHT or name.endswith(AT_COMMON_FLOOR)


def compared(scores: Mapping[str, _Values], name: str) -> _Values:
    """Return the scores by which formats are compared: at the common floor, where those of the own floor are others.

    Raises:
        KeyError: the series has no scores.
    """
    own = scores[name]
    return scores.get(at_common_floor(name), own)
