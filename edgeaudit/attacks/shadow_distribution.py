"""Give a target's signals the distribution that its shadows' signals have, where the target differs as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray

__all__ = ["Curve", "Match", "ShadowDistribution"]

_LEAST_RUN = 1e-100


@dataclass(frozen=True)
class Curve:
    """A rising function, linear between its knots. knots, values: float64 [m], ascending.

    Beyond the knots it goes on with the mean slope between the middle knot and that end.
    """

    knots: FloatArray
    values: FloatArray

    @classmethod
    def to_quantiles(cls, given: FloatArray, quantiles: FloatArray) -> Curve:
        """Map given values, float64 [m], to quantiles at (i + 1/2) / n, float64 [n]; ties to that of their middle.

        Returns:
            A knot for each distinct value.
        """
        knots, counts = np.unique(given, return_counts=True)
        n, m = len(quantiles), len(given)
        places = (np.cumsum(counts) - counts / 2) * n / m - 1 / 2
        return cls(knots, np.asarray(np.interp(places, np.arange(n), quantiles), dtype=np.float64))

    def at(self, x: FloatArray) -> FloatArray:
        """Return the values at x, float64 [n]."""
        # Saturated answers have knots that are hardly apart, with no slope between them that a float holds.
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.interp(x, self.knots, self.values)
        if not np.isfinite(found).all():
            nearest = self.values[np.minimum(np.searchsorted(self.knots, x), len(self.knots) - 1)]
            found = np.where(np.isfinite(found), found, nearest)
        middle = len(self.knots) // 2
        for end, beyond in ((0, x < self.knots[0]), (-1, x > self.knots[-1])):
            run = self.knots[end] - self.knots[middle]
            slope = (self.values[end] - self.values[middle]) / run if abs(run) > _LEAST_RUN else 1.0
            found = np.where(beyond, self.values[end] + slope * (x - self.knots[end]), found)
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Match:
    """How a target's values become those of a model that is like its shadows.

    overall, weight: of all records. classes, curves, weights: of each class, int64 [classes], after `overall`.
    """

    overall: Curve
    weight: float
    classes: IntArray
    curves: tuple[Curve, ...]
    weights: FloatArray

    def apply(self, values: FloatArray, labels: IntArray) -> FloatArray:
        """Return the values, float64 [n], of records with these labels; their order is kept within a class."""
        matched = _towards(self.overall, values, self.weight)
        for one, curve, weight in zip(self.classes, self.curves, self.weights, strict=True):
            within = labels == one
            matched[within] = _towards(curve, matched[within], weight)
        return matched


@dataclass(frozen=True)
class ShadowDistribution:
    """The distribution of one signal of K shadows on n records, over all of them and within each class.

    A model's signal may be larger than another's on all records (it trained longer), or on all records of a class (its
    loss was weighted by class, its bias was moved). Neither says anything of a single record, but both look like
    membership, or hide it, to an attack that compares the model with shadows. `match` replaces values by a typical
    shadow's quantiles at their ranks, over all records and then within each class.

    How far, is estimated: a model that trained on more records of a class than another is surer of the class, too, and
    an attacker who ranks records within classes would lose that. Shadows say how much models differ that are alike:

    - Over all records: the mean square distance d^2 of the target's quantiles from a typical shadow's is expected to be
      v (1 + 1/K), where v is the variance of the shadows' quantiles. The weight is 1 - a v (1 + 1/K) / d^2, or 0.
    - Within classes: a model's deviation from the others on the same records, averaged over n_c records of a class, has
      variance b + s^2 / n_c: between models, and of records. What the target's have beyond a times that is tau^2,
      by moments, and the weight of a class is tau^2 / (tau^2 + a (b + s^2 / n_c)), as of a random effect: near 0
      for a class of one record.

    So a target that is like its shadows keeps its values.

    Attributes:
        labels: int64 [n].
        means: float64 [n], of each record over the shadows, after each was given the typical quantiles.
        quantiles: float64 [n], of a typical shadow at (i + 1/2) / n: means of the shadows' own.
        variance, between, scatter: v, b, s^2.
        classes: int64 [classes]. within: typical quantiles of each class, float64 [n_c].
        shadows: K, the mean number of shadows of a record.
        alike: a.

    Source: James & Stein, "Estimation with quadratic loss" (1961), for the positive-part weights; DerSimonian & Laird,
    "Meta-analysis in clinical trials" (1986), for the moments of tau^2.
    """

    labels: IntArray
    means: FloatArray
    quantiles: FloatArray
    variance: float
    between: float
    scatter: float
    classes: IntArray
    within: tuple[FloatArray, ...]
    shadows: float
    alike: float

    @classmethod
    def of(
        cls, values: FloatArray, labels: IntArray, counted: BoolArray | None = None, alike: float = 1.0
    ) -> ShadowDistribution:
        """Fit to shadows' values.

        Args:
            values: float64 [K, n], K >= 2.
            labels: int64 [n], the records' classes.
            counted: bool [K, n], the answers to count; two or more of each record. All where None.
            alike: up to this multiple of the shadows' variance a target is like its shadows.
        """
        counted = np.ones(values.shape, dtype=np.bool_) if counted is None else counted
        quantiles, variance = _typical(values, counted)
        typical, count = values.copy(), counted.sum(axis=0)
        for row, some in zip(typical, counted, strict=True):
            if some.any():
                row[some] = Curve.to_quantiles(row[some], quantiles).at(row[some])
        total = np.where(counted, typical, 0.0).sum(axis=0)
        deviations = np.where(counted, typical - (total - typical) / (count - 1), 0.0)
        classes = np.unique(labels)
        within, numbers, means, squares = [], [], [], 0.0
        for records in (np.flatnonzero(labels == one) for one in classes):
            some = counted[:, records]
            known = some.any(axis=1)
            own, some = deviations[np.ix_(known, records)], some[known]
            numbers.append(some.sum(axis=1))
            means.append(own.sum(axis=1) / numbers[-1])
            squares += float(np.where(some, (own - means[-1][:, None]) ** 2, 0.0).sum())
            within.append(_typical(typical[:, records], counted[:, records])[0])
        size, mean = np.concatenate(numbers), np.concatenate(means)
        scatter = squares / max(size.sum() - len(size), 1)
        return cls(
            labels,
            total / count,
            quantiles,
            variance,
            max(float(np.average(mean**2 - scatter / size, weights=size)), 0.0),
            scatter,
            classes,
            tuple(within),
            float(count.mean()),
            alike,
        )

    def match(self, values: FloatArray) -> Match:
        """Compare a model's values on these records with the shadows', float64 [n].

        In auditor mode the model trained on half of the records, as shadows did; else it trained on none of them, and
        only the answers of shadows that did not are counted.
        """
        overall = Curve.to_quantiles(values, self.quantiles)
        distance = float(np.mean((np.sort(values) - self.quantiles) ** 2))
        expected = self.alike * (1 + 1 / self.shadows) * self.variance
        weight = 1 - expected / distance if distance > expected else 0.0
        given, matched = overall.at(values), _towards(overall, values, weight)
        records = [np.flatnonzero(self.labels == one) for one in self.classes]
        sizes = np.array([len(one) for one in records])
        of_class = self.alike * (self.between + self.scatter / sizes)
        squares = np.array([(given[one] - self.means[one]).mean() ** 2 for one in records])
        tau2 = float((sizes * (squares - of_class)).sum() / sizes.sum())
        return Match(
            overall,
            weight,
            self.classes,
            tuple(Curve.to_quantiles(matched[one], q) for one, q in zip(records, self.within, strict=True)),
            np.asarray(tau2 / (tau2 + of_class) if tau2 > 0 else np.zeros(len(sizes)), dtype=np.float64),
        )


def _towards(curve: Curve, values: FloatArray, weight: float) -> FloatArray:
    return values + weight * (curve.at(values) - values) if weight > 0 else values.copy()


def _typical(values: FloatArray, counted: BoolArray) -> tuple[FloatArray, float]:
    """Return the mean over rows of their quantiles at (i + 1/2) / n, float64 [n], and the rows' variance about it.

    Rows count as often as they have counted values.
    """
    n, numbers = values.shape[1], counted.sum(axis=1)
    at, known = (np.arange(n) + 0.5) / n, np.flatnonzero(numbers)
    # Hazen's quantiles; np.quantile takes eight times as long for the few records of a class.
    each = np.array(
        [np.interp(at * numbers[k] - 0.5, np.arange(numbers[k]), np.sort(values[k, counted[k]])) for k in known]
    )
    mean = np.average(each, axis=0, weights=numbers[known])
    squares = np.average((each - mean) ** 2, axis=0, weights=numbers[known]).mean()
    return np.asarray(mean, dtype=np.float64), float(squares * len(each) / max(len(each) - 1, 1))
