"""Markdown: the summary of a job, a pull request or a model card. No rows of single records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from edgeaudit.report.files import write_atomically
from edgeaudit.report.helps import help_rows
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place
from edgeaudit.report.model import Audit, Budget, FormatResult, JudgedWaiver
from edgeaudit.report.summary import own_limits, policy_lines, sentences, verdict_line
from edgeaudit.report.words import budget_figure, figure, file_size, interval, percent, place_name, printable
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["MarkdownWriter", "headline_cells", "markdown_table", "plain"]

_MOST_ROWS = 100
"""Rows of a table. A job summary of more than a megabyte is refused by build servers."""
_WORDS = {"pass": "within", "fail": "exceeded", "inconclusive": "undecided"}


class MarkdownWriter(Writer):
    """Writes summary.md: the verdict, budgets, formats and controls that do not hold."""

    spec: ClassVar[WriterSpec] = WriterSpec("markdown", "summary.md", "Markdown for job summaries and pull requests")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        write_atomically(path, "\n\n".join(_parts(audit)) + "\n")


def _parts(audit: Audit) -> Iterator[str]:
    yield f"## {plain(audit.name)}: membership leakage"
    yield f"**{plain(verdict_line(audit))}**"
    if audit.verdict.policy_notes:
        yield "\n".join(f"- {plain(line)}" for line in policy_lines(audit))
    if audit.verdict.budgets:
        heads = ("format", "verdict", "budget", "decided by", "figure")
        yield markdown_table(heads, [_budget(one, own_limits(audit.verdict)) for one in audit.verdict.budgets])
    if audit.verdict.waivers:
        heads = ("waiver", "owner", "until", "status", "reason")
        yield markdown_table(heads, [_waiver(one) for one in audit.verdict.waivers])
    lookup = Lookup(audit)
    heads = ("format", "size", "train / test accuracy", "AUC", "TPR at 1% FPR")
    yield markdown_table(heads, [_format(lookup, result) for result in audit.formats])
    if lookup.headline is not None:
        yield f"Figures of {plain(lookup.headline.label)}, with 95% intervals; AUC 0.5 is no leak."
    yield "\n".join(f"- {plain(sentence)}" for sentence in sentences(audit))
    helping = help_rows(lookup)
    if helping:
        yield "What helps, measured: the alternative minus the format that does not pass."
        columns = ("does not pass", "in its place", "figure", "difference", "adjusted p", "accuracy", "budgets")
        yield markdown_table(columns, helping)
    doubtful = [c for c in audit.controls if c.status in ("failed", "undecided", "warning")]
    if doubtful:
        yield markdown_table(
            ("control", "status", "what was found"),
            [(c.name + (f" ({c.format})" if c.format else ""), c.status, c.statement) for c in doubtful],
        )
    yield (
        f"{audit.population.members:,} members, {audit.population.nonmembers:,} nonmembers, "
        f"{audit.population.reference:,} reference records; threat model: {plain(str(audit.threat.get('mode', '')))}; "
        f"edgeaudit {plain(audit.tool.version)}, {plain(audit.created)}."
    )


def _budget(budget: Budget, own: str | None) -> tuple[str, ...]:
    set_by = f"policy {budget.policy}" if budget.policy else own
    about = [*([] if budget.level == "error" else [budget.level]), *([set_by] if set_by else [])]
    limit = f"{budget.metric} {budget.limit}" + (f" ({', '.join(about)})" if about else "")
    waived = f"waived until {budget.waived_until}: " if budget.waived_by else ""
    shown = budget_figure(budget)
    return (
        place_name(budget.format, budget.device),
        waived + _WORDS[budget.verdict],
        limit,
        budget.decided_by or budget.attack,
        shown,
    )


def _waiver(waiver: JudgedWaiver) -> tuple[str, ...]:
    about = waiver.about + ("" if waiver.max is None else f", up to {waiver.max:g}")
    status = waiver.status + (f": {waiver.note}" if waiver.note else "")
    return (about, waiver.owner, waiver.expires, status, waiver.reason)


def _format(lookup: Lookup, result: FormatResult) -> tuple[str, ...]:
    place = Place(result.id, result.device)
    if result.status == "failed":
        return (lookup.label(place), f"failed: {result.error}", "", "", "")
    size = "" if result.artifact is None else file_size(result.artifact.bytes)
    accuracy = "" if result.accuracy is None else f"{percent(result.accuracy.train)} / {percent(result.accuracy.test)}"
    return (lookup.label(place), size, accuracy, *headline_cells(lookup, place))


def headline_cells(lookup: Lookup, place: Place) -> list[str]:
    """Return the headline's AUC and TPR at 1% FPR on a format with their intervals; "" where there is none."""
    cells = []
    for metric in (AUC, TPR):
        row = lookup.row(place, lookup.headline, metric)
        if row is None or row.value is None:
            cells.append("")
        else:
            cells.append(f"{figure(metric, row.value)} {interval(metric, row.low, row.high)}".rstrip())
    return cells


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[str]], all_in: str = "audit.json") -> str:
    """Return a table whose cells show text as it is; the first hundred rows, and how many more `all_in` has."""
    every = [[plain(cell) for cell in row] for row in rows]
    kept = [f"| {' | '.join(row)} |" for row in every[:_MOST_ROWS]]
    columns = [plain(head) for head in heads]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *kept]
    if len(every) > _MOST_ROWS:
        lines.append(f"\n{len(every) - _MOST_ROWS:,} further rows are in {all_in}.")
    return "\n".join(lines)


_SYNTAX = re.compile(r"([\\`*_\[\]<>|~$&]|^[#+-])")


def plain(text: str) -> str:
    """Escape what Markdown or HTML would read as its own, so that names of files and toolchains' words stay text."""
    return _SYNTAX.sub(r"\\\1", printable(text))
