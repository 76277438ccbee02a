"""What of a plan is about devices: whether formats can be asked there, and what a query there is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgeaudit.agent import RUNTIMES
from edgeaudit.agent.served import runtime_class
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.devices import DeviceSpec
from edgeaudit.config.formats import FormatUse
from edgeaudit.devices.asking import Pace
from edgeaudit.devices.device_runtime import DeviceRuntimeSpec, device_facts, told_versions
from edgeaudit.devices.registry import find_way
from edgeaudit.errors import ArtifactError, DeviceError, SpecError, did_you_mean
from edgeaudit.formats.presets import Format
from edgeaudit.recipes.base import source_digest

__all__ = ["DevicePlan", "require_devices"]

_CODE = (
    "edgeaudit.runtimes.base", "edgeaudit.stages.query", "edgeaudit.agent", "edgeaudit.devices.device_runtime",
    "edgeaudit.devices.oip.client",
)  # fmt: skip


@dataclass(frozen=True)
class DevicePlan:
    """A device other than this machine. ledger: names the account of what was asked there."""

    name: str
    spec: DeviceSpec
    ledger: str

    def query_inputs(self, use: FormatUse, found: Format) -> dict[str, Any]:
        """Runtime, options, device and versions of a query. Raises as `require_devices` does."""
        reach, spec = self.spec.reach(use.id), runtime_class(found.runtime).spec
        facts = _facts(self.name, self.spec, use, found)
        return {
            "runtime": found.runtime,
            "options": _options(self.name, self.spec, found),
            "versions": told_versions(facts),
            "device": {"reach": reach.to_dict(), "facts": facts},
            "code": source_digest(runtime_class(found.runtime).__module__, *spec.code, *_CODE),
        }

    @cached_property
    def timed(self) -> bool:
        """Whether a call there takes what it takes on the device."""
        return find_way(self.spec.reach("")).timed

    @cached_property
    def hints(self) -> dict[str, Any]:
        """How the device is asked, which no answer depends on."""
        pace = Pace(self.name, self.spec.rate, self.spec.retries, self.spec.max_queries, self.spec.max_time)
        way = find_way(self.spec.reach(""))
        return {"house": "torch", "asking": {"pace": pace.to_dict(), "alone": way.alone, "ledger": self.ledger}}


def require_devices(spec: AuditSpec, formats: Mapping[str, Format]) -> None:
    """Refuse what cannot be asked, before anything runs: runtimes that no agent has, devices that cannot be reached."""
    for use, name in spec.places:
        device, found = spec.devices[name], formats[use.id]
        if device.is_local:
            continue
        if found.runtime not in RUNTIMES:
            raise SpecError(
                f"devices.{name}: '{use.id}' runs in {found.runtime}, on this machine alone; on devices there are "
                f"{', '.join(sorted(RUNTIMES))}. Name the formats that are asked there in devices.{name}.formats"
            )
        for runtime in device.options:
            if runtime not in RUNTIMES:
                hint = did_you_mean(runtime, RUNTIMES)
                raise SpecError(f"devices.{name}.options: there is no runtime '{runtime}' on devices.{hint}")
        if device.is_server and device.shadows == "device":
            raise SpecError(f"devices.{name}.shadows: a server serves what it serves; shadows cannot be asked there")
        _options(name, device, found)
    for use, name in spec.places:
        if not spec.devices[name].is_local:
            _facts(name, spec.devices[name], use, formats[use.id])


def _options(name: str, device: DeviceSpec, found: Format) -> dict[str, Any]:
    spec = DeviceRuntimeSpec.of(runtime_class(found.runtime).spec, {})
    own = device.options.get(found.runtime, {})
    batch = {} if device.batch is None else {"batch": device.batch}
    try:
        return spec.options({**found.runtime_options, **own, **batch})
    except ArtifactError as exc:
        raise SpecError(f"devices.{name}.options.{found.runtime}: {exc}") from exc


def _facts(name: str, device: DeviceSpec, use: FormatUse, found: Format) -> dict[str, Any]:
    try:
        return device_facts(device.reach(use.id), found.runtime)
    except DeviceError as exc:
        raise type(exc)(f"devices.{name}: {exc}") from exc
