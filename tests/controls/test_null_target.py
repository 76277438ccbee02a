"""The null target is tested with one correction over all formats, so a sound audit is hardly ever called invalid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeaudit.controls.null_target import null_target, null_target_together
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.rows import NullControlRow, TogetherNullRow


def _row(p: float | None, **changes: Any) -> NullControlRow:
    row = NullControlRow("torch-fp32", "local", "cm-mia", "t", "matched", "null-target", 0.52, 0.48, 0.56, p, 100, 100)
    return replace(row, **changes)


@pytest.mark.parametrize(
    ("p_values", "statuses"),
    [
        ((0.2, 0.9), ("holds", "holds")),
        ((0.0004, 0.9), ("failed", "holds")),  # 2 x .0004 < .001
        ((0.0006, 0.9), ("holds", "holds")),  # 2 x .0006 > .001: one alone would have failed
        ((0.0006,), ("failed",)),
        ((0.0006, 0.0004), ("failed", "failed")),  # Holm: the second is corrected for one test less
    ],
)
def test_holm_over_formats(p_values: tuple[float, ...], statuses: tuple[str, ...]) -> None:
    rows = [_row(p, format=f"format-{i}") for i, p in enumerate(p_values)]
    findings = null_target(rows, 1, "matched")
    assert tuple(f.status for f in findings) == statuses
    assert [f.format for f in findings] == [row.format for row in rows]


def test_only_the_headline_attack_with_the_reported_shadow_match_is_tested() -> None:
    rows = [
        _row(1e-9, attack="lira", variant="offline"), _row(0.3), _row(1e-9, variant="ecdf"),
        _row(1e-9, shadow_match="fp32"),
    ]  # fmt: skip
    assert [f.status for f in null_target(rows, 1, "matched")] == ["holds"]


def test_without_cm_mia_the_first_attack_is_tested() -> None:
    rows = [_row(0.0001, attack="yeom", variant=""), _row(0.9, attack="gap", variant="")]
    findings = null_target(rows, 1, "matched")
    assert [f.status for f in findings] == ["failed"]
    assert findings[0].statement.startswith("yeom finds members of null-target")


def test_a_control_that_was_not_run_gives_the_reason_and_does_not_fail() -> None:
    for findings in (null_target([], 0, "matched"), null_target([], 1, "matched")):
        assert [f.status for f in findings] == ["not run"]
    assert "null-targets is 0" in null_target([], 0, "matched")[0].statement


def test_every_multi_version_attack_is_tested() -> None:
    rows = [
        TogetherNullRow("torch-fp32 + litert-int8", attack, "", "null-target", 0.52, 0.48, 0.56, p, 100, 100)
        for p, attack in ((0.2, "compleak-sr"), (0.0004, "joint-offline"), (None, "mean-score"))
    ]
    findings = null_target_together(rows)
    # Two have a p-value: 2 x .0004 < .001.
    assert [(f.status, f.format) for f in findings] == [
        ("holds", "torch-fp32 + litert-int8"),
        ("failed", "torch-fp32 + litert-int8"),
    ]
    assert findings[1].statement.startswith("joint-offline finds members of null-target")
    assert null_target_together([]) == []


def test_sound_audits_are_rarely_invalid() -> None:
    # 13 formats with strongly correlated scores, as the formats of one model have; none leaks.
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        common, members = rng.normal(size=400), np.arange(400) < 200
        rows = []
        for i in range(13):
            scores = common + 0.2 * rng.normal(size=400)
            area, p = delong(scores, members), auc_difference(scores, np.zeros(400), members).p_value
            rows.append(_row(p, format=f"format-{i}", value=area.auc, low=area.low, high=area.high))
        alarms += any(f.status == "failed" for f in null_target(rows, 1, "matched"))
    assert alarms <= 3  # P[4 or more of 100 at 1%] = 1.8%
