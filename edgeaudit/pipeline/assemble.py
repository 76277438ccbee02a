"""Collect finished jobs into audit.json; no leakage figure is computed here."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from edgeaudit.attacks.headline import headline_order
from edgeaudit.attacks.registry import chosen_attacks, find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.controls.base import Control
from edgeaudit.controls.file_match import Made, shadow_files_match
from edgeaudit.controls.given_shadows import given_shadows_known
from edgeaudit.controls.members_known import Known, Origin, members_known
from edgeaudit.controls.nonmembers_unseen import nonmembers_unseen
from edgeaudit.controls.null_target import null_target, null_target_together
from edgeaudit.controls.resolution import Answers, resolution, tie_mass
from edgeaudit.controls.shadow_match import Likeness, Side, shadow_size, shadow_target_match
from edgeaudit.controls.sides import sides_in_order
from edgeaudit.controls.target_accuracy import target_accuracy
from edgeaudit.controls.unread_answers import unread_answers
from edgeaudit.endpoint import LOCAL
from edgeaudit.errors import RunError, StoreError, store_errors
from edgeaudit.filetypes.agreement import Agreement as Agreed
from edgeaudit.filetypes.traits import Traits
from edgeaudit.gate.judge import FormatScores, judge
from edgeaudit.gate.origin import recorded_policy
from edgeaudit.graph.executor import AnyJob, RunResult
from edgeaudit.graph.store import Store
from edgeaudit.leakage.rows import (
    CanaryResult,
    LeakageRow,
    NullControlRow,
    TogetherNullRow,
)
from edgeaudit.pipeline.assemble_devices import devices_of
from edgeaudit.pipeline.assemble_training import early_stopping_controls, privacy_controls, training_info
from edgeaudit.pipeline.environment import current_environment, version
from edgeaudit.pipeline.listed import listed, thumbnails
from edgeaudit.pipeline.measure_jobs import FLOOR
from edgeaudit.pipeline.plan import FormatPlan, Plan
from edgeaudit.pipeline.recorded import SpecOrigin, private_of
from edgeaudit.population.base import TARGET, Population
from edgeaudit.report.files import whole_file
from edgeaudit.report.long_tables import FIGURES, shortened, write_figures
from edgeaudit.report.model import (
    SCHEMA_VERSION,
    Agreement,
    ArtifactInfo,
    Audit,
    FileTraits,
    FormatResult,
    Latency,
    LimitsOrigin,
    Outputs,
    PassInfo,
    PolicyOrigin,
    PopulationInfo,
    Quality,
    RuntimeInfo,
    ShadowFiles,
    ToolInfo,
    WeakerExposure,
)
from edgeaudit.report.private import without_private
from edgeaudit.report.words import place_name
from edgeaudit.report.writers import write_reports
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.collude import Collude, ColludeResult
from edgeaudit.stages.compare import Compare, CompareResult
from edgeaudit.stages.file_traits import ReadTraits
from edgeaudit.stages.latency import BatchTime
from edgeaudit.stages.measure import MeasureFindings
from edgeaudit.stages.scores import TargetScores, read_scores

__all__ = ["assemble", "load_scores", "population_info", "require_folder", "scores_file"]

UNKNOWN = "unknown"
"""The version of a runtime behind a server that does not report it."""

SECTIONS = ("leakage", "curves", "null_p_values", "p_calibration", "exposed", "calibration", "worst_slices")


def assemble(  # noqa: PLR0913  what was planned, what was done, and where to
    spec: AuditSpec,
    population: Population,
    plan: Plan,
    result: RunResult,
    store: Store,
    out: Path,
    comparison: Compare | None = None,
    together: Collude | None = None,
    *,
    origin: SpecOrigin,
    limits: LimitsOrigin | None = None,
    policy: PolicyOrigin | None = None,
) -> Audit:
    """Collect the results of the jobs and write audit.json, report.html and scores/ into `out`.

    Beside audit.json, labels.npy has the ids and labels of the audited records, for budgets on classes.

    comparison: the job that compared the formats; None if none was measured. together: the multi-version attack; None
    if audit.yaml names none, or no format was measured. origin: where the spec comes from. limits: who set the budgets.
    policy: judged beside them.

    Nothing that is written or returned has folders or names of users and machines (`edgeaudit.report.private`).
    """
    require_folder(out)
    with store_errors(f"the output folder {out}"), whole_file(out / _LABELS) as file:
        np.save(file, np.stack([population.audited, population.labels[population.audited]], axis=1))
    formats: list[FormatResult] = []
    sections: dict[str, list[Any]] = {name: [] for name in SECTIONS}
    null_rows: list[NullControlRow] = []
    judged: dict[str, MeasureFindings] = {}
    latency: list[Latency] = []
    canaries: list[CanaryResult] = []
    for planned in plan.formats:
        findings_of_format = _measurements(planned, result, store)
        formats.append(_format_result(planned, findings_of_format, result, store, population))
        if formats[-1].status == "ok":
            _copy_scores(planned, store, out)
            if planned.canaries is not None:
                measured = store.read(planned.canaries).findings
                sections["leakage"] += measured.leakage
                canaries.append(measured.about)
            latency += _latency(planned, result, store)
            # Later shadow matches are ablations.
            judged[place_name(planned.use.id, planned.device)] = findings_of_format[0]
            for findings in findings_of_format:
                for name in SECTIONS:
                    sections[name] += getattr(findings, name)
                null_rows += findings.null_control
    held = ColludeResult((), ()) if together is None else store.read(together)
    compared = CompareResult((), (), ()) if comparison is None else store.read(comparison)
    levels, weaker = _weaker(plan, {(f.id, f.device) for f in formats if f.status == "ok"}, result, store)
    training = training_info(plan, store)
    shown = spec.report.records
    exposed, claimed = (listed(rows, population, shown) for rows in (sections["exposed"], compared.claimed))
    audit = Audit.model_validate(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": ToolInfo(version=version()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "name": spec.name,
            "seed": spec.seed,
            "spec": spec.model_dump(mode="json", by_alias=True),
            "replaced": origin.replaced,
            "environment": current_environment(),
            "population": population_info(population),
            "training": training,
            "threat": _threat(spec, population),
            "headlines": headline_order(chosen_attacks(spec.attacks), spec.threat.mode),
            "controls": [
                *_population_controls(plan, result, store),
                *_model_controls(spec, population, formats, null_rows, held.together_null),
                *_target_controls(spec, population, judged),
                *_file_controls(formats),
                *early_stopping_controls(training, len(population.split.members)),
                *privacy_controls(training, formats),
                *unread_answers(
                    {
                        place_name(f.id, f.device): (f.artifact.unread_outputs, f.artifact.unread_values)
                        for f in formats
                        if f.artifact is not None
                    }
                ),
            ],
            "formats": formats,
            **sections,
            "exposed": exposed,
            "canaries": canaries,
            "across_targets": compared.across_targets,
            "comparisons": compared.comparisons,
            "same_file": compared.same_file,
            "claims": compared.claims,
            "claimed": claimed,
            "thumbnails": thumbnails(claimed, exposed, population, shown),
            "weaker_exposures": levels,
            "weaker_leakage": weaker,
            "devices": devices_of(spec, plan, result, store),
            "together": held.together,
            "latency": latency,
            "verdict": {"outcome": "error", "exit_code": 2, "reasons": (), "budgets": ()},
            "timings": _timings(plan, store),
        }
    )
    verdict = judge(
        spec,
        audit.formats,
        audit.leakage,
        audit.controls,
        lambda *place: load_scores(out, *place),
        audit.across_targets,
        population.n_classes,
        policy=None if policy is None else recorded_policy(policy),
    )
    audit = audit.model_copy(update={"verdict": verdict.model_copy(update={"limits": limits, "policy": policy})})
    audit = without_private(audit, private_of(spec, origin, store.root, out))
    with store_errors(f"the output folder {out}"):
        write_figures([*audit.leakage, *audit.weaker_leakage], out / FIGURES)
        audit = shortened(audit)
        write_reports(audit, out, spec.report.writers)
    return audit


def require_folder(out: Path) -> None:
    """Make the output folder, for its owner alone. Raises `StoreError` if it cannot be written, before any work."""
    with store_errors(f"the output folder {out}"):
        for folder in (out, out / "scores"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (out, out / "scores"):
        if not os.access(folder, os.W_OK):
            raise StoreError(f"the output folder {folder}: no write permission; choose another folder with --out")


def _weaker(
    plan: Plan, audited: set[tuple[str, str]], result: RunResult, store: Store
) -> tuple[list[WeakerExposure], list[LeakageRow]]:
    """Results of the audited formats at weaker exposures; a failed level has its error."""
    levels: list[WeakerExposure] = []
    rows: list[LeakageRow] = []
    for planned in plan.formats:
        for level, weaker in planned.exposures.items() if (planned.use.id, planned.device) in audited else ():
            place = asdict(weaker.measure.settings.place)
            error = result.cause(weaker)
            if error is not None:
                levels.append(WeakerExposure(**place, exposure=level, error=str(error)))
                continue
            findings = store.read(weaker).findings
            levels.append(WeakerExposure(**place, exposure=level, outputs=Outputs(**asdict(findings.outputs))))
            rows += findings.leakage
    return levels, rows


def _measurements(planned: FormatPlan, result: RunResult, store: Store) -> list[MeasureFindings]:
    return [store.read(measure).findings for measure in planned.measures.values() if result.cause(measure) is None]


def _format_result(
    planned: FormatPlan,
    findings: Sequence[MeasureFindings],
    result: RunResult,
    store: Store,
    population: Population,
) -> FormatResult:
    use, preset = planned.use, planned.format
    head = {"id": use.id, "device": planned.device, "summary": preset.summary, "precision": preset.precision}
    measured: list[AnyJob] = list(planned.measures.values())
    if planned.canaries is not None:
        measured.append(planned.canaries)
    failed = next((job for job in measured if result.cause(job) is not None), None)
    if failed is not None:
        return FormatResult.model_validate({**head, "status": "failed", "error": str(result.cause(failed))})
    stored, query = store.read(planned.artifact), store.read(planned.target_query)
    first = findings[0]
    audited = population.audited
    manifest = stored.artifact.manifest
    return FormatResult(
        **head,
        status="ok",
        passes=tuple(PassInfo.model_validate(asdict(p)) for p in manifest.passes),
        runtime=RuntimeInfo(
            name=preset.runtime,
            version=_version(find_runtime(preset.runtime).spec, planned.target_query.versions),
            options=dict(query.options),
        ),
        artifact=ArtifactInfo(
            file=manifest.file,
            sha256=manifest.sha256,
            bytes=manifest.bytes,
            softmax_inside=manifest.softmax_inside,
            calibration_policy=manifest.calibration_policy,
            calibration_records=len(manifest.calibration_ids),
            calibration_audited=int(np.isin(manifest.calibration_ids, audited).sum()),
            companions=manifest.companions,
            unread_outputs=manifest.others,
            unread_values=manifest.unread,
            found=stored.found,
            traits=_traits(planned.traits, result, store)[0],
        ),
        shadow_files=_shadow_files(planned, result, store),
        accuracy=first.accuracy,
        outputs=Outputs(**asdict(first.outputs)),
        probability_floor=first.floors.get(TARGET),
        agreement=_agreement(planned, query.agreement, store),
        quality=_quality(planned, result, store),
    )


def _traits(job: ReadTraits | None, result: RunResult, store: Store) -> tuple[FileTraits | None, str | None]:
    """How a file was made, and why that is not known."""
    if job is None:
        return None, None
    if (cause := result.cause(job)) is not None:
        return None, str(cause)
    found = store.read(job)
    return None if found.traits is None else FileTraits(**asdict(found.traits)), found.note


def _shadow_files(planned: FormatPlan, result: RunResult, store: Store) -> ShadowFiles | None:
    """What the shadows of a file of another maker went through."""
    if planned.shadow_traits is None or result.cause(planned.shadow_queries[0]) is not None:
        return None
    manifest = store.read(planned.shadow_queries[0].source).artifact.manifest
    traits, note = _traits(planned.shadow_traits, result, store)
    return ShadowFiles(
        passes=tuple(PassInfo.model_validate(asdict(step)) for step in manifest.passes),
        kind=manifest.kind,
        softmax_inside=manifest.softmax_inside,
        calibration_policy=manifest.calibration_policy,
        calibration_records=len(manifest.calibration_ids),
        traits=traits,
        note=note,
    )


def _file_controls(formats: Sequence[FormatResult]) -> list[Control]:
    """Whether files of other makers and the files of their shadows were made alike."""
    pairs = {
        place_name(row.id, row.device): (
            Made(_as_traits(row.artifact.traits), row.artifact.softmax_inside),
            Made(_as_traits(row.shadow_files.traits), row.shadow_files.softmax_inside),
        )
        for row in formats
        if row.artifact is not None and row.shadow_files is not None
    }
    return shadow_files_match(pairs)


def _as_traits(row: FileTraits | None) -> Traits | None:
    return None if row is None else Traits(**row.model_dump())


def _version(runtime: RuntimeSpec, versions: Mapping[str, str]) -> str:
    """The version of the runtime's package, under the name that the device uses."""
    package = runtime.packages[0]
    names = (package, *runtime.builds.get(package, ()))
    return next((versions[name] for name in names if name in versions), UNKNOWN)


