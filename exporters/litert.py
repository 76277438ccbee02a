"""LiteRT (TFLite): export from torch, in float32 or quantised by PT2E, and Google's AI Edge Quantizer ("AEQ")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import pt2e
from edgeaudit.exporters.base import ExportJob, Pass, PassSpec, Product
from edgeaudit.filetypes.artifact import Layout, TensorSpec
from edgeaudit.host.quiet import quiet

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "PASSES", "DynamicInt8", "Export", "Float16", "Pt2eInt8", "StaticInt8", "StaticInt16x8", "WeightOnlyInt8",
    "tflite_product",
]  # fmt: skip

_FILE = "model.tflite"


class Export(Pass):
    """torch -> TFLite. Images go in channels last, as TFLite's kernels want them.

    The batch is 1 in the file, and runtimes resize it, which is exact: litert-torch 0.10 fails on dynamic shapes.
    """

    spec = PassSpec(
        name="litert.export",
        extra="litert",
        packages=("torch", "litert-torch", "litert-converter", "ai-edge-litert"),
        consumes="torch",
        produces="tflite",
        summary="TFLite float32 through litert-torch, channels last, BatchNorm folded",
        defaults={"softmax": "outside"},
        choices={"softmax": ("outside", "inside")},
        typical_seconds=1.4,
    )

    def _apply(self, job: ExportJob) -> Product:
        with quiet():
            module, shape = _as_tflite_takes_it(job.module_to_export(), job.input_shape)
            _convert(module, shape, job)
        return _product(job)


class Pt2eInt8(Pass):
    """torch -> TFLite with int8 weights (per channel) and activations, by PT2E and litert-torch's quantizer.

    Input and output are int8, as the converter drops the steps at both ends. It can drop one too many (see
    `pt2e._drop_dropout`), so every file is searched for biases in another scale than the products they are added to.

    calibration: `min-max`, or litert-torch 0.10's own default, `histogram` (see `pt2e.with_ranges`).
    activations, per_channel: only static and per channel. The others are refused by name, being what somebody
    who knows litert-torch may ask for: its dynamic per-tensor files answer garbage that differs from run to run.
    """

    spec = PassSpec(
        name="litert.pt2e-int8",
        extra="litert",
        packages=("torch", "torchao", "litert-torch", "litert-converter", "ai-edge-litert"),
        consumes="torch",
        produces="tflite",
        summary="TFLite int8 by PT2E, per channel, channels last",
        calibrates=True,
        defaults={"softmax": "outside", "calibration": "min-max", "activations": "static", "per_channel": True},
        choices={
            "softmax": ("outside", "inside"),
            "calibration": pt2e.CALIBRATIONS,
            "activations": ("static", "dynamic"),
        },
        precision="int8",
        code=("edgeaudit.exporters.pt2e",),
        typical_seconds=2.7,
    )

    def _apply(self, job: ExportJob) -> Product:
        calibration = str(job.params["calibration"])
        if job.params["activations"] == "dynamic" or not job.params["per_channel"]:
            raise ToolchainError(
                "litert-torch's PT2E files with dynamic activations or per-tensor weights cannot be trusted: dynamic "
                "per-tensor ones answer garbage that differs from run to run. Leave 'activations' static and "
                "'per_channel' true, or use 'aeq.dynamic-int8'"
            )
        records = _records(job)
        with quiet():
            from litert_torch.quantize import pt2e_quantizer, quant_config

            module, shape = _as_tflite_takes_it(job.module_to_export(), job.input_shape)
            config = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
            quantizer = pt2e_quantizer.PT2EQuantizer().set_global(pt2e.with_ranges(config, calibration))
            # One record at a time, as the file has batch 1; its converter wants weights as floats with their steps.
            module = pt2e.quantised(module, records, quantizer, batch=1, fold=False)
            _convert(module, shape, job, quant_config=quant_config.QuantConfig(pt2e_quantizer=quantizer))
            _require_bias_scales((job.workdir / _FILE).read_bytes())
        return _product(job)


class _Quantise(Pass):
    """One of AEQ's recipes, applied to a float file."""

    def _apply(self, job: ExportJob) -> Product:
        with quiet():
            from ai_edge_quantizer import quantizer

            source = job.source.read_bytes()
            recipe = self._recipe()
            if job.params.get("interface") == "float":
                recipe = _between_floats(recipe)
            ranges = self._ranges(source, recipe, job)
            result = quantizer.Quantizer(source, recipe).quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
            (job.workdir / _FILE).write_bytes(result.quantized_model)
        return _product(job)

    def _recipe(self) -> Any:
        raise NotImplementedError

    def _ranges(self, source: bytes, recipe: Any, job: ExportJob) -> Any:
        """Activation ranges by tensor name; None where the recipe needs none."""


