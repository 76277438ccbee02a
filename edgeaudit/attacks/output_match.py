"""Undo what a target does to all its answers alike, where its shadows do nothing like it: temperatures, offsets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.attacks.evidence import BoolArray, Exposure, FloatArray, IntArray, ShadowAnswers
from edgeaudit.tasks.classification import probabilities

__all__ = ["UNCHANGED", "Affine", "OutputMatch"]

_LEAST_RECORDS = 10
_UNLIKELY = 20
"""An answer below a 20th of an even share says nothing of an output's offset."""
_LEAST_SLOPE = 0.05
_LARGEST, _PRECISION = 4.0, 1e-4
"""Of a temperature's logarithm."""
_ROUNDS = 8
_MOST_ANSWERS = 50_000
_TINY = float(np.finfo(np.float64).tiny)
_ALIKE = 2.0
"""Up to this multiple of the shadows' variance a target is like its shadows: of few outputs chance alone exceeds 1."""


@dataclass(frozen=True)
class Affine:
    """Log probabilities of a target = slope * those of a model like its shadows + offsets, float64 [outputs]."""

    slope: float
    offsets: FloatArray

    def undone(self, answers: FloatArray, exposure: Exposure) -> FloatArray:
        """Return answers, [n, outputs], without slope and offsets."""
        if self.slope == 1 and not self.offsets.any():
            return answers
        if exposure == "logits":
            return np.asarray((answers - self.offsets) / self.slope, dtype=np.float64)
        kept = answers.astype(np.float64)
        with np.errstate(divide="ignore"):
            logs = (np.log(kept) - self.offsets) / self.slope
        most = logs.max(axis=1, keepdims=True)
        moved = np.exp(logs - np.where(np.isfinite(most), most, 0.0))
        total = moved.sum(axis=1, keepdims=True)
        return np.asarray(np.divide(moved, total, out=kept, where=total > 0), dtype=np.float64)


UNCHANGED = Affine(1.0, np.zeros(0))
"""Of a task without classes."""


@dataclass(frozen=True)
class OutputMatch:
    """Entropies and mean log probabilities of shadows on n records, to find what a target does to all answers by.

    Temperature scaling, as of a calibrated release, a longer training or a smoothed loss multiply the logits of all
    records; margins are ordered otherwise then, so that no change of margins undoes it (`ShadowDistribution`). A bias
    that was moved, or a loss weighted by class, adds a constant to an output: it moves the margins of the output's own
    class, and those of other classes where it is the runner-up. A change of the answers undoes both.

    - The temperature is the one without which the target's mean entropy is that of the shadows. (The slope of its log
      probabilities on the shadows' is as good for a temperature, and worse for what is like one, as label smoothing:
      log probabilities of classes that nothing speaks for decide it.)
    - With t its log probabilities without that, centred over the outputs of a record, and m the shadows' mean, t is
      regressed on m with a slope for all outputs and an offset b_j for each. Answers that shadows give less than a 20th
      of an even share do not count, nor those of the target at the floor of probabilities; an output with fewer than
      ten others has no offset. Unlikely outputs would decide the fit, and are least alike between models that are not
      of one kind. What the target answers there decides nothing, since its offsets would.
    - Both are found again without what has been found, in eight rounds, since each biases the other.

    Shadows have temperatures and offsets among each other, too. With v the variance of the logarithms of their
    temperatures, each estimated against the others in the same way (on up to 50,000 answers), the target's is T^w,
    w = 1 - 2 v / log(T)^2, or 0; its offsets are multiplied by the like factor of (b_j / T)^2. So a target that is like
    its shadows is nearly always left as it is.

    Attributes:
        entropy, temperature_variance: mean over shadows, in nats; v.
        typical: float64 [n, outputs], m.
        offset_variance: of the shadows' offsets divided by their slopes.
        exposure: as in `Evidence`. floor: below it, probabilities are not known; 0 for logits.

    Source: our own design; temperatures as in Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks"
    (ICML 2017); the factors as in James & Stein, "Estimation with quadratic loss" (1961).
    """

    entropy: float
    temperature_variance: float
    typical: FloatArray
    offset_variance: float
    exposure: Exposure
    floor: float

    @classmethod
    def of(cls, answers: ShadowAnswers, counted: BoolArray | None = None) -> OutputMatch | None:
        """Fit to shadows' answers, of which counted ones, bool [K, n], matter; None for a task without classes."""
        if not answers.task.has_classes:
            return None
        exposure = answers.exposure
        floor = answers.floor if exposure == "probabilities" else 0.0
        counted = np.ones(answers.out.shape, dtype=np.bool_) if counted is None else counted
        total, entropies = np.zeros(answers.shadows.shape[1:]), []
        kept = [(shadow, some) for shadow, some in zip(answers.shadows, counted, strict=True) if some.any()]
        for shadow, some in kept:
            logs = _log_probabilities(shadow[some], exposure)
            total[some] += _centred(logs, floor)[0]
            entropies.append(_entropy(logs, 1.0))
        count = counted.sum(axis=0)[:, None]
        few = _evenly(total / count)
        slopes, spread = [], []
        for number, (shadow, some) in enumerate(kept):
            taken = few[some[few]]
            if not len(taken):
                continue
            own = _centred(_log_probabilities(shadow[taken], exposure), floor)[0]
            others = (total[taken] - own) / (count[taken] - 1)
            entropy = float(np.mean(entropies[:number] + entropies[number + 1 :]))
            slope, offsets = cls(entropy, 0.0, others, 0.0, exposure, floor).estimate(shadow[taken])
            slopes.append(math.log(slope))
            spread.append((offsets / slope) ** 2)
        return cls(
            float(np.mean(entropies)),
            float(np.mean(np.square(slopes))),
            total / count,
            float(np.mean(spread)),
            exposure,
            floor,
        )

    def of_target(self, answers: FloatArray) -> Affine:
        """Return what the target does to its outputs, from its answers on these records, [n, outputs]."""
        slope, offsets = self.estimate(answers)
        share = _beyond(math.log(slope) ** 2, _ALIKE * self.temperature_variance)
        size = float(((offsets / slope) ** 2).mean())
        return Affine(slope**share, offsets * _beyond(size, _ALIKE * self.offset_variance))

    def estimate(self, answers: FloatArray) -> tuple[float, FloatArray]:
        """Return slope and offsets, float64 [outputs], of a model, as if none were expected."""
        slope, offsets, likely = 1.0, np.zeros(answers.shape[1]), _likely(self.typical)
        for _ in range(_ROUNDS):
            slope *= self._temperature(Affine(slope, offsets).undone(answers, self.exposure))
            undone = Affine(slope, offsets).undone(answers, self.exposure)
            own, known = _centred(_log_probabilities(undone, self.exposure), self.floor)
            offsets = offsets + slope * _regressed(own, self.typical, known & likely)[0]
        return slope, offsets

    def _temperature(self, answers: FloatArray) -> float:
        """The slope without which the answers have the shadows' entropy."""
        logs = _log_probabilities(answers, self.exposure)

        def excess(log_slope: float) -> float:
            """How much entropy is too much without that slope; it rises with the slope."""
            return _entropy(logs, math.exp(-log_slope)) - self.entropy

        if excess(-_LARGEST) > 0 or excess(_LARGEST) < 0:
            return 1.0  # of answers that are the same for all outputs, or of one output alone
        return math.exp(float(scipy.optimize.brentq(excess, -_LARGEST, _LARGEST, xtol=_PRECISION)))


