"""The plan: the graph of jobs, built from audit.yaml before anything runs. Wiring only; stages own their keys."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeaudit.attacks.hop_skip_jump import least_queries
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.exposures import require_levels_fit
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.model import ModelSpec
from edgeaudit.config.views import require_views_fit
from edgeaudit.endpoint import LOCAL
from edgeaudit.errors import ArtifactError, SpecError, SplitError
from edgeaudit.exporters.registry import find_pass
from edgeaudit.filetypes.artifact import file_sha256
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.formats.presets import FORMATS, REFERENCES, Format, PassUse
from edgeaudit.formats.resolve import find_format
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Ref
from edgeaudit.host.fingerprint import local_fingerprint
from edgeaudit.leakage.rows import Place
from edgeaudit.pipeline.device_plan import DevicePlan
from edgeaudit.pipeline.measurement import AttackChoice
from edgeaudit.population.base import HALF, NULL, SHADOW, TARGET, Population, Role, numbered
from edgeaudit.recipes.base import Recipe, Training
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest, checkpoint_options
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.boundary import BoundaryDistance
from edgeaudit.stages.compress import Calibration, Compress
from edgeaudit.stages.control import Control
from edgeaudit.stages.device_query import DeviceQuery, StandIn
from edgeaudit.stages.equivalence import Equivalence, ShadowProbe
from edgeaudit.stages.evidence import EvidenceSettings
from edgeaudit.stages.inspect import Inspect
from edgeaudit.stages.latency import Latency
from edgeaudit.stages.measure import Measure, MeasureSettings
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.traces import TraceJob
from edgeaudit.stages.train import SourceFile, Train
from edgeaudit.stages.trajectory import Trajectory, records_to_distil
from edgeaudit.stages.view import View
from edgeaudit.stages.weaken import Weaken

__all__ = ["FLOOR", "TRACED", "FormatPlan", "Plan", "make_plan", "recipe_of"]

TRACED = {"boundary": "label-only", "trajectory": "loss-trajectory"}
"""Stage with additional queries or training -> the attack that needs it, if `attacks` names it."""

FLOOR = 1 / 512
"""Probability floor of every format that is compared: half the step of an int8 softmax output, 1/256."""

_LEAST_DISTILLED = 20
_BATCHES = (1, 32)


@dataclass(frozen=True)
class FormatPlan:
    """One format's jobs on one device: the first target's artifact and query, the shadows' queries, measurements.

    device: its name in audit.yaml. measures: by shadow match.
    inspect, latency: of the first target's artifact; latency is None if nothing is timed.
    exposures: the first measurement at each weaker level, by name of the level.
    equivalence: the comparison with this machine that decides where shadows are queried.
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
    equivalence: Equivalence | None = None

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


def recipe_of(model: ModelSpec, population: Population) -> Recipe:
    """The recipe that audit.yaml describes, for this population's records."""
    settings = {name: getattr(model, name) for name in Training.__dataclass_fields__}
    options = {**model.options, **checkpoint_options(model.recipe, model.checkpoint)}
    return Recipe(
        model.recipe, population.input_shape, population.n_classes, options, Training(**settings), model.train
    )


def make_plan(spec: AuditSpec, population: Population, drawn: DrawPopulation, attacks: AttackChoice) -> Plan:
    """Every job of the audit except those planned after failures are known (`edgeaudit.pipeline.last_jobs`).

    Raises `SplitError` if the reference pool is too small for the shadows, `SpecError` for an unknown format.
    """
    return _Planner(spec, population, drawn, attacks).plan()


