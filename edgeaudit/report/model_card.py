"""A section of a model card in the form that model hubs read: YAML metadata (`model-index`), then Markdown.

Figures of hubs have no intervals, so the upper end of each is a metric of its own, which is what the records do not
exclude. `verified` is never set, which is the hub's to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml

from edgeaudit.report.files import write_atomically
from edgeaudit.report.lookup import AUC, TPR, Lookup
from edgeaudit.report.markdown import headline_cells, markdown_table, plain
from edgeaudit.report.model import Audit
from edgeaudit.report.summary import policy_lines, sentences, verdict_line
from edgeaudit.report.words import metric_name, printable
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["ModelCardWriter"]


class ModelCardWriter(Writer):
    """Writes model-card.md: membership leakage for a model card."""

    spec: ClassVar[WriterSpec] = WriterSpec("model-card", "model-card.md", "a model card's section, with model-index")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        lookup = Lookup(audit)
        index = {"model-index": [{"name": printable(audit.name), "results": _results(lookup)}]}
        heads = ("format", "AUC", "TPR at 1% FPR")
        rows = [[lookup.label(place), *headline_cells(lookup, place)] for place, _ in lookup.ok()]
        attack = "" if lookup.headline is None else f"Attack: {plain(lookup.headline.label)}. "
        said = "\n".join(f"- {plain(sentence)}" for sentence in sentences(audit))
        warned = "".join(f"- {plain(line)}\n" for line in policy_lines(audit))
        warned = f"{warned}\n" if warned else ""
        text = (
            f"---\n{yaml.safe_dump(index, sort_keys=False, allow_unicode=True)}---\n\n"
            "## Membership leakage\n\n"
            f"**{plain(verdict_line(audit))}**\n\n{warned}{markdown_table(heads, rows)}\n\n"
            f"{attack}95% intervals; an AUC of 0.5 is no leak. Membership inference alone was tested.\n\n{said}\n"
        )
        write_atomically(path, text)


def _results(lookup: Lookup) -> list[dict[str, Any]]:
    audit = lookup.audit
    data = {"type": printable(audit.population.source), "name": printable(audit.population.source)}
    results = []
    for place, _ in lookup.ok():
        metrics: list[dict[str, Any]] = []
        for metric in (AUC, TPR):
            row = lookup.row(place, lookup.headline, metric)
            if row is None or row.value is None:
                continue
            name = f"membership inference {metric_name(metric)} of {lookup.label(place)}"
            metrics.append({"type": metric, "name": name, "value": round(row.value, 6)})
            if row.high is not None:
                metrics.append({"type": metric, "name": f"{name}, upper 95% end", "value": round(row.high, 6)})
        if metrics:
            task = {"type": "other", "name": "membership inference"}
            results.append({"task": task, "dataset": dict(data), "metrics": metrics})
    return results
