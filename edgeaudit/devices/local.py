"""The machine that edgeaudit runs on, as a device: what of it changes a runtime's answers."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

__all__ = ["KERNEL_FLAGS", "cpu_flags", "cpu_name", "local_fingerprint"]

KERNEL_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sme",
)  # fmt: skip
"""CPU flags by which inference runtimes choose integer and half-precision kernels."""


@lru_cache(maxsize=1)
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def _field(*names: str) -> str:
    for line in _cpuinfo().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            return value.strip()
    return ""


def cpu_name() -> str:
    """The CPU's model name, or the machine type where the system does not tell."""
    return _field("model name", "Model") or platform.processor() or platform.machine()


def cpu_flags() -> tuple[str, ...]:
    """The flags of `KERNEL_FLAGS` that this CPU has."""
    present = set(_field("flags", "Features").split())
    return tuple(flag for flag in KERNEL_FLAGS if flag in present)


def local_fingerprint() -> dict[str, object]:
    """Enters the key of every query: another CPU may answer differently, so its answers are never reused here."""
    return {"machine": platform.machine(), "cpu": cpu_name(), "isa": list(cpu_flags())}
