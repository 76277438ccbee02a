"""The terminal report at the end of a run: one table and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import ClassVar, cast

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgeaudit.controls.base import Status
from edgeaudit.report.canaries import canary_sentences
from edgeaudit.report.compared import significant
from edgeaudit.report.devices import device_sentences
from edgeaudit.report.exposures import largest_gain
from edgeaudit.report.files import write_atomically
from edgeaudit.report.helps import help_lines
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place, series_label, unique
from edgeaudit.report.model import Audit, Budget, FormatResult, LeakageRow
from edgeaudit.report.slices import slice_sentences
from edgeaudit.report.summary import budget_lines, limits_sentence, policy_lines, verdict_line, waiver_lines
from edgeaudit.report.together import together_sentences
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    figure,
    file_size,
    interval,
    listed,
    metric_name,
    percent,
    printable,
    shown,
)
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["TextWriter", "budget_word", "render"]

_WORDS = {
    "": "-",
    "pass": "within",
    "inconclusive": "unclear",
    "warn": "warning",
    "waived": "waived",
    "fail": "exceeded",
}
_STYLES = {"pass": "green", "inconclusive": "yellow", "warn": "yellow", "waived": "yellow", "fail": "bold red"}
_OUTCOMES = {0: "bold green", 1: "bold red", 2: "bold red", 3: "bold yellow"}


def render(audit: Audit) -> RenderableType:
    """Print table and verdict, in 100 columns; below that, intervals go to a second line. Escapes markup in names."""
    return _Report(audit)


class TextWriter(Writer):
    """Writes report.txt: the terminal report at 100 columns, without colours."""

    spec: ClassVar[WriterSpec] = WriterSpec("text", "report.txt", "the table and the verdict as plain text")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        console = Console(file=StringIO(), width=100, color_system=None, force_terminal=False)
        console.print(render(audit))
        write_atomically(path, cast("StringIO", console.file).getvalue())


@dataclass(frozen=True)
class _Report:
    audit: Audit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lookup = Lookup(self.audit)
        wide = _table(lookup, narrow=False)
        room = options.update(max_width=10_000)
        fits = Measurement.get(console, room, wide).maximum <= options.max_width
        yield wide if fits else _table(lookup, narrow=True)
        yield Text()
        yield from _targets(lookup)
        yield from (Text(sentence) for sentence in (*slice_sentences(lookup), *canary_sentences(lookup)))
        yield from _difference(lookup)
        yield from (Text(printable(sentence)) for sentence in device_sentences(lookup))
        yield from _weaker(lookup)
        yield from (Text(sentence) for sentence in together_sentences(self.audit))
        yield from (Text(line) for line in help_lines(lookup))
        yield from _p_values(lookup)
        yield from _controls(self.audit)
        yield from (Text(line, "dim") for line in _limits(self.audit))
        yield from _failures(lookup)
        yield from (Text(line, "yellow") for line in policy_lines(self.audit))
        yield Text(verdict_line(self.audit), _OUTCOMES[self.audit.verdict.exit_code])


def _targets(lookup: Lookup) -> Iterator[Text]:
    """Yield a line on the means over several targets; the table is that of the first target."""
    means = lookup.mean_aucs([place for place, _ in lookup.ranked()])
    if lookup.targets < 2 or not means:
        return
    ordered = sorted(means.items(), key=lambda item: -(item[1].value or 0.0))
    ends = ordered if len(ordered) < 2 else (ordered[0], ordered[-1])
    extremes = [
        f"{printable(lookup.label(p))} {figure(AUC, mean.value or 0.0)} {interval(AUC, mean.low, mean.high)}".rstrip()
        for p, mean in ends
    ]
    yield Text(
        f"mean AUC over {counted(lookup.targets, 'target')}: {' to '.join(extremes)}; the table is the first target's"
    )


def _difference(lookup: Lookup) -> Iterator[Text]:
    """Yield a line on the format that differs most from the reference after Holm's adjustment, if any does."""
    rows = [row for row in lookup.audit.comparisons if row.kind == "format" and significant(row)]
    for metric in (AUC, TPR):
        significant_rows = [row for row in rows if row.metric == metric]
        if significant_rows:
            row = max(significant_rows, key=lambda row: abs(row.value or 0.0))
            value = row.value or 0.0
            size = f"{difference(metric, value)} {difference_interval(metric, row.low, row.high)}".rstrip()
            name = printable(lookup.label(Place(row.format, row.device)))
            word = "more" if value > 0 else "less"
            p_value = chance(row.adjusted_p or 0.0)
            p_text = p_value if p_value.startswith("<") else f"= {p_value}"
            note = f" ({printable(row.note)})" if row.note else ""
            yield Text(
                f"{name} leaks {word} than {printable(row.second)}: {metric_name(metric)} {size}, adjusted p {p_text}"
                + note
            )
            return


