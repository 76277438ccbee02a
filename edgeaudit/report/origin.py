"""Tables of the most exposed records, and of the audit's artifacts, toolchains and environment."""

from __future__ import annotations

import json
from typing import Any

from edgeaudit.report.lookup import Lookup, Place, series_label, unique
from edgeaudit.report.model import ArtifactInfo, ExposedRecord, FormatResult, PopulationInfo
from edgeaudit.report.tables import Cell, Head, Row, Table, labelled
from edgeaudit.report.words import counted, figure, listed

__all__ = ["artifact_table", "exposed_table", "facts", "pass_table", "population_facts", "ranks_table", "toolchains"]

RANKS = 10


def exposed_table(lookup: Lookup) -> Table | None:
    """Return the records that most formats list as exposed, then by best rank."""
    by_record: dict[int, list[ExposedRecord]] = {}
    for entry in lookup.audit.exposed:
        by_record.setdefault(entry.record, []).append(entry)
    if not by_record:
        return None
    ordered = sorted(by_record.values(), key=lambda found: (-len(found), min(e.rank for e in found), found[0].record))
    lists = len({Place(e.format, e.device) for e in lookup.audit.exposed})
    rows = tuple(_exposed_row(lookup, found, lists) for found in ordered[:RANKS])
    heads = ("Record", "Label", "In training set", "Listed by", "Best rank", "with", "Smallest p-value")
    tests = unique(lookup.valid_test(Place(e.format, e.device)) for e in lookup.audit.exposed)
    whose = listed([series_label(test) for test in tests if test])
    aligned = tuple(
        Head(text, whose if n == len(heads) - 1 else "", align="text" if n in {0, 5} else "num")
        for n, text in enumerate(heads)
    )
    return Table("Records exposed by most formats", aligned, rows)


def _p_value(lookup: Lookup, entry: ExposedRecord) -> float | None:
    """Return None where none of this format's tested p-values is valid: a nominal tail is not shown as a p-value."""
    valid = not lookup.audit.p_calibration or lookup.valid_test(Place(entry.format, entry.device)) is not None
    return entry.p_value if valid else None


def _exposed_row(lookup: Lookup, found: list[ExposedRecord], lists: int) -> Row:
    best = min(found, key=lambda e: e.rank)
    p_values = [p for e in found if (p := _p_value(lookup, e)) is not None]
    return Row(
        Cell(str(best.record), code=True),
        (
            Cell(str(best.label)),
            _membership(found),
            Cell(f"{len(found)} of {counted(lists, 'format')}"),
            Cell(str(best.rank)),
            Cell(lookup.label(Place(best.format, best.device)), code=True),
            Cell(f"{min(p_values):.3g}") if p_values else Cell("-", tone="muted"),
        ),
    )


def _membership(found: list[ExposedRecord]) -> Cell:
    word = "yes" if found[0].member else "no"
    if any(entry.calibrated for entry in found):
        return Cell(word, "calibration record")
    return Cell(word) if found[0].member else Cell(word, tone="muted")


def ranks_table(lookup: Lookup) -> Table | None:
    """Return record ids by rank, one row per format; false positives are marked."""
    by_place: dict[Place, dict[int, ExposedRecord]] = {}
    for entry in lookup.audit.exposed:
        by_place.setdefault(Place(entry.format, entry.device), {})[entry.rank] = entry
    if not by_place:
        return None
    ranks = sorted({rank for found in by_place.values() for rank in found})[:RANKS]
    rows = tuple(labelled(lookup, p, [_ranked(found.get(r)) for r in ranks]) for p, found in by_place.items())
    false_alarms = any(not e.member for e in lookup.audit.exposed)
    notes = ("not in the training set: a false positive of the attack",) if false_alarms else ()
    heads = (Head("Format", align="text"), *(Head(str(rank)) for rank in ranks))
    return Table("Record ids by rank, most exposed first", heads, rows, notes)


def _ranked(entry: ExposedRecord | None) -> Cell:
    if entry is None:
        return Cell("-", tone="muted")
    return Cell(str(entry.record)) if entry.member else Cell(str(entry.record), tone="muted", note=1, why="false alarm")


def artifact_table(lookup: Lookup) -> Table:
    """Return the audited artifacts with their SHA-256."""
    heads = ("Format", "File and SHA-256", "Runtime", "Softmax", "Calibration", "Distinct outputs", "Tie mass")
    aligned = tuple(Head(text, align="text" if n < 5 else "num") for n, text in enumerate(heads))
    rows = tuple(labelled(lookup, place, _artifact_cells(result)) for place, result in lookup.ok())
    return Table("Artifacts", aligned, rows, classes="origin")


def _artifact_cells(result: FormatResult) -> list[Cell]:
    artifact, runtime, outputs = result.artifact, result.runtime, result.outputs
    nothing = Cell("-", tone="muted")
    policy = artifact.calibration_policy if artifact else None
    return [
        Cell(artifact.file, _digests(artifact), code=True) if artifact else nothing,
        Cell(f"{runtime.name} {runtime.version}", _pairs(runtime.options)) if runtime else nothing,
        Cell("inside" if artifact.softmax_inside else "outside") if artifact else nothing,
        Cell(policy, _calibrated(artifact)) if artifact and policy else nothing,
        Cell(f"{outputs.distinct:,}") if outputs else nothing,
        Cell(figure("auc", outputs.tie_mass)) if outputs else nothing,
    ]


def _digests(artifact: ArtifactInfo) -> str:
    return ", ".join((artifact.sha256, *(f"{name} {digest}" for name, digest in artifact.companions.items())))


def _calibrated(artifact: ArtifactInfo) -> str:
    audited = f", {artifact.calibration_audited:,} of them audited" if artifact.calibration_audited else ""
    return counted(artifact.calibration_records, "record") + audited


def pass_table(lookup: Lookup) -> Table | None:
    """The toolchain steps of each format with their parameters and versions."""
    rows = tuple(
        Row(
            Cell(lookup.label(place), code=True),
            (Cell(step.name, code=True), Cell(_pairs(step.params)), Cell(_pairs(step.versions))),
        )
        for place, result in lookup.ok()
        for step in result.passes
    )
    heads = tuple(Head(text, align="text") for text in ("Format", "Pass", "Parameters", "Versions"))
    return Table("Passes, in the order they were applied", heads, rows, classes="origin") if rows else None


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def facts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """A free-form table as name and value."""
    return [(key.replace("_", " "), _plain(value)) for key, value in values.items()]


def population_facts(population: PopulationInfo) -> list[tuple[str, str]]:
    """Return the population as a table."""
    shape = " x ".join(str(n) for n in population.input_shape)
    pairs = [
        ("source", population.source),
        ("SHA-256", population.sha256),
        ("records", f"{population.records:,}, {population.classes} classes, input {shape}"),
        ("audited", f"{counted(population.members, 'member')}, {counted(population.nonmembers, 'nonmember')}"),
        ("reference pool", f"{population.reference:,}"),
        ("duplicates", f"{population.duplicates:,}, {population.conflicting_labels:,} with conflicting labels"),
    ]
    if population.groups is not None and population.largest_group is not None:
        size = f"{counted(population.groups, 'group')} of audited records, the largest of {population.largest_group:,}"
        pairs.append(("related records", f"{population.grouped_by}: {size}"))
    return pairs + [("note", note) for note in population.notes]


def toolchains(lookup: Lookup) -> str:
    """Runtimes in one phrase."""
    return listed(unique(f"{r.runtime.name} {r.runtime.version}" for _, r in lookup.ok() if r.runtime))
