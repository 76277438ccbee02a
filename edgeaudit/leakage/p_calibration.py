"""Calibration of p-values: observed rates of p <= a among known nonmembers, against the nominal level a.

A conformal p-value is a rank among m known nonmembers z. Over new draws of z's and records P[p <= a] <= a. With one
fixed draw of z's, however, the rate over new records is a random number around a: high where the z's happen to score
low. An interval over records ignores this, so it rejects too many valid tests. The predictive band accounts for it: it
contains a valid test's observed rate in 95% of joint draws of records and z's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import scipy

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import Interval, clopper_pearson
from edgeaudit.leakage.multiplicity import check_p_values
from edgeaudit.leakage.roc import FloatArray
from edgeaudit.leakage.rows import CalibrationRow, CalibrationStatus
from edgeaudit.leakage.targets import mean_over_targets

__all__ = [
    "NOMINAL_LEVELS",
    "CalibrationRow",
    "CalibrationStatus",
    "calibration",
    "calibration_over_targets",
    "conformal_band",
]

NOMINAL_LEVELS = (0.001, 0.01, 0.02, 0.05, 0.10)

_ROUNDING = 1e-9


def conformal_band(
    nonmembers: Sequence[int],
    known: Sequence[int],
    nominal: float,
    rates: Sequence[float] = (),
    level: float = 0.95,
) -> Interval:
    """Return the band that contains the mean over targets of the rates of p <= nominal, if p is valid and without ties.

    One target: the scores of its m known and n audited nonmembers are exchangeable. p <= a means a score above the k-th
    largest of the z's, k = floor(a (m + 1)), which has probability Beta(k, m + 1 - k). So the count is beta-binomial
    (n, k, m + 1 - k), and the band consists of its central quantiles over n. Its variance is about 1 + n/m times that
    of an interval over records. Ties reduce counts and never increase them, so the upper end remains valid.

    Several targets share the z's, and their nonmembers overlap, so their rates are correlated. With V the beta-binomial
    variance and r the correlation, the mean has variance V (r + (1 - r) / T), between V/T and V. r is unknown. The
    variance between targets estimates (1 - r) V, and its lower 95% bound (chi-squared, T - 1) gives the largest r
    consistent with it. The band is that of one target, narrowed by the root of r + (1 - r) / T. An interval over
    targets assumes independence, which ignores r.

    Args:
        nonmembers: n of every target.
        known: m of every target.
        nominal: a, in (0, 1).
        rates: the observed rates; empty (or of one target) for no narrowing.
        level: coverage of the band.

    Source: Vovk, "Conditional validity of inductive conformal predictors" (ACML 2012); the beta-binomial count in
    Bates et al., Annals of Statistics 2023. The case of several targets is our addition.
    """
    expected, variances, lows, highs = [], [], [], []
    for n, m in zip(nonmembers, known, strict=True):
        # 0.05 * 20 is 1, not 0.99999.
        k = math.floor(nominal * (m + 1) + 1e-9)
        if k == 0:
            return 0.0, 0.0
        low, high = _counts(n, k, m + 1 - k, level)
        expected.append(k / (m + 1))
        variances.append(float(scipy.stats.betabinom.var(n, k, m + 1 - k)) / n**2)
        lows.append(low / n)
        highs.append(high / n)
    middle, narrow = float(np.mean(expected)), _narrowing(rates, float(np.mean(variances)), level)
    return max(0.0, middle - narrow * (middle - min(lows))), min(1.0, middle + narrow * (max(highs) - middle))


@lru_cache(maxsize=4096)
def _counts(n: int, a: int, b: int, level: float) -> tuple[int, int]:
    """Return the central quantiles of the beta-binomial count; scipy's ppf takes a hundred times as long."""
    cdf = np.cumsum(scipy.stats.betabinom.pmf(np.arange(n + 1), n, a, b))
    low, high = np.searchsorted(cdf, [(1 - level) / 2, (1 + level) / 2])
    return int(low), min(n, int(high))


def _narrowing(rates: Sequence[float], variance: float, level: float) -> float:
    """Return the root of r + (1 - r) / T, with r the largest correlation of rates consistent with their variance."""
    count = len(rates)
    if count < 2:
        return 1.0
    least = float(np.var(rates, ddof=1)) * (count - 1) / float(scipy.stats.chi2.ppf(level, count - 1))
    return math.sqrt(min(1.0, max(1 / count, 1 - least / variance * (1 - 1 / count))))


