"""Compare a device's fingerprint with its profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeaudit.agent.messages import Fingerprint, Machine
from edgeaudit.devices.profiles import Profile

__all__ = ["AS_IT_COMES", "Row", "machine_rows", "runtime_rows"]

AS_IT_COMES: Mapping[str, Mapping[str, object]] = {
    "onnxruntime": {"session": {}},
    "openvino": {"integer_kernels": True},
}
"""Runtimes that edgeaudit by default keeps from using saturating kernels -> the options of an application that sets
none."""

_UNKNOWN = "not reported"


@dataclass(frozen=True)
class Row:
    """One line. profile: the expected value, empty if there is none. agrees: None if there is nothing to compare."""

    what: str
    profile: str
    device: str
    agrees: bool | None


def machine_rows(profile: Profile | None, reported: Machine) -> list[Row]:
    """Compare the machine in a fingerprint with the profile.

    The CPU's name is not compared, since operating systems report it differently. Flags in neither of the profile's
    lists are unknown.
    """
    isa = [str(flag) for flag in reported.get("isa") or ()]
    python, libc = _text(reported.get("python")), _text(reported.get("libc"))
    if profile is None:
        pairs = [
            ("machine", _text(reported.get("machine"))),
            ("isa", " ".join(isa)),
            ("libc", libc),
            ("python", python),
        ]
        return [
            Row("cpu", "", _text(reported.get("cpu")), None),
            *(Row(what, "", value, None) for what, value in pairs),
        ]
    missing = [flag for flag in profile.cpu.isa if flag not in isa]
    unexpected = [flag for flag in profile.cpu.lacks if flag in isa]
    wanted = profile.system.libc
    return [
        _compared("machine", profile.cpu.machine, _text(reported.get("machine"))),
        Row("cpu", profile.cpu.name, _text(reported.get("cpu")), None),
        Row("isa", " ".join(profile.cpu.isa), " ".join(isa), not missing and not unexpected),
        Row("python", profile.system.python, python, python.split(".")[:2] == profile.system.python.split(".")),
        Row("libc", wanted or "", libc, None if wanted is None else libc.split()[-1:] == [wanted]),
    ]


def runtime_rows(profile: Profile | None, name: str, reported: Fingerprint, *, as_it_comes: bool) -> list[Row]:
    """Compare a runtime in a fingerprint with the profile.

    as_it_comes: the runtime had the options of `AS_IT_COMES`; versions are omitted.
    """
    probes = reported.get("probes") or {}
    kernels = {probe: _text(about.get("kernels", about.get("error"))) for probe, about in probes.items()}
    setting = "runtime's defaults" if as_it_comes else "edgeaudit's options"
    rows = []
    for probe, unit in (("int8", "int8 sums"), ("float", "floats")):
        expected = "" if profile is None else _expected(profile, name, probe, as_it_comes=as_it_comes)
        rows.append(_compared(f"{name}: {unit}, {setting}", expected, kernels.get(probe, _UNKNOWN)))
    if as_it_comes:
        return rows
    runtime = reported.get("runtime")
    versions = {**({} if runtime is None else runtime["versions"]), "numpy": reported.get("numpy")}
    build = None if profile is None else profile.runtimes.get(name)
    pins = {} if build is None else dict(pin.split("==") for pin in build.requirements)
    return [_compared(f"{name}: {package}", pins.get(package, ""), _text(v)) for package, v in versions.items()] + rows


def _expected(profile: Profile, runtime: str, probe: str, *, as_it_comes: bool) -> str:
    """Derived from the CPU's flags: x86 with AVX2 but without VNNI adds pairs of int8 products in 16 bits.

    SSE and ARM kernels do not (measured: docs/devices-emulated.md).
    """
    if probe != "int8":
        return "float32"
    isa = set(profile.cpu.isa)
    narrow = "avx2" in isa and not isa & {"avx512_vnni", "avx_vnni"}
    return "saturating" if as_it_comes and runtime in AS_IT_COMES and narrow else "exact"


def _compared(what: str, expected: str, reported: str) -> Row:
    return Row(what, expected, reported, None if not expected else expected == reported)


def _text(value: object) -> str:
    return _UNKNOWN if value is None else str(value)
