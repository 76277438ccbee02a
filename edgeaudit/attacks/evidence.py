"""Input of attacks: answers of the shadows, of the target, and of both. None of them holds the target's memberships.

Attacks learn from `ShadowAnswers` only; the type keeps the target out of `Attack.fit`.
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
    """The quantisation grids of integer outputs, one a model, since each model has its own calibration range.

    of: the quantised values. It is `logits` also where a softmax outside the artifact turns them into probabilities:
        the exposure is then `probabilities`, but these do not lie on the grid.
    step: float64 [models], the target's first in `Evidence`, then the shadows'; 0 for a model with continuous answers
        (fp32 shadows of an integer target).
    low, high: float64 [models], the smallest and largest value of the output, at which it clips; -inf and inf where
        unknown.
    """

    of: Exposure
    step: FloatArray
    low: FloatArray
    high: FloatArray

    def __post_init__(self) -> None:
        shapes = {self.step.shape, self.low.shape, self.high.shape}
        if len(shapes) != 1 or self.step.ndim != 1 or not len(self.step):
            raise AttackError(f"a grid needs one step, low and high end a model; their shapes are {sorted(shapes)}")
        if not (np.isfinite(self.step).all() and (self.step >= 0).all()):
            raise AttackError(f"a grid's steps must be finite and 0 (continuous) or more: {self.step}")
        if not (self.low < self.high).all():
            raise AttackError("the low end of a grid must be below its high end")

    @classmethod
    def joined(cls, of: Exposure, models: Sequence[OutputGrid]) -> Grid | None:
        """Join the grids of the target and then of each shadow; None where the target's answers are continuous."""
        if not models or models[0].step == 0:
            return None
        step, low, high = np.array([(m.step, m.low, m.high) for m in models], dtype=np.float64).T
        return cls(of, step, low, high)

    @property
    def of_target(self) -> Grid:
        """The grid of the first model."""
        return self._of(slice(0, 1))

    @property
    def of_shadows(self) -> Grid | None:
        """The grids of all models but the first; None where there is only one."""
        return self._of(slice(1, None)) if len(self.step) > 1 else None

    def followed_by(self, shadows: Grid | None) -> Grid:
        """Append the grids of `shadows`. Raises `AttackError` where they quantise other values."""
        if shadows is None:
            return self
        if self.of != shadows.of:
            raise AttackError(f"the target's {self.of} are quantised, but the shadows' {shadows.of}")
        ends = ((self.step, shadows.step), (self.low, shadows.low), (self.high, shadows.high))
        return Grid(self.of, *(np.concatenate(end) for end in ends))

    def keep(self, models: IntArray) -> Grid | None:
        """Return the grids of the models at these positions; None where all of them are continuous."""
        if not (self.step[models] > 0).any():
            return None
        return self._of(models)

    def same_as(self, other: Grid | None) -> bool:
        """Return whether both grids are equal."""
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
    grid: of this one model; None where the answers are continuous.
    views, traces: the target's part of those in `Evidence`.
    """

    target: FloatArray
    grid: Grid | None = None
    views: tuple[TargetView, ...] = ()
    traces: Mapping[str, TargetTrace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.grid is not None and len(self.grid.step) != 1:
            raise AttackError(f"a target has one grid; {len(self.grid.step)} were passed")
        for view in self.views:
            view.require_fit(self.target.shape)
        for name, trace in self.traces.items():
            if len(trace.values) != len(self.target):
                raise AttackError(
                    f"the trace '{name}' has {len(trace.values)} records; the answers have {len(self.target)}"
                )

    def take(self, records: Records) -> TargetAnswers:
        """Return the answers on these records only."""
        return replace(
            self,
            target=self.target[records],
            views=tuple(view.take(records) for view in self.views),
            traces={name: trace.take(records) for name, trace in self.traces.items()},
        )


@dataclass(frozen=True)
class ShadowAnswers:
    """The attacker's knowledge without the target's answers: records, and the shadows' answers on them.

    shadows: float64 [K, records, outputs].
    out: bool [K, records]; True where the shadow did not train on the record. All True on audited records in
        the adversary threat model.
    labels: int64 [records], see `task`.
    exposure: `logits` (unnormalised) or `probabilities` (rows sum to 1, up to quantisation).
    floor: probabilities are clipped to [floor, 1 - floor], with one value for all compared formats. 0 (no clipping)
        is accepted for logits only: the margin of a probability of 0 or 1 is infinite.
    inputs: floating [records, d], the model's input, flattened; None where the attacker has answers only.
    grid: of the K shadows; None where the target's answers are continuous.
    views, traces: the shadows' part of those in `Evidence`.
    task: the meaning of answers and labels.
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
            raise AttackError(f"array shapes do not match: shadows {self.shadows.shape}, out mask {self.out.shape}")
        k, n, outputs = self.shadows.shape
        if (problem := self.task.answers_problem((n, outputs))) is not None:
            raise AttackError(f"a shadow's answers {problem}")
        if self.out.dtype != np.bool_:
            # An integer mask would index instead of select, and ~1 is -2: both would give wrong results silently.
            raise AttackError(f"the out mask must be bool; it is {self.out.dtype}")
        if self.labels.shape != (n,):
            raise AttackError(f"labels must have shape ({n},), one a record; the shape is {self.labels.shape}")
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
            raise AttackError(f"answers on {bad} of {n} records contain NaN or infinity; fix or drop these records")

    def _require_inputs(self, n: int) -> None:
        if self.inputs is None:
            return
        if self.inputs.ndim != 2 or len(self.inputs) != n or not self.inputs.shape[1]:
            raise AttackError(f"inputs must have shape [{n}, 1 or more values]; the shape is {self.inputs.shape}")
        if not np.issubdtype(self.inputs.dtype, np.floating):
            # Distances between bytes would wrap around.
            raise AttackError(f"inputs must be floating point; the dtype is {self.inputs.dtype}")
        if not np.isfinite(self.inputs).all():
            bad = int((~np.isfinite(self.inputs).all(axis=1)).sum())
            raise AttackError(f"inputs of {bad} of {n} records contain NaN or infinity; fix or drop these records")

    def _require_grid(self, k: int) -> None:
        if self.grid is None:
            return
        if len(self.grid.step) != k:
            raise AttackError(f"the grid has {len(self.grid.step)} models, but there are {k} shadows")
        if self.grid.of == "probabilities" and self.exposure == "logits":
            raise AttackError("answers are logits, but the grid is of probabilities")

    def take(self, records: Records) -> ShadowAnswers:
        """Return the answers on these records only."""
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
        """Return whether both hold equal answers on equal records, so that a fit to one serves the other."""
        if self is other:
            return True
        kinds = [(a.exposure, a.floor, a.task, a.grid is None, a.inputs is None) for a in (self, other)]
        return (
            kinds[0] == kinds[1]
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
        """Let one shadow play the target against the others, to learn without the target's memberships.

        Returns the evidence with that shadow as the target, and bool [records], whether it trained on each record.
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
    """The attacker's knowledge of one deployment (format, device): `ShadowAnswers` and one target's `TargetAnswers`.

    target: [records, outputs], the target's answers at `exposure`.
    shadows, out, labels, exposure, floor, inputs, task: as in `ShadowAnswers`.
    grid: of integer outputs, the target's first; None where the target's answers are continuous.
    views: answers on the transformed records, one entry a query. Empty where every model was queried once.
    traces: further measurements of the records, by name: `boundary`, the distance to the decision boundary;
        `trajectory`, the losses of a student distilled from the model, epoch by epoch.
    checked: the shadows' part where it is already validated, to skip a second validation; `Evidence.of` passes it.
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
                f"array shapes do not match: target {self.target.shape}, shadows {self.shadows.shape}, "
                f"out mask {self.out.shape}"
            )
        finite: BoolArray = np.asarray(np.isfinite(self.target).all(axis=1), dtype=np.bool_)
        if not finite.all():
            finite &= np.isfinite(self.shadows).all(axis=(0, 2))
            bad, n = int((~finite).sum()), len(finite)
            raise AttackError(f"answers on {bad} of {n} records contain NaN or infinity; fix or drop these records")
        if self.grid is not None and len(self.grid.step) != 1 + len(self.shadows):
            raise AttackError(
                f"the grid has {len(self.grid.step)} models, but there are a target and {len(self.shadows)} shadows"
            )
        if self.grid is not None and not (self.grid.step > 0).any():
            raise AttackError(f"a grid needs a step above 0 for at least one model: {self.grid.step}")
        if checked is not None:
            # The cached property reads its value here; dataclasses.replace does not copy it.
            self.__dict__["shadow_answers"] = checked
        _ = self.shadow_answers, self.target_answers  # each validates itself when it is built

    @classmethod
    def of(cls, target: TargetAnswers, shadows: ShadowAnswers) -> Evidence:
        """Combine both parts. Raises `AttackError` where their records, views or traces differ."""
        names = [[view.name for view in part] for part in (target.views, shadows.views)]
        if names[0] != names[1] or target.traces.keys() != shadows.traces.keys():
            raise AttackError(
                f"the answers of target and shadows do not match: views {names[0]} and {names[1]}, traces "
                f"{list(target.traces)} and {list(shadows.traces)}"
            )
        for name, trace in shadows.traces.items():
            if trace.shadows and target.traces[name].values.shape != trace.shape:
                raise AttackError(
                    f"the trace '{name}' has different shapes: {target.traces[name].values.shape} for the target, "
                    f"{trace.shape} for the shadows"
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
        """Return the evidence on these records only."""
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
        """Return the evidence with these shadows only, in this order."""
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
        """See `ShadowAnswers.play`; the target is not used."""
        return self.shadow_answers.play(shadow)
