"""(records, seed, recipe) -> trained model, stored as the artifact that passes start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeaudit.errors import RecipeError
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.population.base import TARGET, Population, is_given, stream
from edgeaudit.recipes.base import PRIVATE_LOOP, Recipe, is_own_recipe, recipe_modules
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.population import DrawPopulation

if TYPE_CHECKING:
    from edgeaudit.stages.target_check import Training

__all__ = ["SourceFile", "Train", "Trained", "model_seed"]

Trained = Callable[["Train", Population, Path], StoredArtifact]
"""The `train_model` function of a framework's module: trains or reads the checkpoint, and writes into a folder."""

_CHECK = "edgeaudit.stages.target_check"
"""Imported for targets and given shadows alone, so that no key of a trained shadow depends on it."""


@dataclass(frozen=True)
class SourceFile:
    """A user's file, identified by its content. companions: name -> SHA-256 of the files beside it."""

    sha256: str
    companions: Mapping[str, str]
    path: Path = unkeyed(Path())

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file, and those beside it."""
        return (self.path, *(self.path.parent / name for name in self.companions))


def model_seed(audit_seed: int, role: str) -> int:
    """The seed of one model: target and shadows differ, and shadow k does not depend on K."""
    return int(stream(audit_seed, "model", role).integers(2**31))


@dataclass(frozen=True, eq=False, kw_only=True)
class Train(Job[StoredArtifact]):
    """Train one model, or read the user's checkpoint; store weights, manifest and check logits.

    role: which model. seed: of the audit. check: number of calibration records of each policy that the model answers,
    with which its artifacts are compared (`edgeaudit.stages.check_answers`). accuracy, train_accuracy (on members): of
    the first target, as declared by `model.accuracy`. where: the key of audit.yaml that names the checkpoint.
    """

    kind: ClassVar[str] = "train"
    essential: ClassVar[bool] = True
    result: ClassVar[type[StoredArtifact]] = StoredArtifact

    population: DrawPopulation
    role: str
    seed: int
    recipe: Recipe
    check: int
    checkpoint: SourceFile | None = None
    accuracy: float | None = None
    train_accuracy: float | None = None
    where: str = unkeyed("model.checkpoint")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"train {self.role}"

    @property
    def training(self) -> Training:
        """Where the model was trained."""
        if self.checkpoint is not None:
            return "elsewhere"
        return "built-in loop" if self.recipe.train_function is None else "user's loop"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return framework_of(self.recipe.name).isolation

    @property
    def confined(self) -> bool:
        """See `Job`: where it reads a checkpoint, unless a module of the user's builds the model."""
        return self.checkpoint is not None and is_own_recipe(self.recipe.name, self.recipe.train_function)

    def opens(self) -> tuple[Path, ...]:
        """See `Job`."""
        return () if self.checkpoint is None else self.checkpoint.paths

    def code(self) -> tuple[str, ...]:
        """Modules of the training loop and of the user, and those that examine the model if it is examined."""
        framework = framework_of(self.recipe.name)
        examining = (_CHECK, find_runtime(framework.kind).__module__) if self._is_examined else ()
        own = recipe_modules(self.recipe.name, self.recipe.train_function)
        private = () if self.recipe.training.privacy is None or self.checkpoint is not None else (PRIVATE_LOOP,)
        return (framework.stage, framework.training, *private, *examining, *own)

    def packages(self) -> tuple[str, ...]:
        """Packages of the framework."""
        return framework_of(self.recipe.name).packages

    def cost(self) -> Cost:
        """One training of the recipe."""
        if self.checkpoint is not None:
            return Cost((self.population.key, self.recipe.to_dict(), "checkpoint"), 0.0, 1.0)
        return Cost((self.population.key, self.recipe.to_dict()), 0.0, 1.0)

    @property
    def _is_examined(self) -> bool:
        """Whether it is a target, or comes from elsewhere."""
        return self.role == TARGET or is_given(self.role)

    def run(self, context: Context) -> StoredArtifact:
        """See the class."""
        train_model: Trained = import_module(framework_of(self.recipe.name).stage).train_model
        population = context.read(self.population)
        result = train_model(self, population, context.draft)
        if self.checkpoint is not None and checkpoint_digest(self.checkpoint.path) != self.checkpoint.sha256:
            raise RecipeError(f"{self.where}: {self.checkpoint.path} was changed while the audit ran; run again")
        if self._is_examined:
            self._examine(population, result)
        return result

    def _examine(self, population: Population, result: StoredArtifact) -> None:
        name = f"the target of model.recipe '{self.recipe.name}'"
        if self.checkpoint is not None:
            name = f"{self.where} {self.checkpoint.path.name}"
        check = import_module(_CHECK)
        stated = check.Stated("model.accuracy", self.train_accuracy, self.accuracy)
        door = check.Door(name, stated, self.training, sides=check.sides_of_given(population, self.role, name))
        check.require_trained(find_runtime(result.artifact.manifest.kind), result.artifact, population, door)
