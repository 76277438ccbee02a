"""Tables of single records, and of the audit's artifacts, toolchains and environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgeaudit.report.lookup import Lookup, Place, series_label, unique
from edgeaudit.report.model import (
    ArtifactInfo,
    ClaimedRecord,
    ExposedRecord,
    FormatResult,
    PopulationInfo,
    TrainingInfo,
)
from edgeaudit.report.tables import Cell, Head, Row, Table, labelled
from edgeaudit.report.words import counted, figure, listed, percent, printable

__all__ = [
    "artifact_table", "claimed_table", "claims_sentence", "facts", "pass_table", "population_facts", "ranks_table",
    "toolchains", "training_facts",
]  # fmt: skip

RANKS = 10
CLAIMED = 20
_CLASSES = 100


def claims_sentence(lookup: Lookup) -> str:
    """Say how many single records can be claimed to be members, by which test, and what that assumes."""
    family = lookup.audit.claims
    if family is None:
        return "This audit tested no single records."
    if family.smallest_q is None:
        return f"No record can be claimed: {family.note}."
    level, tests = f"{family.level:.0%}", listed([series_label(test) for test in unique(family.tests)])
    tested = f"{counted(family.records, 'record')} by {counted(len(family.deployments), 'format')} under {tests}"
    if not family.claimed:
        return (
            f"No record can be claimed as a training record at a false discovery rate of {level}: the smallest q-value "
            f"is {family.smallest_q:.2g} ({tested}; {family.note})."
        )
    stable = (
        f" Stability is the share of two halves of the shadows ({family.half_shadows} or more each) with which the "
        "record would be claimed, too."
        if family.half_shadows
        else " Stability needs 8 or more shadows."
    )
    return (
        f"{counted(family.claimed, 'record')} can be claimed as training records at a false discovery rate of {level} "
        f"({tested}; {family.note}); {family.false_claims} of them {'was' if family.false_claims == 1 else 'were'} not "
        "trained on. This is by Benjamini-Hochberg, which assumes that p-values of records are independent or "
        f"positively dependent; by Benjamini-Yekutieli, which assumes nothing, it is {family.claimed_by}.{stable}"
    )


def claimed_table(lookup: Lookup) -> Table | None:
    """Return the records that can be claimed, the smallest q-value first; None where there are none."""
    claimed = lookup.audit.claimed
    if not claimed:
        return None
    names = ("Record", "Label", "In training set", "p-value", "q-value", "q-value, any dependence", "Stability")
    heads = tuple(Head(text, align="text" if n == 0 else "num") for n, text in enumerate(names))
    more = len(claimed) - CLAIMED
    notes = (f"{counted(more, 'further record')} in audit.json",) if more > 0 else ()
    return Table(
        "Records that can be claimed", heads, tuple(_claimed_row(lookup, entry) for entry in claimed[:CLAIMED]), notes
    )


def _claimed_row(lookup: Lookup, entry: ClaimedRecord) -> Row:
    nothing = Cell("-", tone="muted")
    return Row(
        Cell(str(entry.record), printable(entry.name or ""), code=True),
        (
            Cell(str(entry.label), printable(lookup.class_name(entry.label) or "")),
            _membership(entry),
            Cell(f"{entry.p_value:.3g}"),
            Cell(f"{entry.q_value:.3g}"),
            Cell(f"{entry.q_by:.3g}"),
            nothing if entry.stability is None else Cell(f"{entry.stability:.0%}"),
        ),
    )


def _membership(entry: ClaimedRecord) -> Cell:
    word = "yes" if entry.member else "no"
    if entry.calibrated:
        return Cell(word, "calibration record")
    return Cell(word) if entry.member else Cell(word, tone="muted")


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
    return Table("Record ids by score, highest first: a ranking, no claims", heads, rows, notes)


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
        *([("classes", _classes(population.class_names))] if population.class_names else []),
        ("audited", f"{counted(population.members, 'member')}, {counted(population.nonmembers, 'nonmember')}"),
        ("reference pool", f"{population.reference:,}"),
        ("duplicates", f"{population.duplicates:,}, {population.conflicting_labels:,} with conflicting labels"),
    ]
    if population.groups is not None and population.largest_group is not None:
        size = f"{counted(population.groups, 'group')} of audited records, the largest of {population.largest_group:,}"
        pairs.append(("related records", f"{population.grouped_by}: {size}"))
    return pairs + [("note", note) for note in population.notes]


def training_facts(training: TrainingInfo | None) -> list[tuple[str, str]]:
    """What early stopping and privacy did to the target."""
    stopped, spent = (None, None) if training is None else (training.early_stopping, training.privacy)
    pairs = []
    if stopped is not None:
        kept = f"epoch {stopped.best_epoch} of {stopped.epochs} kept, by {counted(stopped.held_out, 'held-out member')}"
        pairs.append(("early stopping", f"{kept} (loss {stopped.held_out_loss:.3g}), which nothing was trained on"))
    if spent is not None:
        noise = f"noise {spent.noise_multiplier:.3g} x clip {spent.clip:g}"
        how = f"{noise}, {counted(spent.steps, 'step')} that draw {percent(spent.sample_rate)} of the records"
        pairs.append(("privacy", f"epsilon {spent.epsilon:.3g} at delta {spent.delta:g} ({spent.accountant}): {how}"))
    return pairs


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(names[:_CLASSES]))
    return printable(shown + (f", and {len(names) - _CLASSES} more" if len(names) > _CLASSES else ""))


def toolchains(lookup: Lookup) -> str:
    """Runtimes in one phrase."""
    return listed(unique(f"{r.runtime.name} {r.runtime.version}" for _, r in lookup.ok() if r.runtime))
