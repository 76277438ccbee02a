"""The check of a target before any attack, the same for recipes, checkpoints and files.

A target is examined where it comes into the audit: a trained one and a checkpoint by the job that trains or reads it,
in the runtime of its framework; a file by the job that adopts it, in its own runtime. From there on every format is
compared with what was examined, and where answers are collected, on this machine or on a device, they must be those of
a model of the records. What is decided, and by which tests, is in `edgeaudit.controls.target_check`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeaudit.controls.target_check import (
    GAIN,
    Better,
    Sample,
    by_chance,
    clearly_worse,
    find_better,
    is_stated,
    majority,
)
from edgeaudit.controls.truth_check import Examined as TruthExamined
from edgeaudit.controls.truth_check import better_fed, shows_a_model
from edgeaudit.errors import ArtifactError, DataError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.population.base import Population, Role, given_number
from edgeaudit.population.preprocessing import NAMED, Affine, affine
from edgeaudit.runtimes.base import Runtime
from edgeaudit.tasks import AuditedTask, Exposure
from edgeaudit.tasks.classification import as_classes

__all__ = [
    "Ask", "Door", "Examined", "Stated", "Training", "Way", "clipped_share", "evenly", "every_input", "fed",
    "in_unit_range", "is_probability", "require_model", "require_steady", "require_trained", "sides_of_given",
]  # fmt: skip

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

Ask = Callable[[FloatArray], FloatArray]
"""Records as models take them, float32 [n, *input_shape] -> the target's answers, float32 [n, classes]."""

_EXAMINED = 1024
"""Records of a side that are asked as declared."""
_TRIED = (128, 512)
"""Records of a side that are asked in other ways: all ways, then those that are not clearly worse."""
_ANSWERED = 4096
"""Records of a side whose collected answers are judged."""
_KNOWS = 0.5
"""Accuracy from which on another way is what explains answers that are no better than chance."""
_REPEATED = 32
_FEWEST_OTHERS = 10
"""Records that a given shadow did not train on."""
_STEADY = 1e-3
"""How far answers to the same records may be apart, in deviations of the answers."""


@dataclass(frozen=True)
class Stated:
    """Declared accuracies. train: on members. test: on other records. key: of audit.yaml."""

    key: str
    train: float | None = None
    test: float | None = None


Training = Literal["elsewhere", "user's loop", "built-in loop"]
"""Where a target was trained. The built-in loop trains on these inputs and labels, so that no others are tried, and its
result is the model that was asked for, however weak. The user's loop may read them otherwise; only what is far better
is looked for."""


@dataclass(frozen=True)
class Door:
    """How a target came into the audit.

    what: it, for messages. outputs: of the file that are read, for `target.outputs`; None where there is no such key.
    sides: ids of records that it trained on, and of others; None for the audit's members and nonmembers.
    """

    what: str
    stated: Stated
    training: Training = "elsewhere"
    outputs: tuple[int, ...] | None = None
    sides: tuple[IntArray, IntArray] | None = None


def sides_of_given(population: Population, role: Role, what: str) -> tuple[IntArray, IntArray] | None:
    """Ids of the records that a given shadow trained on, and of those that it did not; None for another model.

    Raises `DataError` where the latter are too few to examine it, or to learn from it.
    """
    number = given_number(role)
    if number is None:
        return None
    trained = population.given_ids(number)
    others = np.setdiff1d(population.queried, trained)
    if len(others) < _FEWEST_OTHERS:
        raise DataError(
            f"{what} trained on all but {len(others)} of the records that the audit queries, according to its list in "
            f"shadows.members; {_FEWEST_OTHERS} others are needed. Check the list, or add reference records"
        )
    return trained, others


