"""The sequence of an audit: spec -> plan -> jobs -> audit.json."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.policy import ReadPolicy
from edgeaudit.errors import DamagedEntry, Problems, RunError, UnusableEntry
from edgeaudit.gate.origin import limits_origin, policy_origin
from edgeaudit.gate.policy import require_policy_applies
from edgeaudit.gate.requirements import require_budgets_exist
from edgeaudit.graph.executor import AnyJob, Executor, Listener, RunResult, raise_errors
from edgeaudit.graph.job import Ref
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.assemble import assemble
from edgeaudit.pipeline.files_of_others import OpenedFiles
from edgeaudit.pipeline.last_jobs import collude_job, compare_job
from edgeaudit.pipeline.listed import require_images
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import Plan, make_plan
from edgeaudit.pipeline.preflight import preflight, require_modules
from edgeaudit.pipeline.recorded import SpecOrigin, write_recorded
from edgeaudit.population.base import Population
from edgeaudit.population.build import population_content
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.report.model import Audit, LimitsOrigin, PolicyOrigin, Verdict
from edgeaudit.report.schema import read_audit
from edgeaudit.report.writers import find_writers
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.measure import Measure
from edgeaudit.stages.population import DrawPopulation

__all__ = ["Prepared", "prepare", "run_audit"]

_DAMAGED = 100
"""Maximum number of damaged entries detected while the report is written, before the audit fails."""


@dataclass(frozen=True)
class Prepared:
    """A spec with its drawn population and planned jobs; nothing has been trained.

    origin: where the spec comes from. drawn: the key of the population. limits: who set the budgets. policy: judged
    beside them.
    """

    spec: AuditSpec
    population: Population
    plan: Plan
    origin: SpecOrigin
    drawn: str
    limits: LimitsOrigin | None = None
    policy: PolicyOrigin | None = None

    def todo(self, store: Store) -> list[AnyJob]:
        """The jobs that the store lacks."""
        return [job for ref, job in self.plan.jobs.items() if not store.has(*ref)]


def prepare(
    spec: AuditSpec,
    store: Store,
    executor: Executor,
    listener: Listener,
    origin: SpecOrigin | None = None,
    policy: ReadPolicy | None = None,
) -> Prepared:
    """Check the spec against what is installed, draw the population, plan the jobs.

    origin: where the spec comes from; None for the current folder. policy: judged beside the budgets of the spec.

    Raises the error of a check that fails, or `SeveralErrors`: each check runs whatever the others say, so that a user
    mends his audit.yaml once.
    """
    problems, origin = Problems(), origin or SpecOrigin(Path.cwd())
    with problems.collecting():
        require_budgets_exist(spec)
        _require_applies(policy, spec)
    with problems.collecting():
        find_writers(spec.report.writers)
    with problems.collecting():
        preflight(spec, policy)
    with problems.collecting():
        attacks = choose_attacks(spec)
    with problems.collecting():
        require_modules(spec)
        drawn, population = _draw(spec, store, executor, listener)
    problems.raise_found()
    with problems.collecting():
        require_budgets_exist(spec, population.n_classes)
        _require_applies(policy, spec, population.n_classes)
    with problems.collecting():
        require_images(population, spec.report.records)
    with problems.collecting():
        plan = make_plan(spec, population, drawn, attacks, OpenedFiles(store, executor, listener))
    problems.raise_found()
    measured = _figures_known(plan, store)
    limits = limits_origin(spec, origin.file, measured=measured, changed=origin.changed)
    judged = None if policy is None else policy_origin(policy, measured=measured)
    return Prepared(spec, population, plan, origin, drawn.key, limits, judged)


def _figures_known(plan: Plan, store: Store) -> bool:
    """Whether the store has figures of any attacks on the answers of these targets, by whatever audit.

    Another set of attacks, or further targets, are another job on answers whose figures somebody may have read.
    """
    jobs = [job for planned in plan.formats for job in planned.measures.values()]
    answers = {ref.key for job in jobs for _, ref in job.settings.evidence.targets}
    for entry in store.entries():
        if entry.ref.kind == Measure.kind:
            with suppress(DamagedEntry):
                stated = json.dumps(entry.about["inputs"])
                if any(key in stated for key in answers):
                    return True
    return False


def _require_applies(policy: ReadPolicy | None, spec: AuditSpec, classes: int | None = None) -> None:
    if policy is not None:
        require_policy_applies(policy, spec, classes)


def _draw(spec: AuditSpec, store: Store, executor: Executor, listener: Listener) -> tuple[DrawPopulation, Population]:
    """The population and its job, keyed by content.

    A source without a fingerprint is read in every run, and the records read determine the key.
    """
    content = population_content(spec.data, spec.canaries, spec.shadows)
    group = "torch" if spec.data.source.startswith("torchvision:") else framework_of(spec.model.recipe).isolation
    nonce: dict[str, Any] = {"read": secrets.token_hex(16)}
    job = DrawPopulation(
        content=content or nonce,
        seed=spec.seed,
        task=spec.task,
        data=spec.data,
        canaries=spec.canaries,
        shadows=spec.shadows,
        group=group,
    )
    result = executor.run({job.ref: job}, listener)
    raise_errors(result)
    if content is None:
        keyed_by_content = replace(job, content={"about": store.read(job).about})
        store.adopt(job.ref, keyed_by_content.ref)
        job = keyed_by_content
    try:
        return job, store.read(job)
    except UnusableEntry as exc:
        store.drop(exc.kind, exc.key)
        listener.repeated(job, exc)
        return _draw(spec, store, executor, listener)


def run_audit(prepared: Prepared, store: Store, executor: Executor, listener: Listener, out: Path) -> tuple[Audit, int]:
    """Run the jobs that the store lacks, then write audit.json, report.html and the scores into `out`.

    Returns the audit and the number of jobs run. A format that fails is reported as failed and the others continue.
    Raises if there is nothing to report: the target or a shadow cannot be trained, or no file of the target can be
    read.
    """
    total = RunResult()
    for _ in range(_DAMAGED):
        try:
            return _run(prepared, store, executor, listener, out, total), total.executed
        except UnusableEntry as exc:  # found in an entry that only the report reads
            ref = Ref(exc.kind, exc.key)
            if ref not in prepared.plan.jobs:
                raise
            store.drop(*ref)
            total.unusable.append(exc)
            listener.repeated(prepared.plan.jobs[ref], exc)
    return _run(prepared, store, executor, listener, out, total), total.executed


def _run(
    prepared: Prepared, store: Store, executor: Executor, listener: Listener, out: Path, total: RunResult
) -> Audit:
    plan = prepared.plan
    result = executor.run(plan.jobs, listener)
    total.add(result)
    for ref, error in result.errors.items():
        job = plan.jobs.get(ref)  # None: of the population, which is drawn before jobs are planned
        if job is None or job.essential:
            raise error
    read = [result.cause(planned.target_query) for planned in plan.formats if isinstance(planned.artifact, Adopt)]
    unread = [error for error in read if error is not None]
    if unread and len(unread) == len(read):
        raise unread[0]

    def done(job: AnyJob) -> bool:
        return result.cause(job) is None

    comparison, together = compare_job(plan, done), collude_job(prepared.spec, plan, done)
    last: list[AnyJob] = [job for job in (comparison, together) if job is not None]
    for job in last:
        plan.add(job)
    if last:
        compared = executor.run({job.ref: job for job in last}, listener)
        total.add(compared)
        raise_errors(compared)
    store.renew()  # a file that was changed while jobs ran may have led to results that do not belong together
    write_recorded(out, prepared.spec, prepared.origin, store.root, prepared.drawn)
    limits, policy = _first_read(prepared, out)
    return assemble(
        prepared.spec,
        prepared.population,
        plan,
        result,
        store,
        out,
        comparison,
        together,
        origin=prepared.origin,
        limits=limits,
        policy=policy,
    )


def _first_read(prepared: Prepared, out: Path) -> tuple[LimitsOrigin | None, PolicyOrigin | None]:
    """Return when these limits were first read: a repeated audit finds its own figures in the store."""
    limits, policy = prepared.limits, prepared.policy
    try:
        earlier: Verdict = read_audit(out / "audit.json").verdict
    except RunError:
        return limits, policy
    if earlier.limits and limits and earlier.limits.sha256 == limits.sha256:
        limits = earlier.limits
    if earlier.policy and policy and earlier.policy.sha256 == policy.sha256:
        # What it is called is this run's: the digest is of the content alone.
        policy = policy.model_copy(update={"read": earlier.policy.read, "measured": earlier.policy.measured})
    return limits, policy