def _quality(planned: FormatPlan, result: RunResult, store: Store) -> Quality | None:
    """The result of the artifact's inspection; None if it failed, which the run has reported."""
    if result.cause(planned.inspect) is not None:
        return None
    inspection = store.read(planned.inspect)
    share = (
        None
        if inspection.weights is None or inspection.zeros is None or not inspection.weights
        else inspection.zeros / inspection.weights
    )
    return Quality(**asdict(inspection), sparsity=share)


def _latency(planned: FormatPlan, result: RunResult, store: Store) -> list[Latency]:
    """A row for each batch, timed or with a note; one row with the error if timing failed."""
    place = {"format": planned.use.id, "device": planned.device}
    if planned.latency is None:
        return []
    if (cause := result.cause(planned.latency)) is not None:
        return [Latency(**place, batch=1, threads=1, note=str(cause))]
    timings = store.read(planned.latency)
    return [_batch_time(place, timings.threads, row) for row in timings.batches]


def _batch_time(place: Mapping[str, str], threads: int, row: BatchTime) -> Latency:
    if row.timed is None:
        return Latency(**place, batch=row.batch, threads=threads, note=row.note)
    figures = asdict(row.timed)
    return Latency.model_validate(
        {
            **place,
            "batch": row.batch,
            "threads": threads,
            "note": row.note,
            "median_ms": figures.pop("median"),
            "p95_ms": figures.pop("p95"),
            "record_ms": row.timed.median / row.batch,
            **figures,
        }
    )


