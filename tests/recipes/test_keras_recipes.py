"""Keras recipes: a pure function of (records, seed, recipe); the user's own models; checkpoints of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.errors import RecipeError, SpecError, TrainingError
from edgeaudit.filetypes.agreement import comparable
from edgeaudit.recipes.base import Recipe, Training
from edgeaudit.recipes.keras_checkpoint import ARCHITECTURE, architecture_of, checkpoint_digest, require_checkpoint_fits
from tests.keras_process import in_tensorflow
from tests.recipes import keras_subjects as subjects
from tests.recipes.keras_subjects import FEW, HERE, X, Y, recipe

MINE = f"keras:{HERE}:mine"


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["keras:mlp", "keras:cnn", "keras:resnet8", MINE])
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    """Whatever the process did before; the user's model has dropout."""
    first = in_tensorflow(subjects.trained, recipe(name), 1)
    assert in_tensorflow(subjects.trained, recipe(name), 1, 7) == first
    assert in_tensorflow(subjects.trained, recipe(name), 2) != first


@pytest.mark.toolchain
def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    one, two = in_tensorflow(subjects.saved_twice, tmp_path)
    assert one == two


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.01}, {"epochs": 3}, {"batch": 8}, {"augment": "flip-shift"}, {"optimizer": "adam"}, {"momentum": 0.5},
        {"weight_decay": 0.1}, {"label_smoothing": 0.1},
    ],
)  # fmt: skip
def test_every_setting_changes_the_model(change: dict[str, Any]) -> None:
    other = recipe(training=replace(FEW, **change))
    assert in_tensorflow(subjects.trained, recipe(), 1) != in_tensorflow(subjects.trained, other, 1)


@pytest.mark.toolchain
def test_training_learns() -> None:
    loss, accuracy = in_tensorflow(subjects.learned, recipe("keras:mlp", training=Training(epochs=40, batch=16)))
    assert loss < 0.1
    assert accuracy > 0.95


@pytest.mark.toolchain
def test_a_loss_that_explodes_names_the_remedy() -> None:
    wild = recipe("keras:mlp", training=Training(epochs=4, batch=16, lr=1e20))
    with pytest.raises(TrainingError, match=r"lower model\.lr"):
        in_tensorflow(subjects.learned, wild)


@pytest.mark.toolchain
def test_training_is_nesterov_descent_on_a_cosine() -> None:
    """A linear model in whole batches, against the same steps written with numpy."""
    setting = Training(epochs=6, batch=48, lr=0.1, momentum=0.8, weight_decay=0.01, label_smoothing=0.2)
    linear = recipe("keras:mlp", options={"hidden": []}, training=setting)
    weight, bias, trained_weight, trained_bias = in_tensorflow(subjects.linear_model, linear, 3)
    flat = X.reshape(48, -1).astype(np.float64)
    wanted = 0.8 * np.eye(3)[Y] + 0.2 / 3
    state = [weight.astype(np.float64), bias.astype(np.float64)]
    velocity = [np.zeros_like(value) for value in state]
    for epoch in range(6):
        logits = flat @ state[0] + state[1]
        off = (comparable(logits, softmax_inside=True) - wanted) / 48
        lr = 0.1 * (1 + np.cos(np.pi * epoch / 6)) / 2
        for i, gradient in enumerate((flat.T @ off, off.sum(axis=0))):
            full = gradient + 0.01 * state[i]
            velocity[i] = 0.8 * velocity[i] - lr * full
            state[i] = state[i] + 0.8 * velocity[i] - lr * full
    np.testing.assert_allclose(trained_weight, state[0], atol=1e-5)
    np.testing.assert_allclose(trained_bias, state[1], atol=1e-5)


@pytest.mark.toolchain
def test_a_user_loop_receives_records_in_the_models_layout() -> None:
    own = recipe(MINE, train_function=f"{HERE}:own_loop")
    assert in_tensorflow(subjects.first_weight, own, 5) == 5 + FEW.epochs


