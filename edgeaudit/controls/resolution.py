"""Resolution: false positive rates and p-values that the audit's sample sizes cannot resolve, and tied answers.

These controls warn; they never fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeaudit.controls.base import Control
from edgeaudit.leakage.operating_points import least_nonmembers, nonmembers_for_a_lower_end

__all__ = ["Answers", "resolution", "tie_mass"]

RATES = (0.01, 0.001)
_WITHOUT = (
    "no shadows, because model.recipe is not set: CM-MIA, LiRA and RMIA, which calibrate an answer by its record, did "
    "not run, and the figures are a lower bound on what an attacker with shadows achieves; set model.recipe, and name "
    "the file's format in formats. docs/foreign-artifacts.md gives the cost"
)
TIED = 0.05
"""Share of records with a tied answer above which the control warns."""


@dataclass(frozen=True)
class Answers:
    """distinct: number of distinct true-class probabilities of a format. tie_mass: share of records with a tied one."""

    distinct: int
    tie_mass: float


def resolution(n_nonmembers: int, shadows: int) -> list[Control]:
    """Return one finding for each rate of `RATES`, and one for the smallest p-value that `shadows` allow."""
    return [_rate(rate, n_nonmembers) for rate in RATES] + [_shadows(shadows)]


def _rate(rate: float, n: int) -> Control:
    name, percent = "resolution", f"{rate * 100:g}%"
    least, enough = least_nonmembers(rate), nonmembers_for_a_lower_end(rate)
    if n < least:
        statement = f"TPR at {percent} FPR: {n:,} nonmembers cannot resolve it; at least {least:,} are needed"
        return Control(name, "warning", statement, n=n)
    if n < enough:
        statement = (
            f"TPR at {percent} FPR: {n:,} nonmembers cannot show a breach, since the interval begins at 0; at least "
            f"{enough:,} are needed"
        )
        return Control(name, "warning", statement, n=n)
    return Control(name, "holds", f"TPR at {percent} FPR: {n:,} nonmembers resolve it, and can show a breach", n=n)


def _shadows(k: int) -> Control:
    if k == 0:
        return Control("resolution", "warning", _WITHOUT, n=k)
    smallest = 1 / (k + 1)
    statement = f"{k} shadows: the smallest p-value of a rank test is {smallest:.3g}"
    return Control("resolution", "holds" if smallest <= 0.05 else "warning", statement, smallest, n=k)


def tie_mass(answers: Mapping[str, Answers], records: int) -> list[Control]:
    """Return a warning a format with more than `TIED` tied answers; one finding for all formats where there is none."""
    tied = {name: counts for name, counts in answers.items() if counts.tie_mass > TIED}
    if answers and not tied:
        most = max(counts.tie_mass for counts in answers.values())
        statement = f"in every format at most {most * 100:.1f}% of the records share their answer with another"
        return [Control("tie mass", "holds", statement, most, n=records)]
    return [
        Control(
            "tie mass",
            "warning",
            f"{counts.distinct:,} distinct answers to {records:,} records; {counts.tie_mass * 100:.1f}% of the records "
            "share theirs with another, so a threshold of a low false positive rate may decide among ties at random",
            counts.tie_mass,
            n=records,
            format=name,
        )
        for name, counts in tied.items()
    ]