def _agreement(planned: FormatPlan, target: Agreed | None, store: Store) -> Agreement | None:
    if target is None:
        return None
    shadows = [agreement for query in planned.shadow_queries if (agreement := store.read(query).agreement) is not None]
    return Agreement(
        **asdict(target),
        worst_shadow_rel_rms=max(agreement.rel_rms for agreement in shadows),
        worst_shadow_top1=min((a.top1 for a in shadows if a.top1 is not None), default=None),
    )


def _copy_scores(planned: FormatPlan, store: Store, out: Path) -> None:
    """Copy the scores of the first shadow match, and of canaries, on which budgets are judged."""
    name = scores_file(planned.use.id, planned.device)
    copies: dict[AnyJob, Path] = {planned.measure: out / "scores" / name}
    if planned.canaries is not None:
        copies[planned.canaries] = out / "scores" / _CANARIES / name
    with store_errors(f"the output folder {out}"):
        for job, target in copies.items():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with whole_file(target) as file, (store.entry(*job.ref).folder / "scores.npz").open("rb") as scores:
                shutil.copyfileobj(scores, file)


def scores_file(format_id: str, device: str) -> str:
    """The name of a format's scores in the folder `scores` of a run."""
    return f"{format_id}.npz" if device == LOCAL else f"{format_id}@{device}.npz"


