"""Report writers by name. Other packages register theirs in the entry-point group `edgeaudit.writers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeaudit.errors import SpecError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["ALWAYS", "WRITERS"]

ALWAYS = "json"
"""The writer of audit.json, from which all other reports are rendered; it runs first in every audit."""

WRITERS: Registry[Writer, WriterSpec] = Registry(
    noun="report writer",
    group="edgeaudit.writers",
    base="edgeaudit.report.writers:Writer",
    own={
        "json": "edgeaudit.report.schema:JsonWriter",
        "html": "edgeaudit.report.html:HtmlWriter",
        "csv": "edgeaudit.report.csv_rows:CsvWriter",
        "cyclonedx": "edgeaudit.report.cyclonedx:CycloneDxWriter",
        "junit": "edgeaudit.report.junit:JUnitWriter",
        "mlflow": "edgeaudit.report.mlflow_run:MlflowWriter",
        "markdown": "edgeaudit.report.markdown:MarkdownWriter",
        "model-card": "edgeaudit.report.model_card:ModelCardWriter",
        "sarif": "edgeaudit.report.sarif:SarifWriter",
        "verdict": "edgeaudit.report.verdict_file:VerdictWriter",
        "text": "edgeaudit.report.terminal:TextWriter",
    },
    error=SpecError,
)
