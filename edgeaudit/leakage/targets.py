"""Figures over several targets: of this pipeline, not of one file.

All targets of an audit are attacked with the same shadows on the same records, and are independent given those. So an
interval over targets alone (`mean_over_targets`) predicts another target of this recipe with the same shadows and
records. `pipeline_mean` adds what records contribute: it predicts another target with other records. Neither includes
the variance between sets of shadows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from scipy import special

from edgeaudit.errors import AttackError
from edgeaudit.leakage.influence import LinearisedFigure, shares_by_unit
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.roc import FloatArray
from edgeaudit.leakage.rows import TargetMean

__all__ = [
    "FEWEST_TARGETS",
    "LinearisedFigure",
    "TargetDifference",
    "TargetMean",
    "differences_over_targets",
    "mean_over_targets",
    "paired_over_targets",
    "pipeline_mean",
]  # fmt: skip

FEWEST_TARGETS = 4
"""Targets below which the pipeline's figure has no interval: t with 1 or 2 degrees of freedom says nothing."""

# Differences of figures closer than this differ by rounding only.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class TargetDifference:
    """A paired difference over targets; positive = the first leaks more.

    value: mean difference. se: its standard error. low, high: t interval. p_value: two-sided, paired t (the sign test
    where all differences are equal). wilcoxon_p: two-sided signed-rank, which does not assume normality; it is at least
    2^(1 - targets), so 6 targets are needed to reach .05. adjusted_p: by Holm's method in its family, set by
    `differences_over_targets`. targets, missing: number of pairs with both values, and without.
    """

    value: float | None
    se: float | None
    low: float | None
    high: float | None
    p_value: float | None
    wilcoxon_p: float | None
    targets: int
    missing: int
    adjusted_p: float | None = None
    note: str | None = None


def mean_over_targets(values: Sequence[float | None], level: float = 0.95) -> TargetMean:
    """Return the mean of a figure over targets, its standard error and Student's t interval.

    The standard error is between targets, and includes all that differs between them: training set, seed, and the
    records' noise within each. Targets share shadows and records, so they are independent only given those (see the
    module). The interval is not clipped to the figure's range, and assumes that the mean is normal.

    Two cases have no interval, since a width of 0 would claim certainty: fewer than two targets, and equal values.

    Args:
        values: one per target; None or NaN where the figure is not resolvable. Such targets are left out and counted;
            if missingness depends on the leakage, the mean is that of the others only.
        level: coverage of the interval.

    Raises:
        AttackError: an infinite value.

    Examples:
        >>> mean = mean_over_targets([0.6, 0.7, None, 0.8])
        >>> round(mean.value, 3), round(mean.low, 3), round(mean.high, 3), mean.note
        (0.7, 0.452, 0.948, '1 of 4 targets have no value')
    """
    present, missing = _present(values)
    count = len(present)
    note = f"{missing} of {count + missing} targets have no value" if missing else None
    if not count:
        return TargetMean(None, None, None, None, 0, missing, note or "no targets")
    value = float(present.mean())
    if count < 2:
        return TargetMean(value, None, None, None, 1, missing, _join("one target has no interval over targets", note))
    if np.ptp(present) <= _ROUNDING:
        same = f"all {count} targets have the same value, which gives no interval"
        return TargetMean(value, 0.0, None, None, count, missing, _join(same, note))
    se = float(present.std(ddof=1)) / math.sqrt(count)
    half = float(scipy.stats.t.isf((1 - level) / 2, count - 1)) * se
    return TargetMean(value, se, value - half, value + half, count, missing, note)


