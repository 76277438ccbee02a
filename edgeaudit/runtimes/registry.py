"""Which runtimes there are: our own by name, other people's by the entry-point group `edgeaudit.runtimes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from edgeaudit.devices.environment_runtimes import TfliteRuntimeElsewhere
from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Kind
from edgeaudit.host.packages import with_entry_points
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.runtimes.executorch import ExecuTorch
from edgeaudit.runtimes.keras import KerasReference
from edgeaudit.runtimes.litert import LiteRT
from edgeaudit.runtimes.onnxruntime import OnnxRuntime
from edgeaudit.runtimes.openvino import OpenVino
from edgeaudit.runtimes.tf_lite import TfLite
from edgeaudit.runtimes.torch import TorchReference

__all__ = ["GROUP", "default_runtime", "find_runtime", "runtime_specs"]

GROUP = "edgeaudit.runtimes"


def runtime_specs() -> tuple[RuntimeSpec, ...]:
    """Every runtime's spec, by name. Nothing heavy is imported."""
    return tuple(runtime.spec for _, runtime in sorted(_runtimes().items()))


def find_runtime(name: str) -> type[Runtime]:
    """The runtime called `name`; an unknown name raises `ArtifactError` with the known ones."""
    known = _runtimes()
    if name not in known:
        raise ArtifactError(f"there is no runtime '{name}'; there are: {', '.join(sorted(known))}")
    return known[name]


def default_runtime(kind: Kind) -> type[Runtime]:
    """The runtime that serves files of a kind unless told otherwise: of those that do, the one registered first."""
    for runtime in _runtimes().values():
        if runtime.spec.serves == kind:
            return runtime
    raise ArtifactError(f"no runtime serves {kind} files")


@cache
def _runtimes() -> Mapping[str, type[Runtime]]:
    own = (
        OnnxRuntime, LiteRT, OpenVino, ExecuTorch, TorchReference, KerasReference, TfLite, TfliteRuntimeElsewhere,
    )  # fmt: skip
    return with_entry_points(own, GROUP, Runtime, ArtifactError)
