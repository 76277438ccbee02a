"""Trained torch models: a state dict in safetensors. Layers and shapes come from the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeaudit.filetypes.base import FileType, FileTypeSpec, WeightTensor, stored_zero

__all__ = ["Torch"]

_RECIPE = "a state dict contains only weights; its recipe has the layers"


class Torch(FileType):
    """A state dict. BatchNorm's vectors and counters are not weights."""

    spec = FileTypeSpec(
        name="torch",
        title="torch (safetensors)",
        suffixes=(".safetensors",),
        extra="torch",
        packages=("torch", "safetensors"),
        unreadable={
            "contract": _RECIPE,
            "softmax": _RECIPE,
            "operators": _RECIPE,
            "state": _RECIPE,
            "traits": "a state dict is the trained model itself, which no toolchain has made",
        },
    )

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as tensors:  # by torch, since numpy has no bfloat16
            for name in tensors.keys():  # noqa: SIM118  it is not a mapping
                tensor = tensors.get_tensor(name)
                values = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
                yield WeightTensor(name, values, stored_zero(values))
