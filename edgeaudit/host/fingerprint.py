"""The properties of this machine that change a runtime's outputs."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path

from edgeaudit.host.processor import ARM_CORES, arm_flags, x86_emulated, x86_flags, x86_name

__all__ = [
    "KERNEL_FLAGS",
    "cpu_flags",
    "cpu_name",
    "int8_sums_saturate",
    "local_fingerprint",
    "onednn_flags",
    "onednn_sums_saturate",
]

KERNEL_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sme",
)  # fmt: skip
"""CPU flags by which inference runtimes choose integer and half-precision kernels."""

_AVX2 = frozenset({"sse4_2", "avx", "avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw"}
_ONEDNN_LEVELS = {
    "SSE41": frozenset({"sse4_2"}), "AVX": frozenset({"sse4_2", "avx"}), "AVX2": _AVX2,
    "AVX2_VNNI": _AVX2 | {"avx_vnni"}, "AVX2_VNNI_2": _AVX2 | {"avx_vnni"}, "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512 | {"avx512_vnni"}, "AVX512_CORE_BF16": _AVX512 | {"avx512_vnni", "avx512_bf16"},
}  # fmt: skip
"""Value of ONEDNN_MAX_CPU_ISA -> the flags that oneDNN may use then. Any other value leaves VNNI in use: higher levels
include it, and a name that oneDNN does not know has no effect."""

_ISA_SETTINGS = (
    "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
    "ATEN_CPU_CAPABILITY",
)  # fmt: skip
"""Environment variables that make oneDNN (in OpenVINO and torch) and torch use other kernels than the CPU's best."""


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


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """The CPU's model name (on ARM the board's or the core's), or the machine type if it is unknown."""
    if platform.machine() == "aarch64":  # "model name" is that of QEMU's host, or just ARMv8
        return _field("Model") or _arm_core() or platform.machine()
    emulated = x86_name() if x86_emulated() else ""
    return emulated or _field("model name", "Model") or platform.processor() or platform.machine()


def _arm_core() -> str:
    implementer, part = _field("CPU implementer"), _field("CPU part")
    return ARM_CORES.get(int(part, 16), "") if implementer == "0x41" and part else ""


@lru_cache(maxsize=1)
def cpu_flags() -> tuple[str, ...]:
    """The flags of `KERNEL_FLAGS` of this CPU, or of the emulated CPU under emulation."""
    flags = x86_flags() if x86_emulated() else arm_flags()
    present = set(_field("flags", "Features").split()) if flags is None else flags
    return tuple(flag for flag in KERNEL_FLAGS if flag in present)


def onednn_flags() -> tuple[str, ...]:
    """The subset of `cpu_flags` that oneDNN may use: ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) can exclude others."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    allowed = _ONEDNN_LEVELS.get(limit.upper())
    return tuple(flag for flag in cpu_flags() if allowed is None or flag in allowed)


def int8_sums_saturate() -> bool:
    """Whether u8 x s8 kernels on this CPU add in 16 bits: x86 without VNNI."""
    return _without_vnni(cpu_flags())


def onednn_sums_saturate() -> bool:
    """Whether oneDNN's u8 x s8 kernels, which OpenVINO uses, add in 16 bits: x86 without usable VNNI."""
    return _without_vnni(onednn_flags())


def _without_vnni(flags: tuple[str, ...]) -> bool:
    return platform.machine() in {"x86_64", "AMD64"} and not {"avx512_vnni", "avx_vnni"} & set(flags)


def local_fingerprint() -> dict[str, object]:
    """Part of the key of every query, since outputs may differ between CPUs and are not reused across them.

    The same holds for environment variables that keep a runtime from using instructions ("limits", if set).
    """
    limits = {name: os.environ[name] for name in _ISA_SETTINGS if os.environ.get(name)}
    cpu: dict[str, object] = {"machine": platform.machine(), "cpu": cpu_name(), "isa": list(cpu_flags())}
    return {**cpu, "limits": limits} if limits else cpu
