"""The manifest of a trained model, of any framework, before any pass: shared by the modules that train."""

from __future__ import annotations

from pathlib import Path

from edgeaudit.digests import file_sha256
from edgeaudit.filetypes.artifact import Layout, Manifest, TensorSpec
from edgeaudit.recipes.base import Recipe

__all__ = ["channels_first", "trained_manifest"]


def channels_first(recipe: Recipe) -> TensorSpec:
    """The input of a trained model that takes records as the population has them."""
    layout: Layout = "NCHW" if len(recipe.input_shape) == 3 else "flat"
    return TensorSpec("input", (-1, *recipe.input_shape), "float32", layout)


def trained_manifest(
    kind: str, recipe: Recipe, file: Path, entry: TensorSpec, outputs: int, *, softmax_inside: bool = False
) -> Manifest:
    """The manifest of a trained model before any pass. outputs: how many logits, or probabilities, it answers."""
    return Manifest(
        kind=kind,
        file=file.name,
        sha256=file_sha256(file),
        bytes=file.stat().st_size,
        input=entry,
        output=TensorSpec("probabilities" if softmax_inside else "logits", (-1, outputs), "float32"),
        softmax_inside=softmax_inside,
        recipe=recipe.to_dict(),
    )