def load_scores(run: Path, format_id: str, device: str = LOCAL) -> FormatScores:
    """A format's scores on a device from a run folder."""
    name = scores_file(format_id, device)
    path, planted = run / "scores" / name, run / "scores" / _CANARIES / name
    try:
        scores = _as_scores(read_scores(path), _labels(run))
        if not planted.is_file():
            return scores
        path = planted
        return replace(scores, canaries=_as_scores(read_scores(path), {}))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as exc:
        raise RunError(f"{path} cannot be read ({exc}); run the audit again") from exc


_CANARIES, _LABELS = "canaries", "labels.npy"


def _labels(run: Path) -> Mapping[int, int]:
    """Label of each audited record, by id; empty in a run of a version that did not write them."""
    path = run / _LABELS
    return dict(np.load(path, allow_pickle=False).tolist()) if path.is_file() else {}


def _as_scores(target: TargetScores, labels: Mapping[int, int]) -> FormatScores:
    """The scores of the first target, as the gate reads them. labels: of each audited record, by id."""
    # An attack that scored some of the records has `attack.variant`, and NaN elsewhere.
    scores = {name if "/" in name else name.replace(".", "/", 1): values for name, values in target.scores.items()}
    kept = [target.members, target.records, target.groups, *scores.values()]
    if len({len(one) for one in kept if one is not None}) > 1:
        raise ValueError("its arrays have different lengths")
    known = None
    if labels:
        if target.records is None:
            raise KeyError("records")
        known = np.array([labels.get(record, -1) for record in target.records.tolist()])
    return FormatScores(scores, target.members, target.subsets or {}, known, target.groups, records=target.records)


