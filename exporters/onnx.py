"""ONNX: export from torch, and ONNX Runtime's quantisers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.read_back import read_back
from edgeaudit.host.quiet import quiet

if TYPE_CHECKING:
    import onnx

__all__ = ["FILE", "DynamicInt8", "Export", "Float16", "StaticInt8", "product"]

FILE = "model.onnx"
_CALIBRATION_BATCH = 64
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_IN_FLOAT = (
    "the graph has LayerNormalization: Conv, Gemm and MatMul alone are quantised (ort.static-int8, operators: auto)"
)


class Export(Pass):
    """torch -> ONNX with the TorchScript exporter.

    The exporter folds BatchNorm into the convolution before it, and writes the same bytes for the same module;
    the dynamo exporter takes sixty times as long for the same outputs (torch 2.14.1). A module that rounds its weights
    in its forward (`nncf.qat`) is written with their integers.
    """

    spec = PassSpec(
        name="onnx.export",
        extra="onnx",
        packages=("torch", "onnx"),
        companions=("onnxscript",),
        consumes="torch",
        produces="onnx",
        summary="ONNX opset 17, dynamic batch, BatchNorm folded",
        defaults={"softmax": "outside"},
        choices={"softmax": ("outside", "inside")},
        typical_seconds=0.02,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        inside = job.params["softmax"] == "inside"
        module = job.module_to_export()
        with quiet():
            import torch

            output = "probabilities" if inside else "logits"
            torch.onnx.export(
                module,
                (torch.zeros(2, *job.input_shape),),
                str(job.workdir / FILE),
                dynamo=False,
                opset_version=17,
                input_names=["input"],
                output_names=[output],
                dynamic_axes={"input": {0: "batch"}, output: {0: "batch"}},
            )
            _store_integers(job.workdir / FILE)
        return product(job)


class DynamicInt8(Pass):
    """Weights to int8; the scale of every activation is computed at each inference, over the whole batch."""

    spec = PassSpec(
        name="ort.dynamic-int8",
        extra="onnx",
        packages=("onnx", "onnxruntime"),
        consumes="onnx",
        produces="onnx",
        summary="ONNX Runtime dynamic quantisation",
        defaults={"weight_type": "u8", "per_channel": False},
        choices={"weight_type": ("u8", "s8")},
        precision="int8",
        batch=1,
        typical_seconds=0.015,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        with quiet():
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(
                _preprocessed(job),
                job.workdir / FILE,
                weight_type=_quant_type(job.params["weight_type"]),
                per_channel=job.params["per_channel"],
            )
        return product(job)


class Float16(Pass):
    """Weights to float16, input and output unchanged; by onnxruntime's converter, which needs no other package.

    On a CPU without float16 kernels ONNX Runtime 1.32 casts the weights back when it loads the file and computes in
    float32 (its optimised graph has no float16 operator left), so that only the weights are rounded: outputs were off
    by .0001 to .0011 of their spread on the test networks.
    """

    spec = PassSpec(
        name="ort.fp16",
        extra="onnx",
        packages=("onnx", "onnxruntime"),
        consumes="onnx",
        produces="onnx",
        summary="ONNX Runtime's float16 converter",
        precision="float16",
        typical_seconds=0.02,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        with quiet():
            import onnx
            from onnxruntime.transformers.float16 import convert_float_to_float16

            onnx.save(convert_float_to_float16(onnx.load(job.source), keep_io_types=True), job.workdir / FILE)
        return product(job)


class StaticInt8(Pass):
    """Weights and activations to int8, activation ranges from calibration records.

    activation_type, weight_type: u8s8 (activations unsigned, weights signed) is ONNX Runtime's own advice for x86 and
        the fastest there. On x86 without VNNI its 16-bit intermediate sums saturate unless the session avoids it; see
        `runtimes/onnxruntime.py`. ONNX Runtime 1.32 refuses s8u8.
    reduce_range: weights of 7 bits, the other remedy against that saturation.
    calibration: `min-max`, or `percentile`: what lies beyond `percentile` percent of a tensor's values is clipped. ONNX
        Runtime 1.32 has `entropy` as well, which found the ranges of min-max for every tensor of four networks (MLP,
        CNN, residual, depthwise separable; 96 records, in one batch or in several): its 128 bins are as many as its
        quantised bins, which leaves the whole range as the only candidate, and where later batches add bins, it chose
        the whole range, too. It would be a second name for the same file. More bins do give other ranges (a CNN, 256 or
        512 bins for 128 quantised ones: outputs of ReLU cut to half of their reach), but `quantize_static` has no
        option for them: who wants them calibrates by hand.
    percentile: from 0 to 100. At ONNX Runtime's own 99.999 most ranges stay what they are.
    operators: which are computed in integers: `all` that ONNX Runtime can quantise, `products` (Conv, Gemm, MatMul), or
        `auto`, which takes products where the graph has LayerNormalization. Sums along a transformer's residual path
        and their normalisations have outliers that one scale a tensor does not hold, which is why deployments leave
        them in float (a ViT of two blocks: relative RMS error .16 with all, .019 with products).

    Weight-only int4 is not here. ONNX Runtime's own quantiser (MatMulNBits) needs onnx-ir, which onnxruntime 1.32 does
    not bring, and takes MatMul nodes only, while exports of convolutional networks and MLPs have Conv and Gemm. Files
    with int4 weights put in by hand do run: docs/compositions.md, "What is not offered".
    """

    spec = PassSpec(
        name="ort.static-int8",
        extra="onnx",
        packages=("onnx", "onnxruntime"),
        consumes="onnx",
        produces="onnx",
        summary="ONNX Runtime static quantisation",
        calibrates=True,
        defaults={
            "quant_format": "QDQ",
            "per_channel": True,
            "activation_type": "u8",
            "weight_type": "s8",
            "reduce_range": False,
            "calibration": "min-max",
            "percentile": 99.999,
            "operators": "auto",
        },
        choices={
            "operators": ("auto", "all", "products"),
            "quant_format": ("QDQ", "QOperator"),
            "activation_type": ("u8", "s8"),
            "weight_type": ("u8", "s8"),
            "calibration": ("min-max", "percentile"),
        },
        precision="int8",
        typical_seconds=0.035,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        params, records = job.params, job.calibration_records()
        clips = params["calibration"] == "percentile"
        if not 50 < params["percentile"] <= 100:
            raise ToolchainError(f"the parameter 'percentile' is {params['percentile']}; it must be between 50 and 100")
        with quiet():
            from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static

            source = _preprocessed(job)
            products = params["operators"] == "products" or (params["operators"] == "auto" and _normalises(source))
            quantize_static(
                source,
                job.workdir / FILE,
                # Its histograms (1.32) cannot take batches of unequal length.
                _reader(records, _input_name(source), 1 if clips else _CALIBRATION_BATCH),
                quant_format=QuantFormat[params["quant_format"]],
                per_channel=params["per_channel"],
                reduce_range=params["reduce_range"],
                activation_type=_quant_type(params["activation_type"]),
                weight_type=_quant_type(params["weight_type"]),
                calibrate_method=CalibrationMethod.Percentile if clips else CalibrationMethod.MinMax,
                op_types_to_quantize=list(_PRODUCTS) if products else None,
                extra_options={"CalibPercentile": params["percentile"]} if clips else {},
            )
        done = product(job)
        return replace(done, said=(*done.said, _IN_FLOAT)) if products and params["operators"] == "auto" else done


def _normalises(path: Path) -> bool:
    import onnx

    return any(node.op_type == "LayerNormalization" for node in onnx.load(path).graph.node)


def _quant_type(short: str) -> Any:
    from onnxruntime.quantization import QuantType

    return {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}[short]


def _preprocessed(job: ExportJob) -> Path:
    """The model with inferred shapes and a folded graph, as the quantisers require.

    ONNX Runtime 1.32's symbolic shape inference fails on some graphs ("AssertionError" on attention with a dynamic
    batch, reshapes of recurrent layers). Then ONNX's own, which infers fewer shapes, is enough for the quantisers.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = job.workdir / "preprocessed.onnx"
    try:
        quant_pre_process(str(job.source), str(path))
    except Exception:  # noqa: BLE001  it raises AssertionError, Exception and what sympy does
        quant_pre_process(str(job.source), str(path), skip_symbolic_shape=True)
    return path