@pytest.mark.toolchain
def test_the_model_that_a_training_function_returns_is_the_model() -> None:
    own = recipe("keras:mlp", train_function=f"{HERE}:best_copy")
    assert in_tensorflow(subjects.first_weight, own, 5) == 5 + FEW.epochs


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("dropped_copy", "left every weight as it was. Does it train a copy"),
        ("another_model", r"returned another model than it was given \(Sequential, whose weights"),
    ],
)
def test_a_training_function_that_trains_something_else_is_refused(function: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        in_tensorflow(subjects.first_weight, recipe("keras:mlp", train_function=f"{HERE}:{function}"), 5)


@pytest.mark.toolchain
def test_a_student_comes_nearer_to_its_teacher() -> None:
    answers = comparable(np.random.default_rng(1).normal(size=(48, 3)) * 3, softmax_inside=True).astype(np.float32)
    subject = recipe("keras:mlp", training=Training(epochs=80, batch=16, weight_decay=0.0))
    losses, last = in_tensorflow(subjects.distilled, subject, answers)
    assert len(losses) == 80
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(last, answers, atol=0.1)


@pytest.mark.toolchain
@pytest.mark.parametrize("ending", ["dense", "layer", "activation", "nested"])
def test_a_final_softmax_is_removed(ending: str) -> None:
    probable, logits = in_tensorflow(subjects.softmax_and_logits, ending)
    np.testing.assert_allclose(probable.sum(axis=1), 1, atol=1e-5)
    assert (logits < 0).any()
    np.testing.assert_allclose(comparable(logits, softmax_inside=True), probable, atol=1e-6)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (recipe("keras:resnet9"), "'keras:resnet9' is not known. Did you mean 'keras:resnet8'?"),
        (recipe("keras:cnn", input_shape=(12,)), "needs images"),
        (recipe("keras:mlp", options={"hiden": [3]}), "cannot be built"),
        (recipe("keras:no_such_module:make"), "no_such_module"),
        (recipe("keras:builtins:dict"), "cannot be built"),
        (recipe(MINE, n_classes=3, options={"ending": "operator"}), "no final softmax"),
        (recipe(MINE, options={"ending": "sigmoid"}), "ends with a sigmoid"),
        (recipe(f"keras:{HERE}:recipe"), r"is called as function\(input_shape, n_classes, \*\*options\)"),
    ],
)
def test_unbuildable_recipes_are_named(subject: Recipe, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        in_tensorflow(subjects.built, subject)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, npt.NDArray[np.float32]]:
    """A folder with a trained model saved in every way, and what it answers: probabilities."""
    folder = tmp_path_factory.mktemp("users")
    return folder, in_tensorflow(subjects.user_model, folder)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("file", "subject", "taken"),
    [
        ("model.keras", "keras:checkpoint", True),
        ("model.keras", MINE, True),
        ("model.h5", MINE, True),
        ("saved", MINE, True),
        ("model.weights.h5", MINE, False),  # weights tell of no softmax
    ],
)
def test_every_kind_of_checkpoint(
    saved: tuple[Path, npt.NDArray[np.float32]], file: str, subject: str, taken: bool
) -> None:
    folder, probable = saved
    options = {ARCHITECTURE: architecture_of(folder / file)} if subject == "keras:checkpoint" else {}
    logits, softmax = in_tensorflow(subjects.read, folder / file, recipe(subject, options=options))
    assert softmax == taken
    np.testing.assert_allclose(comparable(logits, softmax_inside=True), probable, atol=1e-5)


@pytest.mark.toolchain
def test_shadows_of_a_checkpoint_have_its_architecture_and_new_weights(
    saved: tuple[Path, npt.NDArray[np.float32]],
) -> None:
    path = saved[0] / "model.keras"
    one, shapes, fresh = in_tensorflow(subjects.clone, path, 1)
    assert fresh
    # By hand: 3x3 filters, BatchNorm's four, and 6 * 6 * 4 values to 3 classes.
    assert shapes == [(3, 3, 1, 4), (4,), (4,), (4,), (4,), (4,), (144, 3), (3,)]
    assert in_tensorflow(subjects.clone, path, 1)[0] == one
    assert in_tensorflow(subjects.clone, path, 2)[0] != one


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("file", "subject", "message"),
    [
        ("model.keras", recipe("keras:cnn"), "does not fit model.recipe 'keras:cnn'"),
        ("saved", recipe(MINE, options={"width": 5}), r"has shape \(3, 3, 1, 4\) where the recipe's"),
        ("model.keras", recipe("keras:checkpoint", n_classes=4), r"returns \(4, 3\) for 4 records"),
        ("none.keras", recipe(MINE), "cannot be read as a Keras model"),
    ],
)
def test_unsuitable_checkpoints_are_named(
    saved: tuple[Path, npt.NDArray[np.float32]], file: str, subject: Recipe, message: str
) -> None:
    if subject.name == "keras:checkpoint":
        subject = replace(subject, options={ARCHITECTURE: architecture_of(saved[0] / file)})
    with pytest.raises(RecipeError, match=message):
        in_tensorflow(subjects.read, saved[0] / file, subject)


@pytest.mark.toolchain
def test_the_digest_covers_every_file(saved: tuple[Path, npt.NDArray[np.float32]]) -> None:
    folder = saved[0] / "saved"
    before = checkpoint_digest(folder)
    assert checkpoint_digest(folder) == before
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "more").write_text("x")
    assert checkpoint_digest(folder) != before
    with pytest.raises(SpecError, match=r"model\.checkpoint: .*none.keras cannot be read"):
        checkpoint_digest(saved[0] / "none.keras")


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("keras:checkpoint", None, "set model.checkpoint"),
        ("keras:cnn", "x.safetensors", "contains torch weights"),
        ("cnn", "x.keras", "write recipe: keras:checkpoint"),
        ("cnn", "x.h5", "name the function that builds its model"),
        ("keras:checkpoint", "x.h5", "reads the architecture from a .keras file"),
        ("keras:cnn", "x.txt", "not a .keras file"),
    ],
)
def test_reject_recipes_and_checkpoints_of_two_frameworks(
    tmp_path: Path, name: str, file: str | None, message: str
) -> None:
    path = None if file is None else tmp_path / file
    if path is not None:
        path.write_bytes(b"")
    with pytest.raises(SpecError, match=message):
        require_checkpoint_fits(name, path)


def test_reject_a_file_that_is_not_keras_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "x.keras").write_bytes(b"no archive")
    with pytest.raises(SpecError, match=r"cannot be read as a \.keras file"):
        architecture_of(tmp_path / "x.keras")