def population_info(population: Population) -> PopulationInfo:
    """What was drawn, and notes on it."""
    about = population.about
    notes = list(about["notes"])
    audited = len(population.audited)
    if about["groups"] < audited:
        notes.append(
            f"{audited:,} audited records are {about['groups']:,} groups of related records, the largest of "
            f"{about['largest_group']:,}: no group is on two sides, and intervals are over groups"
        )
    task = population.task
    if not task.has_classes:
        notes.append(
            f"task: {task.name} ({population.outputs:,} outputs): what is called accuracy is the share of "
            f"{task.right_is}"
        )
    if about["groups_note"]:
        notes.append(about["groups_note"])
    if about["moved"]:
        notes.append(f"{about['moved']} listed nonmembers are related to a member and were removed")
    if about["canaries"]:
        times = "" if about["repeats"] == 1 else f", {about['repeats']} times each"
        notes.append(
            f"{about['canaries']} canaries were made of reference records: a target trains on half of them{times}. "
            "They are no members or nonmembers"
        )
    if about["files"]:
        first = ", ".join(f"those of {side} ({name}) from {start}" for side, (name, start) in about["files"].items())
        notes.append(f"records are counted through all files: {first}")
    names = ("source", "sha256", "records", "members", "nonmembers", "reference", "task", "classes", "outputs",
             "class_names",
             "input_shape", "duplicates", "conflicting_labels", "grouped_by", "groups", "largest_group")  # fmt: skip
    reported = {name: value for name, value in about.items() if name in names}
    return PopulationInfo.model_validate({**reported, "notes": tuple(notes)})


def _threat(spec: AuditSpec, population: Population) -> dict[str, object]:
    # An auditor's shadow trains on as many records as the target.
    drawn = spec.recipe_known and spec.threat.mode == "adversary"
    files = () if spec.shadows is None else spec.shadows.models
    given = [
        f"{', '.join(path.name for path in ([named] if isinstance(named, Path) else named.values()))}, trained on "
        f"{len(population.given_ids(number)):,} records"
        for number, named in enumerate(files)
    ]
    return {
        **spec.threat.model_dump(mode="json"),
        **({"given_shadows": given} if given else {}),
        "targets": spec.targets,
        "controls": spec.controls.model_dump(mode="json", by_alias=True),
        "records_per_model": population.about["shadow_records"] if drawn else len(population.split.members),
        "probability_floor": FLOOR,
    }