def _reader(records: npt.NDArray[np.float32], name: str, batch: int) -> Any:
    """The records as ONNX Runtime's calibrator reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    def batches() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        for start in range(0, len(records), batch):
            yield {name: records[start : start + batch]}

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime 1.32 has no types
        def __init__(self) -> None:
            self._batches = batches()

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self._batches, None)

    return Reader()


def product(job: ExportJob) -> PassResult:
    """Describe the file."""
    return read_back(job, "onnx", FILE)


def _store_integers(path: Path) -> None:
    """Replace float weights that the graph quantises by the resulting integers, each with its own zero point.

    torch 2.14.1 writes float weights with a QuantizeLinear behind each, a file as large as the float one, and lets
    weights of one shape share a zero point. Where int8 sums must not saturate, ONNX Runtime 1.32 rewrites weights and
    zero points for unsigned kernels, comes to the shared one a second time and refuses the file ("Attempt to replace
    the existing tensor").
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    steps = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in values]
    if not steps:
        return
    for step in steps:
        weight, scale, zero = (values[name] for name in step.input)
        (axis,) = [a.i for a in step.attribute if a.name == "axis"] or [1]
        stored = {step.output[0]: _integers(weight, scale, zero, axis), f"{step.output[0]}_zero_point": zero}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in stored.items())
        graph.node.remove(step)
        for reader in graph.node:
            if step.output[0] in reader.input:
                reader.input[2] = f"{step.output[0]}_zero_point"
    _drop_unused(graph)
    onnx.save(model, path)


def _integers(weight: npt.NDArray[Any], scale: npt.NDArray[Any], zero: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """QuantizeLinear: to the nearest, halves to even, clipped to what the zero point's type can hold."""
    if scale.ndim:
        shape = [1] * weight.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    bounds = np.iinfo(zero.dtype)
    codes = np.clip(np.rint(weight / scale) + zero, bounds.min, bounds.max)
    return np.asarray(codes.astype(zero.dtype))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that nothing reads."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [node for node in graph.node if not read & set(node.output)]:
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _input_name(path: Path) -> str:
    import onnx

    (entry,) = onnx.load(path).graph.input
    return str(entry.name)
