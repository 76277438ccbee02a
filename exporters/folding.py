"""Torch modules before they are converted: normalisation folded into the layers before it, weights, architecture."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeaudit.exporters.base import ExportJob

if TYPE_CHECKING:
    from torch import nn

__all__ = ["architecture_of", "fold_normalisation", "weights_of"]

Pairs = tuple[tuple[str, str], ...]

_FOLDED_TOLERANCE = 1e-4
"""Of the answers' spread: folding rounds weights once more."""
_MOST_KNOWN = 64
_known: dict[str, Pairs] = {}
"""Architecture -> what is folded in it; found once, by tracing and two forwards, which take as long as a small file."""


def fold_normalisation(module: nn.Module, architecture: str, shape: tuple[int, ...]) -> nn.Module:
    """Fold each BatchNorm into the convolution or linear layer before it, in place; returns the module in eval mode.

    Converters fold it, too, by sums of their own, so that the weights in their files are no longer those of the
    module. The module stays as it is where torch cannot trace it, or where the folded one answers otherwise.

    architecture: of `architecture_of`. shape: of a record.
    """
    module.eval()
    pairs = _known.get(architecture)
    if pairs is None:
        pairs = _checked(module, tuple(_pairs(module)), shape)
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)))
        _known[architecture] = pairs
    _fold(module, pairs)
    return module


def _fold(module: nn.Module, pairs: Pairs) -> None:
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

    for layer_name, norm_name in pairs:
        layer, norm = module.get_submodule(layer_name), module.get_submodule(norm_name)
        fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        _replace(module, layer_name, fuse(layer, norm))  # type: ignore[arg-type, type-var]
        _replace(module, norm_name, nn.Identity())


def _replace(module: nn.Module, name: str, part: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, part)


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Layers with the normalisation that alone takes their answers; both are called once."""
    from torch import fx, nn

    parts = dict(module.named_modules())
    kinds = (
        (nn.Conv1d, nn.BatchNorm1d),
        (nn.Conv2d, nn.BatchNorm2d),
        (nn.Conv3d, nn.BatchNorm3d),
        (nn.Linear, nn.BatchNorm1d),
    )
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in parts.values()):  # noqa: SLF001  the common base
        return
    try:
        graph = fx.symbolic_trace(copy.deepcopy(module)).graph
    except Exception:  # noqa: BLE001  tracing runs the user's forward, which may raise anything on a symbolic input
        return
    called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        layer, norm = parts[str(before.target)], parts[str(node.target)]
        once = called.count(str(before.target)) == called.count(str(node.target)) == 1
        tracked = isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats  # noqa: SLF001
        if once and tracked and any(type(layer) is one and type(norm) is other for one, other in kinds):
            yield str(before.target), str(node.target)


def _checked(module: nn.Module, pairs: Pairs, shape: tuple[int, ...]) -> Pairs:
    """The pairs, if a copy with them folded answers as the module does."""
    import torch

    if not pairs:
        return ()
    records = torch.from_numpy(np.random.default_rng(0).standard_normal((8, *shape), dtype=np.float32))
    folded = copy.deepcopy(module)
    _fold(folded, pairs)
    with torch.no_grad():
        expected, answers = module(records), folded(records)
    off = float((expected - answers).abs().max())
    return pairs if off <= _FOLDED_TOLERANCE * float(expected.std() + 1e-12) else ()


def weights_of(module: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Name -> weights and buffers in float32, each storage once; counters of steps are left out."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    for name, tensor in module.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.is_floating_point() and key not in seen:
            seen.add(key)
            found[name] = tensor.detach().float().numpy()
    return found


def architecture_of(job: ExportJob, module: nn.Module) -> str:
    """What decides a converted file apart from its weights, as text: the recipe, and what the module is made of now."""
    recipe = None if job.recipe is None else job.recipe.to_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    said = (recipe, job.input_shape, job.n_classes, job.task, dict(job.params), shapes, str(module))
    return json.dumps(said, sort_keys=True, default=str)
