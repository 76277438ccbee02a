"""A limit and the intervals of an attack set -> pass, fail or inconclusive, with a known error rate.

Pass: every attack's upper end is within the limit. The leakage is that of the strongest attack, so no correction is
needed (an intersection-union test, Berger 1982): where it is beyond the limit, its own upper end is within in at most
2.5% of audits. Fail: some attack's lower end is beyond the limit, and each of A attacks has its lower end at a tail of
2.5% / A (the first step of Holm 1979), so that at most 2.5% of audits fail where all attacks are within.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["TAIL", "Bounds", "Decision", "corrected_level", "decide"]

TAIL = 0.025
"""The probability of a wrong pass, and of a wrong fail, at most."""


@dataclass(frozen=True)
class Bounds:
    """One figure in the unit of its limit. None: not resolvable, and `note` gives the reason.

    low, high: 95% interval. low_corrected: lower end at a tail of `TAIL` / A; None also where `low` is within the limit
    already, which the corrected end then is, too.
    """

    value: float | None
    low: float | None
    high: float | None
    low_corrected: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Decision:
    """A verdict. decided_by: the attack on which it rests. missing: the attacks without an upper end."""

    verdict: Literal["pass", "fail", "inconclusive"]
    decided_by: str
    missing: tuple[str, ...] = ()


def corrected_level(attacks: int) -> float:
    """Return the level of the two-sided interval whose lower end is corrected for this number of attacks."""
    return 1 - 2 * TAIL / attacks


def decide(limit: float, bounds_by_attack: Mapping[str, Bounds]) -> Decision:
    """Compare an attack set with a limit.

    An attack without an upper end prevents a pass; it never shrinks the set.

    Args:
        limit: largest value that is within.
        bounds_by_attack: every attack of the set, at least one.
    """
    missing = tuple(name for name, bounds in bounds_by_attack.items() if bounds.high is None)
    beyond = {name: end for name, b in bounds_by_attack.items() if (end := b.low_corrected) is not None and end > limit}
    if beyond:
        return Decision("fail", max(beyond, key=beyond.__getitem__), missing)
    highs = {name: bounds.high for name, bounds in bounds_by_attack.items() if bounds.high is not None}
    highest = max(highs, key=highs.__getitem__, default="")
    if highest and highs[highest] > limit:
        return Decision("inconclusive", highest, missing)
    return Decision("inconclusive", missing[0], missing) if missing else Decision("pass", highest)
