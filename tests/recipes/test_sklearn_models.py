"""scikit-learn, LightGBM and XGBoost: built, trained, exported; the file answers as the estimator does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgeaudit.digests import file_sha256
from edgeaudit.errors import RecipeError, TrainingError
from edgeaudit.exporters import ExportJob, find_pass
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.recipes.base import Recipe, recipe_modules
from edgeaudit.recipes.sklearn_models import build, logits, probabilities, save_model, train
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.train_sklearn import sklearn_manifest

HERE = __name__
DRAWS = np.random.default_rng(0)
Y = np.arange(120, dtype=np.int64) % 3
X = (DRAWS.normal(size=(120, 1, 2, 4)) + Y[:, None, None, None]).astype(np.float32)


def pipeline(_: tuple[int, ...], __: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def without_probabilities(_: tuple[int, ...], __: int) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC()


def fitted_copy(model: Any, x: Any, y: Any, *, seed: int, epochs: int) -> None:
    RandomForestClassifier().fit(x, y)


def _recipe(name: str, **more: Any) -> Recipe:
    return replace(Recipe(name, (1, 2, 4), 4), **more)


def _trained(recipe: Recipe, seed: int = 1) -> Any:
    model = build(recipe, seed)
    train(model, X, Y, recipe, seed)
    return model


@pytest.mark.parametrize(
    "recipe",
    [
        _recipe("sklearn:RandomForestClassifier", options={"n_estimators": 9}),
        _recipe(f"sklearn:{HERE}:pipeline"),
        _recipe("sklearn:LGBMClassifier", options={"n_estimators": 4, "min_child_samples": 3}),
        _recipe("sklearn:XGBClassifier", options={"n_estimators": 4}),
    ],
    ids=lambda recipe: recipe.name,
)
@pytest.mark.toolchain
def test_the_file_answers_as_the_estimator(recipe: Recipe, tmp_path: Path) -> None:
    """Records are images, and the fourth class never occurs: its probability is 0 in both."""
    model = _trained(recipe)
    expected = probabilities(model, X, 4)
    assert expected.shape == (120, 4)
    assert (expected[:, 3] == 0).all()
    np.testing.assert_allclose(np.exp(logits(model, X, n_classes=4)), expected, atol=1e-6)
    save_model(model, tmp_path / "model.pickle")
    reference = Artifact(tmp_path, sklearn_manifest(recipe, tmp_path / "model.pickle"))
    np.testing.assert_array_equal(find_runtime("sklearn")(reference).query(X), expected)
    step, folder = find_pass("skl2onnx.export"), tmp_path / "onnx"
    folder.mkdir()
    job = ExportJob(reference.path, folder, step.parameters({}), (1, 2, 4), 4, 0, recipe=recipe)
    result = step.apply(job)
    assert result.input is not None
    assert result.output is not None
    assert (result.input.shape, result.output.shape, result.softmax_inside) == ((-1, 1, 2, 4), (-1, 4), True)
    file = folder / result.file
    size = file.stat().st_size
    manifest = Manifest("onnx", file.name, file_sha256(file), size, result.input, result.output, softmax_inside=True)
    again = tmp_path / "again"
    again.mkdir()
    assert (again / step.apply(replace(job, workdir=again)).file).read_bytes() == file.read_bytes()
    answers = find_runtime("onnxruntime")(Artifact(folder, manifest)).query(X)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_the_seed_decides() -> None:
    recipe = _recipe("sklearn:RandomForestClassifier", options={"n_estimators": 5})
    same, again, other = (logits(_trained(recipe, seed), X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert (same != other).any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sklearn:RandomForestClasifier", "has no classifier 'RandomForestClasifier'. Did you mean 'RandomForestClas"),
        (f"sklearn:{HERE}:without_probabilities", "has no predict_proba"),
        ("sklearn:math:sqrt", "is defined as"),
        ("sklearn:LinearSVC", "has no predict_proba"),
    ],
)
def test_estimators_that_cannot_be_audited(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(_recipe(name), 0)


def test_a_training_function_that_fits_another_estimator() -> None:
    recipe = _recipe("sklearn:RandomForestClassifier", train_function=f"{HERE}:fitted_copy")
    with pytest.raises(TrainingError, match="left the estimator unfitted"):
        train(build(recipe, 0), X, Y, recipe, 0)


def test_the_modules_that_keys_follow() -> None:
    assert recipe_modules("sklearn:RandomForestClassifier") == ()
    assert recipe_modules("sklearn:mine:make") == ("mine",)
    assert recipe_modules("sklearn:LGBMClassifier") == ("lightgbm",)
