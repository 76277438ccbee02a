"""Answers as attacks receive them: the shadows', the target's, and both. No membership of the target is in any.

`ShadowAnswers` is all that an attack may learn from; the type is what keeps the target out of `Attack.fit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.traces import ShadowTrace, TargetTrace, Trace
from edgeaudit.attacks.views import ShadowView, TargetView, View
from edgeaudit.errors import AttackError
from edgeaudit.leakage.outputs import OutputGrid
from edgeaudit.tasks import CLASSIFICATION, Exposure, Task

__all__ = [
    "BoolArray", "Evidence", "Exposure", "FloatArray", "Grid", "InputArray", "IntArray", "Records", "ShadowAnswers",
    "TargetAnswers",
]  # fmt: skip

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
InputArray = npt.NDArray[np.floating[Any]]
Records = IntArray | BoolArray | slice


@dataclass(frozen=True)
class Grid:
    """The grids on which integer outputs lie: one for each model, since each has its own calibration range.

    of: what was rounded. `logits` also where a softmax outside the artifact made probabilities of them; then
        `probabilities` is the exposure, but not what lies on a grid.
    step: float64 [models], in `Evidence` the target's first and then the shadows'; 0 for a model whose answers are
        continuous (fp32 shadows of an integer target).
    low, high: float64 [models], the smallest and largest value that the output can take, beyond which it clips; -inf
        and inf where that is not known.
    """

    of: Exposure
    step: FloatArray
    low: FloatArray
    high: FloatArray

    def __post_init__(self) -> None:
        shapes = {self.step.shape, self.low.shape, self.high.shape}
        if len(shapes) != 1 or self.step.ndim != 1 or not len(self.step):
            raise AttackError(f"a grid has a step, a low and a high end for each model; it has {sorted(shapes)}")
        if not (np.isfinite(self.step).all() and (self.step >= 0).all()):
            raise AttackError(f"steps are 0 (continuous) or more: {self.step}")
        if not (self.low < self.high).all():
            raise AttackError("the low end of a grid lies below its high end")

    @classmethod
    def joined(cls, of: Exposure, models: Sequence[OutputGrid]) -> Grid | None:
        """The grids of the target and of each shadow, in this order; None where the target's answers are continuous."""
        if not models or models[0].step == 0:
            return None
        step, low, high = np.array([(m.step, m.low, m.high) for m in models], dtype=np.float64).T
        return cls(of, step, low, high)

    @property
    def of_target(self) -> Grid:
        """The first model's."""
        return self._of(slice(0, 1))

    @property
    def of_shadows(self) -> Grid | None:
        """Those of all models but the first; None where there is one model."""
        return self._of(slice(1, None)) if len(self.step) > 1 else None

    def followed_by(self, shadows: Grid | None) -> Grid:
        """These grids and then those of `shadows`. Raises `AttackError` where they are not of the same values."""
        if shadows is None:
            return self
        if self.of != shadows.of:
            raise AttackError(f"the target's {self.of} lie on a grid, of the shadows the {shadows.of}")
        ends = ((self.step, shadows.step), (self.low, shadows.low), (self.high, shadows.high))
        return Grid(self.of, *(np.concatenate(end) for end in ends))

    def keep(self, models: IntArray) -> Grid | None:
        """The grids of these models, by place; None where none of them has one."""
        if not (self.step[models] > 0).any():
            return None
        return self._of(models)

    def same_as(self, other: Grid | None) -> bool:
        """Whether both are grids of the same models."""
        return (
            other is not None
            and self.of == other.of
            and np.array_equal(self.step, other.step)
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    def _of(self, models: IntArray | slice) -> Grid:
        return Grid(self.of, self.step[models], self.low[models], self.high[models])


@dataclass(frozen=True)
class TargetAnswers:
    """One target's answers on the records of a `ShadowAnswers`.

    target: float64 [records, outputs], at the exposure of the shadows' answers.
    grid: of one model; None where the answers are continuous.
    views, traces: the target's part of those in `Evidence`.
    """

    target: FloatArray
    grid: Grid | None = None
    views: tuple[TargetView, ...] = ()
    traces: Mapping[str, TargetTrace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.grid is not None and len(self.grid.step) != 1:
            raise AttackError(f"a target has one grid, not {len(self.grid.step)}")
        for view in self.views:
            view.require_fit(self.target.shape)
        for name, trace in self.traces.items():
            if len(trace.values) != len(self.target):
                raise AttackError(f"the trace '{name}' is of {len(trace.values)} records, not of {len(self.target)}")

    def take(self, records: Records) -> TargetAnswers:
        """The same on fewer records."""
        return replace(
            self,
            target=self.target[records],
            views=tuple(view.take(records) for view in self.views),
            traces={name: trace.take(records) for name, trace in self.traces.items()},
        )


@dataclass(frozen=True)
class ShadowAnswers:
    """All that an attacker holds but the target's answers: records, and what shadows answer on them.

    shadows: float64 [K, records, outputs].
    out: bool [K, records]; True where the shadow did not train on the record. All True on audited records in
        the adversary threat model.
    labels: int64 [records], see `task`.
    exposure: `logits` (unnormalised) or `probabilities` (rows sum to 1, up to quantisation).
    floor: probabilities are clipped to [floor, 1 - floor]; one value for every format that is compared. 0 (no
        clipping) is accepted for logits only: the margin of a probability of 0 or 1 is infinite.
    inputs: floating [records, d], the records as the model is given them, flattened; None where an attacker holds
        answers only.
    grid: of the K shadows; None where the target's answers are continuous.
    views, traces: the shadows' part of those in `Evidence`.
    task: what answers and labels mean.
    """

    shadows: FloatArray
    out: BoolArray
    labels: IntArray
    exposure: Exposure
    floor: float = 1 / 512
    inputs: InputArray | None = None
    grid: Grid | None = None
    views: tuple[ShadowView, ...] = ()
    traces: Mapping[str, ShadowTrace] = field(default_factory=dict)
    task: Task = CLASSIFICATION

    def __post_init__(self) -> None:
        if self.shadows.ndim != 3 or self.out.shape != self.shadows.shape[:2]:
            raise AttackError(f"responses do not fit together: shadows {self.shadows.shape}, out mask {self.out.shape}")
        k, n, outputs = self.shadows.shape
        if (problem := self.task.answers_problem((n, outputs))) is not None:
            raise AttackError(f"a shadow's answers {problem}")
        if self.out.dtype != np.bool_:
            # An integer mask would index instead of select, and ~1 is -2: both are silently wrong.
            raise AttackError(f"the out mask must be bool; it is {self.out.dtype}")
        if self.labels.shape != (n,):
            raise AttackError(f"{n} records and {self.labels.shape} labels")
        if (problem := self.task.labels_problem(self.labels, outputs)) is not None:
            raise AttackError(problem)
        least = 0.0 if self.exposure == "logits" else np.finfo(np.float64).tiny
        if not least <= self.floor < 0.5:
            raise AttackError(
                f"the floor must be at least 0 (logits) or above 0 (probabilities) and below 0.5: {self.floor}"
            )
        self._require_inputs(n)
        self._require_grid(k)
        for view in self.views:
            view.require_fit(self.shadows.shape)
        for trace in self.traces.values():
            trace.require_fit(n, k)
        if not np.isfinite(self.shadows).all():
            bad = int((~np.isfinite(self.shadows).all(axis=(0, 2))).sum())
            raise AttackError(f"{bad} of {n} records have answers that are not finite; no record is dropped silently")

    def _require_inputs(self, n: int) -> None:
        if self.inputs is None:
            return
        if self.inputs.ndim != 2 or len(self.inputs) != n or not self.inputs.shape[1]:
            raise AttackError(f"inputs must be [{n} records, 1 or more values]; they are {self.inputs.shape}")
        if not np.issubdtype(self.inputs.dtype, np.floating):
            # Distances between bytes would wrap around.
            raise AttackError(f"inputs must be floating point; they are {self.inputs.dtype}")
        if not np.isfinite(self.inputs).all():
            bad = int((~np.isfinite(self.inputs).all(axis=1)).sum())
            raise AttackError(f"{bad} of {n} records have inputs that are not finite")

    def _require_grid(self, k: int) -> None:
        if self.grid is None:
            return
        if len(self.grid.step) != k:
            raise AttackError(f"a grid of {len(self.grid.step)} models does not fit {k} shadows")
        if self.grid.of == "probabilities" and self.exposure == "logits":
            raise AttackError("answers are logits, and the grid is one of probabilities")

    def take(self, records: Records) -> ShadowAnswers:
        """The same on fewer records."""
        return replace(
            self,
            shadows=self.shadows[:, records],
            out=self.out[:, records],
            labels=self.labels[records],
            inputs=None if self.inputs is None else self.inputs[records],
            views=tuple(view.take(records) for view in self.views),
            traces={name: trace.take(records) for name, trace in self.traces.items()},
        )

    def same_as(self, other: ShadowAnswers) -> bool:
        """Whether both hold the same answers on the same records, so that what is learned from one serves the other."""
        if self is other:
            return True
        about = [(a.exposure, a.floor, a.task, a.grid is None, a.inputs is None) for a in (self, other)]
        return (
            about[0] == about[1]
            and (self.grid is None or self.grid.same_as(other.grid))
            and [view.name for view in self.views] == [view.name for view in other.views]
            and {name: list(t.shadows) for name, t in self.traces.items()}
            == {name: list(t.shadows) for name, t in other.traces.items()}
            and all(
                a is b or np.array_equal(a, b, equal_nan=True)
                for a, b in zip(self._arrays(), other._arrays(), strict=True)
            )
        )

    def _arrays(self) -> list[npt.NDArray[Any]]:
        traces = [values for trace in self.traces.values() for values in trace.shadows.values()]
        inputs = [] if self.inputs is None else [self.inputs]
        return [self.out, self.labels, self.shadows, *inputs, *(view.shadows for view in self.views), *traces]

    def play(self, shadow: int) -> tuple[Evidence, BoolArray]:
        """Let one shadow play the target against the others.

        Returns the evidence without that shadow, and bool [records]: whether it trained on each record. This is how
        thresholds are learned without the target's memberships.
        """
        others = np.delete(np.arange(len(self.shadows)), shadow)
        played = Evidence(
            self.shadows[shadow],
            self.shadows[others],
            self.out[others],
            self.labels,
            self.exposure,
            self.floor,
            self.inputs,
            None if self.grid is None else self.grid.keep(np.concatenate(([shadow], others))),
            tuple(view.play(shadow, others) for view in self.views),
            {name: trace.play(shadow, others) for name, trace in self.traces.items()},
            self.task,
        )
        return played, ~self.out[shadow]


@dataclass(frozen=True)
class Evidence:
    """What an attacker holds about one (format, device): `ShadowAnswers` and one target's `TargetAnswers`.

    target: [records, outputs], the target's answers at `exposure`.
    shadows, out, labels, exposure, floor, inputs, task: as in `ShadowAnswers`.
    grid: the steps of integer outputs, the target's first; None where the target's answers are continuous.
    views: answers on the same records, transformed; one entry a query. Empty where every model was queried once.
    traces: further findings about the records, by name: `boundary`, the distance to the decision boundary;
        `trajectory`, the losses of a student that was distilled from the model, epoch by epoch.
    checked: the shadows' part where it was validated before, so that it is not validated again; `Evidence.of` gives it.
    """

    target: FloatArray
    shadows: FloatArray
    out: BoolArray
    labels: IntArray
    exposure: Exposure
    floor: float = 1 / 512
    inputs: InputArray | None = None
    grid: Grid | None = None
    views: tuple[View, ...] = ()
    traces: Mapping[str, Trace] = field(default_factory=dict)
    task: Task = CLASSIFICATION
    checked: InitVar[ShadowAnswers | None] = None

    def __post_init__(self, checked: ShadowAnswers | None) -> None:
        if (problem := self.task.answers_problem(self.target.shape)) is not None:
            raise AttackError(f"the target's answers {problem}")
        if self.shadows.shape[1:] != self.target.shape or self.out.shape != self.shadows.shape[:2]:
            raise AttackError(
                f"responses do not fit together: target {self.target.shape}, shadows {self.shadows.shape}, "
                f"out mask {self.out.shape}"
            )
        finite: BoolArray = np.asarray(np.isfinite(self.target).all(axis=1), dtype=np.bool_)
        if not finite.all():
            finite &= np.isfinite(self.shadows).all(axis=(0, 2))
            bad, n = int((~finite).sum()), len(finite)
            raise AttackError(f"{bad} of {n} records have answers that are not finite; no record is dropped silently")
        if self.grid is not None and len(self.grid.step) != 1 + len(self.shadows):
            raise AttackError(
                f"a grid of {len(self.grid.step)} models does not fit a target and {len(self.shadows)} shadows"
            )
        if self.grid is not None and not (self.grid.step > 0).any():
            raise AttackError(f"on a grid the step of one model at least is above 0: {self.grid.step}")
        if checked is not None:
            # Where the cached property keeps its value; dataclasses.replace does not pass it on.
            self.__dict__["shadow_answers"] = checked
        _ = self.shadow_answers, self.target_answers  # each validates itself when it is built

    @classmethod
    def of(cls, target: TargetAnswers, shadows: ShadowAnswers) -> Evidence:
        """Both parts together. Raises `AttackError` where they are not of the same records, views and traces."""
        names = [[view.name for view in part] for part in (target.views, shadows.views)]
        if names[0] != names[1] or target.traces.keys() != shadows.traces.keys():
            raise AttackError(
                f"the answers of target and shadows do not belong together: views {names[0]} and {names[1]}, traces "
                f"{list(target.traces)} and {list(shadows.traces)}"
            )
        for name, trace in shadows.traces.items():
            if trace.shadows and target.traces[name].values.shape != trace.shape:
                raise AttackError(
                    f"the trace '{name}' does not fit: {target.traces[name].values.shape} of the target and "
                    f"{trace.shape} of the shadows"
                )
        return cls(
            target.target,
            shadows.shadows,
            shadows.out,
            shadows.labels,
            shadows.exposure,
            shadows.floor,
            shadows.inputs,
            None if target.grid is None else target.grid.followed_by(shadows.grid),
            tuple(View(a.name, a.target, b.shadows) for a, b in zip(target.views, shadows.views, strict=True)),
            {
                name: Trace(trace.values, shadows.traces[name].shadows, trace.queries)
                for name, trace in target.traces.items()
            },
            shadows.task,
            shadows,
        )

    @cached_property
    def target_answers(self) -> TargetAnswers:
        """The target's part."""
        return TargetAnswers(
            self.target,
            None if self.grid is None else self.grid.of_target,
            tuple(view.of_target for view in self.views),
            {name: trace.of_target for name, trace in self.traces.items()},
        )

    @cached_property
    def shadow_answers(self) -> ShadowAnswers:
        """The shadows' part."""
        return ShadowAnswers(
            self.shadows,
            self.out,
            self.labels,
            self.exposure,
            self.floor,
            self.inputs,
            None if self.grid is None else self.grid.of_shadows,
            tuple(view.of_shadows for view in self.views),
            {name: trace.of_shadows for name, trace in self.traces.items()},
            self.task,
        )

    def take(self, records: IntArray | BoolArray) -> Evidence:
        """The same evidence on fewer records."""
        return replace(
            self,
            target=self.target[records],
            shadows=self.shadows[:, records],
            out=self.out[:, records],
            labels=self.labels[records],
            inputs=None if self.inputs is None else self.inputs[records],
            views=tuple(view.take(records) for view in self.views),
            traces={name: trace.take(records) for name, trace in self.traces.items()},
        )

    def keep(self, shadows: IntArray) -> Evidence:
        """The same evidence with these shadows, in this order."""
        models = np.concatenate(([0], 1 + shadows))
        return replace(
            self,
            shadows=self.shadows[shadows],
            out=self.out[shadows],
            grid=None if self.grid is None else self.grid.keep(models),
            views=tuple(view.keep(shadows) for view in self.views),
            traces={name: trace.keep(shadows) for name, trace in self.traces.items()},
        )

    def play(self, shadow: int) -> tuple[Evidence, BoolArray]:
        """See `ShadowAnswers.play`; the target has no part in it."""
        return self.shadow_answers.play(shadow)
