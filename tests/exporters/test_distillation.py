"""Distillation: whose student, what it learns from, and that it is a model of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgeaudit.config.entries import PassEntry
from edgeaudit.digests import file_sha256
from edgeaudit.errors import RecipeError, ToolchainError
from edgeaudit.exporters import ExportJob, find_pass
from edgeaudit.exporters.distillation import student_recipe
from edgeaudit.recipes.base import Recipe, Training, build, module_from_manifest
from edgeaudit.recipes.training import logits
from tests.exporters.toys import MEMBERS, apply, toy

TEACHER = Recipe("cnn", (1, 8, 8), 10, {"width": 12}, Training(epochs=7, lr=0.02), "mine:train")


def student(teacher: Recipe, **params: Any) -> Recipe:
    return student_recipe(teacher, find_pass("distil").parameters(params))


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("name", "options", "halves"),
    [
        ("cnn", {"width": 12}, {"width": 6}),
        ("cnn", {}, {"width": 8}),
        ("mlp", {}, {"hidden": [64, 32]}),
        ("mlp", {"hidden": [7, 1]}, {"hidden": [3, 1]}),
        ("ds-cnn", {"blocks": 2}, {"blocks": 2, "width": 32}),
        ("mobilenet-v2", {}, {"width": 0.175}),
        ("torchvision:mobilenet_v3_small", {"dropout": 0.0}, {"dropout": 0.0, "width_mult": 0.5}),
        ("tests.exporters.toys:mlp", {}, {"hidden": 64}),
    ],
)
def test_the_usual_student_has_half_the_width(name: str, options: dict[str, Any], halves: dict[str, Any]) -> None:
    teacher = replace(TEACHER, name=name, options=options)
    assert student(teacher) == replace(teacher, options=halves)


def test_another_student_keeps_how_the_recipe_trains() -> None:
    assert student(TEACHER, student="mlp", student_options={"hidden": [5]}, epochs=3) == replace(
        TEACHER, name="mlp", options={"hidden": [5]}, training=replace(TEACHER.training, epochs=3)
    )
    assert student(TEACHER, student="mlp").options == {}
    assert student(TEACHER, student_options={"width": 3}).options == {"width": 3}
    assert not student(replace(TEACHER, resized=True)).resized


@pytest.mark.toolchain
def test_nothing_to_halve() -> None:
    with pytest.raises(ToolchainError, match=r"'torchvision:resnet18' has no option width, .* parameter 'student'"):
        student(replace(TEACHER, name="torchvision:resnet18", options={}))
    with pytest.raises(ToolchainError, match="'epochs' is 0"):
        student(TEACHER, epochs=0)


@pytest.mark.toolchain
def test_the_file_is_a_smaller_model_that_fits_the_training_records() -> None:
    """toys.mlp has 64 x 128 + 128 + 128 x 10 + 10 = 9,610 parameters, its student 64 x 64 + 64 + 64 x 10 + 10."""
    subject = toy("mlp")
    path, product = apply(subject, PassEntry("distil"), subject.state)
    notes = dict(product.notes)
    loss = notes.pop("loss")
    assert isinstance(loss, float)
    assert loss < 0.1
    assert notes == {"parameters": 4810, "teacher_parameters": 9610}
    assert product.recipe == replace(subject.recipe.whole, options={"hidden": 64})
    assert load_file(path)["0.weight"].shape == (64, 64)
    x, y = subject.members()
    known = logits(subject.module(path), x)
    assert (known.argmax(axis=1) == y).mean() > 0.98
    # It imitates: on records that neither saw it agrees with its teacher more often than with the labels.
    taught, found = subject.logits[MEMBERS:].argmax(axis=1), subject.answers(path)[MEMBERS:].argmax(axis=1)
    assert (found == taught).mean() > (found == subject.y[-len(found) :]).mean()


@pytest.mark.toolchain
@pytest.mark.parametrize("params", [{"temperature": 1.0}, {"alpha": 0.5}, {"epochs": 149}, {"student_options": {}}])
def test_every_parameter_changes_the_student(params: dict[str, Any]) -> None:
    subject = toy("mlp")
    usual, changed = (
        file_sha256(apply(subject, PassEntry("distil", given), subject.state)[0]) for given in ({}, params)
    )
    assert (usual == changed) == (params == {"student_options": {}})


def job(folder: Path, teacher: Recipe, **changes: Any) -> ExportJob:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, *teacher.input_shape)).astype(np.float32), np.arange(40) % 10
    source = folder / "teacher.safetensors"
    save_file(build(teacher, 0).state_dict(), source)
    return ExportJob(
        source,
        folder,
        find_pass("distil").parameters(changes.pop("params", {})),
        teacher.input_shape,
        teacher.n_classes,
        seed=3,
        module=lambda: module_from_manifest(teacher.to_dict(), source),
        **{"recipe": teacher, "training_records": lambda: (x, y), **changes},
    )


@pytest.mark.toolchain
def test_a_users_training_function_is_not_called(tmp_path: Path) -> None:
    """`mine:train` does not exist; the built-in loop distils with the recipe's settings."""
    product = find_pass("distil").apply(job(tmp_path, replace(TEACHER, training=Training(epochs=2, batch=20))))
    assert product.recipe is not None
    assert product.recipe.train_function == "mine:train"  # a later pass that fine-tunes asks it again


@pytest.mark.toolchain
def test_the_teacher_matters_and_stays_as_it_is(tmp_path: Path) -> None:
    recipe = replace(TEACHER, training=Training(epochs=1, batch=20, augment="flip-shift"))
    first = job(tmp_path, recipe)
    before = file_sha256(first.source)
    find_pass("distil").apply(first)
    one = (tmp_path / "model.safetensors").read_bytes()
    assert file_sha256(first.source) == before
    other = module_from_manifest(recipe.to_dict(), first.source)
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    find_pass("distil").apply(replace(first, module=lambda: other))
    assert (tmp_path / "model.safetensors").read_bytes() != one


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"training_records": None}, ToolchainError, "needs the model's training records"),
        ({"recipe": None}, ToolchainError, "has no recipe to build its module"),
        ({"params": {"student": "resnet9"}}, RecipeError, "Did you mean 'resnet8'"),
        ({"params": {"student_options": {"hiden": 1}}}, RecipeError, "the architecture 'cnn' has no option 'hiden'"),
    ],
)
def test_errors_of_distillation(tmp_path: Path, changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find_pass("distil").apply(job(tmp_path, TEACHER, **changes))
