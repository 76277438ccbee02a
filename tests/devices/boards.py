"""Profiles of tests: what the emulation reads of a device, whatever the profiles of the project say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeaudit.devices.profiles import Profile

ONNXRUNTIME = ("onnxruntime==1.32.0", "numpy==2.4.6")
LITERT = ("ai-edge-litert==2.3.0", "numpy==2.4.6")


def board(name: str, cpu: str, machine: str = "aarch64", **more: Any) -> Profile:
    """A profile of a device that QEMU's `cpu` stands in for; `more` overrides its keys."""
    runtimes: Mapping[str, tuple[str, ...]] = {"onnxruntime": ONNXRUNTIME, "litert": LITERT}
    keys: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "title": name,
        "cpu": {"name": cpu, "machine": machine, "cores": 4, "isa": ISA[cpu], "lacks": LACKS[cpu]},
        "emulation": {"cpu": cpu},
        "memory_mib": [1024],
        "system": {"name": "Debian 12", "libc": "2.36", "python": "3.11"},
        "runtimes": {
            key: {"version": pins[0].partition("==")[2], "requirements": pins, "source": "PyPI"}
            for key, pins in runtimes.items()
        },
        "verified": {"by": "none", "compared": "a test's"},
        "sources": ["a test's"],
    }
    return Profile.model_validate({**keys, **more})


ISA: Mapping[str, tuple[str, ...]] = {
    "cortex-a72": ("asimd",),
    "cortex-a76": ("asimd", "asimdhp", "asimddp"),
    "Haswell": ("sse4_2", "avx", "avx2", "fma"),
}
"""QEMU's name -> flags that Arm's and Intel's manuals say it has (Armv8.0-A; Armv8.2-A with dot product; AVX2)."""

LACKS: Mapping[str, tuple[str, ...]] = {
    "cortex-a72": ("asimdhp", "asimddp", "i8mm", "bf16", "sve", "sme"),
    "cortex-a76": ("i8mm", "bf16", "sve", "sme"),
    "Haswell": ("avx512f", "avx512bw", "avx512_vnni", "avx_vnni"),
}

PI_4 = board("pi-4", "cortex-a72")
PI_5 = board("pi-5", "cortex-a76")
HASWELL = board("haswell", "Haswell", "x86_64")
