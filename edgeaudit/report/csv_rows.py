"""CSV: every figure, one row each, for spreadsheets."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path
from typing import ClassVar

from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit, LeakageRow
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["CsvWriter"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of texts that spreadsheets compute."""


class CsvWriter(Writer):
    """Writes leakage.csv: rows of `leakage` and `weaker_leakage`, with the names of audit.json; empty where null."""

    spec: ClassVar[WriterSpec] = WriterSpec("csv", "leakage.csv", "every figure as CSV")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        text = io.StringIO()
        names = [field.name for field in fields(LeakageRow)]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for row in (*audit.leakage, *audit.weaker_leakage):
            writer.writerow({name: _cell(value) for name, value in asdict(row).items()})
        write_atomically(path, text.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
