"""A fingerprint beside a profile."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.agent.messages import Fingerprint
from edgeaudit.devices.probing import Row, machine_rows, runtime_rows
from tests.devices.boards import HASWELL, PI_4, PI_5

SAID: Fingerprint = {
    "machine": "aarch64",
    "cpu": "Cortex-A72",
    "isa": ["asimd"],
    "python": "3.11.2",
    "libc": "glibc 2.36",
    "numpy": "2.4.6",
    "runtime": {"name": "onnxruntime", "versions": {"onnxruntime": "1.32.0"}},
    "probes": {"int8": {"kernels": "exact"}, "float": {"kernels": "float32"}},
}


def altered(said: Fingerprint) -> Fingerprint:
    return {**SAID, **said}


def flagged(rows: list[Row]) -> list[str]:
    return [row.what for row in rows if row.agrees is False]


def test_agreement() -> None:
    assert flagged(machine_rows(PI_4, SAID)) == []
    assert flagged(runtime_rows(PI_4, "onnxruntime", SAID, as_it_comes=False)) == []


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"machine": "x86_64"}, "machine"),
        ({"isa": []}, "isa"),
        ({"isa": ["asimd", "asimddp"]}, "isa"),  # among those that the profile says it lacks
        ({"python": "3.1.1"}, "python"),
        ({"python": None}, "python"),
        ({"libc": "glibc 2.31"}, "libc"),
    ],
)
def test_another_machine(said: Fingerprint, what: str) -> None:
    assert flagged(machine_rows(PI_4, altered(said))) == [what]


def test_unknown_flags_are_ignored() -> None:
    assert flagged(machine_rows(PI_5, altered({"isa": ["asimd", "asimdhp", "asimddp"]}))) == []
    assert flagged(machine_rows(PI_5, SAID)) == ["isa"]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"numpy": "1.26.4"}, "onnxruntime: numpy"),
        ({"runtime": {"name": "onnxruntime", "versions": {"onnxruntime": "1.17.0"}}}, "onnxruntime: onnxruntime"),
        (
            {"probes": {"int8": {"kernels": "saturating"}, "float": {"kernels": "float32"}}},
            "onnxruntime: int8 sums, edgeaudit's options",
        ),
        (
            {"probes": {"int8": {"kernels": "exact"}, "float": {"error": "it cannot"}}},
            "onnxruntime: floats, edgeaudit's options",
        ),
    ],
)
def test_another_runtime(said: Fingerprint, what: str) -> None:
    assert flagged(runtime_rows(PI_4, "onnxruntime", altered(said), as_it_comes=False)) == [what]


def test_expected_int8_sums_with_the_runtimes_defaults() -> None:
    """Only x86 with AVX2 and without VNNI saturates, and only where the runtime has such kernels."""

    def expected(profile: Any, runtime: str) -> str:
        return runtime_rows(profile, runtime, SAID, as_it_comes=True)[0].profile

    assert expected(HASWELL, "onnxruntime") == "saturating"
    assert expected(HASWELL, "litert") == "exact"
    assert expected(PI_4, "onnxruntime") == "exact"
    atom = HASWELL.model_copy(update={"cpu": HASWELL.cpu.model_copy(update={"isa": ("sse4_2",)})})
    assert expected(atom, "onnxruntime") == "exact"


def test_without_a_profile_nothing_is_compared() -> None:
    rows = machine_rows(None, SAID) + runtime_rows(None, "onnxruntime", SAID, as_it_comes=False)
    assert {row.agrees for row in rows} == {None}
    assert "Cortex-A72" in [row.device for row in rows]
