"""Which passes there are: our own by name, other people's by the entry-point group `edgeaudit.exporters`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import (
    ai_edge_quantizer,
    distillation,
    executorch,
    finetune,
    litert,
    nncf,
    nncf_ptq,
    nncf_qat,
    onnx,
    openvino,
    tflite,
    torch_pruning,
)
from edgeaudit.exporters.base import Pass, PassSpec
from edgeaudit.host.packages import with_entry_points

__all__ = ["GROUP", "find_pass", "pass_specs"]

GROUP = "edgeaudit.exporters"


def pass_specs() -> tuple[PassSpec, ...]:
    """Every pass's spec, by name. No toolchain is imported."""
    return tuple(step.spec for _, step in sorted(_passes().items()))


def find_pass(name: str) -> Pass:
    """The pass called `name`; an unknown name raises `ToolchainError` with the known ones."""
    known = _passes()
    if name not in known:
        raise ToolchainError(f"there is no pass '{name}'; there are: {', '.join(sorted(known))}")
    return known[name]()


@cache
def _passes() -> Mapping[str, type[Pass]]:
    modules = (
        onnx, litert, ai_edge_quantizer, nncf, nncf_ptq, nncf_qat, openvino, executorch, torch_pruning, distillation,
        finetune, tflite,
    )  # fmt: skip
    return with_entry_points(tuple(step for module in modules for step in module.PASSES), GROUP, Pass, ToolchainError)
