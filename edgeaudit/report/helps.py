"""What helps, as far as this audit has measured it: other formats, and weaker exposures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeaudit.report.compared import significant
from edgeaudit.report.lookup import AUC, Lookup, Place, series_label
from edgeaudit.report.model import Audit, Budget, Comparison
from edgeaudit.report.tables import EMPTY, Cell, Head, Row, Table
from edgeaudit.report.words import (
    chance,
    counted,
    difference,
    difference_interval,
    listed,
    metric_name,
    printable,
)

__all__ = ["Help", "can_be_trained_again", "help_lines", "help_rows", "help_table", "helps"]

_MOST = 3
"""Alternatives that are shown of one format."""
_MOST_LINES = 3
_ACCURACY = "accuracy"
_JUDGED = {
    "pass": ("within", "good"), "inconclusive": ("undecided", "warn"), "fail": ("exceeded", "bad"), "": ("-", "muted"),
}  # fmt: skip


@dataclass(frozen=True)
class Help:
    """Something that was measured in the place of a format which does not pass.

    name: another format's, or what is returned of the answers. metric, series: of the figure that is compared. value,
    low, high: of the alternative minus of the format; negative: it leaks less. accuracy: on nonmembers, of the
    alternative minus of the format; None where the answers are the same. judged: `pass`, `inconclusive` or `fail` by
    the budgets, "" where none judges it.
    """

    name: str
    kind: str
    metric: str
    series: str
    value: float
    low: float | None
    high: float | None
    adjusted_p: float | None
    accuracy: float | None
    judged: str
    is_less: bool


def helps(lookup: Lookup) -> dict[Place, list[Help]]:
    """Return, for each format that does not pass its budgets of level error, what leaks less or passes; best first.

    Differences are those of `Audit.comparisons`: of the AUC by the headline attack, paired, and adjusted over all pairs
    of formats or all exposures. Verdicts are over all attacks, and by the metrics, of the budgets.
    """
    return {place: _of(lookup, place) for place, _ in lookup.ok() if _open(lookup, place)}


def _open(lookup: Lookup, place: Place) -> list[Budget]:
    """The budgets of level error that a format does not pass."""
    budgets = (b for b in lookup.budgets(place) if b.level == "error")
    return [b for b in budgets if b.counted in ("fail", "inconclusive")]


def _of(lookup: Lookup, place: Place) -> list[Help]:
    budgets = _open(lookup, place)
    found = [*_formats(lookup, place), *_exposures(lookup, place, budgets)]
    order = {"pass": 0, "": 1, "inconclusive": 1, "fail": 1}
    kept = [one for one in found if one.is_less or one.judged == "pass"]
    return sorted(kept, key=lambda one: (order[one.judged], not one.is_less, one.value))


def _formats(lookup: Lookup, place: Place) -> Iterator[Help]:
    """Yield the other formats on the same device that ship."""
    for row in lookup.audit.comparisons:
        names = row.first, row.second
        known = row.kind == "format pair" and row.device == place.device and place.format in names
        if not known or row.metric != AUC or row.value is None:
            continue
        sign = 1 if row.second == place.format else -1
        other = Place(row.first if sign > 0 else row.second, place.device)
        if other not in lookup.formats:
            continue  # of an audit.json that others wrote or cut
        judged = _judged(lookup.budgets(other))
        yield _help(row, lookup.label(other), "format", sign, _accuracy(lookup, other, place), judged)


def _exposures(lookup: Lookup, place: Place, budgets: Sequence[Budget]) -> Iterator[Help]:
    """Yield the weaker exposures at which the format was measured."""
    for row in lookup.audit.comparisons:
        here = row.kind == "exposure" and Place(row.format, row.device) == place
        if here and row.metric == AUC and row.value is not None:
            judged = "pass" if _within(lookup, place, row.first, budgets) else ""
            yield _help(row, f"return {row.first} alone", "exposure", 1, None, judged)


def _help(row: Comparison, name: str, kind: str, sign: int, accuracy: float | None, judged: str) -> Help:
    ends = [None if end is None else sign * end for end in (row.low, row.high)]
    low, high = ends if sign > 0 else ends[::-1]
    value = sign * (row.value or 0.0)
    less = significant(row) and value < 0
    return Help(name, kind, row.metric, row.series, value, low, high, row.adjusted_p, accuracy, judged, less)


def _within(lookup: Lookup, place: Place, level: str, budgets: Sequence[Budget]) -> bool:
    """Whether at this exposure the figures of all attacks that can read it are within each limit of a figure."""
    for budget in budgets:
        rows = [
            row
            for row in lookup.audit.weaker_leakage
            if (row.format, row.device, row.exposure) == (*place, level)
            if (row.metric, row.subset) == (budget.metric, "all") and row.value is not None
        ]
        limit = None if budget.against or budget.scope != "file" or budget.subset != "all" else budget.bound
        if limit is None or not rows or any(row.high is None or row.high > limit for row in rows):
            return False
    return True


def _judged(budgets: Sequence[Budget]) -> str:
    counted_as = {"pass" if b.counted == "waived" else b.counted for b in budgets if b.level == "error"}
    return next((word for word in ("fail", "inconclusive", "pass") if word in counted_as), "")


def _accuracy(lookup: Lookup, other: Place, place: Place) -> float | None:
    first, second = (lookup.formats[one].accuracy for one in (other, place))
    return None if first is None or second is None else first.test - second.test


def can_be_trained_again(audit: Audit) -> bool:
    """Whether the audit trained its target itself, so that changes of the training can be measured."""
    model = audit.spec.get("model")
    checkpoint = model.get("checkpoint") if isinstance(model, Mapping) else None
    return not (audit.spec.get("target") or checkpoint or audit.spec.get("shadows"))


# ---- words


def _change(one: Help) -> str:
    return f"{difference(one.metric, one.value)} {difference_interval(one.metric, one.low, one.high)}".rstrip()


def _points(one: Help) -> str:
    if one.kind == "exposure":
        return "same answers"
    return "-" if one.accuracy is None else difference(_ACCURACY, one.accuracy)


def help_rows(lookup: Lookup) -> list[tuple[str, ...]]:
    """The same as the table of the page, as text: format, alternative, figure, difference, p, accuracy, budgets."""
    return [
        (
            lookup.label(place), one.name, f"{metric_name(one.metric)} by {series_label(one.series)}", _change(one),
            "-" if one.adjusted_p is None else chance(one.adjusted_p), _points(one), _JUDGED[one.judged][0],
        )
        for place, found in helps(lookup).items()
        for one in found[:_MOST]
    ]  # fmt: skip


def help_table(lookup: Lookup) -> Table | None:
    """What leaks less than each format that does not pass, or passes; None where every format passes."""
    found = helps(lookup)
    if not found:
        return None
    rows = []
    for place, alternatives in found.items():
        head = Cell(lookup.label(place), code=True)
        rows += [Row(head, _cells(one)) for one in alternatives[:_MOST]]
        if not alternatives:
            rows.append(Row(head, across="nothing that this audit measured leaks significantly less, or passes"))
    more = sum(max(0, len(alternatives) - _MOST) for alternatives in found.values())
    notes = (f"{counted(more, 'further alternative')}: see Formats compared and Output granularity",) if more else ()
    heads = (
        Head("Format", align="text"), Head("In its place", align="text"), Head("Figure", align="text"),
        Head("difference"), Head("adjusted p"), Head("accuracy"), Head("Budgets", align="text"),
    )  # fmt: skip
    return Table("The alternative minus the format that does not pass", heads, tuple(rows), notes)


def _cells(one: Help) -> tuple[Cell, ...]:
    interval = difference_interval(one.metric, one.low, one.high)
    word, tone = _JUDGED[one.judged]
    return (
        Cell(one.name, code=one.kind == "format"),
        Cell(metric_name(one.metric), series_label(one.series)),
        Cell(difference(one.metric, one.value), interval, "sure" if one.is_less else "muted"),
        EMPTY if one.adjusted_p is None else Cell(chance(one.adjusted_p)),
        Cell(_points(one)),
        Cell(word, tone=tone),
    )


def help_lines(lookup: Lookup) -> list[str]:
    """A line for each format that does not pass and for which something helps; one for those without."""
    lines: list[str] = []
    without: list[str] = []
    for place, found in helps(lookup).items():
        name = printable(lookup.label(place))
        said = [
            f"{printable(one.name)} ({metric_name(one.metric)} {_change(one)}, "
            + (f"accuracy {_points(one)}, " if one.kind == "format" else "")
            + f"budgets {'not judged' if not one.judged else _JUDGED[one.judged][0]})"
            for one in found[:_MOST]
        ]
        if said:
            lines.append(f"in place of {name}, measured: {'; '.join(said)}")
        else:
            without.append(name)
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and in place of {counted(len(lines) - _MOST_LINES, 'further format')}: see the report"]
    if without:
        nothing = "nothing measured here leaks significantly less, or passes"
        advice = "; edgeaudit advise measures changes of the training" if can_be_trained_again(lookup.audit) else ""
        lines.append(f"in place of {listed(without)}: {nothing}{advice}")
    return lines
