"""Constructed rows and scores of an audit of one file, litert-int8, by several attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeaudit.config.audit import AuditSpec
from edgeaudit.gate.judge import FormatScores, judge
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.rows import AcrossTargets, LeakageRow, Place, Series
from edgeaudit.report.model import Budget, FormatResult, Verdict

FORMAT = "litert-int8"
ATTACKS = ("lira", "yeom", "gap")
"""The attacks of the audits here; each has one headline variant that runs."""
SERIES = {"lira": "lira/offline-global", "yeom": "yeom/loss", "gap": "gap/label", "rmia": "rmia/online"}
Interval = tuple[float | None, float | None, float | None]


def spec(budgets: Any, attacks: Sequence[str] = ATTACKS, **more: Any) -> AuditSpec:
    """An audit of one file and its reference."""
    return AuditSpec.model_validate(
        {"formats": ["torch-fp32", FORMAT], "attacks": list(attacks), "budgets": budgets, **more}
    )


def result(format_id: str = FORMAT) -> FormatResult:
    """A format that was audited."""
    fields = {"id": format_id, "device": "local", "status": "ok", "summary": "", "precision": "int8"}
    return FormatResult.model_validate(fields)


def series(name: str, format_id: str = FORMAT) -> Series:
    """attack/variant on a format."""
    attack, _, variant = name.partition("/")
    return Series(Place(format_id, "local", "matched"), attack, variant, "probabilities")


def row(name: str, found: Interval, metric: str = "auc", subset: str = "all", note: str | None = None) -> LeakageRow:
    """A figure of attack/variant: value, low and high."""
    value, low, high = found
    about = series(name)
    return LeakageRow(
        format=FORMAT, device="local", attack=about.attack, variant=about.variant, exposure="probabilities",
        subset=subset, shadow_match="matched", metric=metric, value=value, low=low, high=high, n_members=1000,
        n_nonmembers=1000, note=note,
    )  # fmt: skip


def mean(name: str, found: Interval, targets: int, metric: str = "auc", missing: int = 0) -> AcrossTargets:
    """A figure's mean over targets."""
    value, low, high = found
    about = series(name)
    return AcrossTargets(
        format=FORMAT, device="local", shadow_match="matched", attack=about.attack, variant=about.variant, subset="all",
        metric=metric, value=value, se=0.01, low=low, high=high, targets=targets, missing=missing,
    )  # fmt: skip


def measured(
    scores: Mapping[str, np.ndarray], members: np.ndarray, threshold: float | None = 0.0, subsets: Any = None
) -> list[LeakageRow]:
    """All figures of these scores (attack/variant -> [records]), on all records and on subsets (name -> mask)."""
    masks = {"all": np.ones(len(members), np.bool_), **(subsets or {})}
    return [
        series(name).row(subset, figure)
        for name, values in scores.items()
        for subset, mask in masks.items()
        for figure in figures(values[mask], members[mask], threshold)
    ]


def no_scores(format_id: str, device: str) -> FormatScores:
    """For budgets that need none."""
    raise AssertionError(f"the scores of {format_id} on {device} are not needed")


def judged(
    audit: AuditSpec,
    rows: Sequence[LeakageRow],
    scores: FormatScores | None = None,
    across: Sequence[AcrossTargets] = (),
    classes: int = 0,
    **more: Any,
) -> Verdict:
    """The verdict on the file. more: policy and today."""
    read = no_scores if scores is None else lambda *_: scores
    return judge(audit, [result()], rows, (), read, across, classes, **more)


def one(verdict: Verdict) -> Budget:
    """The one budget of a verdict."""
    (budget,) = verdict.budgets
    return budget
