"""What test_keras_recipes.py does in a process that may import TensorFlow, and the user's functions in it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.recipes.base import Recipe, Training
from edgeaudit.recipes.keras_checkpoint import ARCHITECTURE, architecture_of

FloatArray = npt.NDArray[np.float32]

X = np.random.default_rng(0).normal(size=(48, 1, 8, 8)).astype(np.float32)
Y = np.arange(48) % 3
FEW = Training(epochs=2, batch=16)
HERE = __name__


def recipe(name: str = "keras:cnn", **more: Any) -> Recipe:
    return replace(Recipe(name, (1, 8, 8), 3, training=FEW), **more)


def mine(shape: tuple[int, ...], n_classes: int, ending: str = "dense", width: int = 4) -> Any:
    """A user's function, with dropout, whose model ends in a softmax, one way or another."""
    import keras

    entry = keras.Input(shape)
    x = keras.layers.Conv2D(width, 3, activation="relu")(entry)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.2)(keras.layers.Flatten()(x))
    if ending == "dense":
        return keras.Model(entry, keras.layers.Dense(n_classes, activation="softmax")(x))
    x = keras.layers.Dense(n_classes)(x)
    ends = {
        "layer": keras.layers.Softmax(),
        "activation": keras.layers.Activation("softmax"),
        "operator": keras.ops.softmax,
        "sigmoid": keras.layers.Activation("sigmoid"),
        "logits": keras.layers.Identity(),
        "nested": keras.Sequential([keras.Input((n_classes,)), keras.layers.Activation("softmax")]),
    }
    return keras.Model(entry, ends[ending](x))


def weights_digest(model: Any) -> str:
    return hashlib.sha256(b"".join(value.tobytes() for value in model.get_weights())).hexdigest()


def trained(subject: Recipe, seed: int, drawn_before: int = 0) -> str:
    """Digest of a trained model's weights."""
    from edgeaudit.recipes.keras_training import build, train

    np.random.default_rng().random(drawn_before)
    if drawn_before:
        build(recipe("keras:mlp"), 5)  # whatever else the process made
    model = build(subject, seed)
    train(model, X, Y, subject, seed)
    return weights_digest(model)


def saved_twice(folder: Path) -> tuple[str, str]:
    """Digests of the .keras files of two equal models, the second made later."""
    from edgeaudit.recipes.keras_models import build, save_keras

    digests = []
    for name in ("one", "two"):
        save_keras(build(recipe("keras:resnet8"), 3), folder / f"{name}.keras")
        digests.append(hashlib.sha256((folder / f"{name}.keras").read_bytes()).hexdigest())
    return digests[0], digests[1]


def learned(subject: Recipe) -> tuple[float, float]:
    """(the last loss, training accuracy)."""
    from edgeaudit.recipes.keras_training import build, logits, train

    model = build(subject, 0)
    loss = train(model, X, Y, subject, 0)
    return loss, float((logits(model, X).argmax(axis=1) == Y).mean())


def linear_model(subject: Recipe, seed: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(weights, bias) of a linear model before and after training."""
    from edgeaudit.recipes.keras_training import build, train

    model = build(subject, seed)
    before = model.get_weights()
    train(model, X, Y, subject, seed)
    after = model.get_weights()
    return before[0], before[1], after[0], after[1]


def built(subject: Recipe) -> None:
    from edgeaudit.recipes.keras_models import build

    build(subject, 0)


def softmax_and_logits(ending: str) -> tuple[FloatArray, FloatArray]:
    """What the user's model answers, and what is left of it once the softmax is taken off."""
    from edgeaudit.recipes.keras_models import answers, fitted, keras, seeded

    subject = recipe(f"keras:{HERE}:mine", options={"ending": ending})
    keras()
    with seeded(1):
        model = mine((8, 8, 1), 3, ending)
    before = answers(model, X)
    model, taken = fitted(model, subject, "it")
    assert taken
    return before, answers(model, X)


def user_model(folder: Path, ending: str = "dense") -> FloatArray:
    """A trained model of the user's, saved in every way; returns what it answers."""
    from edgeaudit.recipes.keras_models import answers, keras, seeded

    keras()
    with seeded(4):
        model = mine((8, 8, 1), 3, ending)
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(X.transpose(0, 2, 3, 1), Y, epochs=2, verbose=0)
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "model.weights.h5")
    model.export(str(folder / "saved"), verbose=False)
    return answers(model, X)


def read(path: Path, subject: Recipe) -> tuple[FloatArray, bool]:
    """What a checkpoint answers as it is audited, and whether its softmax was taken off."""
    from edgeaudit.recipes.keras_models import answers
    from edgeaudit.recipes.keras_trained import read_checkpoint

    model, taken = read_checkpoint(path, subject, X)
    return answers(model, X), taken


def clone(path: Path, seed: int) -> tuple[str, list[tuple[int, ...]], bool]:
    """A shadow of `keras:checkpoint`: digest and shapes of its weights; whether they are unlike the checkpoint's."""
    from edgeaudit.recipes.keras_models import build, keras

    subject = recipe("keras:checkpoint", options={ARCHITECTURE: architecture_of(path)})
    made = build(subject, seed)
    whole = keras().models.load_model(path)
    first, other = made.get_weights()[0], whole.get_weights()[0]
    return weights_digest(made), [tuple(v.shape) for v in made.weights], not np.allclose(first, other)


def distilled(subject: Recipe, answers: FloatArray) -> tuple[list[float], FloatArray]:
    """Cross-entropies with a teacher's answers after each epoch, and the student's last probabilities."""
    from edgeaudit.recipes.keras_training import build, distil, logits

    student = build(subject, 0)
    losses: list[float] = []

    def after(model: Any) -> None:
        powers = np.exp(logits(model, X).astype(np.float64))
        losses.append(float(-(answers * np.log(powers / powers.sum(axis=1, keepdims=True))).sum(axis=1).mean()))

    distil(student, X, answers, subject, 0, subject.training.epochs, after)
    powers = np.exp(logits(student, X))
    return losses, powers / powers.sum(axis=1, keepdims=True)


def own_loop(model: Any, x: FloatArray, y: npt.NDArray[np.int64], *, seed: int, epochs: int) -> None:
    """A user's training function: records come as his model takes them."""
    assert x.shape[1:] == (8, 8, 1)
    model.set_weights([np.full_like(value, seed + epochs) for value in model.get_weights()])


def _copy_with(model: Any, value: float) -> Any:
    import keras

    copied = keras.models.clone_model(model)
    copied.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
    return copied


def best_copy(model: Any, x: FloatArray, y: npt.NDArray[np.int64], *, seed: int, epochs: int) -> Any:
    """A training function that returns the best of its copies."""
    return _copy_with(model, seed + epochs)


def dropped_copy(model: Any, x: FloatArray, y: npt.NDArray[np.int64], *, seed: int, epochs: int) -> None:
    """A training function that forgets to return it."""
    _copy_with(model, seed + epochs)


def another_model(model: Any, x: FloatArray, y: npt.NDArray[np.int64], *, seed: int, epochs: int) -> Any:
    """A training function that returns another architecture."""
    import keras

    return keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(3)])


def first_weight(subject: Recipe, seed: int) -> float:
    from edgeaudit.recipes.keras_training import build, train

    model = build(subject, 0)
    train(model, X, Y, subject, seed)
    return float(model.get_weights()[0].ravel()[0])
