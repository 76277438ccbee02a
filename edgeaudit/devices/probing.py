"""A device's fingerprint beside its profile: what agrees and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeaudit.devices.profiles import Profile

__all__ = ["AS_IT_COMES", "Row", "machine_rows", "runtime_rows"]

AS_IT_COMES: Mapping[str, Mapping[str, Any]] = {
    "onnxruntime": {"session": {}},
    "openvino": {"integer_kernels": True},
}
"""Runtimes that edgeaudit keeps from saturating kernels -> options as an application has them that sets nothing."""

_NOT_TOLD = "not told"


@dataclass(frozen=True)
class Row:
    """One line. profile: what is expected, empty where nothing is. agrees: None where there is nothing to compare."""

    what: str
    profile: str
    device: str
    agrees: bool | None


def machine_rows(profile: Profile | None, said: Mapping[str, Any]) -> list[Row]:
    """What a fingerprint says of the machine.

    The CPU's name is not compared: systems call it as they like. Flags in neither of the profile's lists are not known.
    """
    isa = [str(flag) for flag in said.get("isa") or ()]
    python, libc = _text(said.get("python")), _text(said.get("libc"))
    if profile is None:
        pairs = [("machine", _text(said.get("machine"))), ("isa", " ".join(isa)), ("libc", libc), ("python", python)]
        return [Row("cpu", "", _text(said.get("cpu")), None), *(Row(what, "", found, None) for what, found in pairs)]
    lost = [flag for flag in profile.cpu.isa if flag not in isa]
    foreign = [flag for flag in profile.cpu.lacks if flag in isa]
    wanted = profile.system.libc
    return [
        _compared("machine", profile.cpu.machine, _text(said.get("machine"))),
        Row("cpu", profile.cpu.name, _text(said.get("cpu")), None),
        Row("isa", " ".join(profile.cpu.isa), " ".join(isa), not lost and not foreign),
        Row("python", profile.system.python, python, python.split(".")[:2] == profile.system.python.split(".")),
        Row("libc", wanted or "", libc, None if wanted is None else libc.split()[-1:] == [wanted]),
    ]


def runtime_rows(profile: Profile | None, name: str, said: Mapping[str, Any], *, as_it_comes: bool) -> list[Row]:
    """What a fingerprint says of a runtime. as_it_comes: it was asked with `AS_IT_COMES`, so its versions are known."""
    probes = said.get("probes") or {}
    found = {probe: _text(about.get("kernels", about.get("error"))) for probe, about in probes.items()}
    setting = "as it comes" if as_it_comes else "as edgeaudit asks"
    rows = []
    for probe, unit in (("int8", "int8 sums"), ("float", "floats")):
        expected = "" if profile is None else _expected(profile, name, probe, as_it_comes=as_it_comes)
        rows.append(_compared(f"{name}: {unit}, {setting}", expected, found.get(probe, _NOT_TOLD)))
    if as_it_comes:
        return rows
    versions = {**(said.get("runtime") or {}).get("versions", {}), "numpy": said.get("numpy")}
    build = None if profile is None else profile.runtimes.get(name)
    pins = {} if build is None else dict(pin.split("==") for pin in build.requirements)
    return [_compared(f"{name}: {package}", pins.get(package, ""), _text(v)) for package, v in versions.items()] + rows


def _expected(profile: Profile, runtime: str, probe: str, *, as_it_comes: bool) -> str:
    """By the CPU's flags: x86 with AVX2 and without VNNI adds pairs of int8 products in 16 bits.

    SSE kernels do not, nor do ARM's (measured: docs/devices-emulated.md).
    """
    if probe != "int8":
        return "float32"
    isa = set(profile.cpu.isa)
    narrow = "avx2" in isa and not isa & {"avx512_vnni", "avx_vnni"}
    return "saturating" if as_it_comes and runtime in AS_IT_COMES and narrow else "exact"


def _compared(what: str, expected: str, found: str) -> Row:
    return Row(what, expected, found, None if not expected else expected == found)


def _text(value: Any) -> str:
    return _NOT_TOLD if value is None else str(value)