def pipeline_mean(
    figures: Sequence[LinearisedFigure | None], limits: tuple[float, float] = (0.0, 1.0), level: float = 0.95
) -> TargetMean:
    """Return the mean of a figure over targets and its interval over targets and records.

    The variance is two-way, targets crossed with records: V_T + max(V_R - V_I, 0), and at least V_R. With T targets,
    V_T is the variance of their figures / T, V_R the sum over records of (the sum of its shares over targets)^2 / T^2,
    V_I the sum of all squared shares / T^2. A figure's scatter over targets includes the records' as if each target had
    records of its own (V_I); they share them, so what is shared is added. Related records are summed first.

    The interval is Student's t with T - 1 degrees of freedom on the logit scale of `limits`; each end is centred on its
    own mean (`LinearisedFigure.upper`). In simulations of 200 to 2,000 nonmembers and T = 4 and 16 each end misses in
    at most 3% (benchmarks/coverage.py); on the plain scale the upper end of a TPR does so in up to 7%.

    No interval for fewer than four targets, and where a mean is at a limit or nothing varies.

    Args:
        figures: one per target; None where the figure is not resolvable. Such targets are left out and counted.
        limits: smallest and largest possible value of the figure: (-1, 1) for an advantage.
        level: coverage of the interval.

    Raises:
        AttackError: units and shares do not fit, or a value is outside `limits`.

    Source: Owen, "The pigeonhole bootstrap" (Annals of Applied Statistics 2007); Cameron, Gelbach & Miller, "Robust
    inference with multiway clustering" (Journal of Business & Economic Statistics 2011).
    """
    present = [figure for figure in figures if figure is not None]
    missing, count = len(figures) - len(present), len(present)
    note = f"{missing} of {len(figures)} targets have no value" if missing else None
    if not count:
        return TargetMean(None, None, None, None, 0, missing, note or "no targets")
    values = _within([figure.value for figure in present], limits)
    uppers = _within([figure.value if figure.upper is None else figure.upper for figure in present], limits)
    value = float(values.mean())
    if count < FEWEST_TARGETS:
        few = f"not resolvable: an interval of this pipeline needs {FEWEST_TARGETS} targets, and there are {count}"
        return TargetMean(value, None, None, None, count, missing, _join(few, note))
    of_records, of_both = _record_variances(present)
    low, se = _logit_end(values, of_records, of_both, limits, (level - 1) / 2)
    high, _ = _logit_end(uppers, of_records, of_both, limits, (1 - level) / 2)
    if low is None or high is None:
        same = "not resolvable: the targets' values are at the figure's limit or equal, and no record decides them"
        return TargetMean(value, se, None, None, count, missing, _join(same, note))
    return TargetMean(value, se, low, high, count, missing, note)


def _record_variances(figures: Sequence[LinearisedFigure]) -> tuple[float, float]:
    """Return V_R and V_I, see `pipeline_mean`."""
    count = len(figures)
    shares = shares_by_unit(figures)
    return float((shares.sum(axis=0) ** 2).sum()) / count**2, float((shares**2).sum()) / count**2


def _logit_end(
    values: FloatArray, of_records: float, of_both: float, limits: tuple[float, float], tail: float
) -> tuple[float | None, float]:
    """Return an end of the mean's interval and the standard error; None where there is no interval.

    tail: below 0 the lower end with the tail -tail, above 0 the upper end.
    """
    count, (bottom, top) = len(values), limits
    of_targets = float(values.var(ddof=1)) / count
    se = math.sqrt(max(of_targets + max(of_records - of_both, 0.0), of_records))
    share = (float(values.mean()) - bottom) / (top - bottom)
    if se <= _ROUNDING or not 0 < share < 1:
        return None, se
    half = math.copysign(float(scipy.stats.t.isf(abs(tail), count - 1)), tail) * se / (top - bottom)
    return bottom + (top - bottom) * float(special.expit(special.logit(share) + half / (share * (1 - share)))), se


