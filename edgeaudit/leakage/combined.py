"""Whether a combination of versions beats every version of it: the best one is not known before the data are seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.comparisons import Compared, Scored, compare
from edgeaudit.leakage.multiplicity import holm

__all__ = ["Gain", "adjusted", "gain"]


@dataclass(frozen=True)
class Gain:
    """What a combination has beyond the versions it is made of.

    singles: version -> combination less this version, paired. best: the version with the largest figure here.
    p_value: two-sided, of "some version is at least as good"; adjusted_p: Holm's in its family. Both are None where a
    figure is not resolvable, and note says which.
    """

    singles: Mapping[str, Compared]
    best: str | None
    p_value: float | None
    adjusted_p: float | None = None
    note: str | None = None


def gain(
    combined: Scored, singles: Mapping[str, Scored], metric: str, rng: Callable[[str], np.random.Generator]
) -> Gain:
    """The combination against each of its versions, and against all of them.

    The version that is best on these records is best partly by their chance, and a test against it alone, at its own
    level, would be one against a figure that is too large: it errs against the combination. A version that was picked
    beforehand errs for it. So the combination is tested against every version, and beats the best where it beats each:
    an intersection-union test, whose p is the largest of the one-sided ones. It needs no correction for the number of
    versions (Berger 1982), is valid whichever version is truly best, and is conservative where several are equally
    good. It is doubled, so as to mean what the two-sided p-values beside it mean.

    Args:
        combined: scores of the combination on every target.
        singles: version -> scores of the yardstick attack on this version alone.
        metric: `auc` or `tpr@fpr=<a>`.
        rng: version -> the generator of that comparison's bootstrap.

    Raises:
        AttackError: no version, or series about different targets.

    Source: Berger, "Multiparameter hypothesis testing and acceptance sampling" (Technometrics 1982).
    """
    if not singles:
        raise AttackError("a combination is compared with the versions it is made of, and there is none")
    found = {
        name: compare(combined, one, metric, lambda name=name: rng(name))  # type: ignore[misc]
        for name, one in singles.items()
    }
    values = {name: row.second for name, row in found.items() if row.second is not None}
    best = max(values, key=lambda name: values[name]) if values else None
    untested = [name for name, row in found.items() if row.value is None or row.p_value is None]
    if untested:
        why = next((found[name].note for name in untested if found[name].note), "no test")
        return Gain(found, best, None, None, f"not compared with {', '.join(untested)}: {why}")
    largest = max(_one_sided(row) for row in found.values())
    return Gain(found, best, min(1.0, 2 * largest))


def _one_sided(row: Compared) -> float:
    """P-value of "the combination is not better than this version"."""
    half = (1.0 if row.p_value is None else row.p_value) / 2
    return half if (row.value or 0.0) > 0 else 1 - half


def adjusted(family: Sequence[Gain]) -> list[Gain]:
    """The family with Holm's adjusted p-values; what could not be tested stays in it with p = 1."""
    if not family:
        return []
    p_values = holm(np.array([1.0 if one.p_value is None else one.p_value for one in family]))
    return [
        replace(one, adjusted_p=None if one.p_value is None else float(p))
        for one, p in zip(family, p_values, strict=True)
    ]
