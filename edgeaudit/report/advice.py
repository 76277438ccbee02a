"""Measured advice, on a terminal, as Markdown and as JSON: one content for all three."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from edgeaudit.report.files import write_atomically
from edgeaudit.report.lookup import series_label
from edgeaudit.report.markdown import markdown_table, plain
from edgeaudit.report.model.advice import Advice, AdvisedCanaries, AdvisedFigure, AdvisedFormat, TriedChange
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    figure,
    judged_figure,
    metric_name,
    percent,
    place_name,
    printable,
)

__all__ = ["advice_line", "render_advice", "write_advice"]

_OUTCOMES = {0: "bold green", 1: "bold red", 3: "bold yellow"}
_HELPS = {
    "helps": ("helps", "green"),
    "mixed": ("mixed", "yellow"),
    "does not help": ("does not help", ""),
    "leaks more": ("leaks more", "bold red"),
    "not concluded": ("not concluded", "yellow"),
}
_AFTER = {
    "pass": ("passes", "green"), "fail": ("fails", "red"), "inconclusive": ("undecided", "yellow"),
    "error": ("failed", "bold red"),
}  # fmt: skip
_ACCURACY = "accuracy"
_WIDEST = 16
"""Names of changes are not broken."""
_ALL_IN = "advice.json"


def write_advice(advice: Advice, folder: Path) -> None:
    """Write advice.json and advice.md. Raises `StoreError`."""
    text = json.dumps(advice.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / _ALL_IN, text + "\n")
    write_atomically(folder / "advice.md", "\n\n".join(_parts(advice)) + "\n")


def advice_line(advice: Advice) -> str:
    """Outcome, exit code and reason, in one line."""
    return f"{advice.outcome.upper()} (exit code {advice.exit_code}): {printable('; '.join(advice.reasons))}"


def render_advice(advice: Advice) -> RenderableType:
    """What fails, a table of the changes, and the outcome, in 80 columns."""
    return _Rendered(advice)


# ---- content


def _failing(advice: Advice) -> list[str]:
    return [
        f"{printable(place_name(one.format, one.device))}: {printable('; '.join(one.budgets)) or 'it failed'}"
        for one in advice.failing
    ]


def _change(row: AdvisedFigure) -> tuple[str, str, str]:
    """The difference, its interval, and adjusted p."""
    if row.value is None:
        return NOT_RESOLVABLE, "", "-"
    p_value = "-" if row.adjusted_p is None else chance(row.adjusted_p)
    return difference(row.metric, row.value), difference_interval(row.metric, row.low, row.high), p_value


def _sides(row: AdvisedFigure) -> str:
    first, second = ("-" if value is None else figure(row.metric, value) for value in (row.base, row.changed))
    return f"{first} -> {second}"


def _accuracy(found: AdvisedFormat) -> tuple[str, str]:
    """The difference of accuracy on nonmembers, and its interval."""
    row = found.accuracy
    if row is None:
        return "-", ""
    return difference(_ACCURACY, row.value), difference_interval(_ACCURACY, row.low, row.high)


def _canaries(found: AdvisedCanaries) -> str:
    sides = [
        NOT_RESOLVABLE if value is None else judged_figure(value, low, high)
        for value, low, high in (
            (found.base, found.base_low, found.base_high),
            (found.changed, found.changed_low, found.changed_high),
        )
    ]
    learned = f"{percent(found.base_learned)} -> {percent(found.changed_learned)}"
    return f"canaries, AUC by {series_label(found.attack)}: {' -> '.join(sides)}; own label given: {learned}"


def _training(change: TriedChange) -> Iterator[str]:
    trained = change.training
    if trained is not None and trained.early_stopping is not None:
        stopped = trained.early_stopping
        yield f"epoch {stopped.best_epoch} of {stopped.epochs} was kept"
    if trained is not None and trained.privacy is not None:
        yield f"epsilon {trained.privacy.epsilon:.3g} at delta {trained.privacy.delta:g} was spent"


def _remarks(change: TriedChange) -> list[str]:
    """What else to know of a change, each sentence once."""
    found = list(_training(change))
    for one in change.formats:
        where = printable(place_name(one.format, one.device))
        found += [f"{where}: {printable(one.note)}"] if one.note else []
        found += [f"{where}: {_canaries(one.canaries)}"] if one.canaries is not None else []
    return list(dict.fromkeys([*found, *(printable(one) for one in change.warnings)]))


def _notes(advice: Advice) -> Iterator[str]:
    """Yield why differences are not resolvable, and caveats, each once."""
    rows: dict[str, int] = {}
    for note in (row.note for change in advice.changes for one in change.formats for row in one.figures):
        if note:
            rows[note] = rows.get(note, 0) + 1
    for note, count in rows.items():
        yield f"{counted(count, 'difference')}: {printable(note)}"


def _attacks(row: AdvisedFigure) -> str:
    names = [printable(series_label(name)) for name in dict.fromkeys((row.attack, row.changed_attack))]
    return " -> ".join(names)


def _options(change: TriedChange) -> str:
    return " ".join(f"--set {shlex.quote(key)}" for key in change.keys)


def _not_measured(advice: Advice) -> list[str]:
    return [
        f"{one.name} {'was not applied' if one.status == 'not applied' else 'failed'}: {printable(one.why or '')}"
        for one in advice.changes
        if one.status != "measured"
    ]


def _measured(advice: Advice) -> list[TriedChange]:
    return [one for one in advice.changes if one.status == "measured"]


# ---- terminal


@dataclass(frozen=True)
class _Rendered:
    advice: Advice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.advice
        yield from (Text(f"does not pass: {said}") for said in _failing(found))
        measured = _measured(found)
        if measured:
            yield Text()
            yield _table(measured)
            yield Text()
        for change in measured:
            yield Text(f"{change.name}: {printable(change.about)} ({_options(change)})", "dim")
            yield from (Text(f"{change.name}: {said}", "dim") for said in _remarks(change))
        yield from (Text(said, "dim") for said in _notes(found))
        yield from (Text(said, "yellow") for said in _not_measured(found))
        yield Text(advice_line(found), _OUTCOMES[found.exit_code])


def _table(changes: Iterable[TriedChange]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, header_style="bold")
    table.title = Text("with the change minus without; these files, 95% intervals, Holm-adjusted p", "dim")
    table.title_justify = "left"
    table.add_column("change\nformat", overflow="fold", min_width=_WIDEST, max_width=_WIDEST)
    table.add_column("figure", overflow="fold", max_width=_WIDEST - 2)
    table.add_column("leakage", no_wrap=True)
    table.add_column("accuracy", no_wrap=True)
    table.add_column("leakage, p\nbudgets", no_wrap=True)
    for change in changes:
        for found in change.formats:
            _add_format(table, change, found)
    return table


def _add_format(table: Table, change: TriedChange, found: AdvisedFormat) -> None:
    where = Text(f"{change.name}\n", "bold").append(printable(place_name(found.format, found.device)), "not bold")
    for number, row in enumerate(found.figures or (None,)):
        first = number == 0
        value, interval, p_value = ("-", "", "-") if row is None else _change(row)
        about = "" if row is None else f"{metric_name(row.metric)}\n{_attacks(row)}"
        helps, style = _HELPS[found.outcome]
        after, passes = _AFTER[found.after]
        said = Text(helps, style).append(f"\n{after}", passes) if first else Text()
        if row is not None:
            said = said.append(f"\np {p_value}" if first else f"p {p_value}", "not bold")
        table.add_row(
            where if first else "",
            Text(about),
            Text(value if row is None else f"{value}\n{interval}".rstrip() + f"\n{_sides(row)}"),
            Text("\n".join(_accuracy(found)).rstrip() if first else ""),
            said,
        )


# ---- Markdown


def _parts(advice: Advice) -> Iterator[str]:
    yield f"## Measured advice: {plain(advice.name)}"
    yield f"**{plain(advice_line(advice))}**"
    yield from _list(plain(f"does not pass: {said}") for said in _failing(advice))
    measured = _measured(advice)
    if measured:
        heads = (
            "change", "format", "leakage", "budgets", "figure", "without -> with", "difference", "95% interval",
            "adjusted p", "accuracy", "95% interval",
        )  # fmt: skip
        yield markdown_table(heads, [row for change in measured for row in _rows(change)], _ALL_IN)
        yield "Differences are of these files, with the change minus without; p is Holm-adjusted over all of them."
        about = [(one.name, one.about, ", ".join(one.keys), one.folder or "") for one in measured]
        yield markdown_table(("change", "what it is", "keys", "its audit"), about, _ALL_IN)
    yield from _list(plain(f"{one.name}: {said}") for one in measured for said in _remarks(one))
    yield from _list(plain(said) for said in (*_notes(advice), *_not_measured(advice)))


def _rows(change: TriedChange) -> Iterator[Sequence[str]]:
    for found in change.formats:
        words = _HELPS[found.outcome][0], _AFTER[found.after][0]
        head = (change.name, place_name(found.format, found.device), *words)
        if not found.figures:
            yield (*head, *[""] * 5, *_accuracy(found))
        for row in found.figures:
            name = f"{metric_name(row.metric)} by {_attacks(row)}"
            yield (*head, name, _sides(row), *_change(row), *_accuracy(found))


def _list(lines: Iterable[str]) -> Iterator[str]:
    text = "\n".join(f"- {line}" for line in lines)
    if text:
        yield text
