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
    conv1d_as_2d: bool = False,
) -> nn.Module:
    """The module with quantised weights and with quantise and dequantise steps between its operators.

    module: in eval mode; BatchNorm is folded. records: float32 [n, ...], in the layout that the module takes; the
    observers see all of them, `batch` at a time. dynamic_shapes: as `torch.export.export` takes it; None fixes the
    batch, which must then divide the number of records. fold: store int8 weights, instead of float weights with the
    steps that make them int8. conv1d_as_2d: see `_conv1d_as_2d`.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = torch.zeros(batch, *records.shape[1:])
    graph = torch.export.export(module, (example,), dynamic_shapes=dynamic_shapes).module()
    _drop_dropout(graph)
    if conv1d_as_2d:
        _conv1d_as_2d(graph)
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


def _conv1d_as_2d(graph: Any) -> None:
    """Write one-dimensional convolutions as two-dimensional ones of height 1, with BatchNorm folded into them before.

    executorch 1.5.1 has no int8 kernel for the former: its lowering fails with "Weight and Input should both be
    quantized" where it inserts the axis itself, between the weight and its quantisation.
    """
    import torch
    from torchao.quantization.pt2e.utils import _fuse_conv_bn_

    aten = torch.ops.aten
    widened = {aten.conv1d.default: aten.conv2d.default, aten.conv1d.padding: aten.conv2d.padding}
    if not any(node.target in widened for node in graph.graph.nodes):
        return
    _fuse_conv_bn_(graph)
    for node in list(graph.graph.nodes):
        if node.target not in widened:
            continue
        entry, weight, bias, stride, padding, dilation, groups = _conv_arguments(node)
        fake = entry.meta["val"].fake_mode

        def put(target: Any, *arguments: Any, mode: Any = fake) -> Any:
            made = graph.graph.call_function(target, arguments)
            values = [one.meta["val"] if isinstance(one, torch.fx.Node) else one for one in arguments]
            with mode:
                made.meta["val"] = target(*values)
            return made

        with graph.graph.inserting_before(node):
            name = f"{str(weight.target).replace('.', '_')}_as_2d"
            value = _attribute(graph, str(weight.target)).detach().unsqueeze(2)
            graph.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
            kernel = graph.graph.get_attr(name)
            kernel.meta["val"] = fake.from_tensor(value)
            sides = padding if isinstance(padding, str) else [0, *padding]
            wide = put(aten.unsqueeze.default, entry, 2)
            made = put(widened[node.target], wide, kernel, bias, [1, *stride], sides, [1, *dilation], groups)
            narrow = put(aten.squeeze.dim, made, 2)
        node.replace_all_uses_with(narrow)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _conv_arguments(node: Any) -> tuple[Any, ...]:
    """Of `aten.conv1d`: (input, weight, bias, stride, padding, dilation, groups), defaults filled in."""
    defaults = {"bias": None, "stride": [1], "padding": [0], "dilation": [1], "groups": 1}
    given = list(node.args) + [
        node.kwargs.get(name, value) for name, value in list(defaults.items())[len(node.args) - 2 :]
    ]
    return tuple(given)


def _attribute(graph: Any, path: str) -> Any:
    for part in path.split("."):
        graph = getattr(graph, part)
    return graph