class Examined:
    """A target's answers to records of both sides, with which it is examined.

    Creating it asks the target. Raises `ArtifactError` where answers are not finite. `inside` of its methods: whether
    it answers with probabilities.
    """

    def __init__(self, ask: Ask, population: Population, door: Door) -> None:
        self._ask, self._population, self._door = ask, population, door
        self._task = population.task
        sides = door.sides or (population.split.members, population.split.nonmembers)
        members, others = (_spaced(side, _EXAMINED) for side in sides)
        self._ids = np.concatenate([members, others])
        self._sample = Sample(population.labels[self._ids], np.arange(len(self._ids)) < len(members))
        self._answers = ask(population.take(self._ids))
        bad = np.asarray(~np.isfinite(self._answers).all(axis=1))
        if bad.any():
            raise ArtifactError(
                f"{door.what} returns NaN or infinity for {int(bad.sum())} of {len(bad)} records, record "
                f"{int(self._ids[bad][0])} first; check that data.preprocessing fits it"
            )

    @property
    def nonmembers(self) -> FloatArray:
        """Answers to nonmembers, float32 [n, outputs]."""
        return self._answers[~self._sample.members]

    def reads_as_probability(self, step: float = 0.0) -> bool:
        """Whether answers are probabilities: of a softmax, or of sigmoids. step: of an integer output.

        Logits of a weak model may lie between 0 and 1, too, so those of sigmoids must also be right as often as they
        would be as logits, which are then all on the side of 1. Losses do not tell: they are large where a model that
        is sure of everything is wrong.
        """
        if not self._task.has_probabilities:
            return False
        if self._task.has_classes and self._answers.shape[1] > 1:
            return is_probability(self.nonmembers, step)
        if not in_unit_range(self._answers, step):
            return False
        ones = self._population.truth(self._ids).reshape(self._answers.shape) > 0
        return bool(((self._answers > 0.5) == ones).mean() >= ((self._answers > 0) == ones).mean())

    def require_fitting(self, *, inside: bool) -> str:
        """Raise `ArtifactError` unless the target is fed and read as it was trained, and is as accurate as stated.

        Returns a sentence for the report.
        """
        if not self._task.has_classes:
            return self._require_truthful(inside=inside)
        if self._answers.shape[1] == 1:
            return self._as_classes(inside=inside).require_fitting(inside=inside)
        door, sample = self._door, self._sample
        built_in = door.training == "built-in loop"
        better = None if built_in else self._better(inside=inside)
        if better is not None and better.gain >= GAIN and self._as_stated():
            better = None  # a weakly trained model is more accurate at inputs of more contrast than its own
        # An untrained network is right more often in some other way, too; that is no reason to name it.
        unexplained = better is None or better.accuracy[1] < _KNOWS
        if not built_in and unexplained and by_chance(self._answers, sample, inside=inside):
            raise ArtifactError(_by_chance(door.what, self._answers, sample))
        if better is not None:
            raise ArtifactError(_worse_than(better, door))
        right = self._answers.argmax(axis=1) == sample.labels
        for stated, side, name in (
            (door.stated.test, ~sample.members, "nonmembers"),
            (door.stated.train, sample.members, "members"),
        ):
            if stated is not None:
                _require_stated(door, right[side], stated, name)
        others = right[~sample.members]
        return f"correct on {others.mean():.1%} of {len(others):,} nonmembers; no other common preprocessing is better"

    def _as_classes(self, *, inside: bool) -> Examined:
        """The same target with an answer for each of two classes."""
        ask, native, other = self._ask, _native(inside=inside), copy(self)
        other._ask = lambda records: as_classes(ask(records), native).astype(np.float32)  # noqa: SLF001
        other._answers = as_classes(self._answers, native).astype(np.float32)  # noqa: SLF001
        return other

    def _require_truthful(self, *, inside: bool) -> str:
        """`require_fitting` where there are no classes."""
        door = self._door
        declared = self._examined(self._answers, self._ids, self._sample.members, None, inside=inside)
        better = self._better_fed(inside=inside) if door.training == "elsewhere" else None
        explained = [f"{share:.1%}" for share in declared.explained]
        if better is not None:
            raise ArtifactError(
                f"data.preprocessing does not fit {door.what}: as set, its answers have {explained[0]} less loss on "
                f"members and {explained[1]} less on nonmembers than knowing nothing of a record, and far less "
                f"{better}. Set data.preprocessing to what the model was trained with"
            )
        if door.training != "built-in loop" and not shows_a_model(declared):
            raise ArtifactError(_knows_nothing(door.what, self._task, declared))
        return (
            f"{explained[1]} less loss on nonmembers than knowing nothing of a record; no other preprocessing is better"
        )

    def _better_fed(self, *, inside: bool) -> str | None:
        kept = self._evenly(_TRIED[-1])
        ids, members = self._ids[kept], self._sample.members[kept]
        declared = self._examined(self._answers[kept], ids, members, None, inside=inside)
        others = {}
        for name, way in _other_inputs(self._population).items():
            answers = self._ask(fed(self._population, ids, way))
            if np.isfinite(answers).all():
                others[name] = self._examined(answers, ids, members, way, inside=inside)
        return better_fed(declared, others)

    def _examined(
        self, answers: FloatArray, ids: IntArray, members: npt.NDArray[np.bool_], way: Way | None, *, inside: bool
    ) -> TruthExamined:
        """Losses of answers to records that were fed in this way, or as declared."""
        task, population = self._task, self._population
        truth, scale = population.truth(ids), population.truth_scale
        if way is not None and task.name == "reconstruction":
            # What is to be reconstructed is what was fed.
            truth = fed(self._population, ids, way).reshape(len(ids), -1)
            scale = task.scale(truth)
        native = _native(inside=inside)
        loss = task.read(answers, truth, scale, native, native)[:, 0]
        return TruthExamined(loss, task.knowing_nothing(truth, scale), members)

    def _as_stated(self) -> bool:
        """Whether the accuracy on nonmembers is stated, and all that is stated agrees."""
        right, stated = self._answers.argmax(axis=1) == self._sample.labels, self._door.stated
        sides = ((stated.test, ~self._sample.members), (stated.train, self._sample.members))
        told = [is_stated(right[side], share)[0] for share, side in sides if share is not None]
        return stated.test is not None and all(told)

    def _better(self, *, inside: bool) -> Better | None:
        """The best significantly better way; other inputs are asked in two steps, most of them in the first alone."""
        ways = dict(_other_inputs(self._population))
        answers: dict[str, FloatArray] = {}
        kept = np.zeros(len(self._ids), np.bool_)
        for count in _TRIED:
            kept = self._evenly(count)
            sample, declared = self._sample.first(kept), self._answers[kept]
            answers = {name: self._ask(fed(self._population, self._ids[kept], way)) for name, way in ways.items()}
            finite = {name for name, got in answers.items() if np.isfinite(got).all()}
            ways = {
                name: way
                for name, way in ways.items()
                if name in finite and not clearly_worse(declared, answers[name], sample, inside=inside)
            }
        others = {name: answers[name] for name in ways}
        sample = self._sample.first(kept)
        return find_better(self._answers[kept], others, sample, inside=inside, sure=self._door.training != "elsewhere")

    def _evenly(self, count: int) -> npt.NDArray[np.bool_]:
        kept = np.zeros(len(self._ids), np.bool_)
        for side in (self._sample.members, ~self._sample.members):
            kept[_spaced(np.flatnonzero(side), count)] = True
        return kept