def calibration(
    p_values: FloatArray,
    nominal: Sequence[float] = NOMINAL_LEVELS,
    smallest: float | None = None,
    level: float = 0.95,
    known: int | None = None,
) -> list[CalibrationRow]:
    """Return one row a nominal level for the nonmembers of one target, with Clopper-Pearson intervals.

    The status is the first that applies. "anti-conservative": the interval lies above the nominal level. "not
    resolvable": the level is below the smallest p-value of the test, or less than one false positive is expected.
    "conservative": the interval lies below the level; the note states whether ties explain it (the interval contains
    `attainable`: a rank among K shadows is a multiple of 1/(K+1)) or not. "calibrated": anything else; the note warns
    of wide intervals. For conformal p-values the observed rate is compared with `conformal_band` instead: above it is
    anti-conservative, below it conservative.

    A valid p-value has P[p <= a | nonmember] <= a, so conservative is safe and anti-conservative is not. The records of
    one target share its shadows and its known nonmembers, so their p-values are correlated, and an interval over
    records is too narrow for another target. Use `calibration_over_targets` for that.

    Args:
        p_values: float [n], of nonmembers on which the test was not fitted.
        nominal: levels, each in (0, 1).
        smallest: the smallest p-value that the test can return, such as 1/(K+1); None: the smallest of `p_values`.
        level: coverage of the intervals.
        known: the m of conformal p-values; None for others. `smallest` is then 1/(m + 1).

    Raises:
        AttackError: see `check_p_values`; also for a nominal level outside (0, 1) and for known below 1.

    Examples:
        >>> import numpy as np
        >>> (row,) = calibration(np.linspace(0.002, 1.0, 500), nominal=[0.05])  # uniform: 25 of 500 are at most .05
        >>> row.count, row.observed, row.status
        (25, 0.05, 'calibrated')
    """
    return calibration_over_targets([p_values], nominal, smallest, level, None if known is None else [known])


def calibration_over_targets(
    p_values: Sequence[FloatArray],
    nominal: Sequence[float] = NOMINAL_LEVELS,
    smallest: float | None = None,
    level: float = 0.95,
    known: Sequence[int] | None = None,
) -> list[CalibrationRow]:
    """Return one row a nominal level over several targets (such as null targets), with t intervals over their rates.

    The target is the unit of sampling: its rate is one observation, however many records it has, and targets have equal
    weight. They share the shadows and the records, and are independent only given those. The interval is clipped to
    [0, 1]. With one target, or where all targets have the same rate (typically no false positive at all), the interval
    is Clopper-Pearson's over all records, and the note says so. Statuses are those of `calibration`. The band of
    conformal p-values accounts for what the targets share, see `conformal_band`; the interval does not.

    Args:
        p_values: float [n_t] for every target t, of its nonmembers.
        nominal: levels, each in (0, 1).
        smallest: as for `calibration`.
        level: coverage of the intervals.
        known: m of every target, for conformal p-values.

    Raises:
        AttackError: no target, or not one m for each target; see `calibration`.
    """
    if not p_values:
        raise AttackError("calibration needs the p-values of at least one target")
    invalid = [a for a in nominal if not 0 < a < 1]
    if invalid:
        raise AttackError(f"nominal levels must be between 0 and 1: {invalid}")
    if known is not None and (len(known) != len(p_values) or min(known) < 1):
        raise AttackError(f"conformal p-values need 1 or more known nonmembers for each of {len(p_values)}: {known}")
    targets = [check_p_values(values) for values in p_values]
    pooled = np.concatenate(targets)
    floor = float(pooled.min()) if smallest is None else smallest
    if known is None:
        return [_row(targets, pooled, a, floor, level) for a in nominal]
    return [_conformal_row(targets, pooled, a, known, level) for a in nominal]


def _row(targets: list[FloatArray], pooled: FloatArray, nominal: float, floor: float, level: float) -> CalibrationRow:
    row, how = _observed(targets, pooled, nominal, level)
    status, why = _status(nominal, row.n, row.low, row.high, row.attainable, floor)
    return replace(row, status=status, note=_joined(why, how))


