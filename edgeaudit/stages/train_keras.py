"""(records, seed, Keras recipe) -> trained model, stored as the `keras` artifact that passes to TFLite start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.filetypes.artifact import Artifact, Layout, Manifest, TensorSpec, file_sha256
from edgeaudit.graph.job import JobContext
from edgeaudit.recipes import Recipe
from edgeaudit.stages.check_answers import write_answers

__all__ = ["keras_manifest", "train_keras"]

MODEL = "model.keras"


def train_keras(context: JobContext, recipe: Recipe, seed: int) -> Mapping[str, Any]:
    """Train one Keras model, or read the user's checkpoint; write model, manifest and check logits.

    seed: of the model. It answers logits; `softmax_taken_off` in the facts tells where a checkpoint ended in a softmax.
    """
    from edgeaudit.recipes.keras_models import answers, save_keras
    from edgeaudit.recipes.keras_trained import read_checkpoint
    from edgeaudit.recipes.keras_training import build, train

    role, audit_seed, checkpoint = (context.inputs[name] for name in ("role", "seed", "checkpoint"))
    population = context.population()
    facts: dict[str, Any] = {}
    if checkpoint is None:
        ids = population.training_ids(role, audit_seed)
        model = build(recipe, seed)
        loss = train(model, population.take(ids), population.labels[ids], recipe, seed)
        facts["loss"] = loss if np.isfinite(loss) else None
    else:
        policy, count = next(iter(context.inputs["check"].items()))
        records = population.take(population.calibration_ids(role, audit_seed, policy, count))
        model, facts["softmax_taken_off"] = read_checkpoint(Path(checkpoint["path"]), recipe, records)
    save_keras(model, context.draft / MODEL)
    Artifact(context.draft, keras_manifest(recipe, context.draft / MODEL)).save()
    write_answers(lambda x: answers(model, x), population, role, audit_seed, context.inputs["check"], context.draft)
    return facts


def keras_manifest(recipe: Recipe, model: Path) -> Manifest:
    """The manifest of a Keras artifact: a .keras file that answers logits, images going in channels last."""
    shape, layout = recipe.input_shape, "flat"
    if len(shape) == 3:
        shape, layout = (*shape[1:], shape[0]), "NHWC"
    return Manifest(
        kind="keras",
        file=model.name,
        sha256=file_sha256(model),
        bytes=model.stat().st_size,
        input=TensorSpec("input", (-1, *shape), "float32", _LAYOUTS[layout]),
        output=TensorSpec("logits", (-1, recipe.n_classes), "float32"),
        softmax_inside=False,
        recipe=recipe.to_dict(),
    )


_LAYOUTS: Mapping[str, Layout] = {"flat": "flat", "NHWC": "NHWC"}
