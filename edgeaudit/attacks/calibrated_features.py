"""Features of the calibrated test: a model's answer on a record, compared with those of the record's OUT shadows.

`COLUMNS` names the features. Distances in input space, which the pilot study also tried, are not among them: the attack
reads answers, not inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, IntArray, ShadowAnswers
from edgeaudit.attacks.hierarchical import ModelSignals, Sides
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.shadow_distribution import Match, ShadowDistribution
from edgeaudit.attacks.variance_prior import VariancePrior, fit_prior, moderate, variance_floor

__all__ = [
    "COLUMNS", "RISING", "Alignment", "Context", "ShadowSignals", "Signals", "SpreadModel", "context", "features",
]  # fmt: skip

COLUMNS = (
    "phi", "mean phi", "log sd", "t", "l", "mean l", "mean H", "l - log mean p", "rank", "phi - max", "H",
    "aligned phi", "aligned t",
)  # fmt: skip
RISING = frozenset({"phi", "t", "l", "l - log mean p", "rank", "phi - max", "aligned phi", "aligned t"})
"""Columns in which the score is monotone: a larger value never lowers it."""

# Above this, offsets by class are too expensive: every fit solves a linear system with two unknowns a class.
_MOST_CLASSES = 100
_RIDGE = 1.0


@dataclass(frozen=True)
class ShadowSignals:
    """Margin phi, l = log p_y and entropy H of K shadows, float64 [K, n].

    l is clipped as in the task's loss; H, in nats, is the entropy of the returned probabilities (`Task.entropy`). out:
    bool [K, n].
    """

    shadow_phi: FloatArray
    shadow_log_p: FloatArray
    shadow_entropy: FloatArray
    out: BoolArray
    labels: IntArray

    @classmethod
    def of_shadows(cls, answers: ShadowAnswers) -> ShadowSignals:
        """Compute the shadows' signals, one model at a time to bound memory."""
        signals = np.empty((3, *answers.out.shape))
        for k, shadow in enumerate(answers.shadows):
            signals[:, k] = _signals(shadow, answers)
        return cls(signals[0], signals[1], signals[2], answers.out, answers.labels)

    def sides(self) -> Sides:
        """Return the sums over the IN and the OUT shadows of each record."""
        return Sides.of(self.shadow_phi, self.shadow_log_p, self.out)

    def outside_alone(self) -> Sides:
        """Return the sums over the OUT shadows, as an attacker has them of records that no shadow trained on."""
        return Sides.of_outside(self.shadow_phi, self.shadow_log_p, self.out)

    def distributions(self, counted: BoolArray | None = None, alike: float = 1.0) -> tuple[ShadowDistribution, ...]:
        """Return those of margins, log probabilities and entropies; arguments as in `ShadowDistribution.of`."""
        parts = (self.shadow_phi, self.shadow_log_p, self.shadow_entropy)
        return tuple(ShadowDistribution.of(part, self.labels, counted, alike) for part in parts)

    def with_target(
        self, evidence: Evidence, records: IntArray | BoolArray | slice = slice(None), answers: FloatArray | None = None
    ) -> Signals:
        """Add the target's signals.

        records: the records of the evidence that these signals are of. answers: other answers than the evidence's.
        """
        answers = evidence.target if answers is None else answers
        signals = _signals(answers[records], evidence, records)
        return Signals(self.shadow_phi, self.shadow_log_p, self.shadow_entropy, self.out, self.labels, *signals)

    def take(self, records: IntArray | BoolArray) -> ShadowSignals:
        """Return the signals on these records only."""
        return ShadowSignals(
            self.shadow_phi[:, records],
            self.shadow_log_p[:, records],
            self.shadow_entropy[:, records],
            self.out[:, records],
            self.labels[records],
        )

    def keep(self, models: IntArray) -> ShadowSignals:
        """Return the signals of these shadows only, in this order."""
        return ShadowSignals(
            self.shadow_phi[models],
            self.shadow_log_p[models],
            self.shadow_entropy[models],
            self.out[models],
            self.labels,
        )

    def play(self, shadow: int) -> Signals:
        """Let one shadow play the target against the others; equals the signals of `Evidence.play`."""
        others = np.arange(len(self.out)) != shadow
        return Signals(
            self.shadow_phi[others],
            self.shadow_log_p[others],
            self.shadow_entropy[others],
            self.out[others],
            self.labels,
            self.shadow_phi[shadow],
            self.shadow_log_p[shadow],
            self.shadow_entropy[shadow],
        )


