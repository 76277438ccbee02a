"""The machine that edgeaudit runs on, as a device: what of it changes a runtime's answers."""

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
"""Environment variables by which oneDNN (in OpenVINO and in torch) and torch take other kernels than the CPU offers."""


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
    """The CPU's model name, or on ARM the board's or the core's; the machine type where the system does not tell."""
    if platform.machine() == "aarch64":  # "model name" is QEMU's host's, or says ARMv8 and no more
        return _field("Model") or _arm_core() or platform.machine()
    told = x86_name() if x86_emulated() else ""
    return told or _field("model name", "Model") or platform.processor() or platform.machine()


def _arm_core() -> str:
    implementer, part = _field("CPU implementer"), _field("CPU part")
    return ARM_CORES.get(int(part, 16), "") if implementer == "0x41" and part else ""


@lru_cache(maxsize=1)
def cpu_flags() -> tuple[str, ...]:
    """The flags of `KERNEL_FLAGS` that this CPU has; under emulation the emulated one."""
    told = x86_flags() if x86_emulated() else arm_flags()
    present = set(_field("flags", "Features").split()) if told is None else told
    return tuple(flag for flag in KERNEL_FLAGS if flag in present)


def onednn_flags() -> tuple[str, ...]:
    """Of `cpu_flags`, those that oneDNN may use: ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) can forbid the others."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    allowed = _ONEDNN_LEVELS.get(limit.upper())
    return tuple(flag for flag in cpu_flags() if allowed is None or flag in allowed)


def int8_sums_saturate() -> bool:
    """Whether the CPU's own u8 x s8 kernels add in 16 bits: x86 without VNNI."""
    return _without_vnni(cpu_flags())


def onednn_sums_saturate() -> bool:
    """Whether oneDNN's u8 x s8 kernels, which OpenVINO uses, add in 16 bits: x86 where it has no VNNI to use."""
    return _without_vnni(onednn_flags())


def _without_vnni(flags: tuple[str, ...]) -> bool:
    return platform.machine() in {"x86_64", "AMD64"} and not {"avx512_vnni", "avx_vnni"} & set(flags)


def local_fingerprint() -> dict[str, object]:
    """Enters the key of every query: another CPU may answer differently, so its answers are never reused here.

    Nor are those of the same CPU when environment variables keep a runtime from its instructions ("limits", where set).
    """
    limits = {name: os.environ[name] for name in _ISA_SETTINGS if os.environ.get(name)}
    cpu: dict[str, object] = {"machine": platform.machine(), "cpu": cpu_name(), "isa": list(cpu_flags())}
    return {**cpu, "limits": limits} if limits else cpu
