"""Knowledge distillation: a smaller model learns from the labels and from the larger model's outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.recipes.base import Recipe, import_function
from edgeaudit.settings import Settings

__all__ = ["Distil", "student_recipe"]

_WIDTHS = ("width", "width_mult", "hidden")
"""Options that make an architecture narrower, by name."""


class Distil(Pass):
    """Train a student from scratch on the teacher's training records; the file has the student's architecture.

    student: a recipe's name, as in audit.yaml's `model.recipe`; None for the teacher's recipe with half its `width`,
        `width_mult` or `hidden`.
    student_options: of its architecture, in addition to the halved ones if `student` is None.
    temperature, alpha: see `recipes.training.distillation_loss`. Hinton et al. give no default; Zagoruyko and
        Komodakis ("Paying More Attention to Attention", ICLR 2017) used 4 and 0.9, as have most since.
    epochs: of the student; None for the recipe's number.

    Everything else about the training comes from the recipe: optimiser, learning rate, batch, augmentation, precision,
    label smoothing (for the loss on labels). A recipe with a custom training function (audit.yaml's `model.train`) is
    distilled with the built-in loop, since that function takes labels but no teacher; the model settings of audit.yaml
    then apply only to the student.

    The student is trained on exactly the records of its teacher.

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
            raise ToolchainError(f"the parameter 'temperature' is {temperature}; it must be above 0")
        if not 0 <= alpha <= 1:
            raise ToolchainError(f"the parameter 'alpha' is {alpha}; it must be from 0 to 1")
        if job.training_records is None:
            raise ToolchainError("distillation needs the model's training records, but this job has none")
        recipe = student_recipe(job.torch_recipe(), job.params)
        from edgeaudit.recipes.base import build
        from edgeaudit.recipes.training import distil_model

        student, teacher = build(recipe, job.seed), job.torch_module()
        loss = distil_model(student, teacher, *job.training_records(), recipe, job.seed, temperature, alpha)
        sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in (student, teacher)]
        notes = {"parameters": sizes[0], "teacher_parameters": sizes[1], "loss": loss}
        return PassResult(job.save_weights(student.state_dict()), notes=notes, recipe=recipe)


def student_recipe(teacher: Recipe, params: Settings) -> Recipe:
    """The recipe of the student that `params` describes; raises `ToolchainError` if there is no width to halve."""
    explicit = dict(params["student_options"])
    name = params["student"]
    options = explicit if name is not None else {**teacher.options, **_halved(teacher, explicit), **explicit}
    epochs = teacher.training.epochs if params["epochs"] is None else int(params["epochs"])
    if epochs < 1:
        raise ToolchainError(f"the parameter 'epochs' is {epochs}; it must be 1 or more")
    return replace(
        teacher,
        name=teacher.name if name is None else str(name),
        options=options,
        training=replace(teacher.training, epochs=epochs),
        resized=False,  # the student of a teacher with pruned channels has the unpruned architecture
    )


def _halved(recipe: Recipe, explicit: Mapping[str, object]) -> dict[str, object]:
    """Half of each width option of the architecture, except those set explicitly."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(_builder(recipe.name)).parameters.items()
        if parameter.default is not parameter.empty
    }
    if recipe.name.startswith("torchvision:mobilenet"):  # passed on as **kwargs, so not in the signature
        defaults["width_mult"] = 1.0
    widths = {name: recipe.options.get(name, defaults.get(name)) for name in _WIDTHS}
    halved = {name: _half(value) for name, value in widths.items() if value is not None and name not in explicit}
    if not halved and not explicit:
        raise ToolchainError(
            f"the recipe '{recipe.name}' has no option {', '.join(_WIDTHS[:-1])} or {_WIDTHS[-1]} to halve; "
            "select a model to distil into with the parameter 'student'"
        )
    return halved


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
