"""Device-specific parts of the plan: whether formats can be queried there, and the inputs of such a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgeaudit.agent import RUNTIMES
from edgeaudit.agent.served import runtime_class
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.devices import DeviceSpec
from edgeaudit.config.formats import FormatUse
from edgeaudit.devices.device_runtime import DeviceRuntimeSpec, device_facts, reported_versions
from edgeaudit.devices.querying import QueryPolicy
from edgeaudit.devices.registry import find_transport
from edgeaudit.devices.transport import DeviceProperties
from edgeaudit.errors import ArtifactError, DeviceError, SpecError, did_you_mean
from edgeaudit.formats.presets import Format
from edgeaudit.graph.job import content_key
from edgeaudit.settings import Settings
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
        """Build it. All runs of an audit share one query log."""
        return cls(name, spec, content_key("ledger", {"population": population.key, "device": name, "via": spec.via}))

    def query(
        self,
        population: DrawPopulation,
        source: ArtifactJob,
        role: str,
        use: FormatUse,
        resolved: Format,
        stand_in: StandIn | None,
        checked: Query | None,
    ) -> DeviceQuery:
        """A query on the device. Raises as `require_devices` does."""
        facts = _facts(self.name, self.spec, use, resolved)
        return DeviceQuery(
            population=population,
            source=source,
            role=role,
            runtime=resolved.runtime,
            options=_options(self.name, self.spec, resolved),
            # The file was checked by this machine's query; the device's own answers are what is audited.
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
        """Whether the duration of a call there is that of the device."""
        return find_transport(self.spec.endpoint("")).timed

    @cached_property
    def policy(self) -> DevicePolicy:
        """How the device is queried."""
        queries = QueryPolicy(self.name, self.spec.rate, self.spec.retries, self.spec.max_queries, self.spec.max_time)
        return DevicePolicy(queries, self.budget, find_transport(self.spec.endpoint("")).exclusive)


def require_devices(spec: AuditSpec, formats: Mapping[str, Format]) -> None:
    """Reject runtimes that no agent has and devices that cannot be reached, before anything runs."""
    for use, name in spec.places:
        device, resolved = spec.devices[name], formats[use.id]
        if device.is_local:
            continue
        if resolved.runtime not in RUNTIMES:
            raise SpecError(
                f"devices.{name}: '{use.id}' runs in {resolved.runtime}, which is only available on this machine; "
                f"devices have {', '.join(sorted(RUNTIMES))}. List the formats to query there in devices.{name}.formats"
            )
        for runtime in device.options:
            if runtime not in RUNTIMES:
                hint = did_you_mean(runtime, RUNTIMES)
                raise SpecError(f"devices.{name}.options: there is no runtime '{runtime}' on devices.{hint}")
        if device.is_server and device.shadows == "device":
            raise SpecError(
                f"devices.{name}.shadows: a server offers a fixed model, so shadows cannot be queried there"
            )
        _options(name, device, resolved)
    for use, name in spec.places:
        if not spec.devices[name].is_local:
            _facts(name, spec.devices[name], use, formats[use.id])


def _options(name: str, device: DeviceSpec, resolved: Format) -> Settings:
    spec = DeviceRuntimeSpec.of(runtime_class(resolved.runtime).spec, {})
    configured = device.options.get(resolved.runtime, {})
    batch = {} if device.batch is None else {"batch": device.batch}
    try:
        return spec.options({**resolved.runtime_options, **configured, **batch})
    except ArtifactError as exc:
        raise SpecError(f"devices.{name}.options.{resolved.runtime}: {exc}") from exc


def _facts(name: str, device: DeviceSpec, use: FormatUse, resolved: Format) -> DeviceProperties:
    try:
        return device_facts(device.endpoint(use.id), resolved.runtime)
    except DeviceError as exc:
        raise type(exc)(f"devices.{name}: {exc}") from exc
