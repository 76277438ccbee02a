"""The reference of scikit-learn recipes: the fitted estimator itself. Needs scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["SklearnReference"]


class SklearnReference(Runtime):
    """`predict_proba` of the fitted estimator."""

    spec = RuntimeSpec(
        name="sklearn",
        extra="sklearn",
        packages=("scikit-learn",),
        serves="sklearn",
        summary="the fitted scikit-learn estimator, the reference for all its formats",
        defaults={"batch": 64},
    )

    def _open(self) -> None:
        from edgeaudit.recipes.base import Recipe
        from edgeaudit.recipes.sklearn_models import load_model

        self._recipe = Recipe.from_dict(self.artifact.manifest.recipe)
        self._model = load_model(self.artifact.path, self._recipe)

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        from edgeaudit.recipes.sklearn_models import probabilities

        answer: npt.NDArray[Any] = probabilities(self._model, np.asarray(block, np.float32), self._recipe.n_classes)
        return answer
