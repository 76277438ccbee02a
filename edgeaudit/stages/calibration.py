"""Records seen by a quantiser: a separate leak, analysed apart from membership in the training set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.spec import Scores
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.rows import CalibrationLeak, Series
from edgeaudit.stages.evidence import Case

__all__ = ["UNCALIBRATED", "calibration_leaks", "uncalibrated"]

BoolArray = npt.NDArray[np.bool_]

UNCALIBRATED = "uncalibrated"
"""The subset of the audited records that the target's quantiser did not see."""
_LEAST = 2


def uncalibrated(case: Case, records: npt.NDArray[np.int64]) -> dict[str, BoolArray]:
    """The subset, bool [audited]; empty if the quantiser saw no audited record."""
    seen = np.isin(records, case.calibration)
    return {UNCALIBRATED: ~seen} if seen.any() else {}


def calibration_leaks(
    case: Case, records: npt.NDArray[np.int64], scores: Scores, series: Series
) -> Iterator[CalibrationLeak]:
    """How well the attack's score separates records that the quantiser saw from others on the same side of the audit.

    value: AUC of seen against unseen records, above 0.5 where seen ones look more like members; with DeLong's interval
    and the two-sided p-value of AUC = 0.5. One row for each side with at least two of each kind. Within a side, only
    the quantiser distinguishes them: all members were trained on, and no nonmember was.

    records: ids, int64 [scored].
    """
    seen = np.isin(records, case.calibration)
    sides: tuple[tuple[Literal["members", "nonmembers"], BoolArray], ...] = (
        ("members", case.members),
        ("nonmembers", ~case.members),
    )
    for side, mask in sides:
        n_seen, n_others = int((seen & mask).sum()), int((~seen & mask).sum())
        if min(n_seen, n_others) < _LEAST:
            continue
        score = scores.score[mask]
        groups = case.groups_of(mask)
        area = delong(score, seen[mask], groups=groups)
        yield CalibrationLeak(
            series.place.format,
            series.place.device,
            series.attack,
            series.variant,
            series.place.shadow_match,
            series.exposure,
            side,
            area.auc,
            area.low,
            area.high,
            chance_p_value(score, seen[mask], groups),
            n_seen,
            n_others,
        )
