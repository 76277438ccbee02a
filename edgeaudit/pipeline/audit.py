"""One audit: spec -> plan -> jobs -> audit.json. The order of things, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeaudit.config.audit import AuditSpec
from edgeaudit.gate.judge import require_budgets_exist
from edgeaudit.graph.executor import Executor, Listener, raise_errors
from edgeaudit.graph.job import JobRef
from edgeaudit.graph.store import Store, content_key
from edgeaudit.pipeline.assemble import assemble
from edgeaudit.pipeline.collude import together_job
from edgeaudit.pipeline.measurement import measurement_inputs
from edgeaudit.pipeline.plan import Plan, make_plan, nonce, population_job, preflight
from edgeaudit.population import Population, population_inputs
from edgeaudit.report.model import Audit

__all__ = ["Prepared", "prepare", "run_audit"]


@dataclass(frozen=True)
class Prepared:
    """A spec whose population is drawn and whose jobs are planned; nothing was trained yet."""

    spec: AuditSpec
    population: Population
    plan: Plan

    def todo(self, store: Store) -> list[JobRef]:
        """The jobs that the store lacks."""
        return [ref for ref in self.plan.jobs if not store.has(*ref)]


def prepare(spec: AuditSpec, store: Store, executor: Executor, listener: Listener) -> Prepared:
    """Check the spec against what is installed, draw the population, plan the jobs."""
    require_budgets_exist(spec)
    preflight(spec)
    measure = measurement_inputs(spec)
    inputs = population_inputs(spec.data, spec.seed)
    job = population_job(spec, inputs, nonce())
    result = executor.run({job.ref: job}, listener)
    raise_errors(result)
    ref = job.ref
    if inputs is None:
        about = Population(store.entry(*ref).folder).about
        ref = (ref[0], store.adopt(*ref, content_key("population", {"seed": spec.seed, "about": about})))
    population = Population(store.entry(*ref).folder)
    return Prepared(spec, population, make_plan(spec, population, ref, measure))


def run_audit(prepared: Prepared, store: Store, executor: Executor, listener: Listener, out: Path) -> tuple[Audit, int]:
    """Do what the store lacks, then write audit.json, report.html and the scores into `out`.

    Returns the audit and how many jobs were run. A format that fails is reported as failed and the others go on;
    raises where nothing can be said, since the target or a shadow cannot be trained, or no file of the target be read.
    """
    result = executor.run(prepared.plan.jobs, listener)
    for ref, error in result.errors.items():
        if ref[0] == "train":
            raise error
    read = [result.cause(planned.target_query) for planned in prepared.plan.formats if planned.artifact[0] == "adopt"]
    unread = [error for error in read if error is not None]
    if unread and len(unread) == len(read):
        raise unread[0]
    plan = prepared.plan

    def done(ref: JobRef) -> bool:
        return result.cause(ref) is None

    comparison, together = plan.comparison(done), together_job(prepared.spec, plan, done)
    last = [job for job in (comparison, together) if job is not None]
    if last:
        compared = executor.run({plan.add(job): job for job in last}, listener)
        raise_errors(compared)
        result.executed += compared.executed
    audit = assemble(prepared.spec, prepared.population, plan, result, store, out, comparison, together)
    return audit, result.executed
