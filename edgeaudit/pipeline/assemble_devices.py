"""What audit.json says of devices: how each format was asked there, and on what evidence this machine stood in."""

from __future__ import annotations

from typing import Any

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.devices import DeviceSpec
from edgeaudit.devices.profiles import Profile, find_profile
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
        found.append(_info(name, device, asked, plan, result, store))
    return tuple(found)


def _info(
    name: str, device: DeviceSpec, asked: list[FormatPlan], plan: Plan, result: RunResult, store: Store
) -> DeviceInfo:
    profile: Profile | None = None if device.profile is None else find_profile(device.profile)
    facts: dict[str, Any] = {}
    if asked:
        facts = store.entry(*asked[0].target_query).about["inputs"]["device"]["facts"]
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
        formats=tuple(_format(planned, plan, result, store) for planned in asked),
    )


def _format(planned: FormatPlan, plan: Plan, result: RunResult, store: Store) -> DeviceFormat:
    about = store.entry(*planned.target_query).about
    told = about["facts"]["device"]
    compared: tuple[PlacesCompared, ...] = ()
    if planned.equivalence is not None and result.cause(planned.equivalence) is None:
        rows = store.entry(*planned.equivalence).about["facts"]["compared"]
        compared = tuple(PlacesCompared(model=model, **row) for model, row in rows.items())
    shadows = [ref for ref in planned.shadow_queries if result.cause(ref) is None]
    stand_ins = [plan.jobs[ref].inputs.get("stand_in") for ref in shadows[:1]]
    stood_in = bool(shadows) and bool(store.entry(*shadows[0]).about["facts"].get("stood_in"))
    identical = all(one.rows == 0 for one in compared)
    return DeviceFormat(
        format=planned.use.id,
        versions=about["inputs"]["versions"],
        options=about["facts"]["options"],
        engaged=tuple(told["engaged"]),
        engines=tuple(told["engines"]),
        asked=told["asked"] + told["resumed"],
        resumed=told["resumed"],
        restored=told["restored"],
        shadows="none" if not shadows else "this machine" if stood_in else "device",
        stood_in_regardless=stood_in and bool(stand_ins[0]) and not identical,
        equivalence=compared,
        fingerprint=told["fingerprint"],
    )
