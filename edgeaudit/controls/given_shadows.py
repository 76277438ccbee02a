"""Given shadows known: do the shadows that the user has know the members that their lists say?

A list of records that a shadow never trained on makes its IN answers OUT answers, and one that leaves records out makes
OUT answers IN answers, so that attacks learn nothing from it and every budget would pass. What shows it is what shows
it of a target: a model answers what it trained on better. A model that is given twice counts as two, but is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from edgeaudit.controls.base import ALARM, Control
from edgeaudit.controls.members_known import CLEAR, LEVEL
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.rows import Behaviour, Gap, Gaps

__all__ = ["NAME", "given_shadows_known"]

NAME = "given shadows known"
_MEASURES = ("accuracy", "loss", "margin")
_SPREAD = 1 / 3
"""Standard deviation of the gaps of models that were trained alike, in shares of a gap."""


def given_shadows_known(formats: Mapping[str, Behaviour], given: int) -> list[Control]:
    """Return one finding a format.

    It is undecided where

    - a given shadow answers every record as the target or another shadow does, and counts as one more model,
    - one answers the target's members otherwise than nonmembers although its list has neither (two-sided, 0.1% after
      Holm over shadows and measures), so that the list is not complete,
    - one, or the mean of all, shows no gap between what its list says and other records (1% after Holm), and the
      target's gap is clear and significantly larger (both at 0.1%).

    It is a warning where the records are too few to tell. It holds where each shadow knows its list, and where
    the target, which is compared in the same way, has no clear gap either.

    Args:
        formats: format -> how target and shadows answer; of the shadows, the given ones are the last.
        given: number of given shadows; there is no finding without any.
    """
    return [_finding(name, behaviour, given) for name, behaviour in formats.items() if given]


def _finding(name: str, behaviour: Behaviour, given: int) -> Control:
    first = len(behaviour.shadows) - given
    shadows = behaviour.shadows[first:]
    if behaviour.alike:
        pairs = ", ".join(f"{_model(a, first)} and {_model(b, first)}" for a, b in behaviour.alike)
        statement = f"{pairs} answer every record alike: a model that is given twice is no second model. Remove one"
        return Control(NAME, "undecided", statement, format=name)
    incomplete, p = _incomplete(behaviour.unlisted)
    if incomplete:
        keys = _keys(incomplete)
        statement = (
            f"{keys} answer{'s' if len(incomplete) == 1 else ''} the target's members otherwise than nonmembers, and "
            "shadows.members lists neither: do the lists have all records that the models trained on?"
        )
        return Control(NAME, "undecided", statement, p_value=p, format=name)
    unknown = [k for k, gaps in enumerate(shadows) if _knows(gaps) >= ALARM]
    if not unknown:
        return Control(NAME, "holds", "each given shadow knows the members of its list", format=name)
    words = "accuracy on the members of their lists differs from that on other records by " + ", ".join(
        f"{gaps.accuracy.value * 100:+.1f}" for gaps in shadows
    )
    words += f" points, and the target's by {behaviour.target.accuracy.value * 100:+.1f}"
    if not any(_is_clear(getattr(behaviour.target, measure)) for measure in _MEASURES):
        statement = f"neither the target nor all given shadows answer their members better than other records: {words}"
        return Control(NAME, "holds", statement, format=name)
    smaller = holm(np.array([_smaller(behaviour.target, shadows[k]) for k in unknown], np.float64))
    wrong = [k for k, p in zip(unknown, smaller.tolist(), strict=True) if p < LEVEL]
    together = _mean(shadows)
    everyone = _knows(together) >= ALARM and _smaller(behaviour.target, together) < LEVEL
    if not wrong and not everyone:
        few = f"{len(unknown)} of {len(shadows)} given shadows answer their members no better than other records"
        statement = f"{few}, and these are too few to tell whether they should: {words}"
        return Control(NAME, "warning", statement, format=name)
    keys = "the given shadows, all together," if everyone else f"at least {_keys(wrong)}"
    does = "does not know the members of its list" if len(wrong) == 1 and not everyone else "do not know their members"
    statement = f"{keys} {does} (shadows.members): are the lists right, and in the order of the models?"
    return Control(NAME, "undecided", f"{statement} The {words}", p_value=float(smaller.min()), format=name)


def _model(number: int, first: int) -> str:
    """Return the name of a model. number: 0 for the target, then the shadows. first: number of trained shadows."""
    if number == 0:
        return "the target"
    return f"shadows.models[{number - 1 - first}]" if number > first else f"trained shadow {number - 1}"


def _keys(shadows: Sequence[int]) -> str:
    return ", ".join(f"shadows.models[{k}]" for k in shadows)


def _incomplete(unlisted: Sequence[Gaps | None]) -> tuple[list[int], float | None]:
    """Return the shadows that know, or avoid, the target's members although their lists do not have them.

    Shadows share these records, and so the chance differences between them, which Holm's method allows.
    """
    tested = [k for k, gaps in enumerate(unlisted) if gaps is not None]
    if not tested:
        return [], None
    tails = [2 * min(tail := _tail(getattr(unlisted[k], measure)), 1 - tail) for k in tested for measure in _MEASURES]
    corrected = holm(np.clip(np.array(tails, np.float64), 0, 1)).reshape(len(tested), len(_MEASURES)).min(axis=1)
    found = [k for k, p in zip(tested, corrected.tolist(), strict=True) if p < LEVEL]
    return found, float(corrected.min())


def _knows(gaps: Gaps) -> float:
    """Return the smallest p-value, after Holm, of a model's gaps not being above 0."""
    return float(holm(np.array([_tail(getattr(gaps, measure)) for measure in _MEASURES], np.float64)).min())


def _tail(gap: Gap) -> float:
    if gap.variance > 0:
        return float(scipy.stats.norm.sf(gap.value / math.sqrt(gap.variance)))
    return float(gap.value <= 0)


def _is_clear(gap: Gap) -> bool:
    return gap.variance > 0 and gap.value >= CLEAR * math.sqrt(gap.variance)


def _smaller(target: Gaps, shadow: Gaps) -> float:
    """Return the p-value of a shadow's gap being as large as the target's, in the measure that tells most.

    Of three measures, so three times the smallest; models' gaps differ by `_SPREAD`, beside the records' part.
    """
    tails = []
    for measure in _MEASURES:
        own, other = getattr(target, measure), getattr(shadow, measure)
        if _is_clear(own):
            deviation = math.sqrt(own.variance + other.variance + (_SPREAD * max(other.value, 0.0)) ** 2)
            tails.append(float(scipy.stats.norm.sf((own.value - other.value) / deviation)))
    return min(1.0, len(_MEASURES) * min(tails, default=1.0))


def _mean(shadows: Sequence[Gaps]) -> Gaps:
    """Return the mean gaps of several models, whose records are taken as independent."""
    count = len(shadows)

    def mean(measure: str) -> Gap:
        gaps = [getattr(gaps, measure) for gaps in shadows]
        return Gap(sum(gap.value for gap in gaps) / count, sum(gap.variance for gap in gaps) / count**2)

    return Gaps(*(mean(measure) for measure in _MEASURES))
