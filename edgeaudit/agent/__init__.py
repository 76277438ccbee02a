"""The agent: a small program that serves artifacts over the Open Inference Protocol v2. docs/agent.md tells how.

It runs on the device: Python 3.9 or later, its standard library, numpy and one runtime, and nothing else of edgeaudit
than what `edgeaudit.devices.agent_file` packs.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LEAST_TOKEN", "LONGEST_LEASE", "MAX_BODY", "RUNTIMES"]

# Here, because `--help` answers without numpy.

LEAST_TOKEN = 16
"""Characters of a token."""

LONGEST_LEASE = 30 * 86_400
"""Seconds that an agent may be left alone for."""

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request's body, unless told otherwise."""

RUNTIMES: Mapping[str, tuple[str, str]] = {
    "executorch": ("edgeaudit.runtimes.executorch", "ExecuTorch"),
    "litert": ("edgeaudit.runtimes.litert", "LiteRT"),
    "onnxruntime": ("edgeaudit.runtimes.onnxruntime", "OnnxRuntime"),
    "openvino": ("edgeaudit.runtimes.openvino", "OpenVino"),
    "tflite-runtime": ("edgeaudit.runtimes.tflite_runtime", "TfliteRuntime"),
}
"""Name -> module, class: the runtimes as they are on the device itself."""
