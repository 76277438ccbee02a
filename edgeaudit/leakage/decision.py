"""The decision of a budget over several attacks: pass, fail or inconclusive, each with a known error rate.

Pass needs every attack's upper end within the limit. That is an intersection-union test (Berger 1982): it needs no
correction, since the truth is above the limit only if some attack's is, and that attack passes in at most 2.5%.
Fail needs some attack's lower end above the limit, at a tail at which the lower ends of all A attacks hold together:
that of `edgeaudit.leakage.simultaneous` where the attacks' scores are known, else .025 / A, which is exactly that the
smallest Holm-adjusted p-value is at most .025. Neither is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from edgeaudit.errors import AttackError

__all__ = ["TAIL", "Bounds", "Decision", "Outcome", "corrected_level", "decide"]

TAIL = 0.025
"""Error rate of a pass where the truth is at the limit, and of a fail."""

# Ends closer than this differ by rounding only.
_ROUNDING = 1e-9

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Bounds:
    """A judged figure of one attack.

    value: the figure. low, high: ends of its 95% interval. low_corrected: the lower end at a tail at which those of all
    attacks hold together, at least .025 / A. None where an end is not resolvable; note gives the reason, or a caveat. A
    figure may have ends without a value.
    """

    value: float | None
    low: float | None
    high: float | None
    low_corrected: float | None
    note: str | None = None


class Decision(NamedTuple):
    """An outcome and the attack that decided it.

    attack: of a pass the one nearest to the limit, of a fail the one furthest beyond it, of neither the one that
    reaches furthest above it, else the first without an upper end; None if there are no attacks.
    """

    outcome: Outcome
    attack: str | None


def corrected_level(attacks: int) -> float:
    """Return 1 - .05 / A: the level of two-sided intervals whose lower ends hold together for any relation of attacks.

    Args:
        attacks: A, the number of attacks that the budget names, whether or not they could be run.

    Raises:
        AttackError: fewer than one attack.
    """
    if attacks < 1:
        raise AttackError(f"a budget is over at least one attack: {attacks}")
    return 1 - 2 * TAIL / attacks


def decide(limit: float, bounds: Mapping[str, Bounds]) -> Decision:
    """Return whether all attacks are within `limit`, one is beyond it, or the records cannot say.

    An attack without an upper end (one that could not be run, or is not resolvable) blocks a pass, but no fail. Without
    any attack nothing is shown.

    Args:
        limit: the largest allowed value, in the figure's unit.
        bounds: attack -> its figure; every attack that the budget names, with `low_corrected` for their number.

    Raises:
        AttackError: the limit or an end is NaN, or an attack's ends are in the wrong order.

    Examples:
        >>> loss = Bounds(value=0.52, low=0.49, high=0.55, low_corrected=0.48)
        >>> lira = Bounds(value=0.61, low=0.58, high=0.64, low_corrected=0.57)
        >>> for limit in (0.65, 0.6, 0.56):
        ...     print(*decide(limit, {"yeom": loss, "lira": lira}))
        pass lira
        inconclusive lira
        fail lira

    Source: Berger, "Multiparameter hypothesis testing and acceptance sampling" (Technometrics 1982); Holm (Scandinavian
    Journal of Statistics 1979).
    """
    if math.isnan(limit):
        raise AttackError("the limit of a budget is not a number")
    for name, each in bounds.items():
        _check(name, each)
    beyond = {name: b.low_corrected for name, b in bounds.items() if b.low_corrected is not None}
    worst = max(beyond, key=lambda name: beyond[name], default=None)
    if worst is not None and beyond[worst] > limit:
        return Decision("fail", worst)
    reach = {name: b.high for name, b in bounds.items() if b.high is not None}
    furthest = max(reach, key=lambda name: reach[name], default=None)
    if furthest is not None and reach[furthest] > limit:
        return Decision("inconclusive", furthest)
    open_ended = next((name for name in bounds if name not in reach), None)
    if open_ended is not None or furthest is None:
        return Decision("inconclusive", open_ended)
    return Decision("pass", furthest)


def _check(name: str, bounds: Bounds) -> None:
    ends = [end for end in (bounds.low_corrected, bounds.low, bounds.high) if end is not None]
    if any(math.isnan(end) for end in ends):
        raise AttackError(f"{name}: an end of its interval is not a number")
    if any(first > second + _ROUNDING for first, second in pairwise(ends)):
        raise AttackError(f"{name}: the ends of its interval are not in order: {', '.join(f'{e:g}' for e in ends)}")
