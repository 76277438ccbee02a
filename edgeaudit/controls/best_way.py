"""In which way is a file fed and read best: inputs, order of channels, and which of its outputs are the labels?

`find_better` says whether a declared way is significantly worse than another; here nothing is declared yet. What is
found is a suggestion, which the audit then examines as any other declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.controls.target_check import Sample, by_chance, find_better, judged_loss

__all__ = ["MOST_OFFSETS", "Reading", "best_readings", "settled"]

Answers = npt.NDArray[np.float32]

MOST_OFFSETS = 16
"""How many outputs may come before that of label 0."""
_ALIKE = 0.01
"""Difference of accuracies below which the loss decides."""
_SURER = 0.5
"""By which factor the loss of a less accurate way must be lower."""
_ROUNDS = 4


@dataclass(frozen=True)
class Reading:
    """A way to feed and to read a file.

    inputs: name of the inputs. outputs: the output of each label. accuracy, loss: over all records, the loss in nats as
    the mean of both sides' means. members, others: the accuracy of each side; nan for a side without records.
    """

    inputs: str
    outputs: tuple[int, ...]
    accuracy: float
    loss: float
    members: float
    others: float
    by_chance: bool = False


def best_readings(answers: Mapping[str, Answers], sample: Sample, labels: int, *, inside: bool) -> list[Reading]:
    """Every inputs with the best offset of the labels, the best of all first.

    The most accurate is the best, unless one about as accurate has half of its loss: that tells values of 0 to 255 from
    0 to 1 in a network whose decisions do not depend on the scale. It is the mean over sides, since inputs that are too
    large lower the loss of members alone.

    Args:
        answers: name of the inputs -> answers to them, float32 [n, values], the usual inputs first.
        sample: the records.
        labels: how many, at most `values`.
        inside: whether answers are probabilities.
    """
    found = [
        max(
            (_reading(name, given, offset, sample, labels, inside=inside) for offset in _offsets(given, labels)),
            key=_rank,
        )
        for name, given in answers.items()
    ]
    first = max(found, key=_rank)
    for reading in found:
        if reading.accuracy >= first.accuracy - _ALIKE and reading.loss < _SURER * first.loss:
            first = reading
    others = sorted((reading for reading in found if reading is not first), key=_rank, reverse=True)
    return [first, *others]


def settled(
    first: Reading, answers: Mapping[str, Answers], sample: Sample, *, inside: bool, as_declared: frozenset[str]
) -> Reading:
    """The reading that the audit's own check accepts: from `first`, along what it would name as significantly better.

    as_declared: inputs that audit.yaml can declare.
    """
    reading = first
    for _ in range(_ROUNDS):
        outputs = np.array(reading.outputs)
        declared = answers[reading.inputs][:, outputs]
        others = {
            name: given[:, outputs] for name, given in answers.items() if name != reading.inputs and name in as_declared
        }
        better = find_better(declared, others, sample, inside=inside)
        if better is None or better.shift:
            break
        order = reading.outputs if better.order is None else tuple(int(outputs[place]) for place in better.order)
        reading = _judged(better.inputs or reading.inputs, answers, order, sample, inside=inside)
    chance = by_chance(answers[reading.inputs][:, np.array(reading.outputs)], sample, inside=inside)
    return Reading(**{**vars(reading), "by_chance": chance})


def _offsets(answers: Answers, labels: int) -> range:
    return range(1 + min(MOST_OFFSETS, answers.shape[1] - labels))


def _rank(reading: Reading) -> tuple[float, float]:
    return reading.accuracy, -reading.loss


def _reading(name: str, given: Answers, offset: int, sample: Sample, labels: int, *, inside: bool) -> Reading:
    return _judged(name, {name: given}, tuple(range(offset, offset + labels)), sample, inside=inside)


def _judged(
    name: str, answers: Mapping[str, Answers], outputs: tuple[int, ...], sample: Sample, *, inside: bool
) -> Reading:
    right, loss = judged_loss(answers[name][:, np.array(outputs)], sample.labels, inside=inside)
    sides = [side for side in (sample.members, ~sample.members) if side.any()]
    members, others = (
        float(right[side].mean()) if side.any() else float("nan") for side in (sample.members, ~sample.members)
    )
    mean = float(np.mean([loss[side].mean() for side in sides]))
    return Reading(name, outputs, float(right.mean()), mean, members, others)
