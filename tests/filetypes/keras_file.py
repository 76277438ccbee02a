"""Keras files, written in a process of TensorFlow's: this module imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def keras_file(folder: Path, *, softmax: str = "", trained: bool = False) -> None:
    """Write model.keras: 3x1x3x3 and 2x48 weights, the first 5 of the kernel and the first 40 of the matrix zero.

    softmax: "layer" or "activation" for one at the end. trained: with an optimizer's state, which is as large again.
    """
    from edgeaudit.recipes.keras_models import keras

    layers = keras().layers
    dense = layers.Dense(2, activation="softmax" if softmax == "activation" else None)
    stack = [keras().Input((6, 6, 1)), layers.Conv2D(3, 3), layers.ReLU(), layers.Flatten(), dense]
    model = keras().Sequential([*stack, *([layers.Softmax()] if softmax == "layer" else [])])
    kernel, matrix = np.ones((3, 3, 1, 3), np.float32), np.ones((48, 2), np.float32)
    kernel.reshape(-1)[:5] = 0
    matrix.reshape(-1)[:40] = 0
    model.layers[0].set_weights([kernel, np.zeros(3, np.float32)])
    model.layers[3].set_weights([matrix, np.zeros(2, np.float32)])
    if trained:
        model.compile(optimizer=keras().optimizers.Adam(), loss="mse")
        model.optimizer.build(model.trainable_variables)
    model.save(folder / "model.keras")
