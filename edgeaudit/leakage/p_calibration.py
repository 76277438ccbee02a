"""Do p-values hold their level? Observed rates of p <= a among records that are known nonmembers.

A conformal p-value is a rank among m known nonmembers z. Over fresh draws of z's and records P[p <= a] <= a, but with
one draw of z's the rate of all fresh records is a random number around a: it is high where the z's happen to score
low. An interval over records alone does not hold that, so valid tests look off in too many cells. The predictive band
does: it is where a valid test's observed rate lies in 95% of draws of records and z's together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import Interval, clopper_pearson
from edgeaudit.leakage.multiplicity import check_p_values
from edgeaudit.leakage.roc import FloatArray
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

CalibrationStatus = Literal["calibrated", "conservative", "anti-conservative", "not resolvable"]


@dataclass(frozen=True)
class CalibrationRow:
    """One nominal level.

    observed: rate of p <= nominal; low, high: its 95% interval. band_low, band_high: where the observed rate of a valid
    conformal test lies with 95%, see `conformal_band`; None where p is not conformal. count of n nonmembers, over all
    targets. known: z's that p is a rank among, the fewest of any target. attainable: the largest p <= nominal among
    those given, None if there is none: a test with few distinct p-values can hold no rate but that one. targets: 1 =
    interval over records (Clopper-Pearson), more = over targets (t).
    """

    nominal: float
    observed: float
    low: float
    high: float
    count: int
    n: int
    attainable: float | None
    status: CalibrationStatus
    targets: int
    note: str | None
    band_low: float | None = None
    band_high: float | None = None
    known: int | None = None


def conformal_band(
    nonmembers: Sequence[int],
    known: Sequence[int],
    nominal: float,
    rates: Sequence[float] = (),
    level: float = 0.95,
) -> Interval:
    """Where the mean over targets of the observed rates of p <= nominal lies with `level`, if p is valid without ties.

    One target: scores of its m known and n audited nonmembers are exchangeable, p <= a is a score above the k-th
    largest of the z's, k = floor(a (m + 1)), and the probability of that is Beta(k, m + 1 - k). So the count is
    beta-binomial (n, k, m + 1 - k), and the band its central quantiles over n. It has about 1 + n/m times the variance
    of an interval over records. Ties make counts smaller, never larger: the upper end still holds.

    Several targets answer the same z's, and their nonmembers overlap: the rates are correlated, for what is odd about
    the z's raises or lowers them together. With V the beta-binomial variance and r the correlation, their mean has
    variance V (r + (1 - r) / T), between V/T and V. r is not known; the spread between targets estimates (1 - r) V,
    and its lower 95% bound (chi-squared, T - 1) gives the largest r that fits. The band is one target's, narrowed by
    the root of r + (1 - r) / T. An interval over targets takes them as independent, which leaves r out.

    Args:
        nonmembers: n of every target.
        known: m of every target.
        nominal: a, in (0, 1).
        rates: the observed rates; empty (or of one target) for no narrowing.
        level: of the band.

    Source: Vovk, "Conditional validity of inductive conformal predictors" (ACML 2012); the beta-binomial count in
    Bates et al., Annals of Statistics 2023. Several targets: ours.
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
    """Central quantiles of the beta-binomial count. scipy's own search for them takes a hundred times as long."""
    cdf = np.cumsum(scipy.stats.betabinom.pmf(np.arange(n + 1), n, a, b))
    low, high = np.searchsorted(cdf, [(1 - level) / 2, (1 + level) / 2])
    return int(low), min(n, int(high))


