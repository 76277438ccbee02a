"""Is a target a model of these records, fed and read as it was trained to be? The statistics of the check of targets.

A model that is given other inputs than it was trained on, or whose outputs are read in another order, leaks less than
the model that is deployed, and every budget would pass. `by_chance` finds answers that say nothing of the labels,
`find_better` another way to feed or to read the target that it answers better beyond chance, `is_stated` an accuracy
that is not the declared one. They take arrays; `edgeaudit.stages.target_check` asks the target.

A good target is refused by each in at most one of a thousand audits (`benchmarks/target_check.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.tasks import CLASSIFICATION

__all__ = [
    "GAIN", "LEVEL", "Better", "Sample", "by_chance", "clearly_worse", "find_better", "is_stated", "judged_loss",
    "majority",
]  # fmt: skip

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Answers = npt.NDArray[np.float32]

LEVEL = 1e-3
"""Significance of tests that refuse a target, for all of its alternatives together."""
_SHOWN = 0.05
"""Significance with which the members' accuracy shows a model; a stricter one would refuse weak models where there are
few records. Fewer than one in twenty sets of random answers gets by, since they are right less often than the most
frequent label."""
_SHOWN_OTHERWISE = 0.01
"""Significance of each of the other tests that show a model."""
_RECALLED = 0.25
"""How far mean recall must be from chance to all right to show a model; answers of untrained networks are related to
the labels by accident, and reach a tenth."""
GAIN, _FAR = 0.02, 0.25
"""By how much more accurate an alternative must be, beyond significance; and by how much for its loss not to count, nor
who trained the target: no good model is that much better at other inputs than its own."""
_LESS_LOSS, _SHARE = 0.1, 0.5
"""By how many nats, and to which share, an alternative that is no more accurate must lower the mean loss. Models that
are less sure than they could be have a somewhat lower loss at inputs of more contrast."""
_EQUAL = 0.01
"""How much less accurate such an alternative may be."""
_STATED = 0.02
"""Tolerance of a stated accuracy beyond chance: its maker may have used other records or another runtime."""
_FLOOR = 1e-9
_SATURATED, _WRONG = 20.0, 5
"""Median loss of wrong answers, of so many at least, that no training gives: logits are hundreds of times too large."""
_CLIPPED = 1e-3
"""Probabilities below do not count further where one record must not decide a mean of many."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Records on which a target is examined. labels: int64 [n]. members: bool [n], those that it trained on."""

    labels: IntArray
    members: BoolArray

    def first(self, keep: BoolArray) -> Sample:
        """Those of the records that `keep`, bool [n], selects."""
        return Sample(self.labels[keep], self.members[keep])


@dataclass(frozen=True)
class Better:
    """Another way to feed or to read a target that it answers better.

    inputs: its name; None if they are as declared. shift: what to add to each label. order: the output of each label,
    where outputs are in another order. accuracy, loss: as declared, and in this way. records: examined.
    """

    inputs: str | None
    shift: int
    order: tuple[int, ...] | None
    accuracy: tuple[float, float]
    loss: tuple[float, float]
    records: int

    @property
    def gain(self) -> float:
        """By how much more accurate the target is in this way."""
        return self.accuracy[1] - self.accuracy[0]

    @property
    def changes(self) -> int:
        """How many declarations would change; an order of the labels counts more than a shift."""
        return (self.inputs is not None) + (self.shift != 0) + 2 * (self.order is not None)


@dataclass(frozen=True, eq=False)
class _Judged:
    """right: bool [n]. loss: float64 [n], in nats."""

    right: BoolArray
    loss: FloatArray


def majority(labels: IntArray) -> float:
    """Return the share of the most frequent label, in (0, 1]."""
    return float(np.bincount(labels).max()) / len(labels)


def by_chance(answers: Answers, sample: Sample, *, inside: bool) -> bool:
    """Return whether nothing shows that these are the answers of a model of these records.

    A model is shown by any of

    - an accuracy above the share of the most frequent label, on members, on others or on both (exact binomial test);
    - a loss below that of the labels' shares, on either side, where the answers also fit the labels better than they
      fit the same labels in another order (permutation test): what a model of rare classes shows, whose accuracy can
      hardly be above the most frequent label's;
    - a mean recall far above chance: what a model shows that was trained with weights for its classes.

    Others than members show nothing where members are answered worse, beyond chance, as no model does that trained on
    them: their labels are wrong, or the list is.

    inside: whether answers are probabilities. Records of one label alone cannot show anything, and are taken as they
    are.
    """
    right = answers.argmax(axis=1) == sample.labels
    if _worse(right[sample.members], right[~sample.members]):
        answers, right, sample = answers[sample.members], right[sample.members], sample.first(sample.members)
    labels, members = sample.labels, sample.members
    looks = ((members, _SHOWN), (~members, _SHOWN_OTHERWISE), (np.ones_like(members), _SHOWN_OTHERWISE))
    sides = [(side, level) for side, level in looks if side.any() and majority(labels[side]) < 1]
    if not sides:
        return False
    if any(_beats_majority(right[side], labels[side], level) for side, level in sides):
        return False
    logs = _logs(answers, inside=inside, floor=_CLIPPED)
    related = scipy.stats.norm.sf(_association(logs, labels)) < _SHOWN_OTHERWISE
    lower = any(_mean_loss(logs[side], labels[side]) < _entropy(labels[side]) for side, _ in sides)
    return not ((related and lower) or _recalls(right, labels, answers.shape[1]))


