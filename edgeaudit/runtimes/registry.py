"""Runtimes by name; another package offers one through the entry-point group `edgeaudit.runtimes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeaudit.errors import ArtifactError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.filetypes.artifact import Kind
    from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["RUNTIMES", "default_runtime", "find_runtime", "runtime_specs"]

RUNTIMES: Registry[Runtime, RuntimeSpec] = Registry(
    noun="runtime",
    group="edgeaudit.runtimes",
    base="edgeaudit.runtimes.base:Runtime",
    own={
        "onnxruntime": "edgeaudit.runtimes.onnxruntime:OnnxRuntime",
        "litert": "edgeaudit.runtimes.litert:LiteRT",
        "openvino": "edgeaudit.runtimes.openvino:OpenVino",
        "executorch": "edgeaudit.runtimes.executorch:ExecuTorch",
        "torch": "edgeaudit.runtimes.torch:TorchReference",
        "keras": "edgeaudit.runtimes.keras:KerasReference",
        "sklearn": "edgeaudit.runtimes.sklearn:SklearnReference",
        "tf-lite": "edgeaudit.runtimes.tf_lite:TfLite",
        "tflite-runtime": "edgeaudit.devices.environment_runtimes:TfliteRuntimeElsewhere",
    },
    error=ArtifactError,
    named_by_spec=True,
)


def runtime_specs() -> tuple[RuntimeSpec, ...]:
    """The spec of every runtime, by name. No toolchain is imported."""
    return tuple(sorted(RUNTIMES.specs(), key=lambda spec: spec.name))


def find_runtime(name: str) -> type[Runtime]:
    """The runtime called `name`; raises `ArtifactError` as described in `Registry.find`."""
    return RUNTIMES.find(name)


def default_runtime(kind: Kind) -> type[Runtime]:
    """The default runtime of a file type: the first one in the registry that serves it."""
    for runtime in RUNTIMES.classes():
        if runtime.spec.serves == kind:
            return runtime
    raise ArtifactError(f"no runtime serves {kind} files")
