"""Give a target's signals the distribution that its shadows' signals have, where the target differs as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.attacks.evidence import FloatArray, IntArray

__all__ = ["ShadowDistribution"]


@dataclass(frozen=True)
class ShadowDistribution:
    """The distribution of one signal of shadows on n records, over all of them and within each class.

    A model's signal may be larger than another's on all records (it trained longer), or on all records of a class (its
    loss was weighted by class, its bias was moved). Neither says anything of a single record, but both look like
    membership to an attack that compares the model with shadows. `give` replaces values by the shadows' quantiles at
    their ranks, over all records and then, as far as the classes call for it, within each class.

    How far, is estimated: a model that trained on more records of a class than another is surer of the class, too, and
    an attacker who ranks records within classes would lose that. With the class means of a signal, after the first
    step, the variance of shadows about their mean is nu / n_c for classes of n_c records, and what the target has
    beyond that is tau^2 (by moments). The weight of a class is tau^2 / (tau^2 + (1 + 1/K) nu / n_c), as of a random
    effect, so it is 0 for a target that is like its shadows, and near 0 for a class of one record.

    Attributes:
        quantiles: float64 [n], of all records at (i + 1/2) / n, ascending.
        records, within: positions of each class, int64 [n_c], and the quantiles there, float64 [n_c].
        means: float64 [classes], of the shadows' class means after the first step.
        nu: times 1 / n_c, the variance of one shadow's class mean.
        shadows: K.

    Source: DerSimonian & Laird, "Meta-analysis in clinical trials" (1986), for the moments of tau^2.
    """

    quantiles: FloatArray
    records: tuple[IntArray, ...]
    within: tuple[FloatArray, ...]
    means: FloatArray
    nu: float
    shadows: int

    @classmethod
    def of(cls, values: FloatArray, labels: IntArray) -> ShadowDistribution:
        """Fit to the shadows' values, float64 [K, n], K >= 2, of records with these labels, int64 [n]."""
        quantiles = _quantiles(values)
        records = tuple(np.flatnonzero(labels == one) for one in np.unique(labels))
        each = [_class_means(_at_ranks(shadow, quantiles), records) for shadow in values]
        means = np.mean(each, axis=0)
        sizes = np.array([len(one) for one in records])
        nu = float((sizes * np.var(each, axis=0, ddof=1)).mean())
        return cls(quantiles, records, tuple(_quantiles(values[:, one]) for one in records), means, nu, len(values))

    def give(self, values: FloatArray) -> FloatArray:
        """Return values of a model on these records, float64 [n], with the shadows' distribution.

        Their order is kept within each class, and equal values of a class stay equal.
        """
        given = _at_ranks(values, self.quantiles)
        for one, within, weight in zip(self.records, self.within, self.weights(given), strict=True):
            if weight > 0:
                given[one] += weight * (_at_ranks(values[one], within) - given[one])
        return given

    def weights(self, given: FloatArray) -> FloatArray:
        """Return the weight of each class, float64 [classes] in [0, 1), of values with the quantiles of all records."""
        sizes = np.array([len(one) for one in self.records])
        expected = (1 + 1 / self.shadows) * self.nu / sizes
        distances = (_class_means(given, self.records) - self.means) ** 2
        tau2 = float((sizes * (distances - expected)).sum() / sizes.sum())
        return np.asarray(tau2 / (tau2 + expected) if tau2 > 0 else np.zeros(len(sizes)), dtype=np.float64)


def _quantiles(values: FloatArray) -> FloatArray:
    """Of float64 [K, n], at (i + 1/2) / n, float64 [n]."""
    n = values.shape[1]
    return np.asarray(np.quantile(values, (np.arange(n) + 0.5) / n, method="hazen"), dtype=np.float64)


def _at_ranks(values: FloatArray, quantiles: FloatArray) -> FloatArray:
    ranks = scipy.stats.rankdata(values) - 1
    return np.asarray(np.interp(ranks, np.arange(len(values)), quantiles), dtype=np.float64)


def _class_means(values: FloatArray, records: tuple[IntArray, ...]) -> FloatArray:
    return np.array([values[one].mean() for one in records])
