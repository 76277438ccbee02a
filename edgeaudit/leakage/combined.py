"""Gain of a multi-version attack over each of its versions, valid although the best version is chosen from the data."""

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
    """The difference between a combination of versions and its versions.

    singles: version -> figure of the combination minus that of this version, paired. best: the version with the largest
    figure on these records. p_value: two-sided, of H0 "some version is at least as good". adjusted_p: by Holm's method
    in its family. Both are None where a figure is not resolvable; note names it.
    """

    singles: Mapping[str, Compared]
    best: str | None
    p_value: float | None
    adjusted_p: float | None = None
    note: str | None = None


def gain(
    combined: Scored, singles: Mapping[str, Scored], metric: str, rng: Callable[[str], np.random.Generator]
) -> Gain:
    """Compare the combination with each of its versions, and with all of them.

    The version that is best on these records is best partly by chance, so a test against it alone is biased against the
    combination; a test against a version fixed beforehand is biased for it. So the combination is tested against every
    version, and beats the best version if it beats each of them: an intersection-union test, whose p-value is the
    largest of the one-sided ones. It needs no correction for the number of versions (Berger 1982), is valid whichever
    version is truly best, and is conservative where several are equally good. The p-value is doubled, to be comparable
    with the two-sided p-values beside it.

    Args:
        combined: scores of the combination on every target.
        singles: version -> scores of the baseline attack on this version alone.
        metric: `auc` or `tpr@fpr=<a>`.
        rng: version -> the generator of that comparison's bootstrap.

    Raises:
        AttackError: no version, or scores on different targets.

    Source: Berger, "Multiparameter hypothesis testing and acceptance sampling" (Technometrics 1982).
    """
    if not singles:
        raise AttackError("a combination needs at least one version to be compared with")
    rows = {
        name: compare(combined, single, metric, lambda name=name: rng(name))  # type: ignore[misc]
        for name, single in singles.items()
    }
    values = {name: row.second for name, row in rows.items() if row.second is not None}
    best = max(values, key=lambda name: values[name]) if values else None
    untested = [name for name, row in rows.items() if row.value is None or row.p_value is None]
    if untested:
        reason = next((rows[name].note for name in untested if rows[name].note), "no test")
        return Gain(rows, best, None, None, f"not compared with {', '.join(untested)}: {reason}")
    largest = max(_one_sided(row) for row in rows.values())
    return Gain(rows, best, min(1.0, 2 * largest))


def _one_sided(row: Compared) -> float:
    """Return the p-value of H0 "the combination is not better than this version"."""
    half = (1.0 if row.p_value is None else row.p_value) / 2
    return half if (row.value or 0.0) > 0 else 1 - half


def adjusted(family: Sequence[Gain]) -> list[Gain]:
    """Return the family with p-values adjusted by Holm's method; untestable comparisons count in it with p = 1."""
    if not family:
        return []
    p_values = holm(np.array([1.0 if member.p_value is None else member.p_value for member in family]))
    return [
        replace(member, adjusted_p=None if member.p_value is None else float(p))
        for member, p in zip(family, p_values, strict=True)
    ]
