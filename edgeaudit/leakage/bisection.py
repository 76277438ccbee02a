"""The end of a range in which a statement holds."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["last_that_holds"]


def last_that_holds(
    holds: Callable[[float], bool], precision: float, most: float = math.inf
) -> tuple[float, float] | None:
    """Bracket the largest x >= 0 of a statement that holds up to some x and not beyond it.

    Args:
        holds: the statement.
        precision: width of the bracket.
        most: x is not looked for beyond the first power of two from here on.

    Returns:
        Values at most `precision` apart: at the first it holds and at the second not. None where it does not hold at 0.
    """
    low, high = 0.0, 1.0
    if not holds(low):
        return None
    while high < most and holds(high):
        low, high = high, 2 * high
    while high - low > precision:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
