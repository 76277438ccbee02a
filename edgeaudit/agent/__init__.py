"""The agent: a small program that serves artifacts over the Open Inference Protocol v2 (see docs/agent.md).

It runs on the device with Python 3.9 or later, numpy and one runtime, and only the modules of edgeaudit that
`edgeaudit.devices.agent_file` packs.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LEAST_TOKEN", "LONGEST_LEASE", "MAX_BODY", "RUNTIMES"]

# Defined here, so that `--help` works without numpy.

LEAST_TOKEN = 16
"""Minimum length of a token, in characters."""

LONGEST_LEASE = 30 * 86_400
"""Longest lease, in seconds."""

MAX_BODY = 64 * 1024 * 1024
"""Default limit of a request's body, in bytes."""

RUNTIMES: Mapping[str, tuple[str, str]] = {
    "executorch": ("edgeaudit.runtimes.executorch", "ExecuTorch"),
    "litert": ("edgeaudit.runtimes.litert", "LiteRT"),
    "onnxruntime": ("edgeaudit.runtimes.onnxruntime", "OnnxRuntime"),
    "openvino": ("edgeaudit.runtimes.openvino", "OpenVino"),
    "tflite-runtime": ("edgeaudit.runtimes.tflite_runtime", "TfliteRuntime"),
}
"""Name -> (module, class) of the device-side runtimes."""