def _weaker(lookup: Lookup) -> Iterator[Text]:
    """Yield a line on the effect of coarser output granularity on the format that leaks most, if measured."""
    gain = largest_gain(lookup)
    if gain is None:
        return
    place, rows = gain
    gains = [
        f"{row.first} {difference(AUC, row.value or 0.0)} {difference_interval(AUC, row.low, row.high)}".rstrip()
        for row in rows
    ]
    changes = f"AUC with {', '.join(gains)}" if gains else "no significant change of the AUC"
    yield Text(f"returning less of {printable(lookup.label(place))}: {changes}")


def _p_values(lookup: Lookup) -> Iterator[Text]:
    """Yield a line where a test's p-values are not valid on known nonmembers, so that it only ranks."""
    places: dict[str, list[str]] = {}
    for place, _ in lookup.ok():
        for name in lookup.demoted(place):
            places.setdefault(series_label(name), []).append(printable(lookup.label(place)))
    if places:
        tests = "; ".join(f"{name} on {listed(labels)}" for name, labels in places.items())
        yield Text(f"p-values too small on known nonmembers, so a ranking, not a p-value: {tests}", "yellow")


def _controls(audit: Audit) -> Iterator[Text]:
    """Yield a line with the number of controls by status, and the names of all that do not hold."""
    counts = Counter(c.status for c in audit.controls)
    if not counts:
        return
    doubtful: tuple[Status, ...] = ("failed", "undecided", "warning", "not run")
    named = [_named(audit, status, counts[status]) for status in doubtful if counts[status]]
    held = [f"{counts['holds']} hold"] if counts["holds"] else []
    style = "bold red" if counts["failed"] else "bold yellow" if counts["undecided"] else "dim"
    yield Text(f"controls: {', '.join([*named, *held])}", style)


def _named(audit: Audit, status: Status, count: int) -> str:
    names = unique(printable(c.name) for c in audit.controls if c.status == status)
    return f"{count} {status} ({', '.join(names)})"


def _limits(audit: Audit) -> Iterator[str]:
    """Yield a line for each budget, and waiver that is none of the warnings, and one on who set them."""
    yield from budget_lines(audit)
    warned = policy_lines(audit)
    yield from (line for line in waiver_lines(audit) if f"warning: {line}" not in warned)
    origin = limits_sentence(audit.verdict)
    if origin is not None:
        yield origin


def _failures(lookup: Lookup) -> Iterator[Text]:
    for place, result in lookup.formats.items():
        if result.status == "failed":
            error = printable(result.error or "no error was recorded")
            yield Text(f"{printable(lookup.label(place))} failed: {error}", "red")


def budget_word(budgets: list[Budget]) -> str:
    """Return the worst budget verdict of a format: fail, warn, inconclusive, waived or pass; empty without budgets."""
    kinds = {"warn" if b.counted == "fail" and b.level == "warn" else b.counted for b in budgets}
    return next((kind for kind in ("fail", "warn", "inconclusive", "waived", "pass") if kind in kinds), "")


def _table(lookup: Lookup, *, narrow: bool) -> Table:
    attack = printable(lookup.headline.label) if lookup.headline else "none"
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 0 if narrow else 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold"
    )
    table.title = Text(f"{printable(lookup.audit.name)}; attack {attack}, all records, 95% intervals", "dim")
    table.title_justify = "left"
    table.add_column("format", overflow="fold")
    if not narrow:
        table.add_column("status")
    table.add_column("size", justify="right")
    table.add_column("train/test", justify="right")
    table.add_column("AUC", no_wrap=not narrow)
    table.add_column("TPR at 1% FPR", no_wrap=not narrow)
    table.add_column("budget", no_wrap=True)
    for place, result in lookup.formats.items():
        cells = _cells(lookup, place, result, narrow=narrow)
        table.add_row(Text(printable(lookup.label(place))), *cells)
    return table


def _cells(lookup: Lookup, place: Place, result: FormatResult, *, narrow: bool) -> list[Text]:
    if result.status == "failed":
        failed, nothing = Text("failed", "bold red"), Text("-", "dim")
        return [*[nothing] * 4, failed] if narrow else [failed, *[nothing] * 5]
    accuracy, artifact = result.accuracy, result.artifact
    word = budget_word(lookup.budgets(place))
    return [
        *([] if narrow else [Text("ok")]),
        Text(file_size(artifact.bytes) if artifact else "-"),
        Text(f"{percent(accuracy.train)}/{percent(accuracy.test)}".replace("%", "") if accuracy else "-"),
        _figure(lookup.row(place, lookup.headline, AUC), narrow=narrow),
        _figure(lookup.row(place, lookup.headline, TPR), narrow=narrow),
        Text(_WORDS[word], _STYLES.get(word, "dim")),
    ]


def _figure(row: LeakageRow | None, *, narrow: bool) -> Text:
    text = shown(row)
    if text in {"-", NOT_RESOLVABLE}:
        return Text(text, "dim")
    return Text(text.replace(" [", "\n[") if narrow else text)
