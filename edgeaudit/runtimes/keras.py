"""The reference of Keras recipes: the trained keras.Model itself, in float32. Needs TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["KerasReference"]


class KerasReference(Runtime):
    """The model of the artifact's .keras file, called in inference mode."""

    spec = RuntimeSpec(
        name="keras",
        extra="tensorflow",
        packages=("tensorflow-cpu", "keras"),
        serves="keras",
        summary="the trained Keras model, the reference for all its formats",
        defaults={"batch": 64},
        isolation="tensorflow",
    )

    def _open(self) -> None:
        from edgeaudit.recipes.base import Recipe
        from edgeaudit.recipes.keras_models import load_keras

        self._model = load_keras(self.artifact.path, Recipe.from_dict(self.artifact.manifest.recipe))

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        answer: npt.NDArray[Any] = np.asarray(self._model(block, training=False))
        return answer
