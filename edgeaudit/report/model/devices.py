"""Queries of formats on devices."""

from __future__ import annotations

from typing import Literal

from edgeaudit.report.model.base import Model, Table

__all__ = ["DeviceFormat", "DeviceInfo", "PlacesCompared"]


class PlacesCompared(Model):
    """One model's answers on this machine and on a device: as `SameFile`."""

    model: str
    records: int
    rows: int
    max_abs: float
    top1: int


class DeviceFormat(Model):
    """How one format was queried on a device.

    options: of its runtime. engaged: delegates or execution providers that computed the answers. engines: files that
    the runtime compiled on the device and used, with their SHA-256 and precision. asked: number of records that the
    target was queried on; resumed: those of them that an earlier run had finished. restored: how often the connection
    was lost and restored. shadows: whose answers are used as the shadows', `device` or `this machine`; equivalence: the
    evidence. fingerprint: as the device's agent reported it after answering; empty for other servers.
    """

    format: str
    versions: dict[str, str]
    options: Table
    engaged: tuple[str, ...]
    engines: tuple[Table, ...] = ()
    asked: int
    resumed: int
    restored: int
    shadows: Literal["device", "this machine", "none"]
    stood_in_regardless: bool = False
    equivalence: tuple[PlacesCompared, ...] = ()
    fingerprint: Table


class DeviceInfo(Model):
    """A device that formats were queried on. verified: as its profile states it; null without a profile."""

    name: str
    via: str
    profile: str | None = None
    title: str | None = None
    cpu: str | None = None
    machine: str | None = None
    isa: tuple[str, ...] = ()
    os: str | None = None
    python: str | None = None
    verified: str | None = None
    compared: str | None = None
    formats: tuple[DeviceFormat, ...] = ()
