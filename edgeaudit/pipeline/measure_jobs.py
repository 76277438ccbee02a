"""Jobs that turn answers into leakage: measurements, and the views, traces and weaker exposures that they read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from edgeaudit.attacks.hop_skip_jump import least_queries
from edgeaudit.endpoint import LOCAL
from edgeaudit.errors import SpecError, SplitError
from edgeaudit.leakage.rows import Place
from edgeaudit.pipeline.inputs import PlanInputs
from edgeaudit.pipeline.once import Once
from edgeaudit.population.base import Role
from edgeaudit.stages.boundary import BoundaryDistance
from edgeaudit.stages.canaries import MeasureCanaries
from edgeaudit.stages.canary_query import CanaryQuery
from edgeaudit.stages.evidence import EvidenceSettings
from edgeaudit.stages.measure import Measure, MeasureSettings
from edgeaudit.stages.query import Query
from edgeaudit.stages.traces import TraceJob
from edgeaudit.stages.trajectory import Trajectory, records_to_distil
from edgeaudit.stages.view import View
from edgeaudit.stages.weaken import Weaken

__all__ = ["FLOOR", "TRACED", "MeasureJobs"]

TRACED = {"boundary": "label-only", "trajectory": "loss-trajectory"}
"""Stage with additional queries or training -> the attack that needs it, if `attacks` names it."""

FLOOR = 1 / 512
"""Probability floor at which formats are compared: half the step of an int8 softmax output, 1/256."""

_LEAST_DISTILLED = 20


class MeasureJobs:
    """Plans the measurement of any format on any device, from the queries of its models."""

    def __init__(self, inputs: PlanInputs, once: Once) -> None:
        self._inputs, self._once = inputs, once

    def measure(self, place: Place, target_queries: Mapping[Role, Query], shadows: tuple[Query, ...]) -> Measure:
        """Run the audit's attacks on the answers of targets and null targets, against these shadows.

        Raises:
            SpecError: too few queries for the search of `label-only`. SplitError: too small a reference pool for the
                students of `loss-trajectory`.
        """
        inputs, spec = self._inputs, self._inputs.spec
        queries = tuple(dict.fromkeys((*target_queries.values(), *shadows)))
        views = tuple(
            (view, tuple((query, self._view(query, view)) for query in queries)) for view in spec.threat.views
        )
        traces = self._traces(target_queries, shadows)
        return self._once(
            Measure,
            place,
            lambda: Measure(
                settings=MeasureSettings(
                    evidence=EvidenceSettings(
                        population=inputs.drawn,
                        seed=spec.seed,
                        targets=tuple((role, target_queries[role]) for role in inputs.targets),
                        nulls=tuple((role, target_queries[role]) for role in inputs.nulls),
                        shadows=shadows,
                        shadow_roles=inputs.shadows,
                        exposure=spec.threat.exposure,
                        common_floor=FLOOR,
                        views=views,
                        traces=traces,
                    ),
                    place=place,
                    mode=spec.threat.mode,
                    members_drawn=isinstance(spec.data.members, int),
                    attacks=inputs.attacks.names,
                    cm_mia=inputs.attacks.cm_mia,
                    settings=inputs.attacks.settings,
                ),
                local=place.device == LOCAL,
            ),
        )

    def canaries(self, measure: Measure) -> MeasureCanaries | None:
        """Run the attacks of a measurement on canaries, if audit.yaml plants any."""
        planted, evidence = self._inputs.spec.canaries, measure.settings.evidence
        if planted is None:
            return None
        queries = dict.fromkeys((evidence.targets[0][1], *evidence.shadows))
        return self._once(
            MeasureCanaries,
            measure.ref,
            lambda: MeasureCanaries(
                measure=measure,
                asked=tuple((query, self._canary_query(query)) for query in queries),
                planted=planted,
            ),
        )

    def _canary_query(self, query: Query) -> CanaryQuery:
        return self._once(CanaryQuery, query.ref, lambda: CanaryQuery(population=self._inputs.drawn, query=query))

    def weaken(self, measure: Measure, level: str) -> Weaken:
        """Run the attacks of a measurement at a weaker exposure."""
        return self._once(Weaken, (measure.ref, level), lambda: Weaken(measure=measure, level=level))

    def _view(self, query: Query, view: str) -> View:
        drawn, seed = self._inputs.drawn, self._inputs.spec.seed
        return self._once(View, (query.ref, view), lambda: View(population=drawn, query=query, view=view, seed=seed))

    def _traces(
        self, target_queries: Mapping[Role, Query], shadows: tuple[Query, ...]
    ) -> tuple[tuple[str, tuple[tuple[Query, TraceJob], ...]], ...]:
        """Name -> pairs of a query and the trace of the same artifact, for attacks that audit.yaml names."""
        # Given shadows come without the records on which a trace is fitted: those that it trained on, of the pool.
        spec, roles = self._inputs.spec, self._inputs.trained_shadows
        if spec.threat.mode == "auditor" or not roles:
            return ()
        makers: dict[str, tuple[int, Callable[[Role, Query], TraceJob]]] = {
            "boundary": (spec.label_only.shadows, self._boundary),
            "trajectory": (spec.loss_trajectory.shadows, self._trajectory),
        }
        shadow_pairs = list(zip(roles, shadows, strict=False))
        return tuple(
            (
                name,
                tuple((query, make(role, query)) for role, query in (*target_queries.items(), *shadow_pairs[:count])),
            )
            for name, (count, make) in makers.items()
            if TRACED[name] in spec.attacks
        )

    def _boundary(self, role: Role, query: Query) -> BoundaryDistance:
        inputs, settings = self._inputs, self._inputs.spec.label_only
        values = math.prod(inputs.population.input_shape)
        if settings.queries < least_queries(values):
            raise SpecError(
                f"label-only.queries: {settings.queries} are too few for records of {values} values; the search needs "
                f"{least_queries(values)} or more"
            )
        return self._once(
            BoundaryDistance,
            query.ref,
            lambda: BoundaryDistance(
                population=inputs.drawn,
                query=query,
                role=role,
                records=settings.records,
                budget=settings.queries,
                seed=inputs.spec.seed,
            ),
        )

    def _trajectory(self, role: Role, query: Query) -> Trajectory:
        inputs, settings, split = self._inputs, self._inputs.spec.loss_trajectory, self._inputs.population.split
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
        return self._once(
            Trajectory,
            query.ref,
            lambda: Trajectory(
                population=inputs.drawn,
                query=query,
                role=role,
                recipe=inputs.recipe,
                epochs=settings.epochs,
                records=records,
                seed=inputs.spec.seed,
                trainings=settings.epochs * passes / (inputs.recipe.training.epochs * n),
            ),
        )