def find_better(
    declared: Answers, others: Mapping[str, Answers], sample: Sample, *, inside: bool, sure: bool = False
) -> Better | None:
    """Return the best way to feed and to read the target that is significantly better than the declared one.

    Significantly better is what is more accurate (exact paired test) and no less sure of its members, or what is as
    accurate with far less loss on members and on others (paired t test): an overfitted model has less loss on others
    where its inputs are too small, and one that is right on all members has less loss there where they are too large,
    but neither has both. On members it may be more where the declared inputs are so large that wrong answers are
    certain, as of bytes where 0..1 are meant. What is more accurate by a quarter of all records need have no less
    loss. All tests share `LEVEL`.

    Labels that are one off, and outputs in another order, are tried with all inputs. The order is fitted on one half of
    the records and judged on the other, so that fitting cannot win. Of those that are about as accurate, the one that
    changes least is returned, and of these the one with the least loss.

    Args:
        declared: answers to the inputs as declared, float32 [n, classes].
        others: name of other inputs -> answers to them.
        sample: the records.
        inside: whether answers are probabilities.
        sure: whether the declared way is likely right, so that only what is far more accurate counts. Weakly trained
            models are somewhat more accurate at inputs of more contrast than they were trained on.
    """
    first = _judged(_logs(declared, inside=inside), sample.labels, 0)
    found: list[tuple[Better, _Judged]] = []
    for name, answers in ((None, declared), *others.items()):
        for shift, order, judged in _readings(_logs(answers, inside=inside), sample.labels):
            if name is None and shift == 0 and order is None:
                continue
            accuracy = float(first.right.mean()), float(judged.right.mean())
            loss = float(first.loss.mean()), float(judged.loss.mean())
            found.append((Better(name, shift, order, accuracy, loss, len(sample.labels)), judged))
    level = LEVEL / max(1, len(found))
    better = [way for way, judged in found if _is_better(first, judged, sample.members, level, sure=sure)]
    reached = max((way.accuracy[1] for way in better), default=0.0)
    nearly = [way for way in better if way.accuracy[1] >= reached - GAIN]
    return min(nearly, key=lambda way: (way.changes, way.loss[1]), default=None)


def clearly_worse(declared: Answers, other: Answers, sample: Sample, *, inside: bool) -> bool:
    """Return whether the target answers other inputs worse, however they are read, so that no more are needed."""
    first = _judged(_logs(declared, inside=inside), sample.labels, 0)
    readings = _readings(_logs(other, inside=inside), sample.labels)
    return all(_more_often(first.right, judged.right) < LEVEL for _, _, judged in readings)


def judged_loss(answers: Answers, labels: IntArray, *, inside: bool) -> tuple[BoolArray, FloatArray]:
    """Return where answers, [n, classes], are right, bool [n], and each record's loss in nats, float64 [n]."""
    judged = _judged(_logs(answers, inside=inside), labels, 0)
    return judged.right, judged.loss


def is_stated(right: BoolArray, stated: float) -> tuple[bool, float, float]:
    """Return whether an accuracy, of bool [n], can be the stated one, and its interval at level `LEVEL`."""
    low, high = clopper_pearson(int(right.sum()), len(right), 1 - LEVEL)
    return low - _STATED <= stated <= high + _STATED, low, high


def _logs(answers: Answers, *, inside: bool, floor: float = _FLOOR) -> FloatArray:
    """Return log-probabilities, float64 [n, classes], at least log(floor)."""
    p = CLASSIFICATION.probabilities(answers, "probabilities" if inside else "logits")
    if inside and (p > 0).any():
        # An integer output has 0 for all that is below its step; it does not mean certainty.
        floor = max(floor, min(float(p[p > 0].min()), 1 / 128) / 2)
    return np.asarray(np.log(np.clip(p, floor, 1.0)), np.float64)


def _readings(logs: FloatArray, labels: IntArray) -> Iterator[tuple[int, tuple[int, ...] | None, _Judged]]:
    """Yield (shift of the labels, order of the outputs, the answers judged so)."""
    yield 0, None, _judged(logs, labels, 0)
    for shift in (-1, 1):
        yield shift, None, _judged(logs, labels, shift)
    order = _order(logs, labels)
    if (order != np.arange(len(order))).any():
        yield 0, tuple(order.tolist()), _in_order(logs, labels)


def _judged(logs: FloatArray, labels: IntArray, shift: int) -> _Judged:
    places = labels + shift
    within = (places >= 0) & (places < logs.shape[1])
    losses = -logs[np.arange(len(labels)), np.where(within, places, 0)]
    return _Judged((logs.argmax(axis=1) == places), np.where(within, losses, -math.log(_FLOOR)))


