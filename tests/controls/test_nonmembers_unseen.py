"""A list of nonmembers that the target has seen in part is told by the p-values of its records."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from edgeaudit.controls.nonmembers_unseen import nonmembers_unseen
from edgeaudit.leakage.p_calibration import calibration_over_targets
from edgeaudit.leakage.rows import PCalibration
from edgeaudit.leakage.rows.figures import Place, Series

TESTS = ("cm-mia/calibrated", "cm-mia/calibrated-online")


def _rows(p_values: np.ndarray, known: int) -> list[PCalibration]:
    series = Series(Place("onnx-int8", "local", "matched"), "cm-mia", "calibrated", "probabilities")
    rows = calibration_over_targets([p_values], known=[known])
    return [PCalibration.of(series, "conformal", "nonmembers", row, None) for row in rows]


def _conformal(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(1 + how many reference scores are at least as large) / (m + 1), as a rank test has it."""
    return np.asarray((1 + (reference[None, :] >= scores[:, None]).sum(axis=1)) / (len(reference) + 1))


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_records_that_were_seen_are_noticed(share: float) -> None:
    """Members score one and a half standard deviations higher: an AUC of .86 on a right list."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400) + 1.5 * (np.arange(400) < share * 400)
    (found,) = nonmembers_unseen({"onnx-int8": _rows(_conformal(scores, rng.normal(size=600)), 600)}, TESTS)
    assert (found.status, found.format, found.n) == ("undecided", "onnx-int8", 400)
    assert found.statement.startswith("nonmembers look like training records")


def test_records_that_were_not_seen_hold() -> None:
    """300 audits of 400 nonmembers and 200 reference records. Under 0.1% a false alarm is a surprise."""
    statuses = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        rows = _rows(_conformal(rng.normal(size=400), rng.normal(size=200)), 200)
        statuses += [one.status for one in nonmembers_unseen({"onnx-int8": rows}, TESTS)]
    assert statuses.count("undecided") <= 1
    assert len(statuses) == 300


def test_the_p_value_is_that_of_a_valid_test() -> None:
    """Of n nonmembers X are accused at a level of 10% with m = 199: X is beta-binomial(n, 20, 180)."""
    rng = np.random.default_rng(1)
    reference = rng.normal(size=199)
    scores = rng.normal(size=300) + 0.5
    (found,) = nonmembers_unseen({"onnx-int8": _rows(_conformal(scores, reference), 199)}, TESTS)
    assert found.value is not None
    assert found.p_value is not None
    exact = float(betabinom(300, 20, 180).sf(round(found.value * 300) - 1))
    assert 0.1 < np.log(found.p_value) / np.log(exact) < 4  # from the normal approximation of its band
    assert (found.p_value < 0.001) or found.status == "holds"


def test_without_p_values_there_is_no_finding() -> None:
    assert nonmembers_unseen({"onnx-int8": []}, TESTS) == []