@dataclass(frozen=True)
class Way:
    """Inputs. affine: mean and deviation of channels as the model sees them. reversed: channels in that order.

    preprocessing: its name in audit.yaml; "" for the declared one.
    """

    affine: Affine
    reversed: bool
    preprocessing: str = ""


def fed(population: Population, ids: IntArray, way: Way) -> FloatArray:
    """Records in another way, float32 [n, *input_shape]."""
    mean, deviation = way.affine
    if not way.reversed:
        return population.take(ids, way.affine)
    given = population.take(ids, (mean[::-1], deviation[::-1]))
    return np.ascontiguousarray(given[:, ::-1])


def every_input(population: Population) -> Mapping[str, Way]:
    """All usual inputs of records that are declared `raw`, by name; the most usual first."""
    channels = population.input_shape[population.axis - 1]
    raw = [0.0] * channels, [1.0] * channels
    named = {"raw": Way(raw, reversed=False, preprocessing="raw")}
    for name, way in _other_inputs(population, raw).items():
        words = f"{way.preprocessing}, channels reversed" if way.reversed else way.preprocessing
        named[words or name] = way
    return named


def _other_inputs(population: Population, declared: Affine | None = None) -> Mapping[str, Way]:
    """The usual inputs other than the declared ones, by the change in audit.yaml or the data that makes them."""
    channels = population.input_shape[population.axis - 1]
    standing = declared or (population.about["mean"], population.about["deviation"])
    known: dict[str, Affine] = {"": standing} if declared is None else {"raw": standing}
    for name in NAMED:
        try:
            known[name] = affine(name, channels)
        except DataError:  # statistics for another number of channels
            continue
    measured = population.standardising()
    known["standardise"] = measured
    found: dict[str, Way] = {}
    as_declared = Way(standing, reversed=False)
    for turned in (
        (False, True) if len(population.input_shape) == 3 and channels == 3 and population.axis == 1 else (False,)
    ):
        for key, numbers in known.items():
            # Statistics of the data turn with its channels; others are those of the model's.
            own = turned and _same(Way(numbers, reversed=True), Way(measured, reversed=True))
            way = Way((numbers[0][::-1], numbers[1][::-1]) if own else numbers, turned, key)
            if not any(_same(way, other) for other in (as_declared, *found.values())):
                words = [
                    f"with data.preprocessing: {key}" if key else "",
                    "with channels in the reverse order (BGR, RGB)" if turned else "",
                ]
                found[" and ".join(word for word in words if word)] = way
    return found