def _narrowing(rates: Sequence[float], variance: float, level: float) -> float:
    """Root of r + (1 - r) / T, r the largest correlation of the targets' rates that fits their spread."""
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
    """Rows for the nonmembers of ONE target, with Clopper-Pearson intervals.

    "anti-conservative": the interval lies above the nominal level. Otherwise "not resolvable": the level is below the
    smallest p-value of the test, or less than one false alarm is expected. Otherwise "conservative": the interval lies
    below; the note says whether ties explain it (the interval holds `attainable`: a rank among K shadows is a multiple
    of 1/(K+1)), or the test is conservative beyond them. Otherwise "calibrated", which is only as much as the
    interval says; the note warns of wide ones. Conformal p-values are judged by where the observed rate lies against
    `conformal_band`: above it is anti-conservative, below it conservative.

    A valid p-value has P[p <= a | nonmember] <= a, so conservative is safe and anti-conservative is not. The records
    of one target share its shadows and its known nonmembers: their p-values move together, and an interval over
    records is too narrow for what the next target would show. That is `calibration_over_targets`.

    Args:
        p_values: float [n], of nonmembers that the test has not been fitted on.
        nominal: levels, each in (0, 1).
        smallest: the smallest p-value that the test can give, 1/(K+1) say; None: the smallest one given.
        level: of the intervals.
        known: the m of conformal p-values; None for others. `smallest` is then 1/(m + 1).

    Raises:
        AttackError: see `check_p_values`; a nominal level outside (0, 1); known below 1.

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
    """Rows over several targets, null targets for example, with t intervals over the targets' rates.

    The target is what is drawn anew: its rate is one observation however many records it has, and targets count alike.
    They share the shadow set and the records, and are independent only given those. The interval is clipped to [0, 1].
    With one target, or where all targets have the same rate (no spread to go by, typically no false alarm at all),
    the interval is Clopper-Pearson's over all records, which the note says; statuses are those of `calibration`. The
    band of conformal p-values holds what the targets share, see `conformal_band`; the interval does not.

    Args:
        p_values: float [n_t] for every target t, of its nonmembers.
        nominal: levels, each in (0, 1).
        smallest: as for `calibration`.
        level: of the intervals.
        known: m of every target, of conformal p-values.

    Raises:
        AttackError: no target, or not one m for each; see `calibration`.
    """
    if not p_values:
        raise AttackError("calibration needs the p-values of at least one target")
    wrong = [a for a in nominal if not 0 < a < 1]
    if wrong:
        raise AttackError(f"nominal levels lie between 0 and 1: {wrong}")
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
    held = "the band holds the draw of the known nonmembers"
    if how is None:
        held = "the interval is over targets, which share known nonmembers and audited records; the band holds that too"
    return replace(
        row, status=status, note=_joined(why, how, held), band_low=band[0], band_high=band[1], known=min(known)
    )


def _joined(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _observed(
    targets: list[FloatArray], pooled: FloatArray, nominal: float, level: float
) -> tuple[CalibrationRow, str | None]:
    """The rate with its interval, not judged yet, and what the interval leaves out where it is over records."""
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
    # Rates are counts over n, and so are the band's ends: equal ones may differ in the last bit.
    if observed > band[1] + _ROUNDING and a >= smallest:
        return "anti-conservative", f"above {band[1]:.3g}, up to where a valid conformal test's rate is expected"
    if a < smallest:
        return "not resolvable", f"the smallest p-value is {smallest:.3g}"
    if a * n < 1:
        return "not resolvable", f"{a * n:.2g} false alarms are expected of {n} nonmembers"
    if observed < band[0] - _ROUNDING:
        return "conservative", None
    return "calibrated", f"up to {row.high / a:.2g} times the nominal rate fits too" if row.high > 2 * a else None


def _conformal_cause(row: CalibrationRow, pooled: FloatArray, band_at: Callable[[float], Interval]) -> str:
    """Whether ties explain a conservative row: the observed rate lies in the band of the largest p-value up to it."""
    if row.attainable is None:
        least = float(pooled.min())
        tied = int((pooled == least).sum())
        return f"ties: {least:.3g} is the smallest p-value given" if tied > 1 else "beyond what ties explain"
    low, high = band_at(row.attainable)
    if row.observed > high + _ROUNDING:
        return f"and yet above {row.attainable:.3g}, the largest p-value up to it: anti-conservative there"
    if row.observed < low - _ROUNDING:
        return "beyond what ties explain"
    return f"ties: {row.attainable:.3g} is the largest p-value up to it, and its rate is observed"


def _status(
    nominal: float, n: int, low: float, high: float, attainable: float | None, floor: float
) -> tuple[CalibrationStatus, str | None]:
    if low > nominal:
        return "anti-conservative", f"at least {low / nominal:.3g} times the nominal rate of false alarms"
    if nominal < floor:
        return "not resolvable", f"the smallest p-value is {floor:.3g}"
    if nominal * n < 1:
        return "not resolvable", f"{nominal * n:.2g} false alarms are expected of {n} nonmembers"
    if high < nominal:
        return "conservative", _cause(low, high, attainable)
    return "calibrated", f"up to {high / nominal:.2g} times the nominal rate fits too" if high > 2 * nominal else None


def _cause(low: float, high: float, attainable: float | None) -> str:
    """Whether the interval of a conservative row is that of the largest attainable p-value below the nominal one."""
    if attainable is None or attainable > high:
        return "beyond what ties explain"
    if attainable < low:
        return f"and yet above {attainable:.3g}, the largest p-value up to it: anti-conservative there"
    return f"ties: {attainable:.3g} is the largest p-value up to it, and its rate is observed"