class Float16(_Quantise):
    """Weights stored as float16, computed with in float32 or float16 as the runtime likes."""

    spec = PassSpec(
        name="aeq.fp16",
        extra="litert",
        packages=("ai-edge-quantizer", "ai-edge-litert"),
        consumes="tflite",
        produces="tflite",
        summary="AI Edge Quantizer, float16 weights",
        precision="float16",
        typical_seconds=0.01,
    )

    def _recipe(self) -> Any:
        from ai_edge_quantizer import qtyping, recipe_manager
        from ai_edge_quantizer.algorithm_manager import AlgorithmName

        manager = recipe_manager.RecipeManager()
        manager.add_quantization_config(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=AlgorithmName.FLOAT_CASTING,
        )
        return manager.get_quantization_recipe()


class DynamicInt8(_Quantise):
    """Weights to int8; activations are quantised in each query, record by record."""

    spec = PassSpec(
        name="aeq.dynamic-int8",
        extra="litert",
        packages=("ai-edge-quantizer", "ai-edge-litert"),
        consumes="tflite",
        produces="tflite",
        summary="AI Edge Quantizer, dynamic range int8",
        precision="int8",
        typical_seconds=0.01,
    )

    def _recipe(self) -> Any:
        from ai_edge_quantizer import recipe

        return recipe.dynamic_wi8_afp32()


class WeightOnlyInt8(_Quantise):
    """Weights to int8, a scale for each channel; the file dequantises them, and computes in float32."""

    spec = PassSpec(
        name="aeq.weight-only-int8",
        extra="litert",
        packages=("ai-edge-quantizer", "ai-edge-litert"),
        consumes="tflite",
        produces="tflite",
        summary="AI Edge Quantizer, int8 weights alone",
        precision="int8",
        typical_seconds=0.01,
    )

    def _recipe(self) -> Any:
        from ai_edge_quantizer import recipe

        return recipe.weight_only_wi8_afp32()


class StaticInt8(_Quantise):
    """Weights, activations, input and output to int8, ranges from calibration records.

    calibration: `min-max`, or AEQ 0.10's own default, `moving-average` (over records, 0.95 of the old range each
        time). The latter averages the extremes away: logits beyond the average are clipped while top-1 stays. It is
        what a deployer gets who changes nothing, so it is offered, by name.
    interface: of the file, `integer`, or `float`: the file quantises its input and dequantises its output itself.
    """

    spec = PassSpec(
        name="aeq.static-int8",
        extra="litert",
        packages=("ai-edge-quantizer", "ai-edge-litert"),
        consumes="tflite",
        produces="tflite",
        summary="AI Edge Quantizer, full integer int8",
        calibrates=True,
        defaults={"calibration": "min-max", "interface": "integer"},
        choices={"calibration": ("min-max", "moving-average"), "interface": ("integer", "float")},
        precision="int8",
        typical_seconds=0.14,
    )

    def _recipe(self) -> Any:
        from ai_edge_quantizer import recipe

        return recipe.static_wi8_ai8()

    def _ranges(self, source: bytes, recipe: Any, job: ExportJob) -> Any:
        from ai_edge_quantizer import calibrator, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        averaged = job.params["calibration"] == "moving-average"
        update = qsv_utils.moving_average_update if averaged else qsv_utils.min_max_update
        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(recipe)
        found = calibrator.Calibrator(source, num_threads=1, qsv_update_func=update)
        found.calibrate(_dataset(source, job), manager)
        return found.get_model_qsvs()


class StaticInt16x8(StaticInt8):
    """Weights to int8, activations, input and output to int16, symmetric about zero.

    Operators that have no int16 kernel stay float32 between conversions (AEQ 0.10: HARD_SWISH). ai-edge-litert 2.3's
    XNNPACK takes those alone: a network without any answers the same bit for bit with it and without. The fine steps
    do not help against short calibration sets: what lies beyond the ranges is clipped as in int8.
    """

    spec = replace(
        StaticInt8.spec,
        name="aeq.static-int16x8",
        summary="AI Edge Quantizer, full integer, int8 weights and int16 activations",
    )

    def _recipe(self) -> Any:
        from ai_edge_quantizer import recipe

        return recipe.static_wi8_ai16()


PASSES: tuple[type[Pass], ...] = (Export, Float16, DynamicInt8, WeightOnlyInt8, StaticInt8, StaticInt16x8, Pt2eInt8)


def _between_floats(recipe: Any) -> Any:
    """The recipe with the file's own input and output left float."""
    from ai_edge_quantizer import qtyping, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe)
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        manager.add_quantization_config(regex=".*", operation_name=end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return manager.get_quantization_recipe()


def _as_tflite_takes_it(module: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """The module in eval mode, images going in channels last; and a record's shape."""
    import litert_torch

    if len(shape) == 3:
        module, shape = litert_torch.to_channel_last_io(module, args=[0]), _channels_last(shape)
    return module.eval(), shape


def _convert(module: nn.Module, shape: tuple[int, ...], job: ExportJob, **options: Any) -> None:
    import litert_torch
    import torch

    converted = litert_torch.convert(module, (torch.zeros(1, *shape),), **options)
    converted.export(str(job.workdir / _FILE))


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0])


