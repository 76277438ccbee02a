"""A recipe's module with the rounding of an int8 file in its forward, and how to rebuild it from its weights.

Imported where torch is, by the recipe that quantisation-aware training leaves in a manifest (`recipe_of`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from edgeaudit.errors import ToolchainError
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.recipes.resizing import resize

__all__ = ["Rounding", "RoundingSpec", "hookable", "module", "put_in", "recipe_of"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class RoundingSpec:
    """Which tensor is rounded, and to which integers.

    place: NNCF's name of a hook, as in `pre_hooks.conv2d/0__1.0`: the second argument of the first convolution.
    low, high: the smallest and the largest integer. axis: of the channels that have a scale each; None for one scale.
    channels: how many scales.
    """

    place: str
    low: int
    high: int
    axis: int | None
    channels: int


class Rounding(nn.Module):
    """Quantise and dequantise at once; gradients go straight through what is not clipped. Buffers: scale, zero_point.

    torch's `FakeQuantize` does the same and keeps an observer, whose unset ranges are infinite and end up in the file.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, spec: RoundingSpec) -> None:
        super().__init__()
        self.spec = spec
        shape = (spec.channels,) if spec.axis is not None else ()
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("zero_point", torch.zeros(shape, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Round x, any shape; with an axis, its size along it is the number of scales."""
        low, high, axis = self.spec.low, self.spec.high, self.spec.axis
        if axis is None:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, low, high)
        return torch.fake_quantize_per_channel_affine(x, self.scale, self.zero_point, axis, low, high)


class Shell(nn.Module):
    """A module around another one. nncf 3.4 adds a child that has no forward, and a Sequential calls all children."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output of the inner module."""
        answer: torch.Tensor = self.inner(x)
        return answer


def hookable(original: nn.Module) -> nn.Module:
    """A recipe's module in eval mode, prepared for NNCF: BatchNorm folded, and wrapped."""
    return Shell(_folded(original)).eval()


def _folded(original: nn.Module) -> nn.Module:
    """The module with every BatchNorm folded into the previous layer, as in int8 files.

    Quantised weights followed by a BatchNorm would be other weights than those that ship, and ONNX Runtime computes
    such a layer in floats. Raises `ToolchainError` where torch.fx cannot read the module's forward.
    """
    if not any(isinstance(layer, _NORMS) for layer in original.modules()):
        return original
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(original).eval()
    except Exception as exc:  # torch.fx runs the module's forward, which may raise anything
        raise ToolchainError(
            f"torch.fx cannot read the forward of {type(original).__name__} to fold its BatchNorm layers ({exc}); "
            "branches and lengths that depend on the input must go"
        ) from exc


def put_in(inside: nn.Module, roundings: Mapping[str, nn.Module]) -> nn.Module:
    """The module with a hook at each place, in place; nncf's hooks act in the module's own forward."""
    with quiet(NO_TELEMETRY):
        from nncf.torch.function_hook.wrapper import get_hook_storage, wrap_model

        wrapped: nn.Module = wrap_model(inside)
        storage = get_hook_storage(wrapped)
    for place, rounding in roundings.items():
        storage.insert_hook_by_name(place, rounding)
    return wrapped


def recipe_of(source: Recipe, weights: Mapping[str, torch.Tensor], specs: Sequence[RoundingSpec]) -> Recipe:
    """The recipe of a module that is `source`'s, folded and with roundings put in; it trains on as `source` does.

    weights: `source`'s state dict, read for its shapes where channel pruning decided them.
    """
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()} if source.resized else {}
    options = {"of": source.to_dict(), "shapes": shapes, "roundings": [asdict(spec) for spec in specs]}
    return replace(source, name=f"{__name__}:module", options=options, resized=False)


def module(
    input_shape: tuple[int, ...],  # noqa: ARG001  # part of a recipe's signature; also in `of`
    n_classes: int,  # noqa: ARG001
    *,
    of: Mapping[str, object],
    shapes: Mapping[str, Sequence[int]],
    roundings: Sequence[Mapping[str, Any]],
) -> nn.Module:
    """Build the module of `recipe_of`; its weights, scales and zero points are loaded afterwards."""
    original = build(Recipe.from_dict(of), seed=0)
    resize(original, {name: torch.empty(tuple(shape)) for name, shape in shapes.items()})
    specs = [RoundingSpec(**raw) for raw in roundings]
    return put_in(hookable(original), {spec.place: Rounding(spec) for spec in specs}).eval()
