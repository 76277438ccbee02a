"""Draws of equal size in which every unit is in equally often, for shadows that train on audited records."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["balanced_draw"]

IntArray = npt.NDArray[np.int64]


def balanced_draw(n: int, size: int, number: int, shuffled: Callable[[int], IntArray]) -> IntArray:
    """Return the draw `number` of `size` out of `n` units, int64 [size] without repeats, in no order.

    Draws are consecutive pieces of shuffles that follow one another, so that after any number of draws no two units
    differ by more than one in how often they were drawn. A draw that straddles two shuffles has no unit twice: the
    piece of the later one leaves out those of the earlier one, which come later in it. Draws of more than half are the
    complements of draws of the rest. A draw depends on two shuffles at most, and not on how many draws there will be.

    Args:
        n: number of units, numbered from 0.
        size: of a draw, 1 to n - 1.
        number: of the draw, from 0.
        shuffled: number of a shuffle -> a random order of the units, int64 [n]; the same whenever it is asked for.

    Examples:
        >>> import numpy as np
        >>> draws = [balanced_draw(4, 2, k, lambda block: np.arange(4)) for k in range(2)]
        >>> [draw.tolist() for draw in draws]
        [[0, 1], [2, 3]]
    """
    if not 0 < size < n:
        raise ValueError(f"a draw has 1 to {n - 1} of {n} units; {size} were asked for")
    if 2 * size > n:
        return np.setdiff1d(np.arange(n), balanced_draw(n, n - size, number, shuffled))
    block, start = divmod(number * size, n)
    drawn = _order(n, size, block, shuffled)[start : start + size]
    missing = size - len(drawn)
    return np.concatenate((drawn, _order(n, size, block + 1, shuffled)[:missing])) if missing else drawn


def _order(n: int, size: int, block: int, shuffled: Callable[[int], IntArray]) -> IntArray:
    """The units of one shuffle, arranged so that the draw from the shuffle before can go on with its first ones."""
    order, tail = shuffled(block), _tail(n, size, block)
    before = _tail(n, size, block - 1) if block else 0
    head = size - before if before else 0
    last = order[n - tail :]
    kept_back = np.concatenate((last, shuffled(block - 1)[n - before :])) if before else last
    first = order[~np.isin(order, kept_back)][:head]
    middle = order[~np.isin(order, np.concatenate((first, last)))]
    return np.concatenate((first, middle, last))


def _tail(n: int, size: int, block: int) -> int:
    """How many units at the end of a shuffle belong to a draw that goes on in the next one."""
    return (block + 1) * n % size
