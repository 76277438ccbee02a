"""Audits from Python: what the command line's verbs do, as functions. docs/python.md shows them at work.

Each is imported from `edgeaudit` itself, as is `edgeaudit.attack`, which takes arrays and needs no toolchain
(`edgeaudit.attacks.arrays`). Errors that a user can cause are subclasses of `edgeaudit.EdgeAuditError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from edgeaudit.attacks.registry import ALL
from edgeaudit.attestation.envelope import sealed
from edgeaudit.attestation.keys import key_id, private_key, shared_with_others
from edgeaudit.attestation.predicate import Named
from edgeaudit.attestation.reading import sha256_of
from edgeaudit.attestation.statement import statement_of_run
from edgeaudit.attestation.verification import Verification, verify_evidence
from edgeaudit.config.audit import AuditSpec, absolute, load_spec, recorded_spec, spec_of
from edgeaudit.config.changes import with_changes
from edgeaudit.config.policy import ReadPolicy, load_policy, policy_of
from edgeaudit.config.yaml_text import contains_itself
from edgeaudit.errors import EdgeAuditError, RunError, SpecError
from edgeaudit.gate.judge import FormatScores, judge
from edgeaudit.gate.needed import BudgetNeed, budget_needs
from edgeaudit.gate.origin import budgets_sha256, limits_origin, policy_origin, recorded_policy
from edgeaudit.gate.policy import applicable, require_policy_applies
from edgeaudit.gate.requirements import require_budgets_exist
from edgeaudit.graph.estimate import StageEstimate
from edgeaudit.graph.executor import Listener, Silent
from edgeaudit.graph.store import MARKER, Store
from edgeaudit.pipeline.advise import BASE, Tried, advice, is_worth_changing
from edgeaudit.pipeline.assemble import load_scores, population_info, require_folder
from edgeaudit.pipeline.audit import Prepared, prepare, run_audit
from edgeaudit.pipeline.audited_files import CopiedFile, copy_audited_files
from edgeaudit.pipeline.compare_runs import MARGIN, FinishedRun, compare_runs
from edgeaudit.pipeline.engine import Engine, engine
from edgeaudit.pipeline.export import EvidenceFile, export_evidence
from edgeaudit.pipeline.forecast import forecast
from edgeaudit.pipeline.inspect_file import FileReport, inspect_file
from edgeaudit.pipeline.more_attacks import require_answers, with_more_attacks
from edgeaudit.pipeline.recorded import Recorded, SpecOrigin, read_recorded, require_records
from edgeaudit.pipeline.training_changes import planned_changes, require_trainable
from edgeaudit.report.advice import write_advice
from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit, PopulationInfo, Verdict
from edgeaudit.report.model.advice import Advice
from edgeaudit.report.model.between_runs import RunComparison
from edgeaudit.report.schema import read_audit
from edgeaudit.report.writers import require_writers
from edgeaudit.rows import Rows
from edgeaudit.scratch import scratch

__all__ = [
    "Advice", "AuditSource", "CopiedFile", "EvidenceFile", "FileReport", "Listener", "PlanSummary", "PolicySource",
    "RunComparison", "SignedEvidence", "Verification", "advise", "artifacts", "attack_run", "check", "compare",
    "export", "inspect", "load", "plan", "run", "sign", "verify",
]  # fmt: skip

AuditSource: TypeAlias = AuditSpec | Mapping[str, object] | str | Path
"""An audit: the path of an audit.yaml, a mapping with its keys, or what either was read to.

