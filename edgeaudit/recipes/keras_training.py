"""The training loop of Keras models: one thread, deterministic, a pure function of (records, seed, recipe).

It has the settings of the torch loop. Where the two differ, Keras's own way is kept: SGD's velocity holds the learning
rate of its time, Adam's epsilon is 1e-7, initial weights are Glorot's. Losses that a model of the user's adds itself
(regularisers) are added here, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import TrainingError
from edgeaudit.host.tensorflow import tensorflow
from edgeaudit.recipes.base import TRAINS, Recipe, Training, import_function, require_signature
from edgeaudit.recipes.keras_models import answers as logits
from edgeaudit.recipes.keras_models import as_keras_takes_them, build, keras, seeded
from edgeaudit.tasks import TaskName, find_task

__all__ = ["build", "distil", "logits", "train"]

FloatArray = npt.NDArray[np.float32]

_SHIFT = 4


def train(
    model: Any, x: FloatArray, y: npt.NDArray[Any], recipe: Recipe, seed: int, epochs: int | None = None
) -> float:
    """Train in place; returns the mean loss of the last epoch (NaN for a user's own loop).

    x: float32 [n, *input_shape], images channels first; y: what the task compares answers with (`Population.truth`):
    int64 [n], classes, or float32 [n, outputs]. A user's own loop is given images channels last,
    as his model takes them, and may return the trained model instead of training in place. `epochs` overrides the
    recipe's (fine-tuning), and the learning rate is then a tenth.
    Raises `TrainingError` where the loss or a weight is no longer finite, where a user's own loop returns a model of
    another layout, and where it leaves all weights as they were (but for fine-tuning).
    """
    setting = recipe.training
    n_epochs = setting.epochs if epochs is None else epochs
    with _reproducible(model, recipe, seed, "training"):
        if recipe.train_function is not None:
            native = as_keras_takes_them(x)
            before = _parameters(model)
            function = import_function(recipe.train_function)
            what = f"model.train: '{recipe.train_function}'"
            require_signature(function, what, TRAINS, model, native, y, seed=seed, epochs=n_epochs)
            _take(model, function(model, native, y, seed=seed, epochs=n_epochs), recipe)
            if epochs is None and all(np.array_equal(a, b) for a, b in zip(before, _parameters(model), strict=True)):
                raise TrainingError(
                    f"model.train: '{recipe.train_function}' left every weight as it was. Does it train a copy? Train "
                    "the model in place, or return the trained one"
                )
            return math.nan
        lr = setting.lr if epochs is None else setting.lr / 10
        classes = find_task(recipe.task).has_classes
        wanted = np.eye(recipe.n_classes, dtype=np.float32)[y] if classes else np.asarray(y, np.float32)
        return _loop(model, x, wanted, setting, n_epochs, lr, seed, task=recipe.task)


def _parameters(model: Any) -> list[FloatArray]:
    """What training changes; statistics, as of BatchNormalization, are only taken where there is nothing else."""
    return [np.array(variable) for variable in model.trainable_weights or model.weights]


def _take(model: Any, returned: object, recipe: Recipe) -> None:
    """Give the model the weights of the one that a user's loop returned, if it returned another one."""
    found = returned if isinstance(returned, tuple | list) else [returned]
    models: list[Any] = [one for one in found if isinstance(one, keras().Model) and one is not model]
    if not models or any(one is model for one in found):
        return
    values, own = models[0].get_weights(), model.get_weights()
    if len(models) > 1 or [value.shape for value in values] != [value.shape for value in own]:
        raise TrainingError(
            f"model.train: '{recipe.train_function}' returned another model than it was given "
            f"({type(models[0]).__name__}, whose weights are not those of model.recipe '{recipe.name}'); train the "
            "model in place, or return one of the same layers"
        )
    model.set_weights(values)


def distil(
    student: Any,
    x: FloatArray,
    answers: FloatArray,
    recipe: Recipe,
    seed: int,
    epochs: int,
    after_epoch: Callable[[Any], None],
) -> float:
    """Train a student in place on a teacher's answers; returns the mean loss of the last epoch.

    answers: float32 [n, classes], rows that sum to 1. after_epoch: called with the student after each epoch; it must
    not change it. As the torch loop's `distil`: no augmentation and no label smoothing.
    """
    setting = replace(recipe.training, label_smoothing=0.0, augment="none")
    with _reproducible(student, recipe, seed, "distillation"):
        return _loop(student, x, answers, setting, epochs, setting.lr, seed, after_epoch)


@contextmanager
def _reproducible(model: Any, recipe: Recipe, seed: int, what: str) -> Iterator[None]:
    with seeded(seed):
        yield
    if not all(bool(np.isfinite(value).all()) for value in model.get_weights()):
        raise TrainingError(
            f"{recipe.name}: a weight is not finite after {what}; lower model.lr (it is {recipe.training.lr})"
        )


def _optimizer(setting: Training, lr: float, steps: int) -> Any:
    schedule = keras().optimizers.schedules.CosineDecay(lr, max(1, steps))
    if setting.optimizer == "adam":
        return keras().optimizers.AdamW(schedule, weight_decay=setting.weight_decay)
    return keras().optimizers.SGD(schedule, momentum=setting.momentum, nesterov=setting.momentum > 0)


def _criterion(model: Any, setting: Training, task: TaskName, deviation: FloatArray) -> Callable[[Any, Any], Any]:
    """(wanted, answers) -> the loss of the task, as `recipes/losses.py` has it for torch."""
    losses, smoothing = keras().losses, setting.label_smoothing
    if task == "regression":
        return lambda wanted, answer: losses.MeanSquaredError()(wanted / deviation, answer / deviation)
    if task == "reconstruction":
        return cast("Callable[[Any, Any], Any]", losses.MeanSquaredError())
    binary = losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    if task == "multi-label":
        return cast("Callable[[Any, Any], Any]", binary)
    if model.output_shape[-1] == 1:
        return lambda wanted, answer: binary(wanted[:, 1:], answer)
    many = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    return cast("Callable[[Any, Any], Any]", many)


def _step(
    model: Any, setting: Training, lr: float, steps: int, criterion: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """(records, what is wanted) -> mean loss, one step of the optimiser later."""
    tf = tensorflow()
    optimizer = _optimizer(setting, lr, steps)
    variables = model.trainable_variables
    optimizer.build(variables)
    # As torch has it: with SGD the decay is part of the gradient, so momentum sees it; AdamW's is apart.
    decay = setting.weight_decay if setting.optimizer == "sgd" else 0.0

    def step(records: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = criterion(wanted, model(records, training=True))
            total = tf.add_n([loss, *model.losses])
        pairs = [(g, v) for g, v in zip(tape.gradient(total, variables), variables, strict=True) if g is not None]
        optimizer.apply_gradients([(g + decay * v if decay else g, v) for g, v in pairs])
        return loss

    compiled: Callable[[Any, Any], Any] = tf.function(step, reduce_retracing=True)
    return compiled


def _loop(  # noqa: PLR0913, PLR0917  what is trained, on what, and how
    model: Any,
    x: FloatArray,
    wanted: FloatArray,
    setting: Training,
    epochs: int,
    lr: float,
    seed: int,
    after_epoch: Callable[[Any], None] | None = None,
    task: TaskName = "classification",
) -> float:
    """Every training runs through here; returns the mean loss of the last epoch.

    wanted: float32 [n, classes or outputs].
    """
    tf = tensorflow()
    generator = np.random.default_rng(seed)
    native = as_keras_takes_them(x)
    batch = min(setting.batch, len(native))
    steps = len(native) // batch  # as in the torch loop: the rest of each epoch waits for the next
    deviation = wanted.std(axis=0)
    deviation = np.where(deviation > 0, deviation, np.float32(1))
    step = _step(model, setting, lr, epochs * steps, _criterion(model, setting, task, deviation))
    mean = math.nan
    for epoch in range(epochs):
        order = generator.permutation(len(native))
        total = 0.0
        for at in range(steps):
            rows = order[at * batch : (at + 1) * batch]
            records = _augmented(native[rows], setting, generator)
            total += float(step(tf.constant(records), tf.constant(wanted[rows])))
        mean = total / steps
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} in epoch {epoch + 1} of {epochs}; lower model.lr (it is {setting.lr})"
            )
        if after_epoch is not None:
            after_epoch(model)
    return mean


def _augmented(x: FloatArray, setting: Training, generator: np.random.Generator) -> FloatArray:
    """Half of the images mirrored, all moved by the same up to 4 pixels, zeros moving in; [n, H, W, C]."""
    if setting.augment == "none" or x.ndim != 4:
        return x
    mirrored = generator.random(len(x)) < 0.5
    x = np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
    down, right = (int(n) for n in generator.integers(-_SHIFT, _SHIFT + 1, size=2))
    padded = np.pad(x, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)))
    return np.ascontiguousarray(np.roll(padded, (down, right), (1, 2))[:, _SHIFT:-_SHIFT, _SHIFT:-_SHIFT])
