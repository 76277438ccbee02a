"""Training in torch: the weights of a recipe's module after training, or of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.population.base import Population
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.check_answers import write_answers
from edgeaudit.stages.train import Train, model_seed
from edgeaudit.stages.trained_manifest import channels_first, trained_manifest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["torch_manifest", "train_model", "width_of", "write_check"]

_WEIGHTS = "model.safetensors"


def train_model(job: Train, population: Population, folder: Path) -> StoredArtifact:
    """Train, or read the checkpoint; write weights and check logits into `folder`."""
    from safetensors.torch import save_file

    from edgeaudit.recipes.torch_checkpoint import load_checkpoint
    from edgeaudit.recipes.training import fit

    seed = model_seed(job.seed, job.role)
    module = build(job.recipe, seed)
    notes: dict[str, object] = {}
    found: tuple[str, ...] = ()
    if job.checkpoint is None:
        ids = population.training_ids(job.role, job.seed)
        fitted = fit(module, population.take(ids), population.truth(ids), job.recipe, seed)
        notes |= {"loss": fitted.loss if np.isfinite(fitted.loss) else None, **fitted.about()}
    else:
        found = load_checkpoint(module, job.checkpoint.path, job.recipe, job.where)
    state = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
    save_file(state, folder / _WEIGHTS)
    write_check(module, population, job.role, job.seed, job.check, folder)
    manifest = torch_manifest(job.recipe, folder / _WEIGHTS, width_of(module, job.recipe))
    return StoredArtifact(Artifact(folder, manifest), found, notes)


def width_of(module: nn.Module, recipe: Recipe) -> int:
    """How many outputs a module has: of two classes it may have one."""
    from edgeaudit.recipes.training import logits

    return int(logits(module, np.zeros((2, *recipe.input_shape), np.float32)).shape[1])


def write_check(
    module: nn.Module, population: Population, role: str, audit_seed: int, count: int, folder: Path
) -> None:
    """See `write_answers`."""
    from edgeaudit.recipes.training import logits

    write_answers(lambda x: logits(module, x), population, role, audit_seed, count, folder)


def torch_manifest(recipe: Recipe, weights: Path, outputs: int) -> Manifest:
    """The manifest of a torch artifact: weights, and the recipe that builds the module they belong to."""
    return trained_manifest("torch", recipe, weights, channels_first(recipe), outputs)