def _within(values: Sequence[float], limits: tuple[float, float]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    if not ((array >= limits[0]) & (array <= limits[1])).all():
        raise AttackError(f"a figure is not between {limits[0]:g} and {limits[1]:g}: {array.tolist()}")
    return array


def paired_over_targets(
    first: Sequence[float | None], second: Sequence[float | None], level: float = 0.95
) -> TargetDifference:
    """Return the mean of first - second over the same targets, with the paired t test and Wilcoxon's signed-rank test.

    For two formats, two attacks or two shadow-target matches of the same targets. Pairing removes the effect of the
    target; the pairs are independent given the shared shadows and records (see the module).

    Degenerate cases: fewer than two pairs have no test. Where all differences are equal, t would be infinite: if they
    are 0, both p-values are 1, otherwise p is that of the sign test, 2^(1 - targets); there is no interval.

    Args:
        first: one figure per target; None or NaN where not resolvable.
        second: the same figure of the same targets, in the same order. A pair without one of the two is left out.
        level: coverage of the interval.

    Raises:
        AttackError: different numbers of targets, or an infinite value.

    Examples:
        >>> difference = paired_over_targets([0.70, 0.80, 0.90], [0.60, 0.65, 0.70])
        >>> round(difference.value, 3), round(difference.p_value, 3)
        (0.15, 0.035)

    Source: Wilcoxon (Biometrics Bulletin 1945); zero differences are discarded, as there.
    """
    if len(first) != len(second):
        raise AttackError(f"paired differences need the same targets twice: {len(first)} and {len(second)} figures")
    pairs = [_number(a) - _number(b) for a, b in zip(first, second, strict=True)]
    mean = mean_over_targets(pairs, level)
    p_value, wilcoxon_p = _paired_tests(_present(pairs)[0])
    note = mean.note.replace("targets have", "pairs have") if mean.note else None
    return TargetDifference(
        mean.value, mean.se, mean.low, mean.high, p_value, wilcoxon_p, mean.targets, mean.missing, None, note
    )


def differences_over_targets(
    family: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]], level: float = 0.95
) -> dict[str, TargetDifference]:
    """Return `paired_over_targets` for every comparison of a family, with paired-t p-values adjusted by Holm's method.

    A comparison without a test counts in the family with p = 1, because the family was fixed before it was known which
    figures could be resolved. The intervals are not adjusted.

    Args:
        family: name -> (first, second), as for `paired_over_targets`.
        level: coverage of the intervals.

    Raises:
        AttackError: see `paired_over_targets`; the message names the comparison.
    """
    rows: dict[str, TargetDifference] = {}
    for name, (first, second) in family.items():
        try:
            rows[name] = paired_over_targets(first, second, level)
        except AttackError as error:
            raise AttackError(f"{name}: {error}") from error
    if not rows:
        return rows
    adjusted = holm(np.array([1.0 if row.p_value is None else row.p_value for row in rows.values()]))
    return {
        name: row if row.p_value is None else replace(row, adjusted_p=float(p))
        for (name, row), p in zip(rows.items(), adjusted, strict=True)
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _present(values: Sequence[float | None]) -> tuple[FloatArray, int]:
    """Return the values that are not None or NaN, float64, and the number of missing ones."""
    numbers = np.array([_number(value) for value in values], dtype=np.float64)
    if np.isinf(numbers).any():
        raise AttackError(f"{int(np.isinf(numbers).sum())} of {len(numbers)} targets have an infinite figure")
    present = numbers[~np.isnan(numbers)]
    return present, len(numbers) - len(present)


def _paired_tests(differences: FloatArray) -> tuple[float | None, float | None]:
    """Return p-values of the paired t test (sign test if all are equal) and Wilcoxon's; None below two pairs."""
    count = len(differences)
    if count < 2:
        return None, None
    # Rounding errors would break ties among differences and make zeros nonzero.
    rounded = np.round(differences, 12)
    if not rounded.any():
        return 1.0, 1.0
    # Exact without ties; with ties all signs are enumerated up to 13 pairs, and the normal approximation is used
    # beyond.
    wilcoxon_p = float(scipy.stats.wilcoxon(rounded[rounded != 0]).pvalue)
    if np.ptp(differences) <= _ROUNDING:
        return float(2.0 ** (1 - count)), wilcoxon_p
    return float(scipy.stats.ttest_1samp(differences, 0.0).pvalue), wilcoxon_p


def _join(first: str, second: str | None) -> str:
    return f"{first}; {second}" if second else first
