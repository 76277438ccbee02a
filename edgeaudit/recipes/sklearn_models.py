"""Estimators of scikit-learn, LightGBM and XGBoost, and pipelines of them: built, trained and asked.

Their answers are probabilities. Where logits are expected they are logarithms of these, whose softmax they are again.
"""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import MissingToolchain, RecipeError, TrainingError, did_you_mean
from edgeaudit.recipes.base import BOOSTERS, BUILDS, TRAINS, Recipe, import_function, require_signature

__all__ = ["build", "distil", "load_model", "logits", "probabilities", "save_model", "train"]

FloatArray = npt.NDArray[np.float32]

_FLOOR = 1e-30
"""What a probability of 0 counts as in a logarithm; float32 holds both."""
_REPEATABLE: Mapping[str, Any] = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
"""Parameters of LightGBM with which it fits the same model twice."""


def build(recipe: Recipe, seed: int) -> Any:
    """An untrained estimator with `fit` and `predict_proba`; every random_state in it that is None follows from `seed`.

    `sklearn:RandomForestClassifier` is a classifier of scikit-learn, and LGBMClassifier and XGBClassifier those of
    LightGBM and XGBoost, with model.options as arguments; `sklearn:module:function` a function of the user's.

    Raises `RecipeError` where it cannot be built, and `MissingToolchain` where its package is not installed.
    """
    name = recipe.name.removeprefix("sklearn:")
    try:
        if ":" in name:
            function, given = import_function(name), (recipe.input_shape, recipe.n_classes)
            require_signature(function, f"model.recipe: '{recipe.name}'", BUILDS, *given, **recipe.options)
            model = function(*given, **recipe.options)
        else:
            model = _class(name)(**recipe.options)
    except (TypeError, ValueError) as exc:
        raise RecipeError(f"model.recipe '{recipe.name}' cannot be built: {exc}") from exc
    if not (hasattr(model, "fit") and hasattr(model, "get_params")):
        raise RecipeError(f"model.recipe '{recipe.name}' returned {type(model).__name__}, not a scikit-learn estimator")
    if not hasattr(model, "predict_proba"):
        raise RecipeError(
            f"model.recipe '{recipe.name}' has no predict_proba, and an audit needs a score for each class; wrap it in "
            "sklearn.calibration.CalibratedClassifierCV (or SVC(probability=True))"
        )
    _fix(model, seed)
    return model


def _class(name: str) -> type[Any]:
    if (package := BOOSTERS.get(name)) is not None:
        try:
            found: type[Any] = getattr(importlib.import_module(package), name)
        except ImportError as exc:
            raise MissingToolchain(f"model.recipe 'sklearn:{name}'", package, package) from exc
        return found
    from sklearn.utils import all_estimators

    known: dict[str, type[Any]] = dict(all_estimators(type_filter="classifier"))
    if name not in known:
        names = [*known, *BOOSTERS]
        raise RecipeError(
            f"model.recipe: scikit-learn has no classifier '{name}'.{did_you_mean(name, names)} Write "
            "sklearn:RandomForestClassifier, sklearn:LGBMClassifier, sklearn:XGBClassifier, or sklearn:module:function "
            "of your own, for instance for a pipeline"
        )
    return known[name]


def _fix(model: Any, seed: int) -> None:
    given = model.get_params(deep=True)
    wanted: dict[str, object] = {}
    for name, value in given.items():
        short = name.rpartition("__")[2]
        if short == "random_state" and value is None:
            wanted[name] = seed
        elif short == "n_jobs" and value is not None:  # None is one thread, but for boosters
            wanted[name] = 1
    model.set_params(**wanted)
    for one in (model, *(value for value in given.values() if hasattr(value, "get_params"))):
        package = BOOSTERS.get(type(one).__name__)
        if package is not None:
            one.set_params(n_jobs=1, **(_REPEATABLE if package == "lightgbm" else {}))


def train(
    model: Any,
    x: FloatArray,
    y: npt.NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    epochs: int | None = None,
) -> float:
    """Fit in place; returns the mean loss on the training records, in nats (NaN for a user's own function).

    x: float32 [n, *input_shape], each flattened to a row; y: int64 [n]. A user's own function is given the rows.
    Raises `TrainingError` where the estimator refuses the records, and where a user's function fits another one.
    """
    rows = _rows(x)
    if recipe.train_function is not None:
        function = import_function(recipe.train_function)
        n_epochs = recipe.training.epochs if epochs is None else epochs
        what = f"model.train: '{recipe.train_function}'"
        require_signature(function, what, TRAINS, model, rows, y, seed=seed, epochs=n_epochs)
        function(model, rows, y, seed=seed, epochs=n_epochs)
        if not hasattr(model, "classes_"):
            raise TrainingError(f"{what} left the estimator unfitted. Does it fit a copy? Fit the one that it is given")
        return math.nan
    try:
        model.fit(rows, y)
    except ValueError as exc:
        raise TrainingError(
            f"{recipe.name} cannot be fitted to {len(rows):,} records of {len(np.unique(y))} labels: "
            f"{str(exc).strip().splitlines()[0]}"
        ) from exc
    return float(-logits(model, x, n_classes=recipe.n_classes)[np.arange(len(y)), y].mean())


def distil(*_: Any, **__: Any) -> float:
    """Refuse: an estimator has no epochs and takes labels alone."""
    raise TrainingError("models of scikit-learn cannot be distilled; leave out loss-trajectory and distilled formats")


def probabilities(model: Any, x: FloatArray, n_classes: int) -> FloatArray:
    """What the model answers, float32 [n, n_classes]; classes that it never saw have 0."""
    found = np.asarray(model.predict_proba(_rows(x)), np.float32)
    answers = np.zeros((len(x), n_classes), np.float32)
    answers[:, np.asarray(model.classes_, np.int64)] = found
    return answers


def logits(model: Any, x: FloatArray, batch: int = 4096, n_classes: int | None = None) -> FloatArray:
    """Logarithms of the model's probabilities, float32 [n, n_classes]; by default of the classes that it has seen."""
    classes = int(max(model.classes_)) + 1 if n_classes is None else n_classes
    blocks = [probabilities(model, x[i : i + batch], classes) for i in range(0, len(x), batch)]
    joined = np.concatenate(blocks) if blocks else np.empty((0, classes), np.float32)
    return np.asarray(np.log(np.maximum(joined, np.float32(_FLOOR))), np.float32)


def _rows(x: FloatArray) -> FloatArray:
    return np.ascontiguousarray(x.reshape(len(x), -1))


def save_model(model: Any, path: Path) -> None:
    """Write a fitted estimator. Only edgeaudit reads it again: a pickle of others could run their code."""
    path.write_bytes(pickle.dumps(model, protocol=5))


def load_model(path: Path, recipe: Recipe) -> Any:
    """The estimator that `save_model` wrote, made by that recipe."""
    name = recipe.name.removeprefix("sklearn:")
    if ":" in name:
        import_function(name)  # classes of the user's own are found where this module is imported
    return pickle.loads(path.read_bytes())  # noqa: S301  written by this audit into its own store
