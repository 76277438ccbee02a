"""The framework of a recipe: its training module, isolation group and packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast

from edgeaudit.errors import MissingToolchain
from edgeaudit.filetypes.artifact import Kind
from edgeaudit.host.isolation import IsolationGroup
from edgeaudit.host.packages import package_versions
from edgeaudit.recipes.base import BOOSTERS, ZOOS, Recipe

__all__ = ["FRAMEWORKS", "Framework", "Loop", "framework_of", "require_zoo"]


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
        Framework(
            "sklearn",
            "torch",
            "sklearn",
            ("scikit-learn", "numpy"),
            "edgeaudit.recipes.sklearn_models",
            "edgeaudit.stages.train_sklearn",
            ("float32",),
        ),
    )
}


def framework_of(recipe: str) -> Framework:
    """The framework of a recipe by its name: that of its prefix `keras:` or `sklearn:`, else torch."""
    prefix = recipe.partition(":")[0]
    return FRAMEWORKS[prefix if prefix in ("keras", "sklearn") else "torch"]


def require_zoo(recipe: str) -> None:
    """Raise `MissingToolchain` with the pip line where a recipe names a model of a package that is not installed."""
    zoo, _, name = recipe.partition(":")
    if zoo in ZOOS and not find_spec(zoo):
        raise MissingToolchain(f"model.recipe '{recipe}'", zoo, "torch" if zoo == "torchvision" else zoo)
    if zoo == "sklearn" and name in BOOSTERS and not find_spec(BOOSTERS[name]):
        raise MissingToolchain(f"model.recipe '{recipe}'", BOOSTERS[name], BOOSTERS[name])