def _population_controls(plan: Plan, result: RunResult, store: Store) -> list[Control]:
    """The findings of the control job; a requested control that could not be computed counts as failed."""
    if plan.control is None:
        statement = "controls.shift is false, so members and nonmembers were not compared as records"
        return [Control(name="shift", status="not run", statement=statement)]
    error = result.cause(plan.control)
    if error is not None:
        return [
            Control(
                name="shift", status="failed", statement=f"the comparison of records could not be computed: {error}"
            )
        ]
    return list(store.read(plan.control).controls)


def _model_controls(
    spec: AuditSpec,
    population: Population,
    formats: Sequence[FormatResult],
    null_rows: Sequence[NullControlRow],
    together_null: Sequence[TogetherNullRow],
) -> list[Control]:
    """Null targets, resolution and tie mass, from the measurements."""
    answers = {
        place_name(f.id, f.device): Answers(f.outputs.distinct, f.outputs.tie_mass)
        for f in formats
        if f.outputs is not None
    }
    placed = [replace(row, format=place_name(row.format, row.device)) for row in null_rows]
    return [
        *null_target(placed, spec.null_targets, spec.threat.shadow_match[0], recipe_known=spec.recipe_known),
        *null_target_together(together_null),
        *resolution(len(population.split.nonmembers), spec.shadow_count),
        *tie_mass(answers, len(population.audited)),
    ]


def _target_controls(
    spec: AuditSpec, population: Population, judged: Mapping[str, MeasureFindings]
) -> Iterator[Control]:
    """Whether the first target has learned, knows its members, is like its shadows, and has its sides in order.

    judged: the measurement of each format that budgets are judged on.
    """
    tested = {name: [row for row in found.chance if _is_headline(row)] for name, found in judged.items()}
    placed = [replace(row, format=name) for name, rows in tested.items() for row in rows]
    yield from sides_in_order(placed)
    known = {
        name: Known(found.behaviour, [row for row in tested[name] if row.target == TARGET])
        for name, found in judged.items()
    }
    yield from target_accuracy({name: found.behaviour.at_chance for name, found in judged.items()})
    origin = _origin(spec)
    yield from members_known(known, origin)
    if origin != "trained here":
        tests = [f"cm-mia/{variant}" for variant in find_attack("cm-mia").spec.headlines]
        yield from nonmembers_unseen({name: found.p_calibration for name, found in judged.items()}, tests)
    given = 0 if spec.shadows is None else len(spec.shadows.models)
    yield from given_shadows_known({name: found.behaviour for name, found in judged.items()}, given)
    sizes = len(population.split.members), len(population.split.nonmembers)
    yield from shadow_target_match(
        {name: alike for name, found in judged.items() if (alike := _likeness(found, *sizes)) is not None},
        given=spec.shadows is not None,
    )
    drawn = int(population.about["shadow_records"]) if spec.threat.mode == "adversary" and spec.threat.shadows else None
    yield from shadow_size(len(population.split.members), drawn, [len(population.given_ids(i)) for i in range(given)])


def _is_headline(row: NullControlRow) -> bool:
    return row.variant in find_attack(row.attack).spec.headlines  # of either mode


def _origin(spec: AuditSpec) -> Origin:
    """Why the list of members may be right, other than by the target's answers."""
    if spec.target is None and spec.model.checkpoint is None:
        return "trained here"
    stated = None if spec.target is None else spec.target.stated
    return "declared" if stated is not None and stated.train is not None and stated.test is not None else "given"


def _likeness(found: MeasureFindings, members: int, nonmembers: int) -> Likeness | None:
    """Target and shadows side by side; None without shadows."""
    about, seen = found.accuracy, found.behaviour
    if about.shadow_train is None or about.shadow_test is None:
        return None
    if seen.trained_distance is None or seen.other_distance is None:
        return None
    return Likeness(
        Side(members, about.train, about.shadow_train, seen.trained_distance),
        Side(nonmembers, about.test, about.shadow_test, seen.other_distance),
    )


def _timings(plan: Plan, store: Store) -> dict[str, float]:
    """Seconds by stage, of the run that did the work (a repeated audit reports the same)."""
    total: dict[str, float] = {}
    for kind, key in plan.jobs:
        if store.has(kind, key):
            total[kind] = total.get(kind, 0.0) + store.entry_seconds(kind, key)
    return {kind: round(seconds, 3) for kind, seconds in total.items()}