def _likely(typical: FloatArray) -> BoolArray:
    """Where shadows give an output a 20th of an even share or more, bool [n, outputs]."""
    p = np.exp(typical - typical.max(axis=1, keepdims=True))
    return np.asarray(p >= p.mean(axis=1, keepdims=True) / _UNLIKELY, dtype=np.bool_)


def _evenly(typical: FloatArray) -> IntArray:
    """Return records, evenly over an order that does not depend on theirs, with at most `_MOST_ANSWERS` answers."""
    order = np.argsort(typical.max(axis=1), kind="stable")
    most = max(_LEAST_RECORDS, _MOST_ANSWERS // typical.shape[1])
    return order[np.linspace(0, len(order) - 1, min(len(order), most)).astype(np.int64)]


def _beyond(size: float, expected: float) -> float:
    """The share of a square that is more than is expected."""
    return 1 - expected / size if size > expected else 0.0


def _log_probabilities(answers: FloatArray, exposure: Exposure) -> FloatArray:
    return np.asarray(np.log(np.maximum(probabilities(answers, exposure), _TINY)), dtype=np.float64)


def _entropy(logs: FloatArray, power: float) -> float:
    """Return the mean entropy of p^power / sum(p^power), in nats."""
    raised = power * logs
    raised -= raised.max(axis=1, keepdims=True)
    p = np.exp(raised)
    total = p.sum(axis=1)
    return float((np.log(total) - (p * raised).sum(axis=1) / total).mean())


def _centred(logs: FloatArray, floor: float) -> tuple[FloatArray, BoolArray]:
    """Return log probabilities minus their mean over outputs, [n, outputs], and where they are above the floor."""
    least = math.log(max(floor, _TINY))
    clipped = np.maximum(logs, least)
    return np.asarray(clipped - clipped.mean(axis=1, keepdims=True), dtype=np.float64), logs > least


def _regressed(own: FloatArray, others: FloatArray, counted: BoolArray) -> tuple[FloatArray, float]:
    """Regress own on others, [n, outputs], over the counted ones.

    Returns:
        An intercept for each output, float64 [outputs], with mean 0, and the slope of all; .05 or more.
    """
    count = counted.sum(axis=0)
    enough = count >= _LEAST_RECORDS
    if not enough.any():
        return np.zeros(len(count)), 1.0
    means = [np.where(counted, one, 0.0).sum(axis=0) / np.maximum(count, 1) for one in (own, others)]
    y, x = (np.where(counted & enough, one - mean, 0.0) for one, mean in zip((own, others), means, strict=True))
    squares = float((x**2).sum())
    slope = max(float((x * y).sum()) / squares, _LEAST_SLOPE) if squares > 0 else 1.0
    found = means[0] - slope * means[1]
    return np.where(enough, found - found[enough].mean(), 0.0), slope
