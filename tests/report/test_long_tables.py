"""Figures that only the long table has: what no budget limits and no report shows."""

from __future__ import annotations

import stat
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet
import pytest

from edgeaudit.config.budgets import METRIC_RANGES
from edgeaudit.report.long_tables import shortened, write_figures
from edgeaudit.report.model import Audit
from edgeaudit.report.registry import WRITERS
from edgeaudit.rows import Rows
from tests.report.sample import audit as sample


def long(audit: Audit) -> Audit:
    """With every figure of the records on two subsets, too, and figures that no budget limits."""
    first = audit.leakage[0]
    metrics = [*METRIC_RANGES, "ppv@prior=0.1", "coverage@0.05", "ppv@0.05", "fpr@0.05", "recall@by=0.05"]
    rows = [
        replace(row, metric=metric, subset=subset)
        for row in audit.leakage
        if (row.format, row.attack, row.metric) == (first.format, first.attack, first.metric)
        for metric in metrics
        for subset in ("abnormal:loss", "class:1", "canaries", "uncalibrated")
    ]
    return audit.model_copy(update={"leakage": Rows([*audit.leakage, *rows], of=type(first))})


def test_budgets_can_be_judged_on_what_is_left() -> None:
    whole = long(sample())
    left = shortened(whole)
    stay = set(left.leakage)
    gone = [row for row in whole.leakage if row not in stay]
    assert {row.metric for row in gone} >= {"ppv@prior=0.1", "coverage@0.05", "ppv@0.05", "fpr@0.05", "recall@by=0.05"}
    assert not {row.metric for row in gone} & set(METRIC_RANGES)
    assert {row.subset for row in gone} >= {"abnormal:loss", "uncalibrated"}
    assert not {row.subset for row in gone} & {"all", "class:1", "canaries"}
    assert list(left.leakage) == [row for row in whole.leakage if row in stay]
    assert [table.rows for table in left.long_tables] == [len(whole.leakage) + len(whole.weaker_leakage)]


@pytest.mark.parametrize("name", ["html", "text", "markdown", "junit", "sarif", "cyclonedx", "model-card", "verdict"])
def test_no_report_shows_what_is_left_out(tmp_path: Path, name: str) -> None:
    whole = long(sample())
    for number, audit in enumerate((whole, shortened(whole))):
        WRITERS.find(name)().write(audit, tmp_path / str(number))
    assert (tmp_path / "0").read_text(encoding="utf-8") == (tmp_path / "1").read_text(encoding="utf-8")


def test_every_figure_is_read_back(tmp_path: Path) -> None:
    audit = long(sample())
    rows = [*audit.leakage, replace(audit.leakage[0], value=None, low=None, high=None, note="too few")]
    write_figures(rows, tmp_path / "leakage.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "leakage.parquet")
    assert table.to_pylist() == [asdict(row) for row in rows]
    assert {str(kind) for kind in table.schema.types} == {"string", "double", "int64"}
    assert stat.S_IMODE((tmp_path / "leakage.parquet").stat().st_mode) == 0o600


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_figures([], tmp_path / "leakage.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "leakage.parquet")
    assert table.num_rows == 0
    assert table.column_names[:4] == ["format", "device", "attack", "variant"]
