"""The plan: the graph of jobs, built from audit.yaml before anything runs. Wiring only; stages own their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.exposures import require_levels_fit
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.views import require_views_fit
from edgeaudit.endpoint import LOCAL
from edgeaudit.errors import SpecError
from edgeaudit.formats.presets import FORMATS, REFERENCES, Format
from edgeaudit.formats.resolve import find_format
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Ref
from edgeaudit.leakage.rows import Place
from edgeaudit.pipeline.files_of_others import FilesOfOthers, NoFiles
from edgeaudit.pipeline.inputs import PlanInputs
from edgeaudit.pipeline.measure_jobs import MeasureJobs
from edgeaudit.pipeline.measurement import AttackChoice
from edgeaudit.pipeline.model_jobs import ModelJobs
from edgeaudit.pipeline.once import Once
from edgeaudit.pipeline.query_jobs import QueryJobs, equivalence_of
from edgeaudit.population.base import TARGET, Population, Role
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.canaries import MeasureCanaries
from edgeaudit.stages.compress import Compress
from edgeaudit.stages.control import Control
from edgeaudit.stages.equivalence import Equivalence
from edgeaudit.stages.file_traits import ReadTraits
from edgeaudit.stages.inspect import Inspect
from edgeaudit.stages.latency import Latency
from edgeaudit.stages.measure import Measure
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.weaken import Weaken

__all__ = ["FormatPlan", "Plan", "make_plan"]


@dataclass(frozen=True)
class FormatPlan:
    """One format's jobs on one device: the first target's artifact and query, the shadows' queries, measurements.

    device: its name in audit.yaml. measures: by shadow match.
    inspect, latency: of the first target's artifact; latency is None if nothing is timed.
    exposures: the first measurement at each weaker level, by name of the level. canaries: its attacks on canaries.
    equivalence: the comparison with this machine that decides where shadows are queried. traits: how a file of another
    maker, and the file of its first shadow, were made; None for files that the audit makes, and without shadows.
    """

    use: FormatUse
    format: Format
    device: str
    artifact: ArtifactJob
    target_query: Query
    shadow_queries: tuple[Query, ...]
    measures: Mapping[str, Measure]
    inspect: Inspect
    latency: Latency | None
    exposures: Mapping[str, Weaken] = field(default_factory=dict)
    canaries: MeasureCanaries | None = None
    equivalence: Equivalence | None = None
    traits: ReadTraits | None = None
    shadow_traits: ReadTraits | None = None

    @property
    def measure(self) -> Measure:
        """Against the audit's own shadows; other shadow matches are an ablation."""
        return next(iter(self.measures.values()))


@dataclass
class Plan:
    """All jobs, in an order in which they can run: the target's first, so that a bad format fails early.

    control: the job that compares members with nonmembers as records, if audit.yaml requests it.
    """

    jobs: dict[Ref, AnyJob] = field(default_factory=dict)
    formats: list[FormatPlan] = field(default_factory=list)
    control: Control | None = None

    def add(self, job: AnyJob) -> None:
        """Add a job, unless one with the same key exists."""
        self.jobs.setdefault(job.ref, job)


def make_plan(
    spec: AuditSpec,
    population: Population,
    drawn: DrawPopulation,
    attacks: AttackChoice,
    files: FilesOfOthers | None = None,
) -> Plan:
    """Every job of the audit except those planned after failures are known (`edgeaudit.pipeline.last_jobs`).

    files: opens files of others; None where the audit has none.

    Raises `SplitError` if the reference pool is too small for the models, `SpecError` for an unknown format and for
    settings that do not fit these records.
    """
    return _Planner(PlanInputs(spec, population, drawn, attacks, files or NoFiles())).plan()