def _conformal_row(
    targets: list[FloatArray], pooled: FloatArray, nominal: float, known: Sequence[int], level: float
) -> CalibrationRow:
    row, how = _observed(targets, pooled, nominal, level)
    sizes, rates = [len(values) for values in targets], [float((values <= nominal).mean()) for values in targets]
    band = conformal_band(sizes, known, nominal, rates, level)
    status, why = _conformal_status(row, band, 1 / (min(known) + 1))
    if status == "conservative":
        why = _conformal_cause(row, pooled, lambda a: conformal_band(sizes, known, a, rates, level))
    scope = "the band includes the draw of the known nonmembers"
    if how is None:
        scope = "the interval is over targets, which share known nonmembers and audited records; the band includes this"
    return replace(
        row, status=status, note=_joined(why, how, scope), band_low=band[0], band_high=band[1], known=min(known)
    )


def _joined(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _observed(
    targets: list[FloatArray], pooled: FloatArray, nominal: float, level: float
) -> tuple[CalibrationRow, str | None]:
    """Return a row with the rate and its interval, without status, and a note where the interval is over records."""
    fired = pooled <= nominal
    count, n = int(fired.sum()), len(pooled)
    attainable = float(pooled[fired].max()) if count else None
    over = mean_over_targets([float((values <= nominal).mean()) for values in targets], level)
    if over.value is not None and over.low is not None and over.high is not None:
        observed, low, high = over.value, max(0.0, over.low), min(1.0, over.high)
        how = None
    else:
        observed, (low, high) = count / n, clopper_pearson(count, n, level)
        how = "interval over records, which share their shadows: too narrow"
        if len(targets) > 1:
            how = f"all {len(targets)} targets have the same rate; {how}"
    row = CalibrationRow(nominal, observed, low, high, count, n, attainable, "not resolvable", len(targets), None)
    return row, how


def _conformal_status(row: CalibrationRow, band: Interval, smallest: float) -> tuple[CalibrationStatus, str | None]:
    a, n, observed = row.nominal, row.n, row.observed
    # Rates and the band's ends are counts divided by n, so equal ones may differ in the last bit.
    if observed > band[1] + _ROUNDING and a >= smallest:
        return "anti-conservative", f"above {band[1]:.3g}, the upper end of the band of a valid conformal test"
    if a < smallest:
        return "not resolvable", f"the smallest p-value is {smallest:.3g}"
    if a * n < 1:
        return "not resolvable", f"{a * n:.2g} false positives are expected among {n} nonmembers"
    if observed < band[0] - _ROUNDING:
        return "conservative", None
    wide = f"the interval reaches {row.high / a:.2g} times the nominal rate"
    return "calibrated", wide if row.high > 2 * a else None


def _conformal_cause(row: CalibrationRow, pooled: FloatArray, band_at: Callable[[float], Interval]) -> str:
    """Return whether ties explain a conservative row: the rate is in the band of the largest p-value up to nominal."""
    if row.attainable is None:
        least = float(pooled.min())
        tied = int((pooled == least).sum())
        return f"ties: {least:.3g} is the smallest observed p-value" if tied > 1 else "more than ties explain"
    low, high = band_at(row.attainable)
    if row.observed > high + _ROUNDING:
        return f"but above {row.attainable:.3g}, the largest p-value up to it: anti-conservative there"
    if row.observed < low - _ROUNDING:
        return "more than ties explain"
    return f"ties: {row.attainable:.3g} is the largest p-value up to it, and the rate agrees with it"


def _status(
    nominal: float, n: int, low: float, high: float, attainable: float | None, floor: float
) -> tuple[CalibrationStatus, str | None]:
    if low > nominal:
        return "anti-conservative", f"at least {low / nominal:.3g} times the nominal false positive rate"
    if nominal < floor:
        return "not resolvable", f"the smallest p-value is {floor:.3g}"
    if nominal * n < 1:
        return "not resolvable", f"{nominal * n:.2g} false positives are expected among {n} nonmembers"
    if high < nominal:
        return "conservative", _cause(low, high, attainable)
    wide = f"the interval reaches {high / nominal:.2g} times the nominal rate"
    return "calibrated", wide if high > 2 * nominal else None


def _cause(low: float, high: float, attainable: float | None) -> str:
    """Return whether ties explain a conservative row: its interval contains the largest attainable p-value."""
    if attainable is None or attainable > high:
        return "more than ties explain"
    if attainable < low:
        return f"but above {attainable:.3g}, the largest p-value up to it: anti-conservative there"
    return f"ties: {attainable:.3g} is the largest p-value up to it, and the rate agrees with it"
