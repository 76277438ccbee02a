"""CPU identification as inference runtimes do it: CPUID on x86, the auxiliary vector on ARM.

/proc/cpuinfo agrees with it on real hardware, but not under QEMU user mode: an x86 guest, and under QEMU before 8.2
every guest, reads the host's file. CPUID and the auxiliary vector are those of the emulated CPU.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
from collections.abc import Callable
from functools import lru_cache

__all__ = ["ARM_CORES", "arm_flags", "x86_emulated", "x86_flags", "x86_name"]

ARM_CORES = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72",
    0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE", 0xD47: "Cortex-A710", 0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}  # fmt: skip
"""Part numbers in MIDR_EL1 of Arm's cores, named as in util-linux's lscpu."""

_HWCAP = {"asimd": 1, "asimdhp": 10, "asimddp": 20, "sve": 22}
_HWCAP2 = {"i8mm": 13, "bf16": 14, "sme": 23}
"""Bits of AT_HWCAP and AT_HWCAP2: arch/arm64/include/uapi/asm/hwcap.h of Linux."""
_AT_HWCAP, _AT_HWCAP2 = 16, 26

# rdx of the call points to four words: push rbx; mov eax, edi; mov ecx, esi; mov r8, rdx; cpuid;
# mov [r8 + 0, 4, 8, 12], eax, ebx, ecx, edx; pop rbx; ret
_CPUID = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
_XGETBV = bytes.fromhex("31c9 0f01d0 c3")  # xor ecx, ecx; xgetbv; ret
_AVX_STATE, _AVX512_STATE, _AMX_STATE = 0b110, 0b11100110, 0b11 << 17
_HYPERVISOR_LEAF = 0x40000000
_NAME_LEAVES = (0x80000002, 0x80000003, 0x80000004)

_Words = tuple[int, int, int, int]  # eax, ebx, ecx, edx


def arm_flags() -> frozenset[str] | None:
    """Linux's names of the features available to this aarch64 process; None on other machines or if unavailable."""
    if platform.machine() != "aarch64":
        return None
    try:
        getauxval = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):  # a C library without it
        return None
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    words = [(getauxval(vector), bits) for vector, bits in ((_AT_HWCAP, _HWCAP), (_AT_HWCAP2, _HWCAP2))]
    return frozenset(name for word, bits in words for name, bit in bits.items() if word >> bit & 1)


def x86_emulated() -> bool:
    """Whether QEMU translates this x86-64 process, by its hypervisor signature."""
    cpuid = _cpuid()
    if cpuid is None:
        return False
    _, *signature = cpuid(_HYPERVISOR_LEAF, 0)
    return struct.pack("<3I", *signature) == b"TCGTCGTCGTCG"


def x86_name() -> str:
    """The brand string; empty if CPUID is unavailable."""
    cpuid = _cpuid()
    if cpuid is None:
        return ""
    words = [word for leaf in _NAME_LEAVES for word in cpuid(leaf, 0)]
    return struct.pack("<12I", *words).split(b"\0")[0].decode("ascii", "replace").strip()


def x86_flags() -> frozenset[str] | None:
    """Linux's names of the features that the CPU has and the OS enables; None if CPUID is unavailable.

    Names are those of `edgeaudit.host.fingerprint.KERNEL_FLAGS`. Bits: Intel's manual, volume 2A, CPUID.
    """
    cpuid = _cpuid()
    if cpuid is None:
        return None
    highest = cpuid(0, 0)[0]
    leaf1 = cpuid(1, 0)
    leaf7, leaf7_1 = (cpuid(7, 0), cpuid(7, 1)) if highest >= 7 else ((0,) * 4, (0,) * 4)
    osxsave = leaf1[2] >> 27 & 1
    state = _xgetbv() if osxsave else 0
    bits = (
        ("sse4_2", leaf1[2], 20, 0),
        ("avx", leaf1[2], 28, _AVX_STATE), ("avx2", leaf7[1], 5, _AVX_STATE), ("fma", leaf1[2], 12, _AVX_STATE),
        ("avx_vnni", leaf7_1[0], 4, _AVX_STATE),
        ("avx512f", leaf7[1], 16, _AVX512_STATE), ("avx512bw", leaf7[1], 30, _AVX512_STATE),
        ("avx512_vnni", leaf7[2], 11, _AVX512_STATE), ("avx512_bf16", leaf7_1[0], 5, _AVX512_STATE),
        ("avx512_fp16", leaf7[3], 23, _AVX512_STATE),
        ("amx_int8", leaf7[3], 25, _AMX_STATE), ("amx_bf16", leaf7[3], 22, _AMX_STATE),
    )  # fmt: skip
    return frozenset(name for name, word, bit, needed in bits if word >> bit & 1 and state & needed == needed)


@lru_cache(maxsize=1)
def _code() -> tuple[mmap.mmap, int] | None:
    """A page with both routines, and its address; None on other machines, or if executable pages are not allowed."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # systems configured to forbid it
        return None
    page.write(_CPUID.ljust(64, b"\xc3") + _XGETBV)
    return page, ctypes.addressof(ctypes.c_char.from_buffer(page))


def _cpuid() -> Callable[[int, int], _Words] | None:
    code = _code()
    if code is None:
        return None
    words = ctypes.c_uint32 * 4
    call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))(code[1])

    def cpuid(leaf: int, subleaf: int) -> _Words:
        out = words()
        call(leaf, subleaf, out)
        return out[0], out[1], out[2], out[3]

    return cpuid


def _xgetbv() -> int:
    code = _code()
    return 0 if code is None else int(ctypes.CFUNCTYPE(ctypes.c_uint32)(code[1] + 64)())
