"""Passes by name; another package offers one through the entry-point group `edgeaudit.exporters`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeaudit.errors import ToolchainError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.exporters.base import Pass, PassSpec

__all__ = ["PASSES", "find_pass", "pass_specs"]

PASSES: Registry[Pass, PassSpec] = Registry(
    noun="pass",
    group="edgeaudit.exporters",
    base="edgeaudit.exporters.base:Pass",
    own={
        "onnx.export": "edgeaudit.exporters.onnx:Export",
        "ort.dynamic-int8": "edgeaudit.exporters.onnx:DynamicInt8",
        "ort.fp16": "edgeaudit.exporters.onnx:Float16",
        "ort.static-int8": "edgeaudit.exporters.onnx:StaticInt8",
        "litert.export": "edgeaudit.exporters.litert:Export",
        "aeq.fp16": "edgeaudit.exporters.ai_edge_quantizer:Float16",
        "aeq.dynamic-int8": "edgeaudit.exporters.ai_edge_quantizer:DynamicInt8",
        "aeq.weight-only-int8": "edgeaudit.exporters.ai_edge_quantizer:WeightOnlyInt8",
        "aeq.static-int8": "edgeaudit.exporters.ai_edge_quantizer:StaticInt8",
        "aeq.static-int16x8": "edgeaudit.exporters.ai_edge_quantizer:StaticInt16x8",
        "litert.pt2e-int8": "edgeaudit.exporters.litert:Pt2eInt8",
        "nncf.prune": "edgeaudit.exporters.nncf:Prune",
        "nncf.ptq-openvino": "edgeaudit.exporters.nncf_ptq:OpenVinoInt8",
        "nncf.ptq-onnx": "edgeaudit.exporters.nncf_ptq:OnnxInt8",
        "nncf.qat": "edgeaudit.exporters.nncf_qat:QuantisationAware",
        "openvino.export": "edgeaudit.exporters.openvino:Export",
        "executorch.export": "edgeaudit.exporters.executorch:Export",
        "executorch.static-int8": "edgeaudit.exporters.executorch:StaticInt8",
        "executorch.dynamic-int8": "edgeaudit.exporters.executorch:DynamicInt8",
        "torch-pruning.structured": "edgeaudit.exporters.torch_pruning:Structured",
        "distil": "edgeaudit.exporters.distillation:Distil",
        "finetune": "edgeaudit.exporters.finetune:Finetune",
        "tflite.convert": "edgeaudit.exporters.tflite:Convert",
        "skl2onnx.export": "edgeaudit.exporters.sklearn_onnx:Export",
    },
    error=ToolchainError,
    named_by_spec=True,
)


def pass_specs() -> tuple[PassSpec, ...]:
    """The spec of every pass, by name. No toolchain is imported."""
    return tuple(sorted(PASSES.specs(), key=lambda spec: spec.name))


def find_pass(name: str) -> Pass:
    """The pass called `name`; raises `ToolchainError` as described in `Registry.find`."""
    return PASSES.find(name)()
