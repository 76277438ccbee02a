"""Whole Keras checkpoints, written in a process that has TensorFlow."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path) -> None:
    """model.keras, and the SavedModel saved/: four inputs, three hidden units, two logits."""
    from edgeaudit.recipes.keras_models import keras

    layers = keras().layers
    model = keras().Sequential([keras().Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)])
    model.save(folder / "model.keras")
    model.export(folder / "saved", verbose=False)
