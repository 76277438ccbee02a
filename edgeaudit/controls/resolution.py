"""What the audit's counts cannot resolve: false-positive rates, p-values, answers that tie. Said, never judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeaudit.controls.base import Finding

__all__ = ["Answers", "resolution", "tie_mass"]

RATES = (0.01, 0.001)
BOUNDING = 3.0
"""-log(0.05): without any false positive among n nonmembers the rate is below 3 / n with 95% confidence."""
_WITHOUT = (
    "no shadows, since no recipe is named: CM-MIA, LiRA and RMIA, which tell how surprising an answer is for its "
    "record, could not run, so what is reported is a lower bound of what an attacker with shadows finds; name the "
    "recipe in model.recipe and the format of the file in formats. docs/foreign-artifacts.md says what that costs"
)
TIED = 0.05
"""Share of records with an answer that another has, too, above which it is a warning."""


@dataclass(frozen=True)
class Answers:
    """distinct: different true-class probabilities of a format; tie_mass: share of records that share theirs."""

    distinct: int
    tie_mass: float


def resolution(n_nonmembers: int, shadows: int) -> list[Finding]:
    """What `n_nonmembers` and `shadows` can resolve."""
    return [_rate(rate, n_nonmembers) for rate in RATES] + [_shadows(shadows)]


def _rate(rate: float, n: int) -> Finding:
    name, shown = "resolution", f"{rate * 100:g}%"
    allowed = int(rate * n + 1e-9)
    if allowed == 0:
        said = f"TPR at {shown} FPR: {n:,} nonmembers cannot resolve it, at least {round(1 / rate):,} are needed"
        return Finding(name, "warning", said, n=n)
    if n * rate < BOUNDING:
        said = (
            f"TPR at {shown} FPR: {n:,} nonmembers allow {allowed} false positive{'s' if allowed > 1 else ''}; "
            f"bounding the rate itself takes {round(BOUNDING / rate):,}"
        )
        return Finding(name, "warning", said, n=n)
    return Finding(name, "holds", f"TPR at {shown} FPR: {n:,} nonmembers allow {allowed} false positives", n=n)


def _shadows(k: int) -> Finding:
    if k == 0:
        return Finding("resolution", "warning", _WITHOUT, n=k)
    smallest = 1 / (k + 1)
    said = f"{k} shadows: the smallest p-value of a rank test is {smallest:.3g}"
    return Finding("resolution", "holds" if smallest <= 0.05 else "warning", said, smallest, n=k)


def tie_mass(answers: Mapping[str, Answers], records: int) -> list[Finding]:
    """The formats whose answers tie; one finding for all where none does."""
    tied = {name: found for name, found in answers.items() if found.tie_mass > TIED}
    if answers and not tied:
        most = max(found.tie_mass for found in answers.values())
        said = f"in every format at most {most * 100:.1f}% of the records share their answer with another"
        return [Finding("tie mass", "holds", said, most, n=records)]
    return [
        Finding(
            "tie mass",
            "warning",
            f"{found.distinct:,} different answers to {records:,} records; {found.tie_mass * 100:.1f}% of the records "
            "share theirs with another, so low false-positive rates may have no threshold",
            found.tie_mass,
            n=records,
            format=name,
        )
        for name, found in tied.items()
    ]
