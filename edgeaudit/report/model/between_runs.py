"""Two finished runs compared: releases, toolchain versions, quantisers. No part of audit.json."""

from __future__ import annotations

from typing import Final, Literal

from edgeaudit.report.model.base import Model
from edgeaudit.rows import Rows

__all__ = [
    "COMPARISON_VERSION",
    "AccuracyChange",
    "ChangeOutcome",
    "ComparedFormat",
    "ComparedRun",
    "FigureChange",
    "RunComparison",
    "SettingChange",
    "Uncompared",
]

COMPARISON_VERSION: Final = "1.0"
"""Of the JSON that `edgeaudit compare --json` writes. Keys are added within a major version, none is renamed."""

ChangeOutcome = Literal["increase", "inconclusive", "equal", "decrease"]
"""`increase`, `decrease`: significant after Holm's adjustment. `equal`: the interval is within the margin. Otherwise
`inconclusive`, also where there is no difference to test."""

Method = Literal["paired", "unpaired"]


class ComparedRun(Model):
    """One of the two runs. outcome, exit_code: of its own verdict. sha256: of its records."""

    name: str
    created: str
    version: str
    outcome: str
    exit_code: int
    sha256: str


class SettingChange(Model):
    """A setting that differs. attacker: figures under the two values are of different attackers."""

    name: str
    old: str
    new: str
    attacker: bool = False


class ComparedFormat(Model):
    """A format on a device that both runs audited. old, new: its ids. method: of its leakage figures, and why.

    changes: passes, runtime and options that differ, with their versions; `same file` where the digests are equal.
    """

    old: str
    new: str
    device: str
    method: Method
    why: str
    changes: tuple[str, ...]


class FigureChange(Model):
    """A leakage figure of NEW minus that of OLD, of these files; positive: NEW leaks more.

    format: as in NEW; old_format: as in OLD. attack: attack/variant. low, high: 95% interval. adjusted_p: by Holm's
    method over all rows. Values are null where they are not resolvable, and note says why.
    """

    format: str
    old_format: str
    device: str
    attack: str
    metric: str
    old: float | None
    new: float | None
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p: float | None
    method: Method
    outcome: ChangeOutcome
    note: str | None = None


class AccuracyChange(Model):
    """The accuracy of a file on its training records and on nonmembers, in both runs.

    value: accuracy on nonmembers in NEW minus that in OLD, with its 95% interval. It is no leakage and decides nothing.
    """

    format: str
    old_format: str
    device: str
    old_train: float
    new_train: float
    old_test: float
    new_test: float
    value: float
    low: float | None
    high: float | None
    method: Method
    note: str | None = None


class Uncompared(Model):
    """What only one run has, or neither could measure. run: that has it."""

    kind: Literal["format", "attack"]
    name: str
    run: Literal["old", "new", "both"]
    why: str


class RunComparison(Model):
    """Two finished runs, figure by figure.

    outcome: `increase` (exit code 1), where some figure increased significantly and the attacker does not explain it;
    `no increase shown` (0); `not comparable` (3), where no figure is in both, a control of a run failed or is
    undecided, or the outcome may come from another attacker or from attacks and formats that NEW lacks. reasons: what
    decided. warnings: what to know before reading on. loosened: limits of OLD that NEW has relaxed or lacks. margin:
    differences whose interval lies within +- this count as equal. rows: increases first, then inconclusive, equal,
    decreases.
    """

    comparison_version: Literal["1.0"] = COMPARISON_VERSION
    old: ComparedRun
    new: ComparedRun
    outcome: Literal["increase", "no increase shown", "not comparable"]
    exit_code: Literal[0, 1, 3]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    loosened: tuple[str, ...] = ()
    margin: float
    settings: Rows[SettingChange] = Rows(of=SettingChange)
    formats: Rows[ComparedFormat] = Rows(of=ComparedFormat)
    rows: Rows[FigureChange] = Rows(of=FigureChange)
    accuracy: Rows[AccuracyChange] = Rows(of=AccuracyChange)
    uncompared: Rows[Uncompared] = Rows(of=Uncompared)
