"""Knowledge distillation: a smaller model that learns from the labels and from the larger model's answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.recipes.base import Recipe, import_function

__all__ = ["Distil", "student_recipe"]

_WIDTHS = ("width", "width_mult", "hidden")
"""Options that make an architecture narrower, by name."""


class Distil(Pass):
    """A student, trained from nothing on the teacher's own training records; its file has the student's architecture.

    student: a recipe's name, as in audit.yaml's `model.recipe`; None for the teacher's with half of its `width`,
        `width_mult` or `hidden`.
    student_options: of its architecture, on top of those halved ones where `student` is None.
    temperature, alpha: see `recipes.training.distillation_loss`. Hinton et al. give no default; 4 and 0.9 are what
        Zagoruyko and Komodakis ("Paying More Attention to Attention", ICLR 2017) distilled with and most have since.
    epochs: of the student; None for as many as the recipe trains for.

    All else about the training is the recipe's: optimiser, learning rate, batch, augmentation, precision, label
    smoothing (of the part that learns from labels). A recipe with a training function of its own, audit.yaml's
    `model.train`, distils with the built-in loop all the same, since that function takes labels and no teacher; the
    model settings of audit.yaml then apply to the student alone.

    The student sees the records that its teacher saw, and no others.

    notes: `parameters` of the student, `teacher_parameters`, and the mean `loss` of the last epoch.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015).
    """

    spec = PassSpec(
        name="distil",
        extra="torch",
        packages=("torch", "safetensors"),
        consumes="torch",
        produces="torch",
        summary="knowledge distillation into a smaller student",
        trains=True,
        trainings=1.0,
        defaults={"student": None, "student_options": {}, "temperature": 4.0, "alpha": 0.9, "epochs": None},
        typical_seconds=0.1,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        temperature, alpha = float(job.params["temperature"]), float(job.params["alpha"])
        if not temperature > 0:
            raise ToolchainError(f"the parameter 'temperature' is {temperature}; it is above 0")
        if not 0 <= alpha <= 1:
            raise ToolchainError(f"the parameter 'alpha' is {alpha}; it lies from 0 to 1")
        if job.training_records is None:
            raise ToolchainError("distillation needs the model's own training records, and this job has none")
        recipe = student_recipe(job.torch_recipe(), job.params)
        from edgeaudit.recipes.base import build
        from edgeaudit.recipes.training import distil_model

        student, teacher = build(recipe, job.seed), job.torch_module()
        loss = distil_model(student, teacher, *job.training_records(), recipe, job.seed, temperature, alpha)
        sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in (student, teacher)]
        notes = {"parameters": sizes[0], "teacher_parameters": sizes[1], "loss": loss}
        return PassResult(job.save_weights(student.state_dict()), notes=notes, recipe=recipe)


def student_recipe(teacher: Recipe, params: Mapping[str, Any]) -> Recipe:
    """The recipe of the student that `params` describes; raises `ToolchainError` where there is nothing to halve."""
    given = dict(params["student_options"])
    name = params["student"]
    options = given if name is not None else {**teacher.options, **_halved(teacher, given), **given}
    epochs = teacher.training.epochs if params["epochs"] is None else int(params["epochs"])
    if epochs < 1:
        raise ToolchainError(f"the parameter 'epochs' is {epochs}; a student trains for 1 or more")
    return replace(
        teacher,
        name=teacher.name if name is None else str(name),
        options=options,
        training=replace(teacher.training, epochs=epochs),
        resized=False,  # a teacher with pruned channels has a student of the whole architecture
    )


def _halved(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """Half of each width that the architecture has; an option that is given as it shall be is not asked for."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(_builder(recipe.name)).parameters.items()
        if parameter.default is not parameter.empty
    }
    if recipe.name.startswith("torchvision:mobilenet"):  # passed on as **kwargs, where no signature shows it
        defaults["width_mult"] = 1.0
    widths = {name: recipe.options.get(name, defaults.get(name)) for name in _WIDTHS}
    found = {name: _half(value) for name, value in widths.items() if value is not None and name not in given}
    if not found and not given:
        raise ToolchainError(
            f"the recipe '{recipe.name}' has no option {', '.join(_WIDTHS[:-1])} or {_WIDTHS[-1]} that could be "
            "halved; say which model to distil into with the parameter 'student'"
        )
    return found


def _half(value: Any) -> Any:
    """Half of a width (whole numbers rounded down, at least 1), or of each in a list."""
    if isinstance(value, Sequence):
        return [_half(each) for each in value]
    return max(1, value // 2) if isinstance(value, int) else value / 2


def _builder(name: str) -> Callable[..., Any]:
    """The function that builds the architecture `name`."""
    from edgeaudit.recipes.registry import ARCHITECTURES

    if name in ARCHITECTURES.names():
        return ARCHITECTURES.find(name).build
    if name.startswith("torchvision:"):
        from torchvision import models

        builder: Callable[..., Any] = models.get_model_builder(name.partition(":")[2])
        return builder
    return import_function(name)
