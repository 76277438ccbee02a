"""Give a module the shapes of a state dict: what channel pruning leaves is the recipe's architecture, narrower."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["resize"]

_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


def resize(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give every parameter and buffer the shape that it has in `state`, in place, and tell its layer of it.

    The values are left undefined: `load_state_dict` follows. Names that `state` lacks keep their shape, so that a
    strict load says what is missing. Shapes are all that pruning changes: strides, kernels, operators and the
    forward code stay the recipe's.
    """
    for place, layer in module.named_modules():
        changed = False
        for name, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
            wanted = state.get(f"{place}.{name}" if place else name)
            if wanted is not None and wanted.shape != tensor.shape:
                empty = torch.empty_like(wanted)
                parameter = isinstance(tensor, nn.Parameter)
                setattr(layer, name, nn.Parameter(empty, tensor.requires_grad) if parameter else empty)
                changed = True
        if changed:
            _tell(layer)


def _tell(layer: nn.Module) -> None:
    """Correct the sizes that a layer keeps beside its tensors. Convolutions and norms compute with some of them."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        outputs, inputs_a_group = layer.weight.shape[:2]
        if 1 < layer.groups == layer.out_channels:  # depthwise: a channel is a group of its own and goes with it
            layer.groups = outputs
        layer.in_channels, layer.out_channels = inputs_a_group * layer.groups, outputs
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _NORMS):
        layer.num_features = len(next(iter(layer.state_dict().values())))  # the weight, or the mean without weights
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(layer.weight)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
