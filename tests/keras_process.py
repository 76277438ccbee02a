"""A process that may import TensorFlow, since pytest's own has torch; and small Keras models on digits for it."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from edgeaudit.exporters import ExportJob, find_pass
from edgeaudit.filetypes.artifact import Artifact, PassRecord
from edgeaudit.host.isolation import enter
from edgeaudit.recipes.base import Recipe, Training
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.train_keras import keras_manifest

FloatArray = npt.NDArray[np.float32]
_Arguments = ParamSpec("_Arguments")
_Found = TypeVar("_Found")


@cache
def _pool() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=enter, initargs=("tensorflow",))
    atexit.register(pool.shutdown)
    return pool


def in_tensorflow(
    function: Callable[_Arguments, _Found], *given: _Arguments.args, **named: _Arguments.kwargs
) -> _Found:
    """Call a function of a module that imports no torch, in a process of its own that all tests share."""
    return _pool().submit(function, *given, **named).result()


MEMBERS, CALIBRATION, OTHERS = 120, 96, 120


@cache
def digits(*, images: bool) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Some digits, values from 0 to 1: [n, 1, 8, 8] or [n, 64], and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.data))[: MEMBERS + CALIBRATION + OTHERS]
    x = (found.data[order] / 16).astype(np.float32)
    return x.reshape(-1, 1, 8, 8) if images else x, found.target[order].astype(np.int64)


@dataclass(frozen=True)
class KerasToy:
    """A network to be trained on 120 digits."""

    name: str
    images: bool
    epochs: int

    @property
    def recipe(self) -> Recipe:
        shape = (1, 8, 8) if self.images else (64,)
        return Recipe(self.name, shape, 10, training=Training(epochs=self.epochs, batch=30, weight_decay=0.0))

    @property
    def queries(self) -> FloatArray:
        """Half of them members."""
        x, _ = digits(images=self.images)
        return np.concatenate([x[:MEMBERS], x[-OTHERS:]])


TOYS = {
    "mlp": KerasToy("keras:mlp", images=False, epochs=60),
    "resnet8": KerasToy("keras:resnet8", images=True, epochs=15),
}


def trained(toy: KerasToy, folder: Path) -> FloatArray:
    """Train, store the artifact in `folder`, return Keras's logits for the queries."""
    from edgeaudit.recipes.keras_models import save_keras
    from edgeaudit.recipes.keras_training import build, logits, train

    x, y = digits(images=toy.images)
    model = build(toy.recipe, 1)
    train(model, x[:MEMBERS], y[:MEMBERS], toy.recipe, 1)
    save_keras(model, folder / "model.keras")
    Artifact(folder, keras_manifest(toy.recipe, folder / "model.keras", toy.recipe.n_classes)).save()
    return logits(model, toy.queries)


def stateful_tflite(folder: Path) -> None:
    """Store a file that adds to each record half of the state, which is then what it answered: resource variables."""
    from edgeaudit.host.tensorflow import tensorflow

    tf = tensorflow()

    class Cell(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.state = tf.Variable(tf.zeros((1, 2)))

        @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32)])  # type: ignore[untyped-decorator]
        def ask(self, x: Any) -> Any:
            answer = x + 0.5 * self.state
            self.state.assign(answer)
            return answer

    cell = Cell()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([cell.ask.get_concrete_function()], cell)
    converter.experimental_enable_resource_variables = True
    (folder / "model.tflite").write_bytes(converter.convert())


def default_int8_tflite(folder: Path, x: FloatArray, y: npt.NDArray[np.int64]) -> None:
    """Store what TFLiteConverter makes of a small CNN by default: integers inside, floats in and out.

    x: [n, 8, 8, 1] from 0 to 1.
    """
    from edgeaudit.host.tensorflow import tensorflow
    from edgeaudit.recipes.keras_models import keras

    tf, layers = tensorflow(), keras().layers
    keras().utils.set_random_seed(0)
    net = keras().Sequential([
        keras().Input((8, 8, 1)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(x, y, epochs=25, batch_size=32, verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[i : i + 1]] for i in range(100))
    (folder / "model.tflite").write_bytes(converter.convert())


def stateful_lstm_tflite(folder: Path, x: FloatArray, y: npt.NDArray[np.int64]) -> None:
    """Store a Keras LSTM that keeps its state between calls, as a TFLite file with batch 1. x: [n, steps, values]."""
    from edgeaudit.host.tensorflow import tensorflow
    from edgeaudit.recipes.keras_models import keras

    tf, layers = tensorflow(), keras().layers
    keras().utils.set_random_seed(0)

    def network(*, stateful: bool) -> Any:
        entry = keras().Input(batch_shape=(1 if stateful else None, *x.shape[1:]))
        return keras().Model(entry, layers.Dense(10)(layers.LSTM(24, stateful=stateful)(entry)))

    trained, deployed = network(stateful=False), network(stateful=True)
    loss = keras().losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras().optimizers.Adam(0.01), loss)
    trained.fit(x, y, epochs=25, batch_size=32, verbose=0)
    deployed.set_weights(trained.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(deployed)
    converter.experimental_enable_resource_variables = True
    (folder / "model.tflite").write_bytes(converter.convert())


def converted(toy: KerasToy, source: Path, folder: Path, params: Mapping[str, Any]) -> None:
    """Apply `tflite.convert` to the artifact in `source`; store what it makes in `folder`."""
    step = find_pass("tflite.convert")
    x, _ = digits(images=toy.images)
    given = step.parameters(params)
    job = ExportJob(
        source=source / "model.keras",
        workdir=folder,
        params=given,
        input_shape=toy.recipe.input_shape,
        n_classes=10,
        seed=0,
        calibration=x[MEMBERS : MEMBERS + CALIBRATION] if step.calibrates(given) else None,
        recipe=toy.recipe,
    )
    product = step.apply(job)
    assert product.input is not None
    assert product.output is not None
    made = folder / product.file
    manifest = keras_manifest(toy.recipe, made, toy.recipe.n_classes)
    fields = {
        "kind": "tflite",
        "input": product.input,
        "output": product.output,
        "softmax_inside": product.softmax_inside,
        "passes": (PassRecord("tflite.convert", given, {}),),
    }
    Artifact(folder, type(manifest)(**{**vars(manifest), **fields})).save()


def asked(folder: Path, runtime: str, options: Mapping[str, Any], records: FloatArray) -> FloatArray:
    """Answers of the artifact in `folder` through a runtime."""
    return find_runtime(runtime)(Artifact.load(folder), options).query(records)


def lstm(shape: tuple[int, ...], n: int) -> Any:
    """An LSTM that reads an image line by line."""
    return _recurrent("LSTM", shape, n)


def gru(shape: tuple[int, ...], n: int) -> Any:
    """The same with a GRU."""
    return _recurrent("GRU", shape, n)


def _recurrent(kind: str, shape: tuple[int, ...], n: int) -> Any:
    from edgeaudit.recipes.keras_models import keras

    layers = keras().layers
    steps = [keras().Input(shape), layers.Reshape(shape[:2]), getattr(layers, kind)(12), layers.Dense(n)]
    return keras().Sequential(steps)
