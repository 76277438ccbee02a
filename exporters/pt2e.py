"""PyTorch's own quantisation of exported graphs ("PT2E", in torchao), shared by the toolchains that lower its result.

A toolchain provides a quantizer, which selects what is quantised and how; ranges, rounding and folding are torchao's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CALIBRATIONS", "quantised", "with_ranges"]

CALIBRATIONS = ("min-max", "histogram")
# The smallest scale of the quantizers' own observers, in executorch 1.5.1 as in litert-torch 0.10.
_SMALLEST_SCALE = 2**-12


def with_ranges(config: Any, calibration: str) -> Any:
    """A quantizer's static configuration with activation ranges determined by `calibration`.

    `histogram` is the default of executorch 1.5.1 and litert-torch 0.10: the range with the smallest squared error,
    which may clip the rare high logits that reveal members. `min-max` clips no calibration record.
    """
    if calibration == "histogram":
        return config
    from torchao.quantization.pt2e.observer import MinMaxObserver

    spec = replace(config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=_SMALLEST_SCALE))
    return replace(config, input_activation=spec, output_activation=spec)


def quantised(
    module: nn.Module,
    records: npt.NDArray[np.float32],
    quantizer: Any,
    *,
    batch: int,
    dynamic_shapes: Any = None,
    fold: bool = True,
    for_xnnpack: bool = False,
) -> nn.Module:
    """The module with quantised weights and with quantise and dequantise steps between its operators.

    module: in eval mode; BatchNorm is folded. records: float32 [n, ...], in the layout that the module takes; the
    observers see all of them, `batch` at a time. dynamic_shapes: as `torch.export.export` takes it; None fixes the
    batch, which must then divide the number of records. fold: store int8 weights, instead of float weights with the
    steps that make them int8. for_xnnpack: write BatchNorm as its lowering can quantise it.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = torch.zeros(batch, *records.shape[1:])
    graph = torch.export.export(module, (example,), dynamic_shapes=dynamic_shapes).module()
    _drop_dropout(graph)
    if for_xnnpack:
        _norms_as_convolutions(graph)
    prepared = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        for start in range(0, len(records), batch):
            prepared(torch.from_numpy(records[start : start + batch]))
    converted: nn.Module = convert_pt2e(prepared, fold_quantize=fold)
    return converted


def _drop_dropout(graph: Any) -> None:
    """Remove dropout, which does nothing in eval mode but still gets its own scale from the quantizer.

    litert-torch 0.10 then drops the operator but keeps the bias of the next layer in that scale: on a CNN
    with dropout before its last layer every bias counted 2.7 times, and the file was off by 9% of the logits' spread
    instead of 3%, with the same top class on 99% of records.
    """
    import torch

    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.dropout.default and not node.args[2]:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()


def _norms_as_convolutions(graph: Any) -> None:
    """Fold BatchNorm into the convolution before it, and write what is left, as after a ReLU, as a depthwise one.

    executorch 1.5.1 writes it so itself when it lowers, but after the weights were quantised, and then fails with
    "Weight and Input should both be quantized". Quantised per channel, a kernel of one number is exact.
    """
    import torch
    from torchao.quantization.pt2e.utils import _fuse_conv_bn_

    aten = torch.ops.aten
    _fuse_conv_bn_(graph)
    for node in list(graph.graph.nodes):
        if node.target is not aten.batch_norm.default or node.args[0].meta["val"].ndim not in {3, 4}:
            continue
        if node.args[3] is None:  # statistics of the batch; such models are refused when they are examined
            continue
        entry, weight, bias, mean, variance = node.args[:5]
        centre, spread = _attribute(graph, str(mean.target)), _attribute(graph, str(variance.target))
        scale = torch.rsqrt(spread + node.args[7]) * (1 if weight is None else _attribute(graph, str(weight.target)))
        shift = (0 if bias is None else _attribute(graph, str(bias.target))) - centre * scale
        flat = entry.meta["val"].ndim == 3
        name = str(node.args[3].target).replace(".", "_")
        with graph.graph.inserting_before(node):
            kernel = _constant(graph, f"{name}_scale", scale.reshape(-1, *([1] * (2 if flat else 3))), entry)
            added = _constant(graph, f"{name}_shift", shift, entry)
            ones, none = ([1], [0]) if flat else ([1, 1], [0, 0])
            target = aten.conv1d.default if flat else aten.conv2d.default
            made = _put(graph, target, entry, kernel, added, ones, none, ones, len(scale))
        node.replace_all_uses_with(made)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _constant(graph: Any, name: str, value: Any, beside: Any) -> Any:
    """A new parameter of the graph, as a node. beside: a node whose value says how values are traced."""
    import torch

    graph.register_parameter(name, torch.nn.Parameter(value.detach().clone(), requires_grad=False))
    node = graph.graph.get_attr(name)
    node.meta["val"] = beside.meta["val"].fake_mode.from_tensor(value.detach())
    return node


def _put(graph: Any, target: Any, *arguments: Any) -> Any:
    """A call, with the value that quantizers look at."""
    import torch

    made = graph.graph.call_function(target, arguments)
    with arguments[0].meta["val"].fake_mode:
        made.meta["val"] = target(*(one.meta["val"] if isinstance(one, torch.fx.Node) else one for one in arguments))
    return made


def _attribute(graph: Any, path: str) -> Any:
    for part in path.split("."):
        graph = getattr(graph, part)
    return graph
