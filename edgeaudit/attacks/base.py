"""What an attack is: responses -> one score per record, higher meaning member. Pure functions of arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.traces import Trace
from edgeaudit.attacks.views import View
from edgeaudit.errors import AttackError
from edgeaudit.leakage.outputs import OutputGrid

__all__ = [
    "Attack", "AttackSpec", "BoolArray", "Evidence", "Exposure", "FloatArray", "Grid", "InputArray", "IntArray",
    "Needs", "Scores",
]  # fmt: skip

Exposure = Literal["logits", "probabilities"]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
_LEAST_TRACED = 10
_TRACES = {
    "boundary": "distances to the decision boundary, which cost hundreds of queries a record: name 'label-only' in "
    "attacks (in threat.mode: adversary)",
    "trajectory": "losses of a student distilled from each model, which cost a training: name 'loss-trajectory' in "
    "attacks (in threat.mode: adversary)",
}
InputArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Grid:
    """The grids on which integer outputs lie: one for each model, since each has its own calibration range.

    of: what was rounded. `logits` also where a softmax outside the artifact made probabilities of them; then
        `probabilities` is the exposure, but not what lies on a grid.
    step: float64 [1 + K], the target's first and then the shadows'; 0 for a model whose answers are continuous (fp32
        shadows of an integer target).
    low, high: float64 [1 + K], the smallest and largest value that the output can take, beyond which it clips; -inf
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
        if not (np.isfinite(self.step).all() and (self.step >= 0).all() and (self.step > 0).any()):
            raise AttackError(f"steps are 0 (continuous) or more, and one at least is more: {self.step}")
        if not (self.low < self.high).all():
            raise AttackError("the low end of a grid lies below its high end")

    @classmethod
    def joined(cls, of: Exposure, models: Sequence[OutputGrid]) -> Grid | None:
        """The grids of the target and of each shadow, in this order; None where the target's answers are continuous."""
        if not models or models[0].step == 0:
            return None
        step, low, high = np.array([(m.step, m.low, m.high) for m in models], dtype=np.float64).T
        return cls(of, step, low, high)

    def keep(self, models: IntArray) -> Grid | None:
        """The grids of these models, 0 being the target; None where none of them has one."""
        if not (self.step[models] > 0).any():
            return None
        return Grid(self.of, self.step[models], self.low[models], self.high[models])

    def same_as(self, other: Grid | None) -> bool:
        """Whether both are grids of the same models."""
        return (
            other is not None
            and self.of == other.of
            and np.array_equal(self.step, other.step)
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )


@dataclass(frozen=True)
class Evidence:
    """What an attacker holds about one (format, device). No memberships of the target are in it.

    target: [records, classes], the target's answers at `exposure`.
    shadows: [K, records, classes], the shadows' answers on the same records.
    out: bool [K, records]; True where the shadow did not train on the record. All True on audited records in
        the adversary threat model.
    labels: int64 [records], each in [0, classes).
    exposure: `logits` (unnormalised) or `probabilities` (rows sum to 1, up to quantisation).
    floor: probabilities are clipped to [floor, 1 - floor]; one value for every format that is compared. 0 (no
        clipping) is accepted for logits only: the margin of a probability of 0 or 1 is infinite.
    inputs: floating [records, d], the records as the model is given them, flattened; None where an attacker holds
        answers only.
    grid: the steps of integer outputs; None where the target's answers are continuous.
    views: answers on the same records, transformed; one entry a query. Empty where every model was asked once.
    traces: what else was found out about the records, by name: `boundary`, the distance to the decision boundary;
        `trajectory`, the losses of a student that was distilled from the model, epoch by epoch.
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

    def __post_init__(self) -> None:
        if self.target.ndim != 2 or self.target.shape[1] < 2:
            raise AttackError(
                f"the target's answers must be [records, 2 or more classes]; they are {self.target.shape}"
            )
        n, classes = self.target.shape
        if self.shadows.shape[1:] != (n, classes) or self.out.shape != self.shadows.shape[:2]:
            raise AttackError(
                f"responses do not fit together: target {self.target.shape}, shadows {self.shadows.shape}, "
                f"out mask {self.out.shape}"
            )
        if self.out.dtype != np.bool_:
            # An integer mask would index instead of select, and ~1 is -2: both are silently wrong.
            raise AttackError(f"the out mask must be bool; it is {self.out.dtype}")
        if self.labels.shape != (n,):
            raise AttackError(f"{n} records and {self.labels.shape} labels")
        if n and not (int(self.labels.min()) >= 0 and int(self.labels.max()) < classes):
            raise AttackError(
                f"labels run from {self.labels.min()} to {self.labels.max()}; there are {classes} classes"
            )
        least = 0.0 if self.exposure == "logits" else np.finfo(np.float64).tiny
        if not least <= self.floor < 0.5:
            raise AttackError(
                f"the floor must be at least 0 (logits) or above 0 (probabilities) and below 0.5: {self.floor}"
            )
        if not (np.isfinite(self.target).all() and np.isfinite(self.shadows).all()):
            bad = int((~np.isfinite(self.target).all(axis=1) | ~np.isfinite(self.shadows).all(axis=(0, 2))).sum())
            raise AttackError(f"{bad} of {n} records have answers that are not finite; no record is dropped silently")
        self._require_inputs(n)
        self._require_grid()
        for view in self.views:
            view.require_fit(self.target.shape, len(self.shadows))
        for trace in self.traces.values():
            trace.require_fit(n, len(self.shadows))

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

    def _require_grid(self) -> None:
        if self.grid is None:
            return
        if len(self.grid.step) != 1 + len(self.shadows):
            raise AttackError(
                f"a grid of {len(self.grid.step)} models does not fit a target and {len(self.shadows)} shadows"
            )
        if self.grid.of == "probabilities" and self.exposure == "logits":
            raise AttackError("answers are logits, and the grid is one of probabilities")

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
        """Let one shadow play the target against the others.

        Returns the evidence without that shadow, and bool [records]: whether it trained on each record. This is how
        thresholds are learned without the target's memberships.
        """
        others = np.delete(np.arange(len(self.shadows)), shadow)
        grid = None if self.grid is None else self.grid.keep(np.concatenate(([shadow], others)) + 1)
        played = replace(
            self,
            target=self.shadows[shadow],
            shadows=self.shadows[others],
            out=self.out[others],
            grid=grid,
            views=tuple(view.play(shadow, others) for view in self.views),
            traces={name: trace.play(shadow, others) for name, trace in self.traces.items()},
        )
        return played, ~self.out[shadow]


@dataclass(frozen=True)
class Scores:
    """What an attack answers.

    score: float64 [records], higher = member.
    p_value: float64 [records] in [0, 1], one-sided under H0 "not a member": the rank of the score among those of
        `known` records that the target did not train on (conformal), valid where audited nonmembers are drawn as they
        are. None where there are none, or the attack has no p-value.
    nominal: float64 [records] in [0, 1], what the test itself would call its p-value. It holds its level under the
        test's own model of nonmembers, which real ones need not follow: a ranking.
    known: the m of p_value, whose smallest is 1/(m + 1).
    """

    score: FloatArray
    p_value: FloatArray | None = None
    nominal: FloatArray | None = None
    known: int = 0


@dataclass(frozen=True)
class Needs:
    """What one variant of an attack cannot do without; readable without running it.

    shadows: smallest K. out, inside: OUT and IN shadows that every scored record needs.
    variance: two OUT shadows on at least one scored record; two IN shadows as well, where `inside` is above 0.
    reference: smallest number of reference records with `out` OUT shadows each, for which the target's answers are
        known. examples: smallest number of (shadow, reference record) pairs in which the shadow trained on the
        record, and as many in which it did not; (shadow, audited record) pairs where the shadows trained on none of
        the reference records (auditor mode) and the target's answers on those are not read (`reference` is 0).
    inputs: the records themselves, audited and (where `reference` is above 0) reference ones.
    grid: answers on the grid of an integer output.
    views: answers on transformed records: `any`, or of the one kind that is named. Reference records, too, where
        `reference` or `examples` is above 0.
    trace: the trace of every scored record, of ten or more pairs of a shadow and a reference record that it trained
        on, and of ten others.
    """

    shadows: int = 0
    out: int = 0
    inside: int = 0
    variance: bool = False
    reference: int = 0
    examples: int = 0
    inputs: bool = False
    grid: bool = False
    views: Literal["", "any", "noise"] = ""
    trace: Literal["", "boundary", "trajectory"] = ""


@dataclass(frozen=True)
class AttackSpec:
    """What an attack is and needs; readable without running it.

    name, variants: rows of the report are named by both. paper: its source.
    needs: of every variant that `variant_needs` does not name.
    calibrated_p: the variants whose `Scores.p_value` is conformal, and so valid for the nonmembers of real targets by
        construction. A rank among shadows is not: shadows of one pool resemble each other more than the target.
    threshold: the natural a-priori threshold (member where score >= threshold) of an attack that has one.
    variant_thresholds: those of single variants, which go before it.
    headline: variants that may stand for the attack, the first that could be run going first; all, where not told.
    reads_margins: the variants that read nothing of an answer but the true class's margin, so that the mean margin of
        several answers can stand in for one.
    reads_labels: the variants that also make something of an answer of which only the largest class is known.
    """

    name: str
    variants: tuple[str, ...]
    summary: str
    paper: str
    needs: Needs = Needs()
    variant_needs: Mapping[str, Needs] = field(default_factory=dict)
    calibrated_p: tuple[str, ...] = ()
    threshold: float | None = None
    variant_thresholds: Mapping[str, float] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    headline: tuple[str, ...] = ()
    reads_margins: tuple[str, ...] = ()
    reads_labels: tuple[str, ...] = ()

    @property
    def headlines(self) -> tuple[str, ...]:
        """See `headline`."""
        return self.headline or self.variants

    def needs_of(self, variant: str) -> Needs:
        """What `variant` needs. Raises `AttackError` where there is no such variant."""
        if variant not in self.variants:
            raise AttackError(f"'{self.name}' has no variant '{variant}'; it has: {', '.join(self.variants)}")
        return self.variant_needs.get(variant, self.needs)

    def threshold_of(self, variant: str) -> float | None:
        """The natural threshold of `variant`, or None."""
        return self.variant_thresholds.get(variant, self.threshold)


class Attack(ABC):
    """One attack. Subclasses set `spec`, write `_score`, and can be made without arguments."""

    spec: ClassVar[AttackSpec]

    @final
    def score(self, evidence: Evidence, variant: str, reference: Evidence | None = None) -> Scores:
        """Score every record.

        Args:
            evidence: on the records to score.
            variant: one of the spec's.
            reference: on reference records, which the target did not train on, from the same target and shadows;
                its out mask says which shadow trained on which. Attacks that do not need it do not read it.

        Raises:
            AttackError: the variant does not exist or is `inapplicable`, reference and evidence do not belong
                together, or the answer is not one finite number (and one p in [0, 1]) per record.
        """
        reason = self.inapplicable(evidence, reference, variant)
        if reason is not None:
            raise AttackError(reason)
        known = _known(self.spec.needs_of(variant), evidence, _or_empty(reference, evidence))
        scores = self._score(evidence, variant, known)
        name, shape = self.spec.name, evidence.labels.shape
        if scores.score.shape != shape or not np.isfinite(scores.score).all():
            raise AttackError(f"'{name}' did not give one finite score per record")
        for p in (scores.p_value, scores.nominal):
            # The comparison is written so that NaN fails it.
            if p is not None and (p.shape != shape or not ((p >= 0) & (p <= 1)).all()):
                raise AttackError(f"'{name}' did not give one p-value in [0, 1] per record")
        if scores.p_value is not None and scores.known < 1:
            raise AttackError(f"'{name}' gave p-values without saying among how many known nonmembers")
        return scores

    @final
    def inapplicable(self, evidence: Evidence, reference: Evidence | None, variant: str) -> str | None:
        """Why `variant` cannot be run on this evidence, in a sentence; None where it can.

        Raises `AttackError` where the variant does not exist or reference and evidence do not belong together.
        """
        needs = self.spec.needs_of(variant)
        known = _or_empty(reference, evidence)
        _require_one_world(evidence, known)
        missing = next(_missing(needs, evidence, known), None)
        return None if missing is None else f"'{self.spec.name}' {missing}"

    @abstractmethod
    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        """Score every record of already validated evidence.

        reference has no records where none was given, and is `evidence` itself where shadows trained on audited
        records and the variant learns from shadows alone (see `Needs.examples`).
        """


def _or_empty(reference: Evidence | None, evidence: Evidence) -> Evidence:
    return evidence.take(np.empty(0, dtype=np.int64)) if reference is None else reference


def _known(needs: Needs, evidence: Evidence, reference: Evidence) -> Evidence:
    """Where a variant finds its examples: the reference records, or else the audited ones.

    Nothing of the target's memberships is in either: a shadow's mask says what the shadow trained on.
    """
    if needs.examples and not needs.reference and reference.out.all() and not evidence.out.all():
        return evidence
    return reference


def _require_one_world(evidence: Evidence, reference: Evidence) -> None:
    """Raise `AttackError` unless both come from the same models, asked in the same way, as far as can be seen."""
    about = [(len(e.shadows), e.target.shape[1], e.exposure, e.floor) for e in (evidence, reference)]
    if about[0] != about[1]:
        raise AttackError(
            f"evidence and reference do not belong together: shadows, classes, exposure and floor are {about[0]} "
            f"and {about[1]}"
        )
    if evidence.grid is not reference.grid and not (evidence.grid and evidence.grid.same_as(reference.grid)):
        raise AttackError("evidence and reference do not belong together: their answers lie on different grids")
    if evidence.inputs is not None and reference.inputs is not None:
        one, two = evidence.inputs.shape[1], reference.inputs.shape[1]
        if one != two:
            raise AttackError(f"evidence and reference do not belong together: inputs of {one} and {two} values")
    shown = [tuple(view.name for view in e.views) for e in (evidence, reference)]
    if shown[0] != shown[1]:
        raise AttackError(f"evidence and reference do not belong together: views are {shown[0]} and {shown[1]}")


def _missing(needs: Needs, evidence: Evidence, reference: Evidence) -> Iterator[str]:
    """What is missing, one phrase at a time."""
    yield from _missing_kinds(needs, evidence, reference)
    k, n = evidence.out.shape
    if k < needs.shadows:
        yield f"needs at least {needs.shadows} shadows and has {k}"
    outside = evidence.out.sum(axis=0)
    for name, count, least, remedy in (
        ("OUT", outside, needs.out, "Add shadows, or make them train on fewer records"),
        ("IN", k - outside, needs.inside, "Only shadows that train on audited records (auditor mode) give them"),
    ):
        short = int((count < least).sum())
        if short:
            yield f"needs {least} or more {name} shadows per record; {short} of {n} records have fewer. {remedy}"
        if needs.variance and least and n and not (count > 1).any():
            yield f"needs two {name} shadows on some record, to estimate a variance. Add shadows"
    served = int((reference.out.sum(axis=0) >= needs.out).sum())
    if served < needs.reference:
        which = f" with {needs.out} or more OUT shadows" if needs.out else ""
        yield f"needs the target's answers on {needs.reference} or more reference records{which}; there are {served}"
    known = _known(needs, evidence, reference)
    inside = int((~known.out).sum())
    fewest = min(inside, known.out.size - inside)
    if fewest < needs.examples:
        yield (
            f"learns from shadows' answers on reference records: {needs.examples} or more on records they trained on "
            f"and as many on others; there are {inside} and {known.out.size - inside}"
        )


def _missing_kinds(needs: Needs, evidence: Evidence, reference: Evidence) -> Iterator[str]:
    """What the evidence has nothing of."""
    if needs.grid and evidence.grid is None:
        yield "needs answers on the grid of an integer output, and these are continuous"
    if needs.inputs and (evidence.inputs is None or (needs.reference and reference.inputs is None)):
        yield "reads the records themselves, and only answers are at hand"
    if needs.views == "any" and not evidence.views:
        yield "needs answers on transformed records, which cost queries: set threat.views"
    if needs.views not in {"", "any"} and not any(view.is_of(needs.views) for view in evidence.views):
        yield f"needs answers on records with {needs.views}, which cost queries: set threat.views: [{needs.views}-1]"
    if needs.trace:
        yield from _missing_trace(needs, evidence, reference)


def _missing_trace(needs: Needs, evidence: Evidence, reference: Evidence) -> Iterator[str]:
    found, known = evidence.traces.get(needs.trace), reference.traces.get(needs.trace)
    if found is None or not found.taken.all():
        yield f"needs {_TRACES[needs.trace]}"
    else:
        _, members = (None, np.empty(0, dtype=np.bool_)) if known is None else known.examples(reference.out)
        inside, outside = int(members.sum()), int((~members).sum())
        if min(inside, outside) < _LEAST_TRACED:
            yield (
                f"learns from shadows' traces on reference records: {_LEAST_TRACED} or more on records they trained on "
                f"and as many on others; there are {inside} and {outside}"
            )