def _order(logs: FloatArray, labels: IntArray) -> IntArray:
    """Return the output of each label with which most records are right, int64 [classes]."""
    classes = logs.shape[1]
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, logs.argmax(axis=1)), 1)
    counts[np.diag_indices(classes)] += 0.5  # where nothing is gained, labels stay where they are
    return np.asarray(scipy.optimize.linear_sum_assignment(-counts)[1], np.int64)


def _in_order(logs: FloatArray, labels: IntArray) -> _Judged:
    """Judge each record by the order that the other half of the records has."""
    half = np.random.default_rng(0).permutation(len(labels)) % 2 == 0
    right, loss = np.zeros(len(labels), np.bool_), np.zeros(len(labels))
    for side in (half, ~half):
        places = _order(logs[~side], labels[~side])[labels[side]]
        right[side] = logs[side].argmax(axis=1) == places
        loss[side] = -logs[side][np.arange(len(places)), places]
    return _Judged(right, loss)


def _is_better(declared: _Judged, other: _Judged, members: BoolArray, level: float, *, sure: bool) -> bool:
    gain = float(other.right.mean() - declared.right.mean())
    more = gain >= GAIN and _more_often(other.right, declared.right) < level
    if sure or (more and gain >= _FAR):
        return more and gain >= _FAR
    lower = [float((declared.loss - other.loss)[side].mean()) for side in (members, ~members) if side.any()]
    if more and lower[0] >= 0:
        return True
    before, after = float(declared.loss.mean()), float(other.loss.mean())
    far = before - after >= _LESS_LOSS and after <= _SHARE * before
    if gain < -_EQUAL or not far:
        return False
    if _saturated(declared):
        # As few as five records show it, where no test of means would.
        return not _saturated(other)
    return min(lower) > 0 and _smaller(declared.loss - other.loss) < level


def _saturated(judged: _Judged) -> bool:
    wrong = judged.loss[~judged.right]
    return len(wrong) >= _WRONG and float(np.median(wrong)) >= _SATURATED


def _more_often(one: BoolArray, other: BoolArray) -> float:
    """Return the p-value of the exact one-sided paired test that one is right more often than the other."""
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    if gained + lost == 0:
        return 1.0
    return float(scipy.stats.binom.sf(gained - 1, gained + lost, 0.5))


def _smaller(less: FloatArray) -> float:
    """Return the one-sided p-value of the mean of differences not being above 0."""
    deviation = float(less.std(ddof=1))
    if deviation == 0:
        return 0.0 if less.mean() > 0 else 1.0
    return float(scipy.stats.t.sf(less.mean() / deviation * math.sqrt(len(less)), len(less) - 1))


def _worse(members: BoolArray, others: BoolArray) -> bool:
    """Return whether fewer members are right than others, beyond chance (Fisher's exact test)."""
    right, n = int(members.sum()), len(members) + len(others)
    return bool(scipy.stats.hypergeom.cdf(right, n, right + int(others.sum()), len(members)) < LEVEL)


def _beats_majority(right: BoolArray, labels: IntArray, level: float) -> bool:
    return float(scipy.stats.binom.sf(int(right.sum()) - 1, len(right), majority(labels))) <= level


def _mean_loss(logs: FloatArray, labels: IntArray) -> float:
    return float(-logs[np.arange(len(labels)), labels].mean())


def _entropy(labels: IntArray) -> float:
    """Return the loss of answering the labels' shares to every record, in nats."""
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(share * np.log(share)).sum())


def _association(logs: FloatArray, labels: IntArray) -> float:
    """Return by how many deviations the labels' log-probabilities exceed those of the labels in a random order.

    Mean and variance under permutation are exact (Hoeffding 1951, "A combinatorial central limit theorem").
    """
    n, counts = len(labels), np.bincount(labels, minlength=logs.shape[1])
    share = counts / n
    of_record = logs @ share
    centred = logs - of_record[:, None] - logs.mean(axis=0) + of_record.mean()
    variance = float((centred**2 @ counts).sum()) / (n - 1) if n > 1 else 0.0
    excess = float((logs[np.arange(n), labels] - of_record).sum())
    return excess / math.sqrt(variance) if variance > 1e-12 * n else 0.0


def _recalls(right: BoolArray, labels: IntArray, classes: int) -> bool:
    """Return whether the mean recall of the classes that occur is far above 1 / classes, beyond chance."""
    counts = np.bincount(labels)
    present = counts > 0
    hits = np.bincount(labels, weights=right)[present]
    recall, smooth = hits / counts[present], (hits + 1) / (counts[present] + 2)
    spread = math.sqrt(float((smooth * (1 - smooth) / counts[present]).sum())) / int(present.sum())
    above = float(recall.mean()) - 1 / classes
    return above >= _RECALLED * (1 - 1 / classes) and scipy.stats.norm.sf(above / spread) < LEVEL
