"""A report writer: `report: {writers: [html, auc-table]}`, or `edgeaudit report DIR --write auc-table`."""

from pathlib import Path

from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit
from edgeaudit.report.writers import Writer, WriterSpec


class AucTable(Writer):
    """Writes auc.csv, a line for each format, attack and variant."""

    spec = WriterSpec("auc-table", "auc.csv", "AUC of each format and attack, for spreadsheets")

    def write(self, audit: Audit, path: Path) -> None:
        """Write the table, whole or not at all."""
        rows = [row for row in audit.leakage if row.metric == "auc" and row.subset == "all"]
        lines = [f"{row.format},{row.attack},{row.variant},{row.value}\n" for row in rows]
        write_atomically(path, "format,attack,variant,auc\n" + "".join(lines))
