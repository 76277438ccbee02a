"""(records, seed, scikit-learn recipe) -> fitted estimator, stored as the artifact that the export starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.population.base import Population
from edgeaudit.recipes.base import Recipe
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.check_answers import write_answers
from edgeaudit.stages.train import Train, model_seed
from edgeaudit.stages.trained_manifest import channels_first, trained_manifest

__all__ = ["sklearn_manifest", "train_model"]

_MODEL = "model.pickle"


def train_model(job: Train, population: Population, folder: Path) -> StoredArtifact:
    """Fit one estimator; write it and its check answers, as logarithms of probabilities, into `folder`."""
    from edgeaudit.recipes.sklearn_models import build, logits, save_model, train

    recipe, seed = job.recipe, model_seed(job.seed, job.role)
    ids = population.training_ids(job.role, job.seed)
    model = build(recipe, seed)
    loss = train(model, population.take(ids), population.labels[ids], recipe, seed)
    save_model(model, folder / _MODEL)
    write_answers(
        lambda x: logits(model, x, n_classes=recipe.n_classes), population, job.role, job.seed, job.check, folder
    )
    notes = {"loss": loss if np.isfinite(loss) else None}
    return StoredArtifact(Artifact(folder, sklearn_manifest(recipe, folder / _MODEL)), notes=notes)


def sklearn_manifest(recipe: Recipe, model: Path) -> Manifest:
    """The manifest of a fitted estimator, which answers with probabilities."""
    return trained_manifest("sklearn", recipe, model, channels_first(recipe), recipe.n_classes, softmax_inside=True)
