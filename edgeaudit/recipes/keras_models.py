"""Keras models: built-in architectures, the user's function, a checkpoint's own architecture; kept as .keras files.

Images are channels last here, as TensorFlow has them; everywhere else in edgeaudit they are channels first.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import RecipeError, did_you_mean
from edgeaudit.host.quiet import quiet
from edgeaudit.host.tensorflow import tensorflow
from edgeaudit.recipes.base import (
    BUILDS,
    Architecture,
    ArchitectureSpec,
    Recipe,
    import_function,
    require_signature,
    shape_problem,
)
from edgeaudit.recipes.keras_checkpoint import ARCHITECTURE, CHECKPOINT
from edgeaudit.recipes.registry import ARCHITECTURES
from edgeaudit.tasks import find_task

__all__ = [
    "Cnn", "Mlp", "ResNet8", "answers", "as_keras_takes_them", "build", "first_line", "fitted", "keras", "load_keras",
    "models_apart", "probabilities", "records_shape", "recurrent_layers", "save_keras", "seeded", "takes_ids",
    "without_softmax",
]  # fmt: skip

FloatArray = npt.NDArray[np.float32]

_ROWS = 4
_STAMP = (1980, 1, 1, 0, 0, 0)


def keras() -> Any:
    """The module `keras`, on TensorFlow."""
    tensorflow()
    import keras as imported

    return imported


def records_shape(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a record as Keras has it: (H, W, C) for (C, H, W), (d,) as it is."""
    return (*input_shape[1:], input_shape[0]) if len(input_shape) == 3 else input_shape