class _Planner:
    def __init__(self, spec: AuditSpec, population: Population, drawn: DrawPopulation, attacks: AttackChoice) -> None:
        self.spec, self.population, self.drawn, self.attacks = spec, population, drawn, attacks
        self.recipe = recipe_of(spec.model, population)
        self.framework = framework_of(self.recipe.name)
        kind = HALF if spec.threat.mode == "auditor" else SHADOW
        self.shadows = [f"{kind}-{k}" for k in range(spec.threat.shadows)]
        self.targets = numbered(TARGET, spec.targets)
        self.nulls = numbered(NULL, spec.null_targets)
        self.result = Plan()
        self.machine = local_fingerprint()
        self.devices = {
            name: DevicePlan.of(name, device, drawn) for name, device in spec.devices.items() if not device.is_local
        }
        calibration = spec.data.calibration
        policies = {"disjoint", *(use.calibration or calibration.policy for use in spec.formats)}
        # Calibration records that every trained model answers, for its artifacts to be compared with.
        self.check: dict[str, int] = dict.fromkeys(sorted(policies), calibration.records)
        # Formats share job objects, so that each key is computed once.
        self._jobs: dict[tuple[Any, ...], Any] = {}
        self._require_pool()
        require_views_fit(spec.threat.views, population.input_shape)
        require_levels_fit(spec.threat.weaker, population.n_classes)

    def _require_pool(self) -> None:
        # Drawing the ids of one shadow and of the targets raises an error that names the missing records.
        if not self.spec.recipe_known:
            return
        for role in (*self.targets, *self.nulls, self.shadows[0]):
            for policy, count in self.check.items():
                self.population.calibration_ids(role, self.spec.seed, policy, count)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """The job under `key`, created on first use and added to the plan."""
        if key not in self._jobs:
            job = make()
            self.result.add(job)
            self._jobs[key] = self.result.jobs[job.ref]
        return self._jobs[key]

    def plan(self) -> Plan:
        if self.spec.controls.shift and self.spec.target is None:
            self._control()
        formats = {u.id: find_format(u, self.framework.kind, self.spec.artifact_of(u)) for u in self.spec.formats}
        served: dict[tuple[str, str, str], Query] = {}
        for role in (*self.targets, *self.nulls, *self.shadows):
            for use, device in self.spec.places:
                served[role, use.id, device] = self._serve(role, use, formats[use.id], device)
        for use, device in self.spec.places:
            queries = {role: served[role, use.id, device] for role in (*self.targets, *self.nulls, *self.shadows)}
            self.result.formats.append(self._place(use, formats[use.id], device, queries))
        if self.spec.controls.shift and self.spec.target is not None:
            self._control()  # an unreadable file fails before records are compared
        self._require_budgets()
        return self.result

    def _place(self, use: FormatUse, resolved: Format, device: str, queries: Mapping[Role, Query]) -> FormatPlan:
        """A format's jobs on one device, from the query of every model."""
        matched = tuple(queries[role] for role in self.shadows)
        target_queries = {role: queries[role] for role in (*self.targets, *self.nulls)}
        measures: dict[str, Measure] = {
            match: self._measure(
                use, device, target_queries, matched if match == "matched" else self._reference_shadows(), match
            )
            for match in self.spec.threat.shadow_match
        }
        # Other shadow matches are an ablation; weaker exposures use the audit's own shadows.
        first = next(iter(measures.values()))
        exposures = {level: self._weaken(first, level) for level in self.spec.threat.weaker}
        first_query = queries[TARGET]
        inspect = self._inspect(use, resolved, first_query.source)
        return FormatPlan(
            use,
            resolved,
            device,
            first_query.source,
            first_query,
            matched,
            measures,
            inspect,
            self._latency(resolved, device, first_query),
            exposures,
            self._jobs.get(("equivalence", use.id, device)),
        )

    def _reference_shadows(self) -> tuple[Query, ...]:
        """Queries of the shadows' trained models, on this machine."""
        reference = FormatUse(format=REFERENCES[self.framework.kind])
        return tuple(self._serve(role, reference, FORMATS[reference.id], LOCAL) for role in self.shadows)

    def _require_budgets(self) -> None:
        """Reject a query budget that the targets alone exceed, before anything is trained."""
        check = max(self.check.values(), default=0)
        for name, planned in self.devices.items():
            queried = [use for use, device in self.spec.places if device == name]
            least = len(queried) * len(self.targets) * (len(self.population.queried) + check)
            most = planned.spec.max_queries
            if most is not None and least > most:
                raise SpecError(
                    f"devices.{name}.max_queries: the targets alone need {least:,} queries there, but only {most:,} "
                    "are allowed; audit fewer records or formats there"
                )

    def _control(self) -> None:
        self.result.control = self._once(("control",), lambda: Control(population=self.drawn, seed=self.spec.seed))

    def _serve(self, role: str, use: FormatUse, resolved: Format, device: str) -> Query:
        """Train, compress, query. A foreign file is adopted and queried.

        On a device other than this machine, targets are always queried there; other models only if this machine's
        answers differ.
        """
        source = self._source(role, use, resolved)
        if device == LOCAL:
            return self._query(role, source, use, resolved)
        place = self.devices[device]
        if role in self.targets or place.spec.shadows == "device":
            return self._device_query(role, source, use, resolved, place, None)
        native = self._query(role, source, use, resolved)
        equivalence = self._equivalence(role, source, native, use, resolved, place)
        stand_in = StandIn(native, equivalence, place.spec.shadows == "native")
        return self._device_query(role, source, use, resolved, place, stand_in)

    def _source(self, role: str, use: FormatUse, resolved: Format) -> ArtifactJob:
        made_elsewhere = self.spec.artifact_of(use) if role == TARGET else None
        if made_elsewhere is not None:
            return self._adopt(made_elsewhere, use, resolved)
        source = self._train(role)
        for step in resolved.passes:
            source = self._compress(role, source, step, use)
        return source

    def _adopt(self, path: Path, use: FormatUse, resolved: Format) -> ArtifactJob:
        target, runtime = self.spec.target, find_runtime(resolved.runtime)
        if target is None:  # `artifact_of` returned its file
            raise SpecError("target.artifact is missing")
        declared = target
        job: Adopt = self._once(
            ("adopt", use.id),
            lambda: Adopt(
                population=self.drawn,
                file=SourceFile(
                    sha256=_digest(path),
                    companions={name: _digest(path.parent / name) for name in _companions(path, runtime)},
                    path=path,
                ),
                runtime=resolved.runtime,
                options=runtime.spec.options(resolved.runtime_options),
                batch_given="batch" in resolved.runtime_options,
                softmax=declared.softmax,
                outputs=declared.outputs,
                accuracy=declared.accuracy,
                versions=runtime.spec.versions(),
                machine=self.machine,
            ),
        )
        return job

    def _train(self, role: str) -> ArtifactJob:
        checkpoint = self.spec.model.checkpoint if role == TARGET else None
        job: Train = self._once(
            ("train", role),
            lambda: Train(
                population=self.drawn,
                role=role,
                seed=self.spec.seed,
                recipe=self.recipe,
                check=self.check,
                checkpoint=None if checkpoint is None else SourceFile(checkpoint_digest(checkpoint), {}, checkpoint),
            ),
        )
        return job

    def _compress(self, role: str, source: ArtifactJob, use: PassUse, format_use: FormatUse) -> ArtifactJob:
        step = find_pass(use.name)
        params = step.parameters(use.params)
        default = self.spec.data.calibration
        calibration = None
        if step.calibrates(params):
            calibration = Calibration(format_use.calibration or default.policy, default.records)
        job: Compress = self._once(
            ("compress", source.ref, use.name, _frozen(params), calibration),
            lambda: Compress(
                population=self.drawn,
                source=source,
                role=role,
                seed=self.spec.seed,
                step=use.name,
                params=params,
                calibration=calibration,
                check=self.check,
                versions=step.spec.versions(),
            ),
        )
        return job

    def _query(self, role: str, source: ArtifactJob, use: FormatUse, resolved: Format) -> Query:
        runtime = find_runtime(resolved.runtime).spec
        foreign = isinstance(source, Adopt)
        job: Query = self._once(
            ("query", source.ref, use.id),
            lambda: Query(
                population=self.drawn,
                source=source,
                role=role,
                runtime=resolved.runtime,
                options=runtime.options(resolved.runtime_options),
                # None: the trained model of a foreign file is unknown.
                tolerance=None if foreign else resolved.tolerance,
                range_tolerance=None if foreign else resolved.range_tolerance,
                versions=runtime.versions(),
                machine=self.machine,
                format=use.id,
            ),
        )
        return job

    def _device_query(
        self,
        role: str,
        source: ArtifactJob,
        use: FormatUse,
        resolved: Format,
        place: DevicePlan,
        stand_in: StandIn | None,
    ) -> Query:
        """Query on a device. stand_in: a possible substitute, and the comparison that decides."""
        checked = None
        if stand_in is None and role in self.targets and not isinstance(source, Adopt):
            checked = self._query(role, source, use, resolved)
        job: DeviceQuery = self._once(
            ("device query", source.ref, use.id, place.name),
            lambda: place.query(self.drawn, source, role, use, resolved, stand_in, checked),
        )
        return job

    def _equivalence(
        self, role: str, source: ArtifactJob, native: Query, use: FormatUse, resolved: Format, place: DevicePlan
    ) -> Equivalence:
        """Compare this machine with a device, on the first target and the first other model."""
        forced = place.spec.shadows == "native"

        def make() -> Equivalence:
            device_query = self._serve(TARGET, use, resolved, place.name)
            shadow = None
            if not (place.spec.is_server or forced):
                there = place.query(self.drawn, source, role, use, resolved, None, None)
                shadow = ShadowProbe(native, there, place.spec.probe_records)
            return Equivalence(
                population=self.drawn,
                native=self._query(TARGET, device_query.source, use, resolved),
                device_query=device_query,
                shadow=shadow,
                required=place.spec.is_server and not forced,
                format=use.id,
                device=place.name,
            )

        job: Equivalence = self._once(("equivalence", use.id, place.name), make)
        return job

    def _inspect(self, use: FormatUse, resolved: Format, source: ArtifactJob) -> Inspect:
        job: Inspect = self._once(
            ("inspect", source.ref),
            lambda: Inspect(
                source=source,
                filetype=find_runtime(resolved.runtime).spec.serves,
                compressor=zlib.ZLIB_RUNTIME_VERSION,
                format=use.id,
            ),
        )
        return job

    def _latency(self, resolved: Format, device: str, query: Query) -> Latency | None:
        """Time the first target's artifact, if audit.yaml requests it."""
        place = None if device == LOCAL else self.devices[device]
        timed = find_runtime(resolved.runtime).spec.timed_here if place is None else place.timed
        if not self.spec.quality.latency or not timed:
            return None
        job: Latency = self._once(
            ("latency", query.ref),
            lambda: Latency(
                population=self.drawn,
                query=query,
                machine=self.machine if place is None else {"device": device},
                batches=_BATCHES,
                fixed_batch=resolved.batch,
                repetitions=self.spec.quality.repetitions,
                alone=place is None,
                device="" if place is None else device,
            ),
        )
        return job

    def _view(self, query: Query, view: str) -> View:
        job: View = self._once(
            ("view", query.ref, view),
            lambda: View(population=self.drawn, query=query, view=view, seed=self.spec.seed),
        )
        return job

    def _traces(
        self, target_queries: Mapping[Role, Query], shadows: tuple[Query, ...]
    ) -> tuple[tuple[str, tuple[tuple[Query, TraceJob], ...]], ...]:
        """Name -> pairs of a query and the trace of the same artifact, for attacks that audit.yaml names."""
        if self.spec.threat.mode == "auditor" or not self.shadows:
            return ()
        makers: dict[str, tuple[int, Callable[[Role, Query], TraceJob]]] = {
            "boundary": (self.spec.label_only.shadows, self._boundary),
            "trajectory": (self.spec.loss_trajectory.shadows, self._trajectory),
        }
        shadow_pairs = list(zip(self.shadows, shadows, strict=True))
        return tuple(
            (
                name,
                tuple((query, make(role, query)) for role, query in (*target_queries.items(), *shadow_pairs[:count])),
            )
            for name, (count, make) in makers.items()
            if TRACED[name] in self.spec.attacks
        )

    def _boundary(self, role: str, query: Query) -> TraceJob:
        settings, values = self.spec.label_only, math.prod(self.population.input_shape)
        if settings.queries < least_queries(values):
            raise SpecError(
                f"label-only.queries: {settings.queries} are too few for records of {values} values; the search needs "
                f"{least_queries(values)} or more"
            )
        job: BoundaryDistance = self._once(
            ("boundary", query.ref),
            lambda: BoundaryDistance(
                population=self.drawn,
                query=query,
                role=role,
                records=settings.records,
                budget=settings.queries,
                seed=self.spec.seed,
            ),
        )
        return job

    def _trajectory(self, role: Role, query: Query) -> TraceJob:
        settings, split = self.spec.loss_trajectory, self.population.split
        n, pool = len(split.members), len(split.reference)
        records = records_to_distil(pool, n, settings.records)
        if records < _LEAST_DISTILLED:
            raise SplitError(
                f"data.reference: the attack 'loss-trajectory' distils students on reference records that shadows did "
                f"not train on; shadows train on {n} of {pool}, which leaves {records} for a student, and "
                f"{_LEAST_DISTILLED} are needed. Add reference records or remove the attack"
            )
        # Each scored record costs one forward pass per epoch, about a third of a training step.
        passes = records + min(len(split.members) + len(split.nonmembers), pool) / 3
        job: Trajectory = self._once(
            ("trajectory", query.ref),
            lambda: Trajectory(
                population=self.drawn,
                query=query,
                role=role,
                recipe=self.recipe,
                epochs=settings.epochs,
                records=records,
                seed=self.spec.seed,
                trainings=settings.epochs * passes / (self.recipe.training.epochs * n),
            ),
        )
        return job

    def _measure(
        self, use: FormatUse, device: str, target_queries: Mapping[Role, Query], shadows: tuple[Query, ...], match: str
    ) -> Measure:
        queries = tuple(dict.fromkeys((*target_queries.values(), *shadows)))
        threat = self.spec.threat
        views = tuple((view, tuple((query, self._view(query, view)) for query in queries)) for view in threat.views)
        traces = self._traces(target_queries, shadows)
        job: Measure = self._once(
            ("measure", use.id, device, match),
            lambda: Measure(
                settings=MeasureSettings(
                    evidence=EvidenceSettings(
                        population=self.drawn,
                        seed=self.spec.seed,
                        targets=tuple((role, target_queries[role]) for role in self.targets),
                        nulls=tuple((role, target_queries[role]) for role in self.nulls),
                        shadows=shadows,
                        shadow_roles=tuple(self.shadows),
                        exposure=threat.exposure,
                        floor=FLOOR,
                        views=views,
                        traces=traces,
                    ),
                    place=Place(use.id, device, match),
                    mode=threat.mode,
                    members_drawn=isinstance(self.spec.data.members, int),
                    attacks=self.attacks.names,
                    cm_mia=self.attacks.cm_mia,
                    settings=self.attacks.settings,
                ),
                local=device == LOCAL,
            ),
        )
        return job

    def _weaken(self, measure: Measure, level: str) -> Weaken:
        job: Weaken = self._once(("weaken", measure.ref, level), lambda: Weaken(measure=measure, level=level))
        return job


def _frozen(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))


def _companions(path: Path, runtime: type[Runtime]) -> tuple[str, ...]:
    try:
        return find_filetype(runtime.spec.serves).companions(path)
    except ArtifactError as exc:
        raise SpecError(f"target.artifact: {exc}") from exc


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as exc:
        raise SpecError(f"target.artifact: {path} cannot be read: {exc.strerror}") from exc