class _Planner:
    def __init__(self, inputs: PlanInputs) -> None:
        self.inputs, self.spec = inputs, inputs.spec
        self.framework = framework_of(inputs.recipe.name)
        self.result = Plan()
        self.once = Once(self.result.jobs)
        self.models = ModelJobs(inputs, self.once)
        self.queries = QueryJobs(inputs, self.models, self.once)
        self.measures = MeasureJobs(inputs, self.once)

    def plan(self) -> Plan:
        self.models.require_given_fit()
        self.models.require_pool()
        require_views_fit(self.spec.threat.views, self.inputs.population.input_shape)
        require_levels_fit(self.spec.threat.weaker, self.inputs.population.n_classes)
        if self.spec.controls.shift and self.spec.target is None:
            self._control()
        formats = {u.id: find_format(u, self.framework.kind, self.spec.artifact_of(u)) for u in self.spec.formats}
        answers: dict[tuple[Role, str, str], Query] = {}
        for role in self.inputs.roles:
            for use, device in self.spec.places:
                answers[role, use.id, device] = self.queries.answers(role, use, formats[use.id], device)
        for use, device in self.spec.places:
            queries = {role: answers[role, use.id, device] for role in self.inputs.roles}
            self.result.formats.append(self._place(use, formats[use.id], device, queries))
        if self.spec.controls.shift and self.spec.target is not None:
            self._control()  # an unreadable file fails before records are compared
        self._require_budgets()
        return self.result

    def _place(self, use: FormatUse, resolved: Format, device: str, queries: Mapping[Role, Query]) -> FormatPlan:
        """A format's jobs on one device, from the query of every model."""
        target_queries = {role: queries[role] for role in (*self.inputs.targets, *self.inputs.nulls)}
        matched = tuple(queries[role] for role in self.inputs.shadows)
        measures: dict[str, Measure] = {}
        for match in self.spec.threat.shadow_match:
            shadows = matched if match == "matched" else self._reference_shadows()
            measures[match] = self.measures.measure(Place(use.id, device, match), target_queries, shadows)
        # Other shadow matches are an ablation; weaker exposures use the audit's own shadows.
        own = next(iter(measures.values()))
        target_query = queries[TARGET]
        foreign = isinstance(target_query.source, Adopt)
        return FormatPlan(
            use=use,
            format=resolved,
            device=device,
            artifact=target_query.source,
            target_query=target_query,
            shadow_queries=matched,
            measures=measures,
            canaries=self.measures.canaries(own),
            exposures={level: self.measures.weaken(own, level) for level in self.spec.threat.weaker},
            inspect=self.queries.inspect(use, resolved, target_query.source),
            latency=self.queries.latency(resolved, device, target_query),
            equivalence=equivalence_of(queries.values()),
            traits=self.queries.traits(use, resolved, target_query.source) if foreign else None,
            shadow_traits=self.queries.traits(use, resolved, matched[0].source) if foreign and matched else None,
        )

    def _reference_shadows(self) -> tuple[Query, ...]:
        """Queries of the shadows' trained models, on this machine."""
        reference = FormatUse(format=REFERENCES[self.framework.kind])
        resolved = FORMATS[reference.id]
        return tuple(self.queries.answers(role, reference, resolved, LOCAL) for role in self.inputs.shadows)

    def _control(self) -> None:
        drawn, seed = self.inputs.drawn, self.spec.seed
        self.result.control = self.once(Control, (), lambda: Control(population=drawn, seed=seed))

    def _checked(self, query: Query) -> int:
        """On how many records a file is compared with its model: those that a quantiser saw."""
        jobs = (query.source, *query.source.upstream())
        seen = any(isinstance(job, Compress) and job.calibration is not None for job in jobs)
        return self.spec.data.calibration.records if seen else self.models.check

    def _require_budgets(self) -> None:
        """Reject a query budget that the targets alone exceed, before anything is trained."""
        audited = len(self.inputs.population.queried)
        for name, planned in self.queries.devices.items():
            checked = [self._checked(one.target_query) for one in self.result.formats if one.device == name]
            least = len(self.inputs.targets) * sum(audited + count for count in checked)
            most = planned.spec.max_queries
            if most is not None and least > most:
                raise SpecError(
                    f"devices.{name}.max_queries: the targets alone need {least:,} queries there, but only {most:,} "
                    "are allowed; audit fewer records or formats there"
                )
