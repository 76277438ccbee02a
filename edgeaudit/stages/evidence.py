"""Stored responses as evidence for attacks: one format, all its shadows, one target at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.evidence import Evidence, Exposure, Grid, ShadowAnswers, TargetAnswers
from edgeaudit.attacks.exposure import Seen
from edgeaudit.attacks.traces import ShadowTrace, TargetTrace
from edgeaudit.attacks.views import ShadowView, TargetView
from edgeaudit.config.exposures import Level
from edgeaudit.config.views import parse_view
from edgeaudit.errors import AttackError
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Context
from edgeaudit.leakage.outputs import OutputGrid, output_grid, output_step
from edgeaudit.leakage.rows import Accuracy
from edgeaudit.population.base import NULL, Role, is_given
from edgeaudit.population.groups import related
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.traces import TraceJob
from edgeaudit.stages.view import View
from edgeaudit.tasks import AuditedTask, Task

__all__ = ["Answers", "Case", "EvidenceSettings", "accuracy", "own_floor"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
JobT = TypeVar("JobT", bound=AnyJob)


@dataclass(frozen=True)
class EvidenceSettings:
    """Which answers are evidence, and at which exposure.

    seed: of the draw of every model. targets, nulls: role and query of each. shadows: queries; shadow_roles: their
    roles, in the same order. exposure: as in `ShadowAnswers`. common_floor: the probability floor at which formats are
    compared; a format's own figures use its own (`own_floor`).
    views, traces: name -> a query, and the view or trace job of the same artifact.
    """

    population: DrawPopulation
    seed: int
    targets: tuple[tuple[Role, Query], ...]
    nulls: tuple[tuple[Role, Query], ...]
    shadows: tuple[Query, ...]
    shadow_roles: tuple[Role, ...]
    exposure: Exposure
    common_floor: float
    views: tuple[tuple[str, tuple[tuple[Query, View], ...]], ...] = ()
    traces: tuple[tuple[str, tuple[tuple[Query, TraceJob], ...]], ...] = ()

    def with_answers_alone(self) -> EvidenceSettings:
        """The same settings without views and traces."""
        return replace(self, views=(), traces=())


@dataclass(frozen=True)
class Case:
    """One target's evidence.

    reference: on the reference records that the target did not train on (all of them, but for a null target).
    members: bool [audited], which side of the audit a record is on; for a null target, which trained on neither
    side, those of the first target. calibration: ids that a quantiser saw. n_trained: how many records it trained on.
    groups: int64 [audited], groups of related records; None where each has one record.
    """

    role: Role
    audited: Evidence
    reference: Evidence
    members: BoolArray
    calibration: IntArray
    n_trained: int
    groups: IntArray | None = None

    def groups_of(self, mask: BoolArray) -> IntArray | None:
        """The groups of a subset, bool [audited]; None where each has one record of it."""
        return None if self.groups is None else related(self.groups[mask])

    @property
    def one_of_each(self) -> BoolArray:
        """The first record of each group of related records, bool [audited]; all records where none are related."""
        chosen = np.ones(len(self.members), dtype=np.bool_)
        if self.groups is not None:
            chosen[:] = False
            chosen[np.unique(self.groups, return_index=True)[1]] = True
        return chosen

    @property
    def is_null(self) -> bool:
        """Whether the target trained on none of the audited records."""
        return self.role.startswith(NULL)

    def traced(self, trace: str) -> tuple[Case, BoolArray]:
        """The case on the audited records that have this trace, and their mask; all records if `trace` is empty."""
        rows = np.ones(len(self.members), dtype=np.bool_)
        if trace not in self.audited.traces:
            return self, rows
        rows = self.audited.traces[trace].taken
        groups = self.groups_of(rows)
        return replace(self, audited=self.audited.take(rows), members=self.members[rows], groups=groups), rows


_FLOAT_STEP, _HALF_STEP = 2.0**-24, 2.0**-11
"""Steps of float32 and float16 below 1, the finest that such probabilities can differ by there."""


def own_floor(manifest: Manifest, answers: npt.NDArray[np.floating[Any]]) -> float:
    """The probability floor of a file's own figures: half the step of its probabilities at 1, where they end.

    For an integer softmax the scale that the file declares, or else the step of the grid on which its answers lie. A
    file with float probabilities, and one whose softmax is outside, has that of the float type.

    answers: as the file returned them.
    """
    step = _HALF_STEP if manifest.output.dtype == "float16" else _FLOAT_STEP
    if manifest.softmax_inside:
        step = manifest.output.scale or manifest.output.rounded or output_step(answers) or step
    return min(step, 0.5) / 2


class Answers:
    """The answers of one format's models, at the audit's exposure or a weaker level. Shadows' are in memory once."""

    def __init__(self, settings: EvidenceSettings, context: Context, level: Level | None = None) -> None:
        self.settings = settings
        self._context = context
        self._seen = Seen(settings.exposure, level)
        self._population = context.read(settings.population)
        self.audited_task: AuditedTask = self._population.task
        self.queried = self._population.queried
        self.labels = self._population.labels[self.queried]
        self._truth = self._population.truth(self.queried)
        self.n_audited = len(self._population.audited)
        self._records = self._population.take(self.queried).reshape(len(self.queried), -1)
        self._shadows, self._shadow_grids, self._shadows_right = self._read_shadows()
        outside = [~self.trained(role) for role in settings.shadow_roles]
        self._out = np.array(outside, np.bool_).reshape(len(outside), len(self.queried))
        self.task: Task = self.audited_task.for_attacks(self._unseen())
        views = [self._views(ref) for ref in settings.shadows]
        self._shadow_views = [np.stack(view) for view in zip(*views, strict=True)] if views else self._no_views()
        self._parts: list[tuple[slice, ShadowAnswers]]
        self.floor: float
        self.read_at(self._own_floor())

    def _own_floor(self) -> float:
        """The format's own probability floor, of the first target; logits need none but a positive number.

        Neither does a task without classes, whose answers are no probabilities.
        """
        if self._seen.read_as == "logits" or not self.audited_task.has_classes:
            return float(np.finfo(np.float64).tiny)
        _, query = self.settings.targets[0]
        raw = np.asarray(self._context.read(query).responses)
        return own_floor(self._artifact(query).manifest, raw)

    def at_common_floor(self) -> Answers:
        """The same answers, read with the floor at which formats are compared; these where that is their own."""
        if self.floor == self.settings.common_floor or not self.audited_task.has_classes:
            return self
        other = copy(self)
        other.read_at(self.settings.common_floor)
        return other

    def read_at(self, floor: float) -> None:
        """Read all answers with this probability floor; cases that were made before keep theirs."""
        self.floor = floor
        self._parts = []

    def _read_shadows(self) -> tuple[FloatArray, list[OutputGrid], BoolArray]:
        """[K, queried, numbers], each shadow's grid, and without classes where each is right, [K, queried]."""
        refs, n = self.settings.shadows, len(self.queried)
        if not refs:
            _, query = self.settings.targets[0]
            return np.empty((0, *self._responses(query)[0].shape)), [], np.empty((0, n), np.bool_)
        first, grid = self._responses(refs[0])
        # Filled in place: stacking a list would hold the largest array of an audit twice.
        shadows, grids = np.empty((len(refs), *first.shape)), [grid]
        shadows[0] = first
        for k, ref in enumerate(refs[1:], 1):
            shadows[k], grid = self._responses(ref)
            grids.append(grid)
        right = [] if self.audited_task.has_classes else [self._right(ref) for ref in refs]
        return shadows, grids, np.array(right, np.bool_).reshape(len(right), n)

    def _unseen(self) -> FloatArray:
        """What the shadows answer on records that they did not train on, or without shadows the first target: [n].

        A target's part in it only sets the unit in which its own answers are read.
        """
        if self.audited_task.has_classes:
            return np.empty(0)
        if len(self._shadows):
            return np.asarray(self._shadows[..., 0][self._out], np.float64)
        role, query = self.settings.targets[0]
        return np.asarray(self._responses(query)[0][~self.trained(role), 0], np.float64)

    def _right(self, query: Query) -> BoolArray:
        """Where a model's answers count as right, bool [queried]; see `AuditedTask.right`."""
        raw = np.asarray(self._context.read(query).responses)
        return self.audited_task.right(raw, self._truth, self._population.truth_scale, self._native(query))

    @property
    def records(self) -> IntArray:
        """Ids of the audited records, in the order of every score."""
        return self.queried[: self.n_audited]

    def targets(self) -> Iterator[Case]:
        """The evidence on each target, the first one first."""
        return (self.case(role, query) for role, query in self.settings.targets)

    def nulls(self) -> Iterator[Case]:
        """The evidence on each null target."""
        return (self.case(role, query) for role, query in self.settings.nulls)

    def case(self, role: Role, query: Query) -> Case:
        """The evidence on one target, from its query job."""
        (answers, target_grid), trained = self._responses(query), self.trained(role)
        manifest = self._artifact(query).manifest
        grid = self._grid(query, target_grid, answers.shape[1])
        views = tuple(TargetView(name, a) for name, a in zip(self._view_names, self._views(query), strict=True))
        whole = TargetAnswers(
            answers,
            None if grid is None else grid.of_target,
            views,
            {name: TargetTrace(*self._trace(_of(query, pairs))) for name, pairs in self.settings.traces},
        )
        shadow_grid = None if grid is None else grid.of_shadows
        outside = np.flatnonzero(~trained[self.n_audited :]) + self.n_audited
        everything = len(outside) == len(self.queried) - self.n_audited
        # A slice is a view; only a null target, which trained on some of them, needs a copy of the shadows' answers.
        where = slice(self.n_audited, None) if everything else outside
        sides = self.trained("target") if role.startswith(NULL) else trained
        return Case(
            role,
            self._evidence(whole, shadow_grid, slice(0, self.n_audited)),
            self._evidence(whole, shadow_grid, where),
            sides[: self.n_audited],
            np.array(manifest.calibration_ids, np.int64),
            int(trained.sum()),
            self.groups,
        )

    def case_of_canaries(self, role: Role, query: Query, asked: Callable[[Query], npt.NDArray[np.float32]]) -> Case:
        """The evidence on the canaries of one target; members are those that it trained on.

        asked: returns the answers to canaries, float32 [canaries, outputs], of the artifact of a query.
        """
        plain, population, seed = self.case(role, query), self._population, self.settings.seed
        ids = population.canaries
        raw = np.asarray(asked(query))
        grid = self._grid(query, self._responses(query)[1], raw.shape[1])
        truth = population.truth(ids)
        shadows = [self._exposed(np.asarray(asked(shadow)), shadow, truth) for shadow in self.settings.shadows]
        outside = [~np.isin(ids, population.planted(shadow, seed)) for shadow in self.settings.shadow_roles]
        answers = ShadowAnswers(
            np.array(shadows, np.float64).reshape(len(shadows), len(ids), plain.audited.target.shape[1]),
            np.array(outside, np.bool_).reshape(len(outside), len(ids)),
            population.labels[ids],
            self._seen.read_as,
            self._seen.floor(self.floor),
            population.take(ids).reshape(len(ids), -1),
            None if grid is None else grid.of_shadows,
            task=self.task,
        )
        target = TargetAnswers(self._exposed(raw, query, truth), None if grid is None else grid.of_target)
        planted = np.isin(ids, population.planted(role, seed))
        return replace(plain, audited=Evidence.of(target, answers), members=planted, groups=None)

    def _grid(self, query: Query, of_target: OutputGrid, outputs: int) -> Grid | None:
        """The grids of the target and of the shadows; None where the target's answers are continuous.

        Losses of tasks without classes lie on no grid.
        """
        if not self.audited_task.has_classes:
            return None
        joined = Grid.joined(self._native(query), [of_target, *self._shadow_grids])
        return self._seen.grid(joined, 1 + len(self._shadow_grids), outputs)

    @property
    def groups(self) -> IntArray | None:
        """Groups of related audited records, int64 [audited]; None where each has one record."""
        return self._population.audited_groups

    @cached_property
    def groups_queried(self) -> IntArray | None:
        """Groups of related records, int64 [queried]; None where each has one record."""
        return related(self._population.groups[self.queried])

    @property
    def slices(self) -> dict[str, npt.NDArray[np.str_]]:
        """The user's columns, name -> texts [audited]."""
        return {name: values[self.records] for name, values in self._population.slices.items()}

    def trained(self, role: Role) -> BoolArray:
        """Bool [queried]: the records that a model trained on."""
        return np.isin(self.queried, self._population.training_ids(role, self.settings.seed))

    def correct(self) -> tuple[BoolArray, BoolArray]:
        """Where the first target [queried] and the shadows [K, queried] predict the label."""
        _, query = self.settings.targets[0]
        if not self.audited_task.has_classes:
            return self._right(query), self._shadows_right
        answers, _ = self._responses(query)
        return self.task.correct(answers, self.labels), self.task.correct(self._shadows, self.labels)

    def alike(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a given shadow and another model that answer every record alike; 0 is the first target.

        Each such shadow is in one pair, with the first model that answers so.
        """
        given = [False, *map(is_given, self.settings.shadow_roles)]
        if not any(given):
            return ()
        found: list[tuple[int, int]] = []
        first: dict[bytes, int] = {}
        models = (self._responses(self.settings.targets[0][1])[0], *self._shadows)
        for number, answers in enumerate(models):
            before = first.setdefault(hashlib.sha256(np.ascontiguousarray(answers).data).digest(), number)
            if before < number and (given[before] or given[number]):
                found.append((before, number))
        return tuple(found)

    @property
    def at_chance(self) -> bool:
        """Whether the first target's answers are no better than chance."""
        return self._context.read(self.settings.targets[0][1]).at_chance

    def outputs_and_truth(self, role: Role) -> tuple[FloatArray, FloatArray]:
        """A target's outputs as its file returned them, and the truth, on audited records: two of float64 [n, values].

        For tasks without classes, whose evidence has losses alone.
        """
        query = dict(self.settings.targets)[role]
        raw = np.asarray(self._context.read(query).responses, np.float64)[: self.n_audited]
        truth = np.asarray(self._truth, np.float64)[: self.n_audited]
        return raw.reshape(len(raw), -1), truth.reshape(len(truth), -1)

    def margins(self, floor: float) -> tuple[FloatArray, FloatArray]:
        """Margins of the first target [queried] and of the shadows [K, queried], float64.

        floor: probabilities are clipped to [floor, 1 - floor], and margins of logits accordingly.
        """
        answers, _ = self._responses(self.settings.targets[0][1])
        most = np.log1p(-floor) - np.log(floor)
        margins = np.empty((1 + len(self._shadows), len(self.queried)))
        for row, of_model in zip(margins, (answers, *self._shadows), strict=True):
            row[:] = self.task.margin(of_model, self.labels, self._seen.read_as, floor).clip(-most, most)
        return margins[0], margins[1:]

    @property
    def out(self) -> BoolArray:
        """Bool [K, queried]: True where a shadow did not train on the record."""
        return self._out

    def _evidence(self, whole: TargetAnswers, grid: Grid | None, where: slice | IntArray) -> Evidence:
        return Evidence.of(whole.take(where), self._shadow_answers(grid, where))

    def _shadow_answers(self, grid: Grid | None, where: slice | IntArray) -> ShadowAnswers:
        """The same object for the same slice, so that targets can share what is fitted to it."""
        if isinstance(where, slice):
            for place, part in self._parts:
                same_grid = part.grid is grid or (grid is not None and grid.same_as(part.grid))
                if place == where and same_grid:
                    return part
        part = ShadowAnswers(
            self._shadows[:, where],
            self._out[:, where],
            self.labels[where],
            self._seen.read_as,
            self._seen.floor(self.floor),
            self._records[where],
            grid,
            tuple(ShadowView(n, a[:, where]) for n, a in zip(self._view_names, self._shadow_views, strict=True)),
            {name: trace.take(where) for name, trace in self._shadow_traces.items()},
            self.task,
        )
        if isinstance(where, slice):
            self._parts.append((where, part))
        return part

    def _artifact(self, query: Query) -> Artifact:
        """The artifact of a query."""
        return self._context.read(query.source).artifact

    def _responses(self, query: Query) -> tuple[FloatArray, OutputGrid]:
        """float64 [records, outputs] at the audit's exposure, and the grid of the artifact's own outputs."""
        raw = np.asarray(self._context.read(query).responses)
        return self._exposed(raw, query, self._truth), _grid_of_classes(raw, self._native(query))

    def _views(self, query: Query) -> list[FloatArray]:
        """Answers of the artifact of `query` to each query of each view, float64 [records, outputs]."""
        jobs = [_required(query, pairs) for _, pairs in self.settings.views]
        return [
            self._exposed(np.asarray(responses), query, self._truth)
            for job in jobs
            for responses in self._context.read(job).responses
        ]

    def _no_views(self) -> list[FloatArray]:
        return [self._shadows for _ in self._view_names]

    @property
    def _view_names(self) -> list[str]:
        """The view of each query, in the order of `_views`."""
        return [view for view, _ in self.settings.views for _ in range(parse_view(view).queries)]

    @cached_property
    def _shadow_traces(self) -> dict[str, ShadowTrace]:
        """In memory once, since all targets share them."""
        numbers = {query.key: number for number, query in enumerate(self.settings.shadows)}
        traces = {}
        for name, pairs in self.settings.traces:
            examined = {numbers[query.key]: self._trace(job)[0] for query, job in pairs if query.key in numbers}
            width = next((values.shape[1] for values in examined.values()), 1)
            traces[name] = ShadowTrace((len(self.queried), width), examined)
        return traces

    def _trace(self, job: TraceJob | None) -> tuple[FloatArray, FloatArray]:
        """Values [queried, d] and their queries [queried] from a job; NaN and 0 for records it did not examine."""
        n = len(self.queried)
        if job is None:
            return np.full((n, 1), np.nan), np.zeros(n)
        result = self._context.read(job)
        values, queries = np.full((n, result.values.shape[1]), np.nan), np.zeros(n)
        values[result.places], queries[result.places] = result.values, result.queries
        return values, queries

    def _native(self, query: Query) -> Exposure:
        """What the artifact of `query` returns."""
        return "probabilities" if self._artifact(query).manifest.softmax_inside else "logits"

    def _exposed(self, stored: npt.NDArray[np.float32], query: Query, truth: npt.NDArray[Any]) -> FloatArray:
        """Stored answers of the artifact of `query`, float64 at the attacker's exposure.

        truth: of the same records (`Population.truth`).
        """
        exposure, native = self.settings.exposure, self._native(query)
        if native == "probabilities" and exposure == "logits":
            name = self._artifact(query).path.name
            raise AttackError(f"{name} returns probabilities; threat.exposure cannot be logits")
        scale = self._population.truth_scale
        return self._seen.of(self.audited_task.read(stored, truth, scale, native, exposure))


def _grid_of_classes(raw: npt.NDArray[np.floating[Any]], native: Exposure) -> OutputGrid:
    """The grid of an output. Of one logit it has no ends: the 0 of the other class would count as one, where it is."""
    grid = output_grid(raw)
    if raw.shape[1] > 1 or native == "probabilities" or grid.step == 0:
        return grid
    return OutputGrid(grid.step)


def _of(query: Query, pairs: Sequence[tuple[Query, JobT]]) -> JobT | None:
    """The job of a query, if any."""
    return next((job for candidate, job in pairs if candidate.key == query.key), None)


def _required(query: Query, pairs: Sequence[tuple[Query, JobT]]) -> JobT:
    if (job := _of(query, pairs)) is None:
        raise AttackError(f"{query.label} was not queried with views")
    return job


def accuracy(answers: Answers) -> Accuracy:
    """First target: on its training records, and on other audited records. Shadows: the same, averaged."""
    trained = answers.trained(answers.settings.targets[0][0])
    audited = np.arange(len(trained)) < answers.n_audited
    correct, shadow_correct = answers.correct()
    train, test = float(correct[trained].mean()), float(correct[audited & ~trained].mean())
    if not len(shadow_correct):
        return Accuracy(train, test)
    out = answers.out
    return Accuracy(
        train,
        test,
        shadow_train=float(np.mean([row[~mask].mean() for row, mask in zip(shadow_correct, out, strict=True)])),
        shadow_test=float(shadow_correct[:, audited][out[:, audited]].mean()),
    )
