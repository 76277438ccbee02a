"""Google's AI Edge Quantizer ("AEQ"): TFLite files to float16, int8 and int16 ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.litert import FILE, records_channels_last
from edgeaudit.exporters.read_back import read_back
from edgeaudit.host.quiet import quiet

__all__ = ["DynamicInt8", "Float16", "StaticInt8", "StaticInt16x8", "WeightOnlyInt8", "takes_ids"]

_MOVING = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE")
"""Operators that leave values as they are."""
_IDS = "the model casts its input to integers (ids), so the file takes it in float32: a scale would change most ids"


class _Quantise(Pass):
    """One of AEQ's recipes, applied to a float file."""

    def _apply(self, job: ExportJob) -> PassResult:
        with quiet():
            from ai_edge_quantizer import quantizer

            source = job.source.read_bytes()
            recipe = self._recipe()
            ids = self.spec.calibrates and takes_ids(source)
            if job.params.get("interface") == "float":
                recipe = _with_float(recipe, "INPUT", "OUTPUT")
            elif ids:
                recipe = _with_float(recipe, "INPUT")
            ranges = self._ranges(source, recipe, job)
            result = quantizer.Quantizer(source, recipe).quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
            (job.workdir / FILE).write_bytes(result.quantized_model)
        result = read_back(job, "tflite", FILE)
        return replace(result, said=(_IDS,)) if ids else result

    def _recipe(self) -> Any:
        raise NotImplementedError

    def _ranges(self, source: bytes, recipe: Any, job: ExportJob) -> Any:
        """Activation ranges by tensor name; None if the recipe needs none."""


class Float16(_Quantise):
    """Weights stored as float16, computed in float32 or float16, as the runtime chooses."""

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
        observer = calibrator.Calibrator(source, num_threads=1, qsv_update_func=update)
        observer.calibrate(_dataset(source, job), manager)
        return observer.get_model_qsvs()


class StaticInt16x8(StaticInt8):
    """Weights to int8, activations, input and output to int16, symmetric about zero.

    Operators without an int16 kernel stay float32 between conversions (AEQ 0.10: HARD_SWISH). ai-edge-litert 2.3's
    XNNPACK takes only those: the outputs of a network without any are bit for bit the same with and without it. The
    finer steps do not help against small calibration sets: values beyond the ranges are clipped as in int8.
    """

    spec = replace(
        StaticInt8.spec,
        name="aeq.static-int16x8",
        summary="AI Edge Quantizer, full integer, int8 weights and int16 activations",
    )

    def _recipe(self) -> Any:
        from ai_edge_quantizer import recipe

        return recipe.static_wi8_ai16()


def _with_float(recipe: Any, *ends: str) -> Any:
    """The recipe with float tensors at these ends of the file, `INPUT` or `OUTPUT`."""
    from ai_edge_quantizer import qtyping, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe)
    for end in ends:
        operation = qtyping.TFLOperationName[end]
        manager.add_quantization_config(regex=".*", operation_name=operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return manager.get_quantization_recipe()


def takes_ids(content: bytes) -> bool:
    """Whether a float file casts its input to integers first, as a model of token ids does.

    Quantised, the 256 steps of the input's scale would stand for all ids, most of which would become another one.
    """
    interpreter = _interpreter(content)
    (entry,) = interpreter.get_input_details()
    tensors, readers = {int(entry["index"])}, []
    for node in interpreter._get_ops_details():  # noqa: SLF001  there is no public API
        if tensors & {int(index) for index in node["inputs"]}:
            if node["op_name"] in _MOVING:
                tensors |= {int(index) for index in node["outputs"]}
            else:
                readers.append(node["op_name"])
    return bool(readers) and set(readers) == {"CAST"}


def _dataset(source: bytes, job: ExportJob) -> dict[str, list[dict[str, npt.NDArray[np.float32]]]]:
    """The calibration records, one to a step, under the names of the file's own signature."""
    interpreter = _interpreter(source)
    ((signature, names),) = interpreter.get_signature_list().items()
    (name,) = names["inputs"]
    records = records_channels_last(job)
    return {signature: [{name: records[i : i + 1]} for i in range(len(records))]}


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
