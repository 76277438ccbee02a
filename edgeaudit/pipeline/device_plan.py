"""Device-specific parts of the plan: whether formats can be queried there, and what a query there depends on."""

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
from edgeaudit.devices.device_runtime import DeviceRuntimeSpec, device_facts, reported_versions
from edgeaudit.devices.querying import QueryPolicy
from edgeaudit.devices.registry import find_transport
from edgeaudit.errors import ArtifactError, DeviceError, SpecError, did_you_mean
from edgeaudit.formats.presets import Format
from edgeaudit.graph.job import content_key
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.device_query import DevicePolicy, DeviceQuery, StandIn
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query

__all__ = ["DevicePlan", "require_devices"]


@dataclass(frozen=True)
class DevicePlan:
    """A device other than this machine. budget: name of the file that counts the queries."""

    name: str
    spec: DeviceSpec
    budget: str

    @classmethod
    def of(cls, name: str, spec: DeviceSpec, population: DrawPopulation) -> DevicePlan:
        """The account is one for the audit, and not for the run."""
        return cls(name, spec, content_key("ledger", {"population": population.key, "device": name, "via": spec.via}))

    def query(
        self,
        population: DrawPopulation,
        source: ArtifactJob,
        role: str,
        use: FormatUse,
        found: Format,
        stand_in: StandIn | None,
        checked: Query | None,
    ) -> DeviceQuery:
        """A query there. Raises as `require_devices` does."""
        facts = _facts(self.name, self.spec, use, found)
        return DeviceQuery(
            population=population,
            source=source,
            role=role,
            runtime=found.runtime,
            options=_options(self.name, self.spec, found),
            # That the file is right, this machine's query saw; what the device makes of it is what is audited.
            tolerance=None,
            range_tolerance=None,
            versions=reported_versions(facts),
            machine=facts,
            endpoint=self.spec.endpoint(use.id),
            stand_in=stand_in,
            policy=self.policy,
            checked=checked,
            format=use.id,
            device=self.name,
        )

    @cached_property
    def timed(self) -> bool:
        """Whether a call there takes what it takes on the device."""
        return find_transport(self.spec.endpoint("")).timed

    @cached_property
    def policy(self) -> DevicePolicy:
        """How the device is queried."""
        queries = QueryPolicy(self.name, self.spec.rate, self.spec.retries, self.spec.max_queries, self.spec.max_time)
        return DevicePolicy(queries, self.budget, find_transport(self.spec.endpoint("")).exclusive)


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
        return device_facts(device.endpoint(use.id), found.runtime)
    except DeviceError as exc:
        raise type(exc)(f"devices.{name}: {exc}") from exc
