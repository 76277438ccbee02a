"""CSV: every figure, one row each, for spreadsheets."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path
from typing import ClassVar

from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit, Budget, LeakageRow
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["CsvWriter"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of texts that spreadsheets compute."""
_WORST = ("fail", "inconclusive", "waived", "pass")

_Judged = tuple[str, str, str, str, str]
"""Format, device, metric, attack/variant and subset."""


class CsvWriter(Writer):
    """Writes leakage.csv: rows of `leakage` and `weaker_leakage`, with the names of audit.json; empty where null.

    Two columns more say what became of the budgets on this file that are judged on a row: the worst of `fail`,
    `inconclusive`, `waived` and `pass`, and until when it is waived. Increases, which are of two rows, are left out.
    """

    spec: ClassVar[WriterSpec] = WriterSpec("csv", "leakage.csv", "the figures of audit.json as CSV")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        text = io.StringIO()
        names = [field.name for field in fields(LeakageRow)]
        writer = csv.DictWriter(text, [*names, "budget", "waived_until"], lineterminator="\n")
        writer.writeheader()
        budgets = _budgets(audit)
        for row in audit.leakage:
            key = (row.format, row.device, row.metric, f"{row.attack}/{row.variant}", row.subset)
            _write(writer, row, budgets.pop(key, None))  # later shadow matches are ablations
        for row in audit.weaker_leakage:
            _write(writer, row, None)
        write_atomically(path, text.getvalue())


def _write(writer: csv.DictWriter[str], row: LeakageRow, budget: Budget | None) -> None:
    judged = {} if budget is None else {"budget": budget.counted, "waived_until": budget.waived_until}
    writer.writerow({name: _cell(value) for name, value in {**asdict(row), **judged}.items()})


def _budgets(audit: Audit) -> dict[_Judged, Budget]:
    """Return what is judged -> the worst of its budgets."""
    found: dict[_Judged, Budget] = {}
    order = sorted(audit.verdict.budgets, key=lambda budget: _WORST.index(budget.counted))
    for budget in order:
        if budget.against is not None or budget.scope != "file":
            continue
        for one in budget.attacks:
            for device in {budget.device} if budget.device else {row.device for row in audit.leakage}:
                found.setdefault((budget.format, device, budget.metric, one.attack, one.subset), budget)
    return found


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