def _same(one: Way, other: Way) -> bool:
    return one.reversed == other.reversed and all(
        np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(one.affine, other.affine, strict=True)
    )


def require_trained(runtime: type[Runtime], artifact: Artifact, population: Population, door: Door) -> None:
    """Raise `ArtifactError` unless a trained model or a checkpoint is a target that can be audited.

    runtime: the reference of its framework.
    """
    task = population.task
    together, alone = runtime(artifact), runtime(artifact, {"batch": 1})
    require_steady(together.query, alone.query, population.take(population.split.nonmembers[:_REPEATED]), door.what)
    examined = Examined(together.query, population, door)
    inside = artifact.manifest.softmax_inside
    sigmoid = task.name == "multi-label" or examined.nonmembers.shape[1] == 1
    if not inside and sigmoid and examined.reads_as_probability():
        raise ArtifactError(
            f"{door.what} returns probabilities (values in [0, 1]), but a model must return logits: remove its final "
            "sigmoid, or make it a layer (nn.Sigmoid) at the end, which is then taken off"
        )
    if not inside and examined.reads_as_probability():
        raise ArtifactError(
            f"{door.what} returns probabilities (values in [0, 1] that sum to 1), but a model must return logits: "
            "remove its final softmax, and train with cross_entropy, or with nll_loss of log_softmax"
        )
    if not inside and in_unit_range(examined.nonmembers):
        raise ArtifactError(
            f"{door.what} returns values in [0, 1] alone, as a sigmoid does, but a model must return logits: remove "
            "its final sigmoid, and train with cross_entropy, or with binary_cross_entropy_with_logits"
        )
    examined.require_fitting(inside=inside)


