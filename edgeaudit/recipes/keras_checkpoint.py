"""Facts about a Keras checkpoint without TensorFlow: its kind, its digest, the architecture in a .keras file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from edgeaudit.digests import path_sha256
from edgeaudit.errors import SpecError, reason_of, unquoted

__all__ = [
    "ARCHITECTURE",
    "CHECKPOINT",
    "architecture_of",
    "checkpoint_digest",
    "is_keras_checkpoint",
    "require_checkpoint_fits",
]

CHECKPOINT = "keras:checkpoint"
"""The recipe of models that have the checkpoint's own architecture."""

ARCHITECTURE = "architecture"
_LARGEST = 1 << 25
"""Bytes of an architecture."""
_TORCH_SUFFIXES = (".pt", ".pth", ".safetensors")


def is_keras_checkpoint(path: Path) -> bool:
    """Whether the path looks like a .keras or .h5 file or a SavedModel's folder."""
    return path.suffix in {".keras", ".h5", ".hdf5"} or (path / "saved_model.pb").is_file()


def require_checkpoint_fits(recipe: str, checkpoint: Path | None, key: str = "model.checkpoint") -> None:
    """Raise `SpecError` where a recipe and a checkpoint are of different frameworks, or one needs another kind."""
    keras_recipe = recipe.startswith("keras:")
    if checkpoint is None:
        if recipe == CHECKPOINT:
            raise SpecError(
                f"model.recipe: {CHECKPOINT} builds models of the checkpoint's architecture; set model.checkpoint to a "
                ".keras file"
            )
        return
    if keras_recipe and checkpoint.suffix in _TORCH_SUFFIXES:
        raise SpecError(
            f"{key}: {checkpoint} contains torch weights, but model.recipe '{recipe}' is Keras; use the "
            ".keras file, or the torch recipe of these weights"
        )
    if keras_recipe and checkpoint.exists() and not is_keras_checkpoint(checkpoint):
        raise SpecError(f"{key}: {checkpoint} is not a .keras file, .h5 file or SavedModel folder")
    if not keras_recipe and is_keras_checkpoint(checkpoint):
        raise SpecError(
            f"{key}: {checkpoint} is a Keras model, but model.recipe '{recipe}' is a torch recipe; "
            + (f"write recipe: {CHECKPOINT}, or keras:module:function" if checkpoint.suffix == ".keras" else _NAMED)
        )
    if recipe == CHECKPOINT and checkpoint.suffix != ".keras":
        raise SpecError(
            f"model.recipe: {CHECKPOINT} reads the architecture from a .keras file, which {checkpoint} is not. "
            + ("Save it as one: keras.models.load_model('x.h5').save('x.keras')" if checkpoint.is_file() else _NAMED)
        )


_NAMED = "name the function that builds its model: recipe: keras:module:function"


def architecture_of(checkpoint: Path) -> dict[str, Any]:
    """The architecture in a .keras file, which is all that `keras:checkpoint` needs to know of it.

    So shadows depend on the architecture and not on the trained weights or on where the file lies.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive, archive.open("config.json") as entry:
            # A compressed file may hold any amount.
            config: dict[str, Any] = json.loads(entry.read(_LARGEST), parse_constant=_no_constant)
        config.pop("compile_config", None)
        return dict(_numbered(config, {}))
    # A damaged archive ends zipfile in any way, and JSON that is nested too deeply in RecursionError.
    except Exception as exc:
        reason = reason_of(exc) if isinstance(exc, OSError) else unquoted(exc)
        raise SpecError(
            f"model.checkpoint: {checkpoint} cannot be read as a .keras file ({reason}); save it with "
            "model.save('x.keras') of Keras 3"
        ) from exc


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _numbered(value: Any, seen: dict[int, int]) -> Any:
    """The architecture with shared objects numbered in the order of appearance; Keras 3.15 writes their addresses."""
    if isinstance(value, dict):
        return {
            key: seen.setdefault(one, len(seen)) if key == "shared_object_id" else _numbered(one, seen)
            for key, one in value.items()
        }
    return [_numbered(one, seen) for one in value] if isinstance(value, list) else value


def checkpoint_digest(path: Path, key: str = "model.checkpoint") -> str:
    """SHA-256 of a file, or of all files of a folder with their names. Raises `SpecError` naming the key."""
    try:
        return path_sha256(path)
    except OSError as exc:
        raise SpecError(f"{key}: {path} cannot be read: {exc.strerror}") from exc
