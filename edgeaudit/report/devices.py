"""Devices: how they were queried, and the differences between them in answers and in leakage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeaudit.endpoint import LOCAL
from edgeaudit.report.compared import significant
from edgeaudit.report.lookup import AUC, TPR, Lookup, series_label
from edgeaudit.report.model import Comparison, DeviceFormat, DeviceInfo, SameFile
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    listed,
    metric_name,
    percent,
    printable,
)

__all__ = ["Devices", "device_sentences", "devices_view"]

_METRICS = (AUC, TPR)
_VERIFIED = {
    "hardware": ("on hardware", "good"),
    "emulated": ("emulated only", "warn"),
    "none": ("not verified", "bad"),
}


@dataclass(frozen=True)
class Devices:
    """The section's tables.

    machines, queried: devices other than this machine, and how each format was queried on them. compared: pairs of
    deployments of a file; pairs with its first deployment are shown, the others are folded.
    """

    machines: Table | None
    queried: Table | None
    compared: Table | None
    others: Table | None
    emulated: bool


def devices_view(lookup: Lookup) -> Devices | None:
    """Return the section, or None for an audit on this machine only in which no file was queried in two runtimes."""
    devices, rows = lookup.audit.devices, lookup.audit.same_file
    if not devices and not rows:
        return None
    first = lookup.audit.formats[0].device if lookup.audit.formats else ""
    near, far = [r for r in rows if r.device == first], [r for r in rows if r.device != first]
    return Devices(
        _machines(devices) if devices else None,
        _queried(devices) if devices else None,
        _compared(lookup, near or far),
        _compared(lookup, far) if near else None,
        any(device.via == "emulated" for device in devices),
    )


def device_sentences(lookup: Lookup) -> list[str]:
    """Return sentences on answers and on leakage, where a file was queried in several deployments."""
    rows = lookup.audit.same_file
    devices = [row for row in rows if row.device != row.other_device]
    runtimes = [row for row in rows if row.format != row.other_format and row.rows]
    about_runtimes = [_runtimes(runtimes)] if runtimes else []
    if not devices:
        return about_runtimes
    unlike = [row for row in devices if row.rows]
    if not unlike:
        count = devices[0].records
        same = f"Every device gave the same answers, bit for bit, to all {count:,} records in every format."
        return [same, *about_runtimes]
    worst = max(unlike, key=lambda row: (row.rows / row.records, row.top1))
    largest = (
        f"{worst.format} answers {worst.rows:,} of {worst.records:,} records differently on "
        f"{_named(worst.other_device)} than on {_named(worst.device)}, and {counted(worst.top1, 'record')} with "
        "another top class"
    )
    more = len({row.format for row in unlike} - {worst.format})
    others = f"{counted(more, 'other format')} {'differs' if more == 1 else 'differ'} between devices, too"
    return [f"{largest}; {others}." if more else f"{largest}.", *_leakage(lookup), *about_runtimes]


def _runtimes(rows: list[SameFile]) -> str:
    worst = max(rows, key=lambda row: (row.rows / row.records, row.max_abs))
    where = f" on {worst.device}" if worst.device != LOCAL else ""
    return (
        f"From the same file{where}, {worst.other_format} answers {worst.rows:,} of {worst.records:,} records "
        f"differently than {worst.format} (by {worst.max_abs:.3g} at most, another top class for {worst.top1:,})."
    )


def _leakage(lookup: Lookup) -> list[str]:
    tested = [row for row in lookup.audit.comparisons if row.kind == "device" and row.metric in _METRICS]
    changed = [row for row in tested if significant(row)]
    if not changed:
        return ["In no format was a difference in leakage between devices found."] if tested else []
    largest: dict[str, Comparison] = {}
    for row in sorted(changed, key=lambda row: -abs(row.value or 0.0)):
        largest.setdefault(row.format, row)
    pairs = [
        f"{row.format} by {difference(row.metric, row.value or 0.0)} of {metric_name(row.metric)} on "
        f"{_named(row.first)} against {_named(row.second)} "
        f"{difference_interval(row.metric, row.low, row.high)}".rstrip()
        for row in largest.values()
    ]
    return [f"Leakage differs between devices: {listed(pairs)}."]


def _named(device: str) -> str:
    return "this machine" if device == LOCAL else device


def _machines(devices: Iterable[DeviceInfo]) -> Table:
    heads = (
        Head("Device", align="text"), Head("Transport", align="text"), Head("CPU", align="text"),
        Head("System", align="text"), Head("Profile verified", align="text"),
    )  # fmt: skip
    return Table("Queried devices", heads, tuple(_machine(device) for device in devices), (), (), "words")


def _machine(device: DeviceInfo) -> Row:
    verified, tone = _VERIFIED.get(device.verified or "", ("no profile", "muted"))
    system = ", ".join(part for part in (device.os, f"Python {device.python}" if device.python else "") if part)
    cells = (
        Cell(printable(device.via), device.title or ""),
        Cell(device.cpu or "unknown", " ".join(device.isa) or ("flags unknown" if device.cpu is None else "")),
        Cell(system or "unknown"),
        Cell(verified, device.compared or "", tone),
    )
    return Row(Cell(device.name, device.profile or "", code=True), cells)


def _queried(devices: Iterable[DeviceInfo]) -> Table:
    notes = Notes()
    rows = [_queried_row(device, one, notes) for device in devices for one in device.formats]
    heads = (
        Head("Format @ device", align="text"), Head("Runtime", "engaged", align="text"),
        Head("Kernels", "by probe", align="text"), Head("Records queried", "connection restored"),
        Head("Shadows' answers", "compared with this machine", align="text"),
    )  # fmt: skip
    return Table("How each format was queried", heads, tuple(rows), tuple(notes.texts), (), "words")


def _queried_row(device: DeviceInfo, one: DeviceFormat, notes: Notes) -> Row:
    packages = ", ".join(f"{name} {version}" for name, version in one.versions.items())
    options = ", ".join(f"{key}: {value}" for key, value in one.options.items())
    engines = ", ".join(f"{e.get('file')} ({e.get('precision')}, SHA-256 {e.get('sha256')})" for e in one.engines)
    details = (packages, f"options {options}" if options else "", f"engines {engines}" if engines else "")
    why = "; ".join(part for part in details if part)
    runtime = one.fingerprint.get("runtime", {})
    name = " ".join([str(runtime.get("name", "")), *list(dict(runtime.get("versions", {})).values())[:1]]).strip()
    queried = f"{one.asked:,}" + (f", {one.resumed:,} of them earlier" if one.resumed else "")
    return Row(
        Cell(f"{one.format} @ {device.name}", code=True),
        (
            Cell(name or "unknown", ", ".join(one.engaged), note=notes.number(f"{device.name}: {why}"), why=why),
            _kernels(one.fingerprint.get("probes", {})),
            Cell(queried, counted(one.restored, "time") if one.restored else "never"),
            _shadows(one),
        ),
    )


def _kernels(probes: Any) -> Cell:
    """Summarise the probes: sums of int8 products, and the precision of floating-point computation."""
    kernels = {name: probe.get("kernels") for name, probe in dict(probes).items() if isinstance(probe, dict)}
    if not any(kernels.values()):
        return Cell("not probed", tone="muted")
    tone = "bad" if kernels.get("int8") == "saturating" else ""
    return Cell(f"int8 sums {kernels.get('int8') or 'not known'}", str(kernels.get("float") or ""), tone)


def _shadows(one: DeviceFormat) -> Cell:
    compared = "; ".join(f"{c.model}: {c.rows:,} of {c.records:,} rows differ" for c in one.equivalence)
    if one.shadows == "none":
        return EMPTY
    if one.stood_in_regardless:
        return Cell("this machine's, as configured", compared, "warn")
    return Cell("this machine's, bit-identical" if one.shadows == "this machine" else "the device's own", compared)


def _compared(lookup: Lookup, rows: Iterable[SameFile]) -> Table | None:
    notes = Notes()
    known: dict[tuple[str, ...], Comparison] = {
        (row.kind, row.format, row.first, row.second, row.metric): row
        for row in lookup.audit.comparisons
        if row.kind == "device" or (row.kind == "format pair" and row.device == LOCAL)
    }
    made = [_two_places(row, known, notes) for row in rows]
    if not made:
        return None
    series = next((row.series for row in known.values()), None)
    heads = (
        Head("Format", align="text"), Head("rows"), Head("largest"), Head("top class"),
        *(head for _ in _METRICS for head in (Head("difference"), Head("adjusted p"))),
    )  # fmt: skip
    groups = (
        Head("", align="text"), Head("Answers that differ", span=3, align="group"),
        *(Head(metric_name(metric), span=2, align="group") for metric in _METRICS),
    )  # fmt: skip
    by = f"; leakage by {series_label(series)}, paired on the same records" if series else ""
    return Table(
        f"The first target's file in two deployments{by}", heads, tuple(made), tuple(notes.texts), groups, "words"
    )


def _two_places(row: SameFile, known: Mapping[tuple[str, ...], Comparison], notes: Notes) -> Row:
    cells = [
        Cell(percent(row.rows / row.records), f"of {row.records:,}", "bad" if row.rows else "good"),
        Cell(f"{row.max_abs:.3g}"),
        Cell(f"{row.top1:,}", tone="bad" if row.top1 else ""),
    ]
    devices = row.device != row.other_device
    pair = (row.device, row.other_device) if devices else (row.format, row.other_format)
    for metric in _METRICS:
        comparison = known.get(("device" if devices else "format pair", row.format, *pair, metric))
        cells += [*_leak(comparison, row, notes)]
    first, second = (_named(row.device), _named(row.other_device)) if devices else pair
    return Row(Cell(row.format, f"{second} against {first}", code=True), tuple(cells))


def _leak(comparison: Comparison | None, row: SameFile, notes: Notes) -> tuple[Cell, Cell]:
    """Return the second device minus the first, as in the table's rows; audit.json has the opposite sign."""
    if comparison is None:
        return EMPTY, EMPTY
    if comparison.value is None:
        why = comparison.note or ""
        return Cell(NOT_RESOLVABLE, tone="muted", note=notes.number(why) if why else None, why=why), EMPTY
    if comparison.p_value is None and comparison.value == 0:
        return Cell("same answers" if row.rows == 0 else "same scores", tone="muted"), EMPTY
    low = None if comparison.high is None else -comparison.high
    high = None if comparison.low is None else -comparison.low
    value = Cell(difference(comparison.metric, -comparison.value), difference_interval(comparison.metric, low, high))
    return value, EMPTY if comparison.adjusted_p is None else Cell(chance(comparison.adjusted_p))
