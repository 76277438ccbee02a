"""The machine that edgeaudit runs on, as a device: what of it changes a runtime's answers."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

from edgeaudit.host.processor import ARM_CORES, arm_flags, x86_emulated, x86_flags, x86_name

__all__ = ["KERNEL_FLAGS", "cpu_flags", "cpu_name", "int8_sums_saturate", "local_fingerprint"]

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


def int8_sums_saturate() -> bool:
    """Whether the CPU's own u8 x s8 kernels add in 16 bits: x86 without VNNI."""
    x86 = platform.machine() in {"x86_64", "AMD64"}
    return x86 and not {"avx512_vnni", "avx_vnni"} & set(cpu_flags())


def local_fingerprint() -> dict[str, object]:
    """Enters the key of every query: another CPU may answer differently, so its answers are never reused here."""
    return {"machine": platform.machine(), "cpu": cpu_name(), "isa": list(cpu_flags())}