@dataclass(frozen=True)
class Signals(ShadowSignals):
    """Signals of the shadows and, float64 [n], of the tested model: the target, or a shadow that plays it."""

    phi: FloatArray
    log_p: FloatArray
    entropy: FloatArray

    @property
    def tested(self) -> ModelSignals:
        """The tested model's signals."""
        return ModelSignals(self.phi, self.log_p, self.entropy)

    def matches(self, distributions: tuple[ShadowDistribution, ...]) -> tuple[Match, ...]:
        """Compare margins, log probabilities and entropies with those of the shadows on these very records."""
        parts = (self.phi, self.log_p, self.entropy)
        return tuple(like.match(part) for like, part in zip(distributions, parts, strict=True))

    def matched(self, matches: tuple[Match, ...]) -> Signals:
        """Return the signals with the tested model's as `Match.apply` gives them."""
        parts = (self.phi, self.log_p, self.entropy)
        phi, log_p, entropy = (one.apply(part, self.labels) for one, part in zip(matches, parts, strict=True))
        return replace(self, phi=phi, log_p=log_p, entropy=entropy)

    @classmethod
    def of(cls, evidence: Evidence) -> Signals:
        """Compute the target's and the shadows' signals."""
        return ShadowSignals.of_shadows(evidence.shadow_answers).with_target(evidence)

    def take(self, records: IntArray | BoolArray) -> Signals:
        """Return the signals on these records only."""
        taken = super().take(records)
        return Signals(
            taken.shadow_phi,
            taken.shadow_log_p,
            taken.shadow_entropy,
            taken.out,
            taken.labels,
            self.phi[records],
            self.log_p[records],
            self.entropy[records],
        )


def _signals(
    answers: FloatArray, source: ShadowAnswers | Evidence, records: IntArray | BoolArray | slice = slice(None)
) -> tuple[FloatArray, FloatArray, FloatArray]:
    task, details = source.task, (source.labels[records], source.exposure, source.floor)
    return (
        task.margin(answers, *details),
        -task.loss(answers, *details),
        task.entropy(answers, source.exposure),
    )


@dataclass(frozen=True)
class Context:
    """Statistics of each record over its OUT shadows; float64 [n] each, but count is int64.

    count, mean_phi, variance: of phi; the variance has ddof 1 and is NaN where count < 2. mean_p: mean of exp(l).
    """

    count: IntArray
    mean_phi: FloatArray
    variance: FloatArray
    mean_log_p: FloatArray
    mean_entropy: FloatArray
    mean_p: FloatArray


def context(signals: ShadowSignals) -> Context:
    """Compute the statistics over the OUT shadows; NaN for records without one."""
    phi = out_statistics(signals.shadow_phi, signals.out)
    return Context(
        phi.count,
        phi.mean,
        phi.variance,
        out_statistics(signals.shadow_log_p, signals.out).mean,
        out_statistics(signals.shadow_entropy, signals.out).mean,
        out_statistics(np.exp(signals.shadow_log_p), signals.out).mean,
    )


@dataclass(frozen=True)
class SpreadModel:
    """Moderated variances with a prior that depends on the record: log s0^2(x) is linear in (mean phi, mean l, mean H).

    centre, scale, weights: of the regression. lowest, highest: range of the fitted log variances, to which predictions
    are clipped. prior: of the variances divided by the trend.

    Source: Smyth 2004 with the trend of limma's eBayes(trend=TRUE), with a plane instead of its spline.
    """

    centre: FloatArray
    scale: FloatArray
    weights: FloatArray
    lowest: float
    highest: float
    prior: VariancePrior

    @classmethod
    def fit(cls, known: Context) -> SpreadModel:
        """Fit to the records with two or more OUT shadows; others are ignored.

        Raises:
            AttackError: no record has two OUT shadows.
        """
        df = known.count - 1
        varied = df > 0
        x = _covariates(known)[varied]
        centre: FloatArray = x.mean(axis=0) if len(x) else np.zeros(3)
        scale: FloatArray = x.std(axis=0) if len(x) else np.ones(3)
        scale[scale == 0] = 1.0
        log_variance = np.log(np.maximum(known.variance[varied], variance_floor(known.variance, df)))
        design = np.column_stack((np.ones(len(x)), (x - centre) / scale))
        weights = np.asarray(np.linalg.lstsq(design, log_variance, rcond=1e-8)[0], dtype=np.float64)
        trend = design @ weights
        lowest, highest = (float(trend.min()), float(trend.max())) if len(trend) else (0.0, 0.0)
        without_prior = cls(centre, scale, weights, lowest, highest, VariancePrior(np.inf, 1.0))
        return replace(without_prior, prior=fit_prior(known.variance / without_prior.trend(known), df))

    def trend(self, about: Context) -> FloatArray:
        """Return the trend of s^2, float64 [n]: s0^2(x) up to the factor `prior.scale`."""
        design = np.column_stack((np.ones(len(about.count)), (_covariates(about) - self.centre) / self.scale))
        return np.asarray(np.exp(np.clip(design @ self.weights, self.lowest, self.highest)), dtype=np.float64)

    def sd(self, about: Context) -> FloatArray:
        """Return the sd of a new margin about the mean of `count` OUT margins, s~ sqrt(1 + 1/count); count >= 1."""
        trend = self.trend(about)
        variance = moderate(about.variance / trend, about.count - 1, self.prior)[0] * trend
        return np.asarray(np.sqrt(variance * (1 + 1 / about.count)), dtype=np.float64)


