"""What the CPU itself says it is, asked as inference runtimes ask: CPUID on x86, the auxiliary vector on ARM.

/proc/cpuinfo says the same on a machine of its own. Under QEMU's user mode it does not: an x86 guest, and under QEMU
before 8.2 every guest, reads that of the host. The instructions and the vector are the emulated CPU's.
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
"""Part numbers in MIDR_EL1 of Arm's own cores, as util-linux's lscpu names them."""

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
    """Linux's names of what this aarch64 process may execute; None on another machine or where it cannot be asked."""
    if platform.machine() != "aarch64":
        return None
    try:
        ask = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):  # a C library without it
        return None
    ask.restype, ask.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    found = [(ask(vector), bits) for vector, bits in ((_AT_HWCAP, _HWCAP), (_AT_HWCAP2, _HWCAP2))]
    return frozenset(name for word, bits in found for name, bit in bits.items() if word >> bit & 1)


def x86_emulated() -> bool:
    """Whether this x86-64 process is translated by QEMU, which signs so."""
    ask = _cpuid()
    if ask is None:
        return False
    _, *signature = ask(_HYPERVISOR_LEAF, 0)
    return struct.pack("<3I", *signature) == b"TCGTCGTCGTCG"


def x86_name() -> str:
    """The brand string; empty where it cannot be asked."""
    ask = _cpuid()
    if ask is None:
        return ""
    words = [word for leaf in _NAME_LEAVES for word in ask(leaf, 0)]
    return struct.pack("<12I", *words).split(b"\0")[0].decode("ascii", "replace").strip()


def x86_flags() -> frozenset[str] | None:
    """Linux's names of what the CPU has and the system has switched on; None where it cannot be asked.

    Names are those of `edgeaudit.host.fingerprint.KERNEL_FLAGS`. Bits: Intel's manual, volume 2A, CPUID.
    """
    ask = _cpuid()
    if ask is None:
        return None
    most = ask(0, 0)[0]
    one = ask(1, 0)
    seven, again = (ask(7, 0), ask(7, 1)) if most >= 7 else ((0,) * 4, (0,) * 4)
    osxsave = one[2] >> 27 & 1
    state = _xgetbv() if osxsave else 0
    bits = (
        ("sse4_2", one[2], 20, 0),
        ("avx", one[2], 28, _AVX_STATE), ("avx2", seven[1], 5, _AVX_STATE), ("fma", one[2], 12, _AVX_STATE),
        ("avx_vnni", again[0], 4, _AVX_STATE),
        ("avx512f", seven[1], 16, _AVX512_STATE), ("avx512bw", seven[1], 30, _AVX512_STATE),
        ("avx512_vnni", seven[2], 11, _AVX512_STATE), ("avx512_bf16", again[0], 5, _AVX512_STATE),
        ("avx512_fp16", seven[3], 23, _AVX512_STATE),
        ("amx_int8", seven[3], 25, _AMX_STATE), ("amx_bf16", seven[3], 22, _AMX_STATE),
    )  # fmt: skip
    return frozenset(name for name, word, bit, needed in bits if word >> bit & 1 and state & needed == needed)


@lru_cache(maxsize=1)
def _code() -> tuple[mmap.mmap, int] | None:
    """A page with both routines, and its address; None on another machine, or where no page may be executed."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # systems that are set up to refuse this
        return None
    page.write(_CPUID.ljust(64, b"\xc3") + _XGETBV)
    return page, ctypes.addressof(ctypes.c_char.from_buffer(page))


def _cpuid() -> Callable[[int, int], _Words] | None:
    code = _code()
    if code is None:
        return None
    words = ctypes.c_uint32 * 4
    call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))(code[1])

    def ask(leaf: int, subleaf: int) -> _Words:
        out = words()
        call(leaf, subleaf, out)
        return out[0], out[1], out[2], out[3]

    return ask


def _xgetbv() -> int:
    code = _code()
    return 0 if code is None else int(ctypes.CFUNCTYPE(ctypes.c_uint32)(code[1] + 64)())