def as_keras_takes_them(x: FloatArray) -> FloatArray:
    """Records float32 [n, C, H, W] -> [n, H, W, C]; [n, d] as they are."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def _images(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 3:
        raise RecipeError(
            f"model.recipe 'keras:{name}' needs images; these records have shape {shape}. Use 'keras:mlp', or set "
            "data.layout"
        )


def _mlp(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...] = (128, 64)) -> Any:
    layers = keras().layers
    entry = keras().Input(shape)
    x = layers.Reshape((prod(shape),))(entry)
    for width in hidden:
        x = layers.Dense(width, activation="relu")(x)
    return keras().Model(entry, layers.Dense(n_classes)(x))


def _conv_bn(x: Any, filters: int, stride: int = 1, kernel: int = 3, *, relu: bool = True) -> Any:
    layers = keras().layers
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    # Keras's default of 0.99 needs hundreds of steps to learn the statistics; 0.9 is what torch's loop has.
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.ReLU()(x) if relu else x


def _cnn(shape: tuple[int, ...], n_classes: int, width: int = 16) -> Any:
    _images(shape, "cnn")
    entry = x = keras().Input(shape)
    for filters, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        x = _conv_bn(x, filters, stride)
    x = keras().layers.GlobalAveragePooling2D()(x)
    return keras().Model(entry, keras().layers.Dense(n_classes)(x))


def _resnet8(shape: tuple[int, ...], n_classes: int, width: int = 16) -> Any:
    """ResNet-8 of MLPerf Tiny's image classification: three residual blocks of 16, 32 and 64 filters."""
    _images(shape, "resnet8")
    layers = keras().layers
    entry = keras().Input(shape)
    x = _conv_bn(entry, width)
    for filters, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        body = _conv_bn(_conv_bn(x, filters, stride), filters, relu=False)
        shortcut = x if stride == 1 else _conv_bn(x, filters, stride, kernel=1, relu=False)
        x = layers.ReLU()(layers.Add()([body, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras().Model(entry, layers.Dense(n_classes)(x))


class Mlp(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("keras:mlp", "fully connected, hidden: [128, 64]")
    build = staticmethod(_mlp)


class Cnn(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("keras:cnn", "three convolutions with BatchNorm, width: 16")
    build = staticmethod(_cnn)


class ResNet8(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("keras:resnet8", "ResNet-8 of MLPerf Tiny (image classification), width: 16")
    build = staticmethod(_resnet8)


@contextmanager
def models_apart() -> Iterator[None]:
    """Names of layers count from 1 inside, so that files do not depend on what the process built before."""
    keras().backend.clear_session(free_memory=False)
    yield


def build(recipe: Recipe, seed: int) -> Any:
    """An untrained keras.Model that answers logits; its initial weights depend on `seed` alone.

    Of a user's own model that ends in a softmax, the softmax is taken off (`without_softmax`).
    Raises `RecipeError` where the architecture is unknown or does not fit records of `input_shape`.
    """
    name = recipe.name.removeprefix("keras:")
    known = [known for known in ARCHITECTURES.names() if known.startswith("keras:")]
    with models_apart(), seeded(seed):
        try:
            if recipe.name == CHECKPOINT:
                model = _from_architecture(recipe.options)
            elif recipe.name in known:
                architecture = ARCHITECTURES.find(recipe.name)
                model = architecture.build(records_shape(recipe.input_shape), recipe.n_classes, **recipe.options)
            elif ":" in name:
                function, given = import_function(name), (records_shape(recipe.input_shape), recipe.n_classes)
                require_signature(function, f"model.recipe: '{recipe.name}'", BUILDS, *given, **recipe.options)
                model = function(*given, **recipe.options)
            else:
                raise RecipeError(
                    f"model.recipe: '{recipe.name}' is not known.{did_you_mean(recipe.name, known)} "
                    f"Built in: {', '.join(known)}; or keras:module:function of your own, or {CHECKPOINT}"
                )
        except (TypeError, ValueError) as exc:
            raise RecipeError(f"model.recipe '{recipe.name}' cannot be built: {first_line(exc)}") from exc
        return fitted(model, recipe, f"model.recipe '{recipe.name}'")[0]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, numpy's and TensorFlow's generators set inside; Python's and numpy's are as before afterwards.

    TensorFlow's has no state that could be read. Nothing here draws from it without setting it first.
    """
    import random

    plain, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the global generator is what is protected
    keras().utils.set_random_seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpy)  # noqa: NPY002


def _from_architecture(options: Mapping[str, object]) -> Any:
    """A model of a checkpoint's architecture with weights of its own: what keras.models.clone_model makes."""
    return keras().saving.deserialize_keras_object(options[ARCHITECTURE], safe_mode=True)


def fitted(model: Any, recipe: Recipe, what: str) -> tuple[Any, bool]:
    """(the model as logits or values, whether a softmax or sigmoid was taken off).

    Raises `RecipeError` where it does not fit the records.

    what: the model, for messages.
    """
    if not isinstance(model, keras().Model):
        raise RecipeError(f"{what} is a {type(model).__name__}, not a keras.Model")
    shape = records_shape(recipe.input_shape)
    records = np.random.default_rng(0).normal(size=(_ROWS, *shape)).astype(np.float32)
    try:
        with quiet():
            answer = model(records, training=False)
    except (ValueError, TypeError, tensorflow().errors.OpError) as exc:
        raise RecipeError(f"{what} cannot take records of shape {shape}: {first_line(exc)}") from exc
    found = getattr(answer, "shape", None)
    told = tuple(found) if found is not None else type(answer).__name__
    of_two: tuple[int, ...] | str = told if isinstance(told, str) or told[:1] != (_ROWS,) else (2, *told[1:])
    if (problem := shape_problem(of_two, recipe)) is not None:
        raise RecipeError(f"{what} returns {told} for {_ROWS} records; {problem}")
    if len(model.inputs or ()) > 1:
        raise RecipeError(f"{what} has {len(model.inputs)} inputs; expected one")
    if recipe.task == "reconstruction" and len(shape) > 1:
        raise RecipeError(
            f"{what}: task: reconstruction of images needs a torch recipe, since Keras flattens them in another order "
            "than the records have here; or set data.layout: flat"
        )
    if not find_task(recipe.task).has_probabilities:
        return model, False
    width = int(told[1])
    model, taken = without_softmax(model, sigmoid=width == 1 or recipe.task == "multi-label")
    if width > 1 and recipe.task == "classification" and probabilities(np.asarray(model(records, training=False))):
        raise RecipeError(
            f"{what} returns probabilities, but has no final softmax that could be removed. End it with "
            "Dense(..., activation='softmax'), in a Softmax or Activation layer, or in logits"
        )
    return model, taken


def without_softmax(model: Any, *, sigmoid: bool = False) -> tuple[Any, bool]:
    """(the model less the softmax that it ends in, whether there was one). sigmoid: it is a sigmoid instead.

    An audit needs the logits: the weakest exposure is derived from the strongest, and a file's own softmax is set by
    its format (`softmax: inside`). The weights stay the very ones, so putting the softmax back is exact.
    """
    last = _last_layer(model)
    named = getattr(getattr(last, "activation", None), "__name__", "")
    if named == "sigmoid" and not sigmoid:
        raise RecipeError(
            "the Keras model ends with a sigmoid for each of several classes; end it with logits or a softmax, or set "
            "task: multi-label where a record has several labels"
        )
    if named == ("sigmoid" if sigmoid else "softmax"):
        last.activation = keras().activations.linear
        return model, True
    if not sigmoid and isinstance(last, keras().layers.Softmax) and last in model.layers:
        return keras().Model(model.input, last.input, name=model.name), True
    return model, False


def _last_layer(model: Any) -> Any:
    """The layer whose answer is the model's; inside of nested models, too. None where a model does not tell."""
    layers = keras().layers
    while True:
        outputs = getattr(model, "outputs", None)
        if isinstance(model, keras().Sequential):
            last = model.layers[-1] if model.layers else None
        elif outputs:
            last = getattr(outputs[0], "_keras_history", (None,))[0]
        else:
            return None
        if not isinstance(last, keras().Model):
            return last if isinstance(last, layers.Layer) else None
        model = last


def recurrent_layers(model: Any) -> list[Any]:
    """Layers that go through the steps of a record: LSTM, GRU, SimpleRNN, RNN of any cell; in wrappers, too."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras().layers.RNN)]  # noqa: SLF001


def takes_ids(model: Any) -> bool:
    """Whether the first layer looks records up in a table, which makes integers of them."""
    return any(isinstance(layer, keras().layers.Embedding) for layer in model._flatten_layers())  # noqa: SLF001


def probabilities(answer: FloatArray, recipe: Recipe | None = None) -> bool:
    """Whether rows look like probabilities: not negative, and each with sum 1.

    Of one output, or of several labels, whether all are between 0 and 1. recipe: of the model; None for classes.
    """
    if recipe is not None and not find_task(recipe.task).has_probabilities:
        return False
    if answer.shape[1] == 1 or (recipe is not None and recipe.task == "multi-label"):
        return bool((answer >= 0).all() and (answer <= 1).all())
    return bool((answer >= 0).all() and np.allclose(answer.sum(axis=1), 1, atol=1e-3))


def answers(model: Any, x: FloatArray, batch: int = 256) -> FloatArray:
    """What the model answers, float32 [n, classes]; x as edgeaudit has it, float32 [n, C, H, W] or [n, d]."""
    native = as_keras_takes_them(x)
    blocks = [np.asarray(model(native[i : i + batch], training=False), np.float32) for i in range(0, len(x), batch)]
    return np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)


def save_keras(model: Any, path: Path) -> None:
    """Write a .keras file, the same bytes for the same model.

    Keras 3.15 writes the time, into metadata.json and the archive's directory, and addresses of objects in memory
    (`shared_object_id`) into config.json. Both are replaced, the latter by numbers in the order of appearance.
    """
    draft = path.with_name(f"draft-{path.name}")
    with quiet():
        model.save(draft)
    with zipfile.ZipFile(draft) as given, zipfile.ZipFile(path, "w") as kept:
        for entry in sorted(given.namelist()):
            content = given.read(entry)
            if entry == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": "1980-01-01@00:00:00"}).encode()
            elif entry == "config.json":
                content = _numbered(content.decode()).encode()
            kept.writestr(zipfile.ZipInfo(entry, _STAMP), content)
    draft.unlink()


def _numbered(config: str) -> str:
    seen: dict[str, int] = {}
    return re.sub(
        r'("shared_object_id": )(\d+)', lambda found: f"{found[1]}{seen.setdefault(found[2], len(seen))}", config
    )


def load_keras(path: Path, recipe: Recipe) -> Any:
    """The model of a .keras file that `save_keras` wrote, made by that recipe.

    Layers of the user's own are known by then: they are registered where the module of his function is imported. Code
    that is stored in the file itself (Lambda layers) is run only where it came from such a function, not out of a
    checkpoint.
    """
    name = recipe.name.removeprefix("keras:")
    with models_apart(), quiet():
        if ":" in name:
            import_function(name)
        try:
            return keras().models.load_model(path, compile=False, safe_mode=recipe.name == CHECKPOINT)
        except (TypeError, ValueError) as exc:
            raise RecipeError(f"the stored model of model.recipe '{recipe.name}' cannot be read: {exc}") from exc


def first_line(exc: BaseException) -> str:
    """Of an error: Keras's go on with the layer's arguments."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