def _covariates(about: Context) -> FloatArray:
    return np.column_stack((about.mean_phi, about.mean_log_p, about.mean_entropy))


@dataclass(frozen=True)
class Alignment:
    """Offset and spread of a model's margins against the shadows', fitted to its known nonmembers.

    The offset is a ridge regression of phi - mean phi on [mean phi, its square, mean H, class, class x mean phi]
    (without the last two above 100 classes). spread is the root mean square of (phi - mean phi - offset) / sd. Columns
    are standardised, so the penalty of 1 weighs as much as one record. mean phi and mean H are clipped to their range
    in the fit.
    """

    classes: int
    low: FloatArray
    high: FloatArray
    centre: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float
    spread: float

    @classmethod
    def fit(cls, signals: Signals, about: Context, sd: FloatArray, classes: int) -> Alignment:
        """Fit to one or more known nonmembers; arguments as in `features`."""
        covariates = np.column_stack((about.mean_phi, about.mean_entropy))
        low, high = covariates.min(axis=0), covariates.max(axis=0)
        design = _design(about, signals.labels, classes, low, high)
        centre, scale = design.mean(axis=0), design.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        x, y = (design - centre) / scale, signals.phi - about.mean_phi
        weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ (y - y.mean()))
        residual = (y - y.mean() - x @ weights) / sd
        spread = float(np.sqrt((residual**2).mean()))
        return cls(classes, low, high, centre, scale, weights, float(y.mean()), spread if spread > 0 else 1.0)

    def residual(self, signals: Signals, about: Context) -> FloatArray:
        """Return (phi - mean phi - offset) / spread, float64 [n]."""
        design = _design(about, signals.labels, self.classes, self.low, self.high)
        offset = self.intercept + (design - self.centre) / self.scale @ self.weights
        return np.asarray((signals.phi - about.mean_phi - offset) / self.spread, dtype=np.float64)


def _design(about: Context, labels: IntArray, classes: int, low: FloatArray, high: FloatArray) -> FloatArray:
    mean, entropy = np.clip(np.column_stack((about.mean_phi, about.mean_entropy)), low, high).T
    plain = np.column_stack((mean, mean**2, entropy))
    if classes > _MOST_CLASSES:
        return plain
    one_hot = labels[:, None] == np.arange(classes)
    return np.column_stack((plain, one_hot, one_hot * mean[:, None]))


def features(signals: Signals, about: Context, sd: FloatArray, alignment: Alignment) -> FloatArray:
    """Return the features, one row a record, float64 [n, len(COLUMNS)].

    Args:
        signals: of the tested model and of its shadows; every record has an OUT shadow.
        about: `context` of the same signals.
        sd: float64 [n], from `SpreadModel.sd`.
        alignment: of the tested model. aligned phi = mean phi + residual, the margin after removal of the model's
            offset and spread; aligned t = residual / sd.
    """
    below = ((signals.shadow_phi < signals.phi) & signals.out).sum(axis=0)
    tied = ((signals.shadow_phi == signals.phi) & signals.out).sum(axis=0)
    highest = np.where(signals.out, signals.shadow_phi, -np.inf).max(axis=0)
    residual = alignment.residual(signals, about)
    return np.column_stack(
        (
            signals.phi,
            about.mean_phi,
            np.log(sd),
            (signals.phi - about.mean_phi) / sd,
            signals.log_p,
            about.mean_log_p,
            about.mean_entropy,
            signals.log_p - np.log(about.mean_p),
            (below + tied / 2) / about.count,
            signals.phi - highest,
            signals.entropy,
            about.mean_phi + residual,
            residual / sd,
        )
    )
