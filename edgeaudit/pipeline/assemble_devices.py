"""What audit.json says of devices: how each format was asked there, and on what evidence this machine stood in."""

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
    """Every device but this machine; a format that could not be asked there is left out here and failed above."""
    found = []
    for name, device in spec.devices.items():
        if device.is_local:
            continue
        asked = [p for p in plan.formats if p.device == name and result.cause(p.target_query) is None]
        found.append(_info(name, device, asked, result, store))
    return tuple(found)


def _info(name: str, device: DeviceSpec, asked: list[FormatPlan], result: RunResult, store: Store) -> DeviceInfo:
    profile: Profile | None = None if device.profile is None else find_profile(device.profile)
    facts: Mapping[str, Any] = asked[0].target_query.machine if asked else {}
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
        formats=tuple(_format(planned, result, store) for planned in asked),
    )


def _format(planned: FormatPlan, result: RunResult, store: Store) -> DeviceFormat:
    query = store.read(planned.target_query)
    if (reported := query.device) is None:
        raise StoreError(f"{planned.target_query.label}: its entry has no report of the device; run the audit again")
    compared: tuple[PlacesCompared, ...] = ()
    if planned.equivalence is not None and result.cause(planned.equivalence) is None:
        rows = store.read(planned.equivalence).compared
        compared = tuple(PlacesCompared(model=model, **asdict(row)) for model, row in rows.items())
    shadows = [query for query in planned.shadow_queries if result.cause(query) is None]
    stood_in = bool(shadows) and store.read(shadows[0]).stood_in
    identical = all(one.rows == 0 for one in compared)
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