Relative paths in an audit.yaml are taken from its folder, those in a mapping from the current directory; the same
folder is searched for the modules of `module:function` references. In a mapping a function may stand for its reference.
"""

PolicySource: TypeAlias = Mapping[str, object] | str | Path
"""A policy: the path of its file, or a mapping with its keys (docs/policy.md)."""

_STORE = ".edgeaudit"
_HEARD = ("begin", "started", "finished", "skipped", "repeated")
"""The methods of a `Listener`."""


@dataclass(frozen=True)
class PlanSummary:
    """What a run would do.

    population: records that were drawn. stages: jobs of each, those that the store has, and CPU seconds of the others.
    workers: processes of one thread each, among which they are divided. budgets: what each needs to be decided.
    outputs: numbers that a model of the recipe answers; None without a recipe. notes: on budgets of a policy that name
    formats which the audit does not have, and on formats that no budget of formats names.
    """

    population: PopulationInfo
    stages: Rows[StageEstimate]
    workers: int
    budgets: Rows[BudgetNeed] = Rows(of=BudgetNeed)  # noqa: RUF009  immutable
    outputs: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """CPU seconds of everything that is left to do."""
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class SignedEvidence:
    """Evidence that was signed. key: SHA-256 of the public key. notes: sentences on what is missing or careless."""

    path: Path
    key: str
    notes: tuple[str, ...] = ()


def run(  # noqa: PLR0913  what the command line has as options
    audit: AuditSource,
    *,
    out: str | Path | None = None,
    store: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    write: Iterable[str] = (),
    changes: Iterable[str] = (),
    policy: PolicySource | None = None,
    listener: Listener | None = None,
) -> Audit:
    """Run an audit: train, compress, query, attack, judge. What the store already has is not done again.

    Args:
        audit: see `AuditSource`.
        out: folder for audit.json, reports and scores; None writes none of them.
        store: folder of finished work, which audits share; None for EDGEAUDIT_STORE, or else .edgeaudit.
        workers: jobs at a time, in processes of one thread each; None for one a core.
        executor: what runs the jobs.
        write: names of report writers, beside those of the audit; needs `out`.
        changes: `key=value` in place of what the audit has, such as `threat.shadows=16`; values are YAML.
        policy: whose budgets are judged beside the audit's own, and whose waivers hold; see `PolicySource`.
        listener: notified of every job; None for silence.

    Returns:
        The audit, as audit.json has it. A format that failed is in it with its error.

    Raises:
        EdgeAuditError: the audit is not valid, data cannot be read, a model cannot be trained.
        KeyboardInterrupt: at Ctrl-C, once the workers have ended. Finished work stays in the store.
    """
    changes = _names("changes", changes)
    spec, origin = _read(audit, changes)
    judged_by = None if policy is None else _policy(policy)
    writers = _names("write", write)
    out = None if out is None else _path("out", out)
    if out is None and writers:
        raise SpecError(f"write: {', '.join(writers)} cannot be written without a folder; give out")
    if out is None:
        spec = spec.model_copy(update={"report": spec.report.model_copy(update={"writers": ()})})
    else:
        spec = spec.with_writers(writers)
    heard = _listener(listener)
    with engine(origin.folder, _store(store), *_how(workers, executor), spec.limits) as running, _folder(out) as target:
        prepared = prepare(spec, running.store, running.executor, heard, origin, judged_by)
        return _finish(prepared, running, heard, target)


def plan(
    audit: AuditSource,
    *,
    store: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    changes: Iterable[str] = (),
    policy: PolicySource | None = None,
    listener: Listener | None = None,
) -> PlanSummary:
    """Say what `run` would do, with the same arguments. Records are read and drawn; no model is trained.

    Where the store has no model of the audit, a few steps of a training are timed for the estimate.

    Raises:
        EdgeAuditError: as `run`, as far as it shows before anything is trained.
    """
    spec, origin = _read(audit, changes)
    heard, judged_by = _listener(listener), None if policy is None else _policy(policy)
    with engine(origin.folder, _store(store), *_how(workers, executor), spec.limits) as running:
        prepared = prepare(spec, running.store, running.executor, heard, policy=judged_by)
        expected = forecast(prepared, running, heard)
        drawn = population_info(prepared.population)
        needs = Rows(budget_needs(spec, drawn.members, drawn.nonmembers, drawn.classes, judged_by), of=BudgetNeed)
        notes = () if judged_by is None else _notes(judged_by, spec)
        stages = Rows(expected.stages, of=StageEstimate)
        return PlanSummary(drawn, stages, running.executor.workers, needs, expected.outputs, notes)


def _notes(policy: ReadPolicy, spec: AuditSpec) -> tuple[str, ...]:
    return tuple(f"policy {policy.title}: {note}" for note in applicable(policy.spec, spec).notes)


def inspect(file: str | Path, data: str | Path | Iterable[str | Path] = (), *, output: str | None = None) -> FileReport:
    """Say what a model file is, and with records how it is fed and read best; nothing is audited.

    Args:
        file: a .tflite, .onnx, OpenVINO (.xml) or .pte file.
        data: the records that it was trained on, and others, as two paths: .npz files or folders of images. Or one path
            that has both: an audit.yaml, a folder with train/ and test/, an .npz with x_train, y_train, x_test, y_test.
        output: name of the output with the scores; None to find it.

    Returns:
        The report; its `audit_yaml()` is an audit.yaml for the file.

    Raises:
        ArtifactError: no runtime here serves the file, or records do not fit it. DataError: they cannot be read.
    """
    paths = [data] if isinstance(data, str | Path) else list(data)
    path = _path("file", file, "the path of a model file")
    with scratch() as folder, engine(Path.cwd(), folder, 1) as running:
        return inspect_file(path, [_path("data", one, "a path") for one in paths], output, running, Silent())


def load(folder: str | Path) -> Audit:
    """The audit of a finished run, from the audit.json in its folder.

    Raises:
        RunError: it is missing, or not one that this version reads.
    """
    return read_audit(_path("folder", folder) / "audit.json")


def check(
    run: str | Path | Audit,
    budgets: Mapping[str, object] | str | Path | None = None,
    *,
    policy: PolicySource | None = None,
) -> Verdict:
    """Judge budgets on a finished run; nothing is trained, exported or queried. Waivers hold up to today, in UTC.

    Args:
        run: its folder, or the audit itself. `max-increase`, and a figure beyond a limit that several attacks share,
            are judged on scores, which are in the folder alone.
        budgets: to judge in place of the run's own: the path of an audit.yaml that has them, or a mapping as its key
            `budgets` has, such as `{"auc": ["error", {"max": 0.9}]}`.
        policy: in place of the run's own; see `PolicySource`. The run's own policy is judged otherwise, whatever
            `budgets` are.

    Raises:
        RunError: the run cannot be read, or a budget needs the folder. SpecError: the budgets, or the policy, are not
            valid, or there are none. BudgetError: a budget names what the audit does not have, or the policy judges
            nothing in it.
    """
    judged_by = None if policy is None else _policy(policy)
    if budgets is not None and not isinstance(budgets, Mapping):
        budgets = _path("budgets", budgets, "the path of an audit.yaml, or a mapping as its key budgets")
    if not isinstance(run, Audit):
        run = _path("run", run, "the folder of a run, or an audit")
    audit, where = (run, Path("audit.json")) if isinstance(run, Audit) else (load(run), run / "audit.json")
    # The run's own budgets may be such as this version refuses; others can be judged all the same.
    spec = recorded_spec(audit.spec if budgets is None else {**audit.spec, "budgets": {}}, where)
    limits = audit.verdict.limits
    if budgets is not None:
        given = spec_of({"budgets": budgets}, Path.cwd()) if isinstance(budgets, Mapping) else load_spec(budgets)
        if not given.budgets:
            what = "budgets: the mapping" if isinstance(budgets, Mapping) else f"{budgets}: the file"
            raise SpecError(
                f"{what} has no budgets to judge the run by; add limits, or leave it out to judge the run by its own"
            )
        spec = spec.model_copy(update={"budgets": given.budgets})
        limits = limits_origin(spec, None if isinstance(budgets, Mapping) else str(budgets), measured=True)
    origin = audit.verdict.policy
    if judged_by is not None:
        origin = policy_origin(judged_by, measured=True)
    elif origin is not None:
        judged_by = recorded_policy(origin)
    require_budgets_exist(spec, audit.population.classes)
    if judged_by is not None:
        require_policy_applies(judged_by, spec, audit.population.classes)
    scores = _no_scores if isinstance(run, Audit) else _scores_in(run)
    verdict = judge(
        spec,
        audit.formats,
        audit.leakage,
        audit.controls,
        scores,
        audit.across_targets,
        audit.population.classes,
        policy=judged_by,
    )
    return verdict.model_copy(update={"limits": limits, "policy": origin})


def compare(
    old: str | Path, new: str | Path, *, formats: Mapping[str, str] | None = None, margin: float = MARGIN
) -> RunComparison:
    """Compare the leakage figures of two finished runs; nothing is trained, exported or queried.

    Figures are compared in pairs where both runs audited the same records on the same sides, and else by independent
    intervals. docs/comparing-runs.md says how to read the result.

    Args:
        old: folder of the earlier run.
        new: folder of the later one.
        formats: format of `old` -> format of `new`, where their ids differ; others are compared by id.
        margin: differences whose 95% interval lies within +- this count as equal.

    Returns:
        The comparison; `rows`, `accuracy`, `formats`, `settings` and `uncompared` have `to_frame()`.

    Raises:
        RunError: a run cannot be read, or both are one folder. SpecError: `formats` names what a run does not have.
    """
    folders = _path("old", old), _path("new", new)
    if not _maps_names(formats):
        raise SpecError(f"formats: must be a mapping from format ids of OLD to those of NEW; it is {formats!r}")
    _require_number("margin", margin)
    first, second = (FinishedRun(folder, load(folder)) for folder in folders)
    return compare_runs(first, second, formats, float(margin))


def advise(  # noqa: PLR0913  what the command line has as options
    audit: AuditSource,
    out: str | Path,
    *,
    tried: Iterable[str] = (),
    store: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    changes: Iterable[str] = (),
    policy: PolicySource | None = None,
    listener: Listener | None = None,
    notify: Callable[[str], None] | None = None,
) -> Advice:
    """Audit a training, and changes of it, and say by how much each lowers what its failing formats leak.

    Each change is an audit of its own, with the same records, formats, attacks and budgets, in a folder of `out` beside
    `base`; advice.json and advice.md are written there. Where no format fails, no change is tried. docs/advice.md says
    how to read the result.

    Args:
        audit: as in `run`; its budgets, or those of `policy`, say what fails.
        out: the folder.
        tried: names of changes; none stand for all of them. One that does not fit this audit is in the result, with
            the reason.
        store: as in `run`.
        workers: as in `run`.
        executor: as in `run`.
        changes: as in `run`, of the training without a change, and so of all of them.
        policy: as in `run`.
        listener: as in `run`, of each audit.
        notify: called with a sentence before each audit.

    Raises:
        SpecError: there is no budget, the model was trained already, or there is no such change.
        RunError: the audit without a change ended with an error. EdgeAuditError: as `run`.
    """
    folder, names, asked = _path("out", out), _names("tried", tried), _names("changes", changes)
    say = notify or _ignore
    if isinstance(audit, AuditSpec):
        raise SpecError("advice replaces keys of the audit, and an AuditSpec is complete: pass a path or a mapping")
    spec, _ = _read(audit, asked)
    require_trainable(spec)
    planned = planned_changes(spec, names)
    if policy is None and not any(one.level == "error" for limits in spec.budgets.values() for one in limits):
        raise SpecError(
            "budgets: advice is for formats that fail, and no budget of level error is set; set one, such as budgets: "
            "recommended"
        )

    def audited(where: str, keys: tuple[str, ...] = ()) -> FinishedRun:
        found = run(
            audit,
            out=folder / where,
            store=store,
            workers=workers,
            executor=executor,
            changes=(*asked, *keys),
            policy=policy,
            listener=listener,
        )
        return FinishedRun(folder / where, found)

    say(f"{BASE}: the audit without a change")
    base = audited(BASE)
    if base.audit.verdict.outcome == "error":
        raise RunError(f"the audit without a change ended with an error: {base.audit.verdict.reasons[0]}")
    done = []
    for change in planned if is_worth_changing(base.audit) else ():
        if change.why is not None:
            say(f"{change.name} is not applied: {change.why}")
            done.append(Tried(change))
            continue
        say(f"{change.name}: {change.about}")
        try:
            done.append(Tried(change, audited(change.name, change.keys), change.name))
        except EdgeAuditError as exc:
            say(f"{change.name} failed: {exc}")
            done.append(Tried(change, why=str(exc)))
    found = advice(base, done)
    write_advice(found, folder)
    return found


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SpecError(f"{name}: must be a number; it is {value!r}")


def _maps_names(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, Mapping) and all(isinstance(one, str) for pair in value.items() for one in pair)


def attack_run(
    run: str | Path,
    attacks: Iterable[str] = (),
    *,
    weaker: Iterable[str] = (),
    store: str | Path | None = None,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Audit:
    """Run more attacks on the answers of a finished run, or at weaker exposures, and write its files again.

    No model is trained, exported or queried. Where data, modules and the store are is read from the run's spec.json.

    Args:
        run: the run's folder.
        attacks: names, or `all`; the run's own attacks stay. Without `weaker` none stand for `all`.
        weaker: weaker exposures, as `threat.weaker` has them.
        store: None for EDGEAUDIT_STORE, or else the run's own.
        workers: as in `run`.
        listener: as in `run`.

    Raises:
        RunError: the run cannot be read, or the store lacks its models and answers.
        AttackError: there is no such attack. SpecError: an exposure is not valid.
    """
    folder, levels, names = _path("run", run), _names("weaker", weaker), _names("attacks", attacks)
    heard, given = _listener(listener), _how(workers, "local")
    judged_by = load(folder).verdict.policy
    recorded = read_recorded(folder)
    spec = with_more_attacks(recorded.spec, names or (() if levels else (ALL,)), levels)
    with engine(recorded.origin.folder, _store_of(recorded, store), *given, spec.limits) as running:
        require_records(recorded, running.store, folder)
        policy = None if judged_by is None else recorded_policy(judged_by)
        prepared = prepare(spec, running.store, running.executor, heard, recorded.origin, policy)
        require_answers(prepared, running.store, folder)
        return _finish(prepared, running, heard, folder)


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    shadows: bool | None = None,
    store: str | Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> EvidenceFile:
    """Write the evidence of a finished run to one .npz: answers, memberships, masks, scores; no record itself.

    The file has mode 0600 and is there whole, or as it was before. Nothing is trained, queried or attacked. Where data,
    modules and the store are is read from the run's spec.json.

    Args:
        run: the run's folder.
        out: the file; None for evidence.npz in the run's folder.
        shadows: whether the answers of the shadows are included, without which scores cannot be computed again; None
            includes them up to 1 GiB before compression.
        store: None for EDGEAUDIT_STORE, or else the run's own.
        notify: called with a sentence on the size of the file before it is written.

    Raises:
        RunError: the run cannot be read, the store lacks its models and answers, or what the run names cannot be found
            from here. StoreError: the file cannot be written.
    """
    folder = _path("run", run)
    path = folder / "evidence.npz" if out is None else _path("out", out, "the path of a file")
    if shadows is not None and not isinstance(shadows, bool):
        raise SpecError(f"shadows must be True, False or None, not {shadows!r}")
    audit, recorded = load(folder), read_recorded(folder)
    spec, where = recorded.spec, _existing_store_of(recorded, store, folder)
    with engine(recorded.origin.folder, where, 1, "local", spec.limits) as running:
        require_records(recorded, running.store, folder)
        try:
            prepared = prepare(spec, running.store, running.executor, Silent(), recorded.origin)
        except EdgeAuditError as exc:
            raise RunError(
                f"{exc}. {folder} was made from {recorded.origin.folder}, where modules and data of its own have to be "
                "as they were"
            ) from exc
        return export_evidence(prepared, running.store, audit, folder, path, shadows=shadows, notify=notify or _ignore)


def artifacts(
    run: str | Path, formats: Iterable[str] = (), out: str | Path | None = None, *, store: str | Path | None = None
) -> list[CopiedFile]:
    """Copy the files that a finished run audited out of its store; their SHA-256 is that in audit.json.

    Args:
        run: the run's folder.
        formats: ids; by default every format that was audited.
        out: the folder, which gets FORMAT/FILE and the weights beside it; None for artifacts in the run's folder.
        store: None for EDGEAUDIT_STORE, or else the run's own.

    Raises:
        RunError: the run cannot be read or has no such format, or the store lacks a file. StoreError: the folder cannot
            be written.
    """
    folder = _path("run", run)
    target = folder / "artifacts" if out is None else _path("out", out, "the path of a folder")
    where = _existing_store_of(read_recorded(folder), store, folder)
    return copy_audited_files(load(folder), Store(where), target, _names("formats", formats))


def sign(
    run: str | Path,
    key: str | Path | None = None,
    out: str | Path | None = None,
    *,
    responsible: str | None = None,
) -> SignedEvidence:
    """Sign what a finished run measured and judged: an in-toto statement in a DSSE envelope, by Ed25519.

    It has digests of every audited file, of audit.json, audit.yaml and the budgets, and the figures of the budgets; no
    scores, ids of records or paths. The same run and key give the same bytes.

    Args:
        run: the run's folder.
        key: a private key in PEM (PKCS#8); None for the text in EDGEAUDIT_SIGNING_KEY.
        out: the file to write; None for evidence.dsse.json in the run's folder.
        responsible: who takes responsibility for the audit.

    Raises:
        RunError: the run cannot be read. AttestationError: the key cannot be used. MissingToolchain: `cryptography` is
            not installed. StoreError: the file cannot be written.
    """
    folder, file = _path("run", run), None if key is None else _path("key", key, "the path of a private key")
    path = folder / "evidence.dsse.json" if out is None else _path("out", out, "the path of a file")
    signer = private_key(file)
    audit_yaml, notes = _given_file(folder)
    if file is not None and (shared := shared_with_others(file)):
        notes.append(shared)
    write_atomically(path, sealed(statement_of_run(folder, audit_yaml, responsible), signer))
    return SignedEvidence(path, key_id(signer.public_key()), tuple(notes))


def _given_file(run: Path) -> tuple[Named | None, list[str]]:
    """The audit.yaml that was given to a run, as it was then; and a sentence where that is not known."""
    try:
        origin = read_recorded(run).origin
    except RunError as exc:
        return None, [f"the evidence does not name audit.yaml: {exc}"]
    if origin.file is None:
        return None, []
    if origin.sha256 is None:
        return None, ["the evidence does not name audit.yaml, whose digest this run did not record: run it again"]
    return Named(name=PurePath(origin.file).name, sha256=origin.sha256), []


def verify(
    evidence: str | Path,
    key: str | Path,
    artifacts: str | Path | Iterable[str | Path],
    *,
    audit: str | Path | None = None,
    budgets: Mapping[str, object] | str | Path | None = None,
    policy: PolicySource | None = None,
) -> Verification:
    """Check signed evidence against the files that are about to ship.

    Args:
        evidence: what `sign` wrote.
        key: the public key, in PEM, of whoever is trusted to sign; it must not come with the evidence.
        artifacts: model files. Weights that are kept beside a file are found there.
        audit: an audit.json that has to be the signed one.
        budgets: those that have to be the judged ones, as in `check`. Without them, whoever signed chose the limits.
        policy: the one that has to be judged beside them, as in `check`.

    Returns:
        The result, whose `exit_code` is 0 only where the signature holds and every file is within its budgets.

    Raises:
        AttestationError: something cannot be read. SpecError: the budgets are not valid. MissingToolchain:
            `cryptography` is not installed.
    """
    paths = [artifacts] if isinstance(artifacts, str | Path) else list(artifacts)
    return verify_evidence(
        _path("evidence", evidence, "the path of a file"),
        _path("key", key, "the path of a public key"),
        [_path("artifacts", one, "the path of a model file") for one in paths],
        audit=None if audit is None else _path("audit", audit, "the path of an audit.json"),
        budgets=None if budgets is None else _digest_of(budgets),
        policy=None if policy is None else _policy(policy).sha256,
    )


def _digest_of(budgets: Mapping[str, object] | str | Path) -> str:
    """SHA-256 of budgets that are given."""
    if isinstance(budgets, Mapping):
        spec = spec_of({"budgets": budgets}, Path.cwd())
    else:
        spec = load_spec(_path("budgets", budgets, "the path of an audit.yaml, or a mapping as its key budgets"))
    if not spec.budgets:
        raise SpecError("budgets: there are none in what was given, so that nothing can be compared with them")
    return budgets_sha256(spec)


def _ignore(_: str) -> None:
    pass


def _finish(prepared: Prepared, running: Engine, listener: Listener, out: Path) -> Audit:
    jobs = prepared.plan.jobs
    require_writers(prepared.spec.report.writers)
    require_folder(out)
    listener.begin(jobs, set(jobs) - {job.ref for job in prepared.todo(running.store)})
    return run_audit(prepared, running.store, running.executor, listener, out)[0]


def _read(audit: AuditSource, changes: Iterable[str] = ()) -> tuple[AuditSpec, SpecOrigin]:
    """The audit, with absolute paths, and where it comes from."""
    here, changes = Path.cwd(), _names("changes", changes)
    origin = SpecOrigin(here, None, tuple(dict.fromkeys(change.partition("=")[0].strip() for change in changes)))
    if isinstance(audit, AuditSpec):
        if changes:
            raise SpecError("changes: an AuditSpec is complete; change it by its own model_copy, or pass a mapping")
        spec = absolute(audit, here)
    elif isinstance(audit, Mapping):
        if contains_itself(audit):
            raise SpecError("the audit is a mapping that contains itself; remove that entry")
        spec = spec_of(with_changes(_with_references(audit), changes), here)
    elif isinstance(audit, str | Path):
        path = Path(audit)
        spec = load_spec(path, changes)
        digest = sha256_of(path, "the audit") if path.is_file() else None  # a pipe has been read
        origin = replace(origin, folder=path.resolve().parent, file=str(audit), sha256=digest)
    else:
        raise SpecError(
            "an audit is the path of an audit.yaml, a mapping with its keys or an AuditSpec, not "
            f"{type(audit).__name__}"
        )
    _require_importable(spec.model_dump(mode="json", by_alias=True))
    return spec, origin


def _policy(policy: object) -> ReadPolicy:
    """Read a policy, waivers of which may last from today on."""
    if isinstance(policy, Mapping):
        return policy_of(policy)
    return load_policy(_path("policy", policy, "the path of a policy's file, or a mapping with its keys"))


def _with_references(value: Any, key: str = "") -> Any:
    """The value with `module:function` in place of every function."""
    if isinstance(value, Mapping):
        return {name: _with_references(one, f"{key}.{name}" if key else str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_references(one, key) for one in value]
    return _reference(value, key) if callable(value) else value


def _reference(function: Callable[..., Any], key: str) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not name.isidentifier():
        raise SpecError(
            f"{key}: {name or function!r} is not a function at the top level of a module, by whose name worker "
            "processes could import it; define it there"
        )
    return f"{module}:{name}"


def _require_importable(value: Any, key: str = "") -> None:
    """Raise `SpecError` for a function that a script or notebook defines itself."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            _require_importable(one, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for one in value:
            _require_importable(one, key)
    elif isinstance(value, str) and value.removeprefix("keras:").startswith("__main__:"):
        name = value.rpartition(":")[2]
        raise SpecError(
            f"{key}: {name} is defined in the script or notebook itself, which worker processes do not import; move it "
            f"to a module beside it, such as my_model.py, and name it as my_model:{name}"
        )


def _path(name: str, value: object, expected: str = "the path of a folder") -> Path:
    """The path that an argument gives."""
    if not isinstance(value, str | Path):
        raise SpecError(f"{name}: must be {expected}; it is {value!r}")
    return Path(value)


def _names(name: str, value: object) -> tuple[str, ...]:
    """The names that an argument gives; one name may stand for a list of one."""
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if isinstance(value, Mapping) or not all(isinstance(one, str) for one in names):
        raise SpecError(f"{name}: must be a list of names; it is {value!r}")
    return names


def _how(workers: object, executor: object) -> tuple[int | None, str]:
    """The arguments that say what runs the jobs."""
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, Integral) or workers < 1):
        raise SpecError(f"workers must be an integer of at least 1, not {workers!r}")
    if not isinstance(executor, str):
        raise SpecError(f"executor: must be the name of an executor; it is {executor!r}")
    return None if workers is None else int(workers), executor


