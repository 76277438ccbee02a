"""(records, seed, Keras recipe) -> trained model, stored as the `keras` artifact that passes to TFLite start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeaudit.filetypes.artifact import Artifact, Layout, Manifest, TensorSpec
from edgeaudit.population.base import Population
from edgeaudit.recipes.base import Recipe
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.check_answers import DEFAULT_POLICY, write_answers
from edgeaudit.stages.train import Train, model_seed
from edgeaudit.stages.trained_manifest import trained_manifest

__all__ = ["keras_manifest", "train_model"]

MODEL = "model.keras"


def train_model(job: Train, population: Population, folder: Path) -> StoredArtifact:
    """Train one Keras model, or read the user's checkpoint; write model and check logits into `folder`.

    It returns logits; `softmax_taken_off` in the notes says whether a checkpoint ended in a softmax.
    """
    from edgeaudit.recipes.keras_models import answers, save_keras
    from edgeaudit.recipes.keras_trained import read_checkpoint
    from edgeaudit.recipes.keras_training import build, train

    recipe, seed = job.recipe, model_seed(job.seed, job.role)
    notes: dict[str, object] = {}
    if job.checkpoint is None:
        ids = population.training_ids(job.role, job.seed)
        model = build(recipe, seed)
        loss = train(model, population.take(ids), population.truth(ids), recipe, seed)
        notes["loss"] = loss if np.isfinite(loss) else None
    else:
        ids = population.calibration_ids(job.role, job.seed, DEFAULT_POLICY, job.check, at_most=True)
        records = population.take(ids)
        model, notes["softmax_taken_off"] = read_checkpoint(job.checkpoint.path, recipe, records, job.where)
    save_keras(model, folder / MODEL)
    write_answers(lambda x: answers(model, x), population, job.role, job.seed, job.check, folder)
    manifest = keras_manifest(recipe, folder / MODEL, int(model.output_shape[-1]))
    return StoredArtifact(Artifact(folder, manifest), notes=notes)


def keras_manifest(recipe: Recipe, model: Path, outputs: int) -> Manifest:
    """The manifest of a Keras artifact: a .keras file that returns logits and takes images channels last."""
    shape, layout = recipe.input_shape, "flat"
    if len(shape) == 3:
        shape, layout = (*shape[1:], shape[0]), "NHWC"
    entry = TensorSpec("input", (-1, *shape), "float32", _LAYOUTS[layout])
    return trained_manifest("keras", recipe, model, entry, outputs)


_LAYOUTS: Mapping[str, Layout] = {"flat": "flat", "NHWC": "NHWC"}
