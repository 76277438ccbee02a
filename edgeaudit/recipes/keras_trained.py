"""Read a trained Keras model of the user's: .keras, .h5, weights alone (.weights.h5), or a SavedModel's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import EdgeAuditError, RecipeError
from edgeaudit.filetypes.agreement import agreement, comparable
from edgeaudit.host.quiet import quiet
from edgeaudit.host.tensorflow import tensorflow
from edgeaudit.recipes.base import Recipe, import_function
from edgeaudit.recipes.keras_checkpoint import CHECKPOINT
from edgeaudit.recipes.keras_models import (
    answers,
    as_keras_takes_them,
    build,
    first_line,
    fitted,
    keras,
    models_apart,
    probabilities,
)
from edgeaudit.recipes.saved_model_graph import require_harmless

__all__ = ["read_checkpoint"]

FloatArray = npt.NDArray[np.float32]

_TOLERANCE = 1e-3


def read_checkpoint(path: Path, recipe: Recipe, records: FloatArray, key: str = "model.checkpoint") -> tuple[Any, bool]:
    """(the trained model as logits, whether its softmax was taken off).

    With the recipe `keras:checkpoint` the model is the file's. With any other, the recipe's model takes the file's
    weights, and must then answer as the file does: that is what makes shadows of the recipe models like the target, and
    it is the only way with a SavedModel, which keeps a graph and no architecture that Keras 3 could build anew.

    records: some of the audit's, float32 [n, *input_shape], on which both are asked.
    Raises `RecipeError` where the file cannot be read, does not fit the recipe or the records, or answers otherwise.
    """
    what = f"{key}: {path}"
    keras()  # before the user's module imports it with settings of its own
    try:
        with quiet():
            model, taken = _read(path, recipe, records, what)
    except (EdgeAuditError, MemoryError):
        raise
    # A damaged file ends Keras 3.13 and TensorFlow 2.21 in any way: their own errors, zipfile's, h5py's.
    except Exception as exc:
        raise RecipeError(
            f"{what} cannot be read as a Keras model ({first_line(exc)}); save it with model.save('x.keras'), and name "
            "the function that builds it (recipe: keras:module:function) where it has layers of your own"
        ) from exc
    if not all(bool(np.isfinite(value).all()) for value in model.get_weights()):
        raise RecipeError(f"{what} contains NaN or infinity")
    return model, taken


def _read(path: Path, recipe: Recipe, records: FloatArray, what: str) -> tuple[Any, bool]:
    name = recipe.name.removeprefix("keras:")
    if ":" in name:
        import_function(name)  # layers of the user's own are registered where this module is imported
    if recipe.name == CHECKPOINT:
        return fitted(_loaded(path), recipe, what)
    model = build(recipe, seed=0)
    if path.name.endswith(".weights.h5"):
        model.load_weights(path)
        return model, False
    if path.is_dir():
        values, answer = _saved_model(path, records, what)
        taken = probabilities(answer, recipe)
    else:
        whole, taken = fitted(_loaded(path), recipe, what)
        values = [(variable.path, variable.numpy()) for variable in _trained_first(whole.weights)]
        answer = answers(whole, records)
    _set(model, values, recipe, what)
    _require_same(model, records, answer, recipe, what)
    return model, taken


def _loaded(path: Path) -> Any:
    with models_apart():
        return keras().models.load_model(path, compile=False, safe_mode=True)


def _trained_first(weights: list[Any]) -> list[Any]:
    """Trained weights first, then the others, each in the order of the layers: that order a SavedModel keeps."""
    return sorted(weights, key=lambda variable: not variable.trainable)


def _saved_model(path: Path, records: FloatArray, what: str) -> tuple[list[tuple[str, FloatArray]], FloatArray]:
    """A SavedModel's weights, trained ones first, and what its serving function answers."""
    tf = tensorflow()
    require_harmless(path, what)
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures.get("serving_default")
    if signature is None or not hasattr(loaded, "trainable_variables"):
        raise RecipeError(f"{what} has no signature 'serving_default' of a Keras model; save it with model.export")
    trained = list(loaded.trainable_variables)
    known = {id(variable) for variable in trained}
    # Generators of dropout keep their state in integer variables.
    others = [v for v in loaded.variables if id(v) not in known and v.dtype.is_floating]
    _, arguments = signature.structured_input_signature
    (entry,) = arguments
    (answer,) = signature(**{entry: tf.constant(as_keras_takes_them(records))}).values()
    return [(v.name.partition(":")[0], v.numpy()) for v in (*trained, *others)], np.asarray(answer, np.float32)


def _set(model: Any, values: list[tuple[str, FloatArray]], recipe: Recipe, what: str) -> None:
    """Give the recipe's model the weights, trained ones first, in the order of its layers."""
    own = _trained_first(model.weights)
    whose = f"{what} does not fit model.recipe '{recipe.name}' with options {dict(recipe.options)}"
    if len(own) != len(values):
        raise RecipeError(f"{whose}: it has {len(values)} weights, but the recipe's model has {len(own)}")
    for variable, (name, value) in zip(own, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise RecipeError(
                f"{whose}: '{name}' has shape {value.shape} where the recipe's '{variable.path}' has "
                f"{tuple(variable.shape)}"
            )
        variable.assign(value)


def _require_same(model: Any, records: FloatArray, answer: FloatArray, recipe: Recipe, what: str) -> None:
    inside = probabilities(answer, recipe)
    own = comparable(answers(model, records), softmax_inside=inside, sigmoid=recipe.task == "multi-label")
    found = agreement(answer, own)
    if found.rel_rms > _TOLERANCE:
        raise RecipeError(
            f"{what} and model.recipe '{recipe.name}' with its weights give different answers (relative RMS error "
            f"{found.rel_rms:.3g}); name the function that builds this very model, or save it as .keras and write "
            f"recipe: {CHECKPOINT}"
        )
