"""Read the weights of a trained torch model of the user's, as trainers write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeaudit.errors import RecipeError, reason_of
from edgeaudit.recipes.base import Recipe

__all__ = ["load_checkpoint"]

_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module")
"""Keys under which trainers keep the state dict beside the epoch and the optimiser's state."""

_NAMED = 3

State = Mapping[str, torch.Tensor]


def load_checkpoint(module: nn.Module, path: Path, recipe: Recipe, key: str = "model.checkpoint") -> tuple[str, ...]:
    """Give the module the weights of a checkpoint; eval mode.

    A state_dict (.pt, .pth, .ckpt; read with weights_only) or .safetensors, also nested under a usual key as in
    `{"model": ..., "epoch": ...}`. A prefix that all of the module's weights have in the file is taken off, such as
    `model.` of Lightning, `module.` of DataParallel and `_orig_mod.` of torch.compile; what the file has beside it (a
    loss, metrics) is left out.

    Returns sentences on what was taken off and left out; none where the file has the module's names alone.
    Raises `RecipeError`, naming the key, where it cannot be read, does not fit the recipe, or contains NaN or infinity.
    """
    nested, state = _nested(_read(path, key))
    if state is None:
        raise RecipeError(f"{key}: {path} holds a {nested}, not a state_dict")
    prefix = _prefix(state, module, path, key)
    said = [f"weights of the checkpoint are those under '{nested}'"] if nested else []
    if prefix:
        left = sorted(name for name in state if not name.startswith(prefix))
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        said.append(f"the prefix '{prefix}' of the checkpoint's names was taken off")
        if left:
            more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
            said.append(f"left out of the checkpoint: {', '.join(left[:_NAMED])}{more}")
    try:
        module.load_state_dict(state)
    except RuntimeError as exc:
        lines = " ".join(line.strip() for line in str(exc).splitlines()[1:4])
        raise RecipeError(
            f"{key}: {path} does not fit model.recipe '{recipe.name}' with options {dict(recipe.options)}: {lines}"
        ) from exc
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise RecipeError(f"{key}: {path} contains NaN or infinity")
    module.eval()
    return tuple(said)


def _read(path: Path, key: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    # Bytes that are no pickle end torch's reader in any way: KeyError at an unknown opcode, IndexError, struct.error.
    except Exception as exc:
        if isinstance(exc, OSError):
            first_line = reason_of(exc)
        elif isinstance(exc, RuntimeError | SafetensorError) and str(exc):
            first_line = str(exc).splitlines()[0]
        else:  # of an UnpicklingError, torch raises a long message on how to run the file's code
            first_line = "it was not written by torch.save, or contains more than tensors, like a pickled model"
        raise RecipeError(
            f"{key}: {path} cannot be read as a state_dict ({first_line}); "
            "save it with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from exc


def _nested(found: Any) -> tuple[str, State | None]:
    """(the key of the state dict, "" at the top; the state dict), or (what it is, None) where it is none."""
    keys: list[str] = []
    while isinstance(found, Mapping) and not _is_state(found):
        inner = next((key for key in _NESTED if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            return "/".join(keys), found  # whose names then say what is missing
        keys.append(inner)
        found = found[inner]
    if not isinstance(found, Mapping):
        return type(found).__name__, None
    return "/".join(keys), found


def _is_state(found: Mapping[Any, Any]) -> bool:
    return bool(found) and all(isinstance(value, torch.Tensor) for value in found.values())


def _prefix(state: State, module: nn.Module, path: Path, key: str) -> str:
    """What stands before the module's own names in the file; "" where they stand alone, or where nothing fits.

    Raises `RecipeError` where the weights fit under more than one, as a model beside its moving average.
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if not own or set(own) <= set(state):
        return ""
    fitting = sorted(prefix for prefix in _candidates(state, own) if _fits(state, own, prefix))
    if len(fitting) > 1:
        raise RecipeError(
            f"{key}: {path} holds the recipe's weights {len(fitting)} times, under "
            f"{', '.join(repr(prefix) for prefix in fitting)}; save the one that is deployed by itself: "
            f"torch.save({{k.removeprefix({fitting[0]!r}): v for k, v in state.items() if "
            f"k.startswith({fitting[0]!r})}}, ...)"
        )
    return fitting[0] if fitting else ""


def _candidates(state: State, own: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    first = next(iter(own))
    for name in map(str, state):  # what is no state dict may have other keys
        if name.endswith(f".{first}"):
            yield name.removesuffix(first)


def _fits(state: State, own: Mapping[str, tuple[int, ...]], prefix: str) -> bool:
    return all(
        isinstance(value := state.get(prefix + name), torch.Tensor) and tuple(value.shape) == shape
        for name, shape in own.items()
    )
