"""Two runs compared, on a terminal, as Markdown and as JSON: one content for all three."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from edgeaudit.report.files import write_atomically
from edgeaudit.report.lookup import series_label
from edgeaudit.report.markdown import markdown_table, plain
from edgeaudit.report.model.between_runs import AccuracyChange, ChangeOutcome, FigureChange, RunComparison
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    figure,
    listed,
    metric_name,
    percent,
    place_name,
    printable,
)

__all__ = ["comparison_line", "render_comparison", "write_comparison_json", "write_comparison_markdown"]

_WORDS: dict[ChangeOutcome, str] = {"increase": "more", "inconclusive": "unclear", "equal": "equal", "decrease": "less"}
_STYLES: dict[ChangeOutcome, str] = {"increase": "bold red", "inconclusive": "yellow", "equal": "", "decrease": "green"}
_OUTCOMES = {0: "bold green", 1: "bold red", 3: "bold yellow"}
_UNDECIDED = 3
_MOST_SETTINGS = 12
_ACCURACY = "accuracy"


def render_comparison(comparison: RunComparison) -> RenderableType:
    """What differs between the runs, the table and the outcome, in 80 columns."""
    return _Rendered(comparison)


def comparison_line(comparison: RunComparison) -> str:
    """Outcome, exit code and the first reason, in one line."""
    first, *rest = [printable(reason) for reason in comparison.reasons]
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{comparison.outcome.upper()} (exit code {comparison.exit_code}): {first}{more}"


def write_comparison_json(comparison: RunComparison, path: Path) -> None:
    """Write the comparison as JSON. Raises `StoreError`."""
    text = json.dumps(comparison.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text + "\n")


def write_comparison_markdown(comparison: RunComparison, path: Path) -> None:
    """Write the comparison as Markdown, for a pull request. Raises `StoreError`."""
    write_atomically(path, "\n\n".join(_parts(comparison)) + "\n")


# ---- content


def _more_reasons(comparison: RunComparison) -> list[str]:
    """Why nothing can be concluded, beyond the first reason; increases are in the table."""
    return [printable(reason) for reason in comparison.reasons[1:]] if comparison.exit_code == _UNDECIDED else []


def _runs(comparison: RunComparison) -> str:
    old, new = (
        f"{name} {printable(run.name)} ({printable(run.created)}, edgeaudit {printable(run.version)}, {run.outcome})"
        for name, run in (("OLD", comparison.old), ("NEW", comparison.new))
    )
    return f"{old}; {new}"


def _loosened(comparison: RunComparison) -> list[str]:
    return [f"LIMIT LOOSENED: {printable(said)}" for said in comparison.loosened]


def _settings(comparison: RunComparison, most: int) -> list[str]:
    every = [f"{printable(one.name)}: {printable(one.old)} -> {printable(one.new)}" for one in comparison.settings]
    more = [f"{len(every) - most} further settings differ; --json has them"] if len(every) > most else []
    return [*every[:most], *more]


def _methods(comparison: RunComparison) -> list[str]:
    """How formats were compared: a sentence for all that were compared alike; and what differs in how they are made."""
    alike: dict[str, list[str]] = {}
    changes: list[str] = []
    for one in comparison.formats:
        names = _pair_name(one.new, one.old, one.device)
        alike.setdefault(f"{one.method}: {printable(one.why)}", []).append(names)
        changes += [f"{names}: {printable('; '.join(one.changes))}"] if one.changes else []
    return [*(f"{listed(names)}: {how}" for how, names in alike.items()), *changes]


def _pair_name(new: str, old: str, device: str) -> str:
    name = printable(place_name(new, device))
    return name if new == old else f"{name} over {printable(old)}"


def _accuracy(row: AccuracyChange) -> str:
    size = f"{difference(_ACCURACY, row.value)} {difference_interval(_ACCURACY, row.low, row.high)}".rstrip()
    note = f" ({printable(row.note)})" if row.note else ""
    where = _pair_name(row.format, row.old_format, row.device)
    return f"{where}: {percent(row.old_test)} -> {percent(row.new_test)}, {size}{note}"


def _uncompared(comparison: RunComparison) -> list[str]:
    return [f"not compared: {one.kind} {printable(one.name)}: {printable(one.why)}" for one in comparison.uncompared]


def _notes(comparison: RunComparison) -> Iterator[str]:
    """Yield why figures are not resolvable, and caveats, each once."""
    rows: dict[str, int] = {}
    for row in comparison.rows:
        if row.note:
            rows[row.note] = rows.get(row.note, 0) + 1
    for note, count in rows.items():
        yield f"{counted(count, 'difference')}: {printable(note)}"


def _cells(row: FigureChange) -> tuple[str, str, str, str, str]:
    """OLD, NEW, difference, its interval, adjusted p."""
    old, new = (NOT_RESOLVABLE if value is None else figure(row.metric, value) for value in (row.old, row.new))
    if row.value is None:
        return old, new, NOT_RESOLVABLE, "", "-"
    p_value = "-" if row.adjusted_p is None else chance(row.adjusted_p)
    interval = difference_interval(row.metric, row.low, row.high)
    return old, new, difference(row.metric, row.value), interval, p_value


# ---- terminal


@dataclass(frozen=True)
class _Rendered:
    comparison: RunComparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.comparison
        yield Text(_runs(found), "dim")
        yield from (Text(said, "bold red") for said in _loosened(found))
        yield from (Text(f"warning: {printable(said)}", "yellow") for said in found.warnings)
        yield from (Text(f"differs: {said}", "dim") for said in _settings(found, _MOST_SETTINGS))
        yield from (Text(said, "dim") for said in _methods(found))
        if found.rows:
            yield Text()
            yield _table(found)
            yield Text()
        yield from (Text(said, "dim") for said in _notes(found))
        yield from (Text(f"accuracy on nonmembers, {_accuracy(row)}") for row in found.accuracy)
        yield from (Text(said) for said in _uncompared(found))
        yield from (Text(f"also: {said}") for said in _more_reasons(found))
        yield Text(comparison_line(found), _OUTCOMES[found.exit_code])


def _table(comparison: RunComparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    table.title = Text("leakage of NEW minus OLD, this file; 95% intervals, Holm-adjusted p", "dim")
    table.title_justify = "left"
    table.add_column("format", overflow="fold")
    table.add_column("attack", overflow="fold")
    table.add_column("OLD", justify="right", max_width=10)
    table.add_column("NEW", justify="right", max_width=10)
    table.add_column("difference", no_wrap=True)
    table.add_column("leaks, p", no_wrap=True)
    for row in comparison.rows:
        old, new, value, interval, p_value = _cells(row)
        table.add_row(
            Text(printable(place_name(row.format, row.device))),
            Text(f"{printable(series_label(row.attack))}\n{metric_name(row.metric)}"),
            Text(old),
            Text(new),
            Text(f"{value}\n{interval}".rstrip()),
            Text(f"{_WORDS[row.outcome]}\n{p_value}", _STYLES[row.outcome]),
        )
    return table


# ---- Markdown


def _parts(comparison: RunComparison) -> Iterator[str]:
    yield f"## Membership leakage: {plain(comparison.new.name)} compared with {plain(comparison.old.name)}"
    yield f"**{plain(comparison_line(comparison))}**"
    yield from _list(plain(said) for said in _more_reasons(comparison))
    loosened = [f"**{plain(said)}**" for said in _loosened(comparison)]
    yield from _list(loosened)
    yield from _list(plain(f"warning: {said}") for said in comparison.warnings)
    yield plain(_runs(comparison))
    if comparison.rows:
        heads = ("format", "attack", "figure", "OLD", "NEW", "difference", "95% interval", "adjusted p", "leaks")
        yield markdown_table(heads, [_markdown_cells(row) for row in comparison.rows], "the comparison's JSON")
    if comparison.accuracy:
        yield "Accuracy on nonmembers:"
        yield from _list(plain(_accuracy(row)) for row in comparison.accuracy)
    yield from _list(plain(said) for said in (*_methods(comparison), *_notes(comparison), *_uncompared(comparison)))
    changes = [(one.name, one.old, one.new) for one in comparison.settings]
    if changes:
        yield markdown_table(("setting that differs", "OLD", "NEW"), changes, "the comparison's JSON")


def _list(lines: Iterable[str]) -> Iterator[str]:
    text = "\n".join(f"- {line}" for line in lines)
    if text:
        yield text


def _markdown_cells(row: FigureChange) -> tuple[str, ...]:
    names = _pair_name(row.format, row.old_format, row.device), series_label(row.attack), metric_name(row.metric)
    return (*names, *_cells(row), _WORDS[row.outcome])