def _listener(listener: Listener | None) -> Listener:
    if listener is None:
        return Silent()
    missing = [name for name in _HEARD if not callable(getattr(listener, name, None))]
    if missing:
        raise SpecError(f"listener: must have the methods of edgeaudit.api.Listener; {listener!r} has no {missing[0]}")
    if isinstance(listener, type):
        raise SpecError(f"listener: must be an instance, as {listener.__name__}(); it is the class itself")
    return listener


def _store(store: str | Path | None) -> Path:
    return _path("store", store if store is not None else os.environ.get("EDGEAUDIT_STORE") or _STORE)


def _store_of(recorded: Recorded, store: str | Path | None) -> Path:
    """The store of a run: the one that is named, or else the run's own, if it is still there."""
    named = store is not None or os.environ.get("EDGEAUDIT_STORE")
    return _store(store) if named or not (recorded.store / MARKER).is_file() else recorded.store


def _existing_store_of(recorded: Recorded, store: str | Path | None, run: Path) -> Path:
    """The same, where it has to be there: opening it would make an empty one."""
    where = _store_of(recorded, store)
    if not (where / MARKER).is_file():
        raise RunError(f"{where} is not a store: name the store of {run} with --store, or run the audit again")
    return where


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """The output folder; one that is removed afterwards where none is given."""
    if out is not None:
        yield out
        return
    with scratch() as folder:
        yield folder


def _scores_in(run: Path) -> Callable[[str, str], FormatScores]:
    return lambda format_id, device: load_scores(run, format_id, device)


def _no_scores(format_id: str, device: str) -> FormatScores:
    raise RunError(
        f"this budget is judged on the scores of {format_id} on {device}, which are in the run's folder: give that to "
        "check() in place of the audit"
    )
