"""Quantile regression: the margin minus the quantile of margins that a regression predicts for nonmembers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, InputArray, IntArray
from edgeaudit.attacks.signals import target_margins
from edgeaudit.errors import AttackError

__all__ = ["QuantileRegression"]

_QUANTILES = {"q-0.99": 0.99, "q-0.95": 0.95}
_COMPONENTS = 32
_FOLDS = 3
_MOST_CATEGORIES = 255  # of scikit-learn's histogram gradient boosting


class QuantileRegression(Attack):
    """A regression of the target's margin on the record, fitted to records that the target did not train on.

    Variants: `q-0.99` and `q-0.95` score phi - q(x, y), with q the conditional quantile of that level: 1% or 5% of
    nonmembers lie above 0, the natural threshold, if the regression is correct. `gaussian` scores (phi - m(x, y)) /
    s(x, y), with m and s the conditional mean and standard deviation. Needs no shadows.

    Source: Bertran et al., "Scalable Membership Inference Attacks via Quantile Regression" (NeurIPS 2023). Deviations:
    histogram gradient boosting (their choice for tables) replaces the neural network for images, so inputs of more than
    32 values are reduced to their first 32 principal components. The label is a categorical feature, since phi is the
    margin of the label. s is fitted to out-of-fold squared residuals, because in-sample residuals are too small. For
    the same reason a constant is added to q, the level's quantile of out-of-fold phi - q (conformalised quantile
    regression: Romano et al., NeurIPS 2019), which moves the threshold and not the ranking.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="quantile-regression",
        variants=(*_QUANTILES, "gaussian"),
        summary="margin above the quantile that a regression on the record predicts for nonmembers",
        paper="Bertran et al., NeurIPS 2023",
        needs=Needs(reference=60, inputs=True),
        variant_thresholds=dict.fromkeys(_QUANTILES, 0.0),
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        if evidence.inputs is None or reference.inputs is None:
            raise AttackError("'quantile-regression' reads the records themselves, and only answers are available")
        order = _canonical_order(reference.inputs, reference.labels, target_margins(reference))
        known, inputs = reference.take(order), reference.inputs[order]
        reduced = _Reduction(inputs)
        x, phi = reduced(inputs, known.labels), target_margins(known)
        audited, margins = reduced(evidence.inputs, evidence.labels), target_margins(evidence)
        categorical = reference.target.shape[1] <= _MOST_CATEGORIES
        if variant in _QUANTILES:
            level = _QUANTILES[variant]
            model = _model("quantile", len(phi), categorical=categorical, level=level).fit(x, phi)
            residuals = _residuals("quantile", x, phi, categorical=categorical, level=level)
            quantile = model.predict(audited) + np.quantile(residuals, level, method="higher")
            return Scores(np.asarray(margins - quantile, dtype=np.float64))
        mean = _model("squared_error", len(phi), categorical=categorical).fit(x, phi).predict(audited)
        squares = _residuals("squared_error", x, phi, categorical=categorical) ** 2
        # A gamma model has a logarithmic link, so s is positive; exact zeros (constant answers) are raised to `least`.
        least = max(1e-6 * float(squares.mean()), 1e-12)
        spread = _model("gamma", len(phi), categorical=categorical).fit(x, np.maximum(squares, least))
        return Scores(np.asarray((margins - mean) / np.sqrt(spread.predict(audited)), dtype=np.float64))


def _canonical_order(inputs: InputArray, labels: IntArray, phi: FloatArray) -> IntArray:
    """Return an order that does not depend on the current order of the records: by a fixed projection of the input."""
    direction = np.random.default_rng(0).normal(size=inputs.shape[1])
    return np.asarray(np.lexsort((phi, labels, np.einsum("ij,j->i", inputs, direction))), dtype=np.int64)


class _Reduction:
    """Maps inputs and labels to features: the label, then the inputs or their first principal components."""

    def __init__(self, inputs: InputArray) -> None:
        from sklearn.decomposition import PCA

        self._pca = None
        if inputs.shape[1] > _COMPONENTS:
            count = min(_COMPONENTS, len(inputs))
            # float32 halves the time and is precise enough.
            self._pca = PCA(count, svd_solver="randomized", random_state=0).fit(inputs.astype(np.float32))

    def __call__(self, inputs: InputArray, labels: IntArray) -> FloatArray:
        x = inputs if self._pca is None else self._pca.transform(inputs.astype(np.float32))
        return np.column_stack((labels, x)).astype(np.float64)


def _model(loss: str, n: int, *, categorical: bool, level: float | None = None) -> Any:
    """Return histogram gradient boosting, 80 rounds of 15 leaves of 20 or more records, and 2 beyond the quantile."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    least = 20 if level is None else max(20, round(2 / (1 - level)))
    return HistGradientBoostingRegressor(
        loss=loss,
        quantile=level,
        learning_rate=0.06,
        max_iter=80,
        max_leaf_nodes=15,
        min_samples_leaf=min(least, max(1, n // 3)),
        l2_regularization=1.0,
        categorical_features=[0] if categorical else None,
        early_stopping=False,
        random_state=0,
    )


def _residuals(
    loss: str, x: FloatArray, phi: FloatArray, *, categorical: bool, level: float | None = None
) -> FloatArray:
    """Return out-of-fold residuals of the margins, float64 [n]."""
    fold = np.arange(len(phi)) % _FOLDS
    residuals = np.empty(len(phi))
    for held_out in range(_FOLDS):
        rest = fold != held_out
        model = _model(loss, int(rest.sum()), categorical=categorical, level=level).fit(x[rest], phi[rest])
        residuals[~rest] = phi[~rest] - model.predict(x[~rest])
    return residuals