def require_model(population: Population, responses: FloatArray, what: str, *, inside: bool, refuse: bool) -> bool:
    """Return whether collected answers are no better than chance. Raise `ArtifactError` if so, and `refuse` is set.

    Whatever leaks, or does not, from such a file says nothing of the model that was meant: it is untrained, its inputs
    are prepared otherwise, or labels and outputs are in different orders. A model of the built-in loop is taken as it
    is; the control "target accuracy" then takes a pass away.

    responses: float32 [records, classes], in the order of `Population.queried`.
    """
    sizes = len(population.split.members), len(population.split.nonmembers)
    rows = np.concatenate([
        _spaced(np.arange(sizes[0]), _ANSWERED),
        sizes[0] + _spaced(np.arange(sizes[1]), _ANSWERED),
    ])  # fmt: skip
    ids, members = population.queried[rows], rows < sizes[0]
    answers, sample = np.asarray(responses[rows]), Sample(population.labels[ids], members)
    task, scale, native = population.task, population.truth_scale, _native(inside=inside)
    if not task.has_classes:
        truth = population.truth(ids)
        loss = task.read(answers, truth, scale, native, native)[:, 0]
        examined = TruthExamined(loss, task.knowing_nothing(truth, scale), members)
        at_chance = not shows_a_model(examined)
        if at_chance and refuse:
            raise ArtifactError(_knows_nothing(what, task, examined))
        return at_chance
    answers = as_classes(answers, native)
    at_chance = by_chance(answers, sample, inside=inside)
    if at_chance and refuse:
        raise ArtifactError(_by_chance(what, answers, sample))
    return at_chance


def require_steady(ask: Ask, alone: Ask | None, records: FloatArray, what: str) -> None:
    """Raise `ArtifactError` where answers depend on what was asked before, or on what is asked together with a record.

    alone: asks one record at a time; None where answers may depend on the batch, as dynamic quantisation has it.
    """
    some = records[:_REPEATED]
    first = ask(some)
    allowed = _STEADY * float(first.std()) + 1e-6
    again = _apart(first, ask(some))
    if again > allowed:
        raise ArtifactError(
            f"{what} answers the same records differently when they are asked again (by up to {again:.3g}): is dropout "
            "on at inference, or does it keep a state between calls? Export or write it so that an answer depends on "
            "its record alone"
        )
    if alone is None:
        return
    try:
        singly = alone(some)
    except ArtifactError as exc:
        raise ArtifactError(f"{what} cannot answer one record at a time ({exc}). {_BATCH}") from exc
    together = max(_apart(first, singly), _apart(first, ask(some[::-1])[::-1]))
    if together > allowed:
        raise ArtifactError(
            f"{what} answers a record differently depending on the records that are asked together with it (by up to "
            f"{together:.3g}). {_BATCH}"
        )


def is_probability(answers: FloatArray, step: float = 0.0) -> bool:
    """Whether rows are probabilities: in [0, 1], with sum 1 up to rounding. step: of an integer output."""
    off = float(np.abs(answers.astype(np.float64).sum(axis=1) - 1).max())
    return in_unit_range(answers, step) and off <= _rounding(answers, step)


def in_unit_range(answers: FloatArray, step: float = 0.0) -> bool:
    """Whether all values are in [0, 1] up to rounding. step: of an integer output."""
    return bool((answers >= 0).all() and (answers <= 1 + _rounding(answers, step)).all())


def _rounding(answers: FloatArray, step: float) -> float:
    # Each of n values is rounded to the output's quantisation step.
    return 1e-3 + int(answers.shape[1]) * step / 2


_BATCH = (
    "Does it use the batch's own statistics (BatchNorm without running statistics), or branch on values of the batch? "
    "Members are asked together, so that such answers would tell them from others"
)


def _apart(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(one - other).max())


def clipped_share(records: FloatArray, held: tuple[float, float]) -> float:
    """The share of the records' variance that is lost where values end at what an input can hold, in [0, 1]."""
    values = records.astype(np.float64)
    lost = float(((values - np.clip(values, *held)) ** 2).sum())
    return min(1.0, lost / max(float(((values - values.mean()) ** 2).sum()), 1e-300))


def evenly(ids: IntArray, count: int = _EXAMINED) -> IntArray:
    """Some of the ids, evenly spaced; as many as are examined of a side."""
    return _spaced(ids, count)


