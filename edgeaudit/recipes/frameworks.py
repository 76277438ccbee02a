"""The framework of a recipe: its training module, isolation group and packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from edgeaudit.filetypes.artifact import Kind
from edgeaudit.host.isolation import IsolationGroup
from edgeaudit.host.packages import package_versions
from edgeaudit.recipes.base import Recipe

__all__ = ["FRAMEWORKS", "Framework", "Loop", "framework_of"]


class Loop(Protocol):
    """The interface of a framework's training module."""

    def build(self, recipe: Recipe, seed: int) -> Any:
        """An untrained model that answers logits."""

    def train(self, *arguments: Any, **named: Any) -> float:
        """Train in place on records and labels; see `recipes/training.py`."""

    def distil(self, *arguments: Any, **named: Any) -> float:
        """Train in place on another model's answers; see `recipes/training.py`."""

    def logits(self, model: Any, x: Any, batch: int = 256) -> Any:
        """The model's answers."""


@dataclass(frozen=True)
class Framework:
    """The framework that trains models of one kind.

    kind: of the trained model's artifact. isolation: group of the workers that train it. extra, packages: what that
    needs. training: the module of the training loop. stage: the module of the training stage. precisions: in which it
    trains, as `model.precision` names them.
    """

    kind: Kind
    isolation: IsolationGroup
    extra: str
    packages: tuple[str, ...]
    training: str
    stage: str
    precisions: tuple[str, ...]

    def loop(self) -> Loop:
        """The module that trains; importing it imports the framework."""
        return cast("Loop", import_module(self.training))

    def versions(self) -> dict[str, str]:
        """Installed version of each package; raises `MissingToolchain` with the pip line."""
        return package_versions("training a model", self.packages, self.extra)


FRAMEWORKS: Mapping[str, Framework] = {
    f.kind: f
    for f in (
        Framework(
            "torch",
            "torch",
            "torch",
            ("torch", "safetensors", "numpy"),
            "edgeaudit.recipes.training",
            "edgeaudit.stages.train_torch",
            ("float32", "bfloat16"),
        ),
        Framework(
            "keras",
            "tensorflow",
            "tensorflow",
            ("tensorflow-cpu", "keras", "numpy"),
            "edgeaudit.recipes.keras_training",
            "edgeaudit.stages.train_keras",
            ("float32",),
        ),
    )
}


def framework_of(recipe: str) -> Framework:
    """The framework of a recipe by its name: Keras where it begins with `keras:`, else torch."""
    return FRAMEWORKS["keras" if recipe.startswith("keras:") else "torch"]
