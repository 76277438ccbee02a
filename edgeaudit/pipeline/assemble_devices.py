"""The devices section of audit.json: how each format was queried, and the evidence for stand-ins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.devices import DeviceSpec
from edgeaudit.devices.profiles import Profile, find_profile
from edgeaudit.errors import StoreError
from edgeaudit.graph.executor import RunResult
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.plan import FormatPlan, Plan
from edgeaudit.report.model import DeviceFormat, DeviceInfo, PlacesCompared

__all__ = ["devices_of"]


def devices_of(spec: AuditSpec, plan: Plan, result: RunResult, store: Store) -> tuple[DeviceInfo, ...]:
    """Every device but this machine; formats that could not be queried there are reported as failed, not here."""
    devices = []
    for name, device in spec.devices.items():
        if device.is_local:
            continue
        queried = [p for p in plan.formats if p.device == name and result.cause(p.target_query) is None]
        devices.append(_info(name, device, queried, result, store))
    return tuple(devices)


def _info(name: str, device: DeviceSpec, queried: list[FormatPlan], result: RunResult, store: Store) -> DeviceInfo:
    profile: Profile | None = None if device.profile is None else find_profile(device.profile)
    facts: Mapping[str, Any] = queried[0].target_query.machine if queried else {}
    return DeviceInfo(
        name=name,
        via=device.via,
        profile=None if profile is None else profile.name,
        title=None if profile is None else profile.title,
        cpu=facts.get("cpu") or (None if profile is None else profile.cpu.name),
        machine=facts.get("machine"),
        isa=tuple(facts.get("isa") or ()),
        os=facts.get("os"),
        python=facts.get("python"),
        verified=None if profile is None else profile.verified.by,
        compared=None if profile is None else profile.verified.compared,
        formats=tuple(_format(planned, result, store) for planned in queried),
    )


def _format(planned: FormatPlan, result: RunResult, store: Store) -> DeviceFormat:
    query = store.read(planned.target_query)
    if (reported := query.device) is None:
        raise StoreError(f"{planned.target_query.label}: its entry has no device report; run the audit again")
    compared: tuple[PlacesCompared, ...] = ()
    if planned.equivalence is not None and result.cause(planned.equivalence) is None:
        rows = store.read(planned.equivalence).compared
        compared = tuple(PlacesCompared(model=model, **asdict(row)) for model, row in rows.items())
    shadows = [query for query in planned.shadow_queries if result.cause(query) is None]
    stood_in = bool(shadows) and store.read(shadows[0]).stood_in
    identical = all(difference.rows == 0 for difference in compared)
    return DeviceFormat(
        format=planned.use.id,
        versions=dict(planned.target_query.versions),
        options=dict(query.options),
        engaged=reported.engaged,
        engines=reported.engines,
        asked=reported.queried + reported.resumed,
        resumed=reported.resumed,
        restored=reported.restored,
        shadows="none" if not shadows else "this machine" if stood_in else "device",
        stood_in_regardless=stood_in and not identical,
        equivalence=compared,
        fingerprint=reported.fingerprint,
    )