def _native(*, inside: bool) -> Exposure:
    return "probabilities" if inside else "logits"


def _knows_nothing(what: str, task: AuditedTask, examined: TruthExamined) -> str:
    on = "the mean record" if task.name == "reconstruction" else "the mean of the data's labels or values"
    shares = [f"{100 - 100 * share:.4g}%" for share in examined.explained]
    return (
        f"{what} has {shares[0]} of the loss of answering {on} on records that it trained on, and {shares[1]} on "
        "nonmembers: it is not a model of these records. Check the training, data.preprocessing, the list of members, "
        "and that values are in the units that the model was trained with"
    )


def _spaced(ids: IntArray, count: int) -> IntArray:
    """Evenly spaced ones."""
    return ids[np.linspace(0, len(ids) - 1, min(len(ids), count)).astype(np.int64)]


def _worse_than(better: Better, door: Door) -> str:
    (accuracy, reached), (loss, lower) = better.accuracy, better.loss
    ways = [better.inputs or ""]
    remedy = []
    inputs = better.inputs or ""
    remedies = {
        "data.preprocessing": "Set data.preprocessing to what the model was trained with",
        "channels": "Set data.channels: reversed (OpenCV reads BGR), or remove it where it is set",
    }
    remedy += [what for word, what in remedies.items() if word in inputs]
    if better.shift:
        ways.append(f"if labels are read as label {better.shift:+d}")
        remedy.append("Number the data's labels as the model does")
    if better.order is not None:
        ways.append("if its outputs are the labels in another order")
        order = list(better.order)
        if door.outputs is not None:
            remedy.append(f"If so, set target.outputs: {[door.outputs[place] for place in order]}")
        else:
            remedy.append(
                f"If so, number the data's labels as the model does: labels 0, 1, ... are its outputs {order}"
            )
    return (
        f"{_wrong(better)} {door.what}: it classifies {accuracy:.1%} of {better.records:,} members and nonmembers "
        f"correctly with the current setting (mean loss {loss:.3g}), and {reached:.1%} "
        f"{' and '.join(way for way in ways if way)} (mean loss {lower:.3g}). {'. '.join(remedy)}"
        f"{_otherwise(better, door)}"
    )


def _otherwise(better: Better, door: Door) -> str:
    if better.gain < GAIN or door.stated.test is not None:
        return ""
    return f". If it was trained as set, state its accuracy on nonmembers in {door.stated.key}, which is then compared"


def _wrong(better: Better) -> str:
    if better.inputs is None:
        return "the labels do not fit"
    return (
        "data.preprocessing does not fit" if "preprocessing" in better.inputs else "the order of channels does not fit"
    )


def _by_chance(what: str, answers: FloatArray, sample: Sample) -> str:
    right = answers.argmax(axis=1) == sample.labels
    members = sample.members
    return (
        f"{what} classifies {right[members].mean():.1%} of the {int(members.sum()):,} records that it trained on and "
        f"{right[~members].mean():.1%} of {int((~members).sum()):,} nonmembers correctly, not clearly more than "
        f"always answering the most frequent label ({majority(sample.labels[members]):.1%}): it is not a model of "
        "these records. Check the training, data.preprocessing, the labels and the list of members"
    )


def _require_stated(door: Door, right: npt.NDArray[np.bool_], stated: float, side: str) -> None:
    fits, low, high = is_stated(right, stated)
    if fits:
        return
    key = door.stated.key
    if side == "members" or door.stated.train is not None:
        key += ".train" if side == "members" else ".test"
    raise ArtifactError(
        f"{key} is {stated:.1%}, but {door.what} classifies {right.mean():.1%} [{low:.1%}, {high:.1%}] of "
        f"{len(right):,} {side} correctly. Check that it is the right model, and that data.preprocessing, the labels "
        f"and the {side} are those for which the accuracy was stated"
    )