def _records(job: ExportJob) -> npt.NDArray[np.float32]:
    """The calibration records as the file takes them, images channels last."""
    records = job.calibration_records()
    return np.ascontiguousarray(records.transpose(0, 2, 3, 1)) if len(job.input_shape) == 3 else records


def _dataset(source: bytes, job: ExportJob) -> dict[str, list[dict[str, npt.NDArray[np.float32]]]]:
    """The calibration records, one to a step, under the names of the file's own signature."""
    interpreter = _interpreter(source)
    ((signature, names),) = interpreter.get_signature_list().items()
    (name,) = names["inputs"]
    records = _records(job)
    return {signature: [{name: records[i : i + 1]} for i in range(len(records))]}


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def _product(job: ExportJob) -> Product:
    """What the file says of itself."""
    content = (job.workdir / _FILE).read_bytes()
    with quiet():
        interpreter = _interpreter(content)
        (entry,) = interpreter.get_input_details()
        (exit_,) = interpreter.get_output_details()
        softmax = _ends_in_softmax(content)
    return tflite_product(_FILE, entry, exit_, job, softmax_inside=softmax)


def tflite_product(
    file: str, entry: dict[str, Any], exit_: dict[str, Any], job: ExportJob, *, softmax_inside: bool
) -> Product:
    """A .tflite file with its input and output as an interpreter's `get_..._details` tell."""
    source, answer = _tensor_spec(entry, _layout(entry, job)), _tensor_spec(exit_, "flat")
    if answer.shape[1:] != (job.n_classes,):
        raise ToolchainError(f"the model answers shape {answer.shape}, not [n, {job.n_classes}]")
    return Product(file, source, answer, softmax_inside=softmax_inside)


def _layout(entry: dict[str, Any], job: ExportJob) -> Layout:
    shape = tuple(int(n) for n in entry["shape"][1:])
    if len(job.input_shape) == 3 and shape == _channels_last(job.input_shape):
        return "NHWC"
    if shape == job.input_shape:
        return "NCHW" if len(shape) == 3 else "flat"
    raise ToolchainError(f"the file takes records of shape {shape}, the model {job.input_shape}")


def _tensor_spec(detail: dict[str, Any], layout: Layout) -> TensorSpec:
    dtype = np.dtype(detail["dtype"])
    quantisation = detail["quantization_parameters"]
    integer = dtype.kind in "iu"
    if integer and len(quantisation["scales"]) != 1:
        raise ToolchainError(f"the tensor '{detail['name']}' has {len(quantisation['scales'])} scales, not one")
    return TensorSpec(
        name=detail["name"],
        shape=(-1, *(int(n) for n in detail["shape"][1:])),
        dtype=dtype.name,
        layout=layout,
        scale=float(quantisation["scales"][0]) if integer else None,
        zero_point=int(quantisation["zero_points"][0]) if integer else None,
    )


def _ends_in_softmax(content: bytes) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    codes = schema.BuiltinOperator
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    makers = {op.Outputs(i): op for op in _operators(graph) for i in range(op.OutputsLength())}
    tensor = graph.Outputs(0)
    while tensor in makers:
        code = model.OperatorCodes(makers[tensor].OpcodeIndex()).BuiltinCode()
        if code not in {codes.QUANTIZE, codes.DEQUANTIZE, codes.CAST}:
            return bool(code == codes.SOFTMAX)
        tensor = makers[tensor].Inputs(0)
    return False


def _require_bias_scales(content: bytes) -> None:
    """Raise `ToolchainError` where an int8 layer's bias has another scale than its products, input times weight.

    Kernels take it for granted: they add the integers.
    """
    from ai_edge_litert import schema_py_generated as schema

    codes = schema.BuiltinOperator
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    for op in _operators(graph):
        code = model.OperatorCodes(op.OpcodeIndex()).BuiltinCode()
        with_bias = op.InputsLength() > 2 and op.Inputs(2) >= 0
        if code not in {codes.CONV_2D, codes.DEPTHWISE_CONV_2D, codes.FULLY_CONNECTED} or not with_bias:
            continue
        source, weight, bias = (graph.Tensors(op.Inputs(i)) for i in range(3))
        if bias.Type() != schema.TensorType.INT32:
            continue
        has, needs = _scales(bias), _scales(source) * _scales(weight)
        if not np.allclose(has, needs, rtol=0.01):
            raise ToolchainError(
                f"the converter gave the bias '{bias.Name().decode()}' the scale {has.ravel()[0]:.3g} and its products "
                f"{needs.ravel()[0]:.3g}; the model has operators that do nothing before a layer, take them out"
            )


def _scales(tensor: Any) -> npt.NDArray[np.float64]:
    return np.asarray(tensor.Quantization().ScaleAsNumpy(), np.float64)


def _operators(graph: Any) -> Iterator[Any]:
    for i in range(graph.OperatorsLength()):
        yield graph.Operators(i)
