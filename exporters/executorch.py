"""ExecuTorch: torch to .pte files whose operators run in XNNPACK, in float32 or quantised by PT2E."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import pt2e
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.host.quiet import quiet

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["LARGEST_BATCH", "DynamicInt8", "Export", "StaticInt8"]

_FILE = "model.pte"
LARGEST_BATCH = 64
# Operators that do not change the meaning of the output.
_TRANSPARENT = ("aten.alias", "aten.clone", "aten.detach_", "quantized_decomposed.")


class Export(Pass):
    """torch -> ExecuTorch in float32, any batch from 1 to 64.

    A file is exported for its largest batch; executorch 1.5.1 takes a smaller one only if shapes
    are evaluated from the constraints (else every other batch is refused with error 0x10).

    Weights are not swapped into an earlier export, as they could be for other toolchains: XNNPACK's data is stored in
    segments that are named by the SHA-256 of their bytes, sorted by these names, so that other weights move everything.
    """

    spec = PassSpec(
        name="executorch.export",
        extra="executorch",
        packages=("torch", "executorch"),
        consumes="torch",
        produces="executorch",
        summary="ExecuTorch float32, XNNPACK, batch up to 64",
        defaults={"softmax": "outside"},
        choices={"softmax": ("outside", "inside")},
        typical_seconds=2.3,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        with quiet():
            return _lowered(job.module_to_export(), job)


class StaticInt8(Pass):
    """torch -> ExecuTorch with int8 weights (per channel) and activations, by PT2E and XNNPACK's quantizer.

    Input and output stay float32: the file quantises and dequantises. Operators that XNNPACK has no int8 kernel for
    (the mean over an image, for one) compute in float32. BatchNorm that follows no convolution, as after a ReLU,
    becomes a depthwise convolution.

    calibration: `min-max`, or executorch 1.5.1's own default, `histogram` (see `pt2e.with_ranges`).
    """

    spec = PassSpec(
        name="executorch.static-int8",
        extra="executorch",
        packages=("torch", "torchao", "executorch"),
        consumes="torch",
        produces="executorch",
        summary="ExecuTorch int8 by PT2E, XNNPACK, per channel, batch up to 64",
        calibrates=True,
        defaults={"softmax": "outside", "calibration": "min-max"},
        choices={"softmax": ("outside", "inside"), "calibration": pt2e.CALIBRATIONS},
        precision="int8",
        code=("edgeaudit.exporters.pt2e",),
        typical_seconds=6.0,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        calibration = str(job.params["calibration"])
        records = job.calibration_records()
        with quiet():
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
                XNNPACKQuantizer,
                get_symmetric_quantization_config,
            )

            config = pt2e.with_ranges(get_symmetric_quantization_config(is_per_channel=True), calibration)
            quantizer = XNNPACKQuantizer().set_global(config)
            module = pt2e.quantised(
                job.module_to_export(),
                records,
                quantizer,
                batch=LARGEST_BATCH,
                dynamic_shapes=_dynamic_shapes(),
                for_xnnpack=True,
            )
            return _lowered(module, job)


class DynamicInt8(Pass):
    """torch -> ExecuTorch with linear layers in int8: weights per channel, activations scaled anew for each record.

    XNNPACK's quantizer (executorch 1.5.1) supports only linear layers for this: convolutions stay float32, so that of a
    convolutional network the last layer is quantised and the file is hardly smaller. What `onnx-int8-dynamic` and
    `litert-int8-dynamic` do to convolutions has no counterpart here. Each record has its own scale, so answers do
    not depend on the records beside it. Only per channel.
    """

    spec = PassSpec(
        name="executorch.dynamic-int8",
        extra="executorch",
        packages=("torch", "torchao", "executorch"),
        consumes="torch",
        produces="executorch",
        summary="ExecuTorch, linear layers int8, activations quantised per query, XNNPACK, batch up to 64",
        defaults={"softmax": "outside"},
        choices={"softmax": ("outside", "inside")},
        precision="int8",
        code=("edgeaudit.exporters.pt2e",),
        typical_seconds=3.0,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        with quiet():
            import numpy as np
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
                XNNPACKQuantizer,
                get_symmetric_quantization_config,
            )

            config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
            # Weight observers need a run of the graph; activation observers ignore its values.
            nothing = np.zeros((1, *job.input_shape), np.float32)
            module = pt2e.quantised(
                job.module_to_export(),
                nothing,
                XNNPACKQuantizer().set_global(config),
                batch=LARGEST_BATCH,
                dynamic_shapes=_dynamic_shapes(),
            )
            return _lowered(module, job)


def _dynamic_shapes() -> Any:
    from torch.export import Dim

    return ({0: Dim("batch", min=1, max=LARGEST_BATCH)},)


def _lowered(module: nn.Module, job: ExportJob) -> PassResult:
    """Write the module as .pte and describe the file."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass

    # The example has the largest batch on purpose. Where lowering loses the upper bound of the batch, executorch 1.5.1
    # uses a batch seen during the export instead: an example of 2 made files for at most 15 records.
    example = torch.zeros(LARGEST_BATCH, *job.input_shape)
    exported = torch.export.export(module, (example,), dynamic_shapes=_dynamic_shapes())
    done = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch(
        ExecutorchBackendConfig(sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass())
    )
    (job.workdir / _FILE).write_bytes(done.buffer)
    return _product(done.executorch_program, exported, job)


def _product(program: Any, exported: torch.export.ExportedProgram, job: ExportJob) -> PassResult:
    """Describe the file. Its last operator is read from the exported graph, since the file has it in an opaque blob."""
    (plan,) = program.execution_plan
    if len(plan.inputs) != 1 or len(plan.outputs) != 1:
        raise ToolchainError(f"the model has {len(plan.inputs)} inputs and {len(plan.outputs)} outputs, not one each")
    entry, exit_ = _tensor_spec("input", plan, plan.inputs[0]), _tensor_spec("output", plan, plan.outputs[0])
    if entry.shape[1:] != job.input_shape:
        raise ToolchainError(f"the file takes records of shape {entry.shape[1:]}, but the model {job.input_shape}")
    if exit_.shape[1:] != (job.n_classes,):
        raise ToolchainError(f"the model returns shape {exit_.shape}, not [n, {job.n_classes}]")
    inside = _ends_in_softmax(exported) if job.answers_inside is None else job.answers_inside
    return PassResult(_FILE, entry, exit_, softmax_inside=inside)


def _tensor_spec(name: str, plan: Any, index: int) -> TensorSpec:
    from executorch.exir.schema import ScalarType

    tensor = plan.values[index].val
    if tensor.scalar_type != ScalarType.FLOAT:
        raise ToolchainError(f"the file's {name} is {tensor.scalar_type.name}, not float32")
    largest, *shape = tensor.sizes
    if largest != LARGEST_BATCH:
        raise ToolchainError(f"the file's largest batch is {largest}, not {LARGEST_BATCH}")
    return TensorSpec(name, (-1, *shape), "float32", "NCHW" if len(shape) == 3 else "flat")


def _ends_in_softmax(exported: torch.export.ExportedProgram) -> bool:
    (node,) = exported.graph.output_node().args[0]
    while str(node.target).startswith(_TRANSPARENT):
        node = node.args[0]
    return str(node.target) in {"aten.softmax.int", "aten._softmax.default"}
