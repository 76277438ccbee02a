"""Do p-values hold their level? Observed rates of p <= a among records that are known nonmembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.multiplicity import check_p_values
from edgeaudit.leakage.roc import FloatArray
from edgeaudit.leakage.targets import mean_over_targets

__all__ = ["NOMINAL_LEVELS", "CalibrationRow", "CalibrationStatus", "calibration", "calibration_over_targets"]

NOMINAL_LEVELS = (0.001, 0.01, 0.02, 0.05, 0.10)

CalibrationStatus = Literal["calibrated", "conservative", "anti-conservative", "not resolvable"]


@dataclass(frozen=True)
class CalibrationRow:
    """One nominal level.

    observed: rate of p <= nominal; low, high: its 95% interval. count of n nonmembers, over all targets. attainable:
    the largest p <= nominal among those given, None if there is none: a test with few distinct p-values can hold no
    rate but that one. targets: 1 = interval over records (Clopper-Pearson), more = over targets (t).
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


def calibration(
    p_values: FloatArray,
    nominal: Sequence[float] = NOMINAL_LEVELS,
    smallest: float | None = None,
    level: float = 0.95,
) -> list[CalibrationRow]:
    """Rows for the nonmembers of ONE target, with Clopper-Pearson intervals.

    "anti-conservative": the interval lies above the nominal level. Otherwise "not resolvable": the level is below the
    smallest p-value of the test, or less than one false alarm is expected. Otherwise "conservative": the interval lies
    below; the note says whether ties explain it (the interval holds `attainable`: a rank among K shadows is a multiple
    of 1/(K+1)), or the test is conservative beyond them. Otherwise "calibrated", which is only as much as the
    interval says; the note warns of wide ones.

    A valid p-value has P[p <= a | nonmember] <= a, so conservative is safe and anti-conservative is not. The records
    of one target share its shadows and its known nonmembers: their p-values move together, and an interval over
    records is too narrow for what the next target would show. That is `calibration_over_targets`.

    Args:
        p_values: float [n], of nonmembers that the test has not been fitted on.
        nominal: levels, each in (0, 1).
        smallest: the smallest p-value that the test can give, 1/(K+1) say; None: the smallest one given.
        level: of the intervals.

    Raises:
        AttackError: see `check_p_values`; a nominal level outside (0, 1).
    """
    return calibration_over_targets([p_values], nominal, smallest, level)


def calibration_over_targets(
    p_values: Sequence[FloatArray],
    nominal: Sequence[float] = NOMINAL_LEVELS,
    smallest: float | None = None,
    level: float = 0.95,
) -> list[CalibrationRow]:
    """Rows over several targets, null targets for example, with t intervals over the targets' rates.

    The target is what is drawn anew: its rate is one observation however many records it has, and targets count alike.
    They share the shadow set and the records, and are independent only given those. The interval is clipped to [0, 1].
    With one target, or where all targets have the same rate (no spread to go by, typically no false alarm at all),
    the interval is Clopper-Pearson's over all records, which the note says; statuses are those of `calibration`.

    Args:
        p_values: float [n_t] for every target t, of its nonmembers.
        nominal: levels, each in (0, 1).
        smallest: as for `calibration`.
        level: of the intervals.

    Raises:
        AttackError: no target; see `calibration`.
    """
    if not p_values:
        raise AttackError("calibration needs the p-values of at least one target")
    wrong = [a for a in nominal if not 0 < a < 1]
    if wrong:
        raise AttackError(f"nominal levels lie between 0 and 1: {wrong}")
    targets = [check_p_values(values) for values in p_values]
    pooled = np.concatenate(targets)
    floor = float(pooled.min()) if smallest is None else smallest
    return [_row(targets, pooled, a, floor, level) for a in nominal]


def _row(targets: list[FloatArray], pooled: FloatArray, nominal: float, floor: float, level: float) -> CalibrationRow:
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
    status, why = _status(nominal, n, low, high, attainable, floor)
    note = "; ".join(part for part in (why, how) if part) or None
    return CalibrationRow(nominal, observed, low, high, count, n, attainable, status, len(targets), note)


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
