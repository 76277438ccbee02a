"""What the CPU says of itself, against what Linux says of it; and what environment variables make of that."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgeaudit.host import fingerprint, processor

pytestmark = pytest.mark.isa

CPUINFO = Path("/proc/cpuinfo")
ON_X86 = platform.machine() == "x86_64" and CPUINFO.exists()


@pytest.mark.skipif(not ON_X86 or processor.x86_emulated(), reason="needs an x86-64 CPU's own /proc/cpuinfo")
class TestX86:
    def test_cpuid_agrees_with_linux(self) -> None:
        """The kernel names flags by the same bits, on a machine of its own."""
        line = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
        named = set(line.partition(":")[2].split())
        x86 = {flag for flag in fingerprint.KERNEL_FLAGS if not flag.startswith(("asimd", "i8mm", "sve", "sme"))} - {
            "bf16"
        }
        assert set(processor.x86_flags() or ()) == named & x86
        assert "sse4_2" in named

    def test_the_name_agrees_with_linux(self) -> None:
        line = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("model name"))
        assert processor.x86_name() == line.partition(":")[2].strip()

    def test_this_is_no_emulation(self) -> None:
        assert not processor.x86_emulated()
        assert processor.arm_flags() is None

    def test_an_emulated_cpu_is_identified(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """/proc/cpuinfo is the host's there."""
        monkeypatch.setattr(fingerprint, "x86_emulated", lambda: True)
        monkeypatch.setattr(fingerprint, "x86_flags", lambda: frozenset({"sse4_2", "unheard_of"}))
        monkeypatch.setattr(fingerprint, "x86_name", lambda: "An Atom")
        fingerprint.cpu_flags.cache_clear()
        fingerprint.cpu_name.cache_clear()
        try:
            assert fingerprint.cpu_flags() == ("sse4_2",)
            assert fingerprint.cpu_name() == "An Atom"
            assert fingerprint.int8_sums_saturate()
        finally:
            fingerprint.cpu_flags.cache_clear()
            fingerprint.cpu_name.cache_clear()


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "Cortex-A72"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xfff\n", "aarch64"),
        ("CPU implementer\t: 0x4e\nCPU part\t: 0x004\n", "aarch64"),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\nModel\t: Raspberry Pi 5 Model B Rev 1.0\n",
            "Raspberry Pi 5 Model B",
        ),
        ("model name\t: Some host's CPU\nflags\t: avx2\n", "aarch64"),  # QEMU before 8.2
    ],
)
def test_names_on_arm(cpuinfo: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(fingerprint, "_cpuinfo", lambda: cpuinfo)
    fingerprint.cpu_name.cache_clear()
    try:
        assert fingerprint.cpu_name().startswith(name)
    finally:
        fingerprint.cpu_name.cache_clear()


EPYC = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16")


class TestOneDnn:
    """Levels and what they include: oneDNN's documentation, "CPU Dispatcher Control"."""

    @pytest.fixture(autouse=True)
    def epyc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(fingerprint, "cpu_flags", lambda: EPYC)
        for name in fingerprint._ISA_SETTINGS:
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize(
        ("limit", "lost", "saturates"),
        [
            (None, (), False),
            ("", (), False),
            ("SSE41", EPYC[1:], True),
            ("AVX2", EPYC[4:], True),
            ("avx2", EPYC[4:], True),
            ("AVX2_VNNI", ("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"), False),
            ("AVX512_CORE", ("avx512_vnni", "avx_vnni", "avx512_bf16"), True),
            ("AVX512_CORE_VNNI", ("avx_vnni", "avx512_bf16"), False),
            ("AVX512_CORE_BF16", ("avx_vnni",), False),
            ("AVX512_CORE_FP16", (), False),
            ("unheard of", (), False),
        ],
    )
    @pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
    def test_limits(
        self, monkeypatch: pytest.MonkeyPatch, name: str, limit: str | None, lost: tuple[str, ...], saturates: bool
    ) -> None:
        if limit is not None:
            monkeypatch.setenv(name, limit)
        assert set(EPYC) - set(fingerprint.onednn_flags()) == set(lost)
        assert fingerprint.onednn_sums_saturate() is saturates
        assert not fingerprint.int8_sums_saturate()

    def test_answers_under_a_limit_are_those_of_another_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        free = fingerprint.local_fingerprint()
        assert set(free) == {"machine", "cpu", "isa"}
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
        limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
        assert fingerprint.local_fingerprint() == {**free, "limits": limits}
