"""Training in torch: the weights of a recipe's module after training, or of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeaudit.errors import RecipeError
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec, file_sha256
from edgeaudit.population.base import Population
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.check_answers import write_answers
from edgeaudit.stages.train import Train, model_seed

if TYPE_CHECKING:
    from torch import nn

__all__ = ["torch_manifest", "train_model", "write_check"]

_WEIGHTS = "model.safetensors"


def train_model(job: Train, population: Population, folder: Path) -> StoredArtifact:
    """Train, or read the checkpoint; write weights and check logits into `folder`."""
    from safetensors.torch import save_file

    from edgeaudit.recipes.training import train

    seed = model_seed(job.seed, job.role)
    module = build(job.recipe, seed)
    notes: dict[str, object] = {}
    if job.checkpoint is None:
        ids = population.training_ids(job.role, job.seed)
        loss = train(module, population.take(ids), population.labels[ids], job.recipe, seed)
        notes["loss"] = loss if np.isfinite(loss) else None
    else:
        _load_checkpoint(module, job.checkpoint.path, job.recipe)
    state = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
    save_file(state, folder / _WEIGHTS)
    write_check(module, population, job.role, job.seed, job.check, folder)
    return StoredArtifact(Artifact(folder, torch_manifest(job.recipe, folder / _WEIGHTS)), notes=notes)


def write_check(
    module: nn.Module, population: Population, role: str, audit_seed: int, calibration: Mapping[str, int], folder: Path
) -> None:
    """Answer the calibration records of every policy (policy -> how many) and store ids and logits in `folder`."""
    from edgeaudit.recipes.training import logits

    write_answers(lambda x: logits(module, x), population, role, audit_seed, calibration, folder)


def torch_manifest(recipe: Recipe, weights: Path) -> Manifest:
    """The manifest of a torch artifact: weights, and the recipe that builds the module they belong to."""
    images = len(recipe.input_shape) == 3
    return Manifest(
        kind="torch",
        file=weights.name,
        sha256=file_sha256(weights),
        bytes=weights.stat().st_size,
        input=TensorSpec("input", (-1, *recipe.input_shape), "float32", "NCHW" if images else "flat"),
        output=TensorSpec("logits", (-1, recipe.n_classes), "float32"),
        softmax_inside=False,
        recipe=recipe.to_dict(),
    )


def _load_checkpoint(module: nn.Module, path: Path, recipe: Recipe) -> None:
    """Load a state_dict (.pt, .pth; with weights_only) or .safetensors, also nested under `state_dict` or `model`."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, SafetensorError, EOFError) as exc:
        first_line = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        if isinstance(exc, pickle.UnpicklingError):  # torch raises a long message on how to run the file's code
            first_line = "it was not written by torch.save, or contains more than tensors, like a pickled model"
        raise RecipeError(
            f"model.checkpoint: {path} cannot be read as a state_dict ({first_line}); "
            "save it with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from exc
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise RecipeError(f"model.checkpoint: {path} holds a {type(state).__name__}, not a state_dict")
    try:
        module.load_state_dict(state)
    except RuntimeError as exc:
        lines = " ".join(line.strip() for line in str(exc).splitlines()[1:4])
        raise RecipeError(
            f"model.checkpoint: {path} does not fit model.recipe '{recipe.name}' "
            f"with options {dict(recipe.options)}: {lines}"
        ) from exc
    if not all(bool(torch.isfinite(v).all()) for v in module.state_dict().values()):
        raise RecipeError(f"model.checkpoint: {path} contains NaN or infinity")
    module.eval()
