"""Which runtimes there are: our own by name, other people's by the entry-point group `edgeaudit.runtimes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from edgeaudit.errors import ArtifactError
from edgeaudit.plugins import with_entry_points
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.runtimes.litert import LiteRT
from edgeaudit.runtimes.onnxruntime import OnnxRuntime
from edgeaudit.runtimes.openvino import OpenVino
from edgeaudit.runtimes.torch import TorchReference

__all__ = ["GROUP", "find_runtime", "runtime_specs"]

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


@cache
def _runtimes() -> Mapping[str, type[Runtime]]:
    return with_entry_points((OnnxRuntime, LiteRT, OpenVino, TorchReference), GROUP, Runtime, ArtifactError)
