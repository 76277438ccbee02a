"""The section `devices`: where formats are asked, how to get there, and how much may be asked."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from edgeaudit.config.base import Section, as_list, each_once, names_of
from edgeaudit.config.entries import Params
from edgeaudit.endpoint import EMULATED, LOCAL, Endpoint

__all__ = ["DeviceSpec", "Devices", "DevicesInput", "as_devices"]

_TIME = r"^\s*\d+(\.\d+)?\s*[smh]?\s*$"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_FAR = re.compile(r"^[a-z][a-z0-9+.-]*://[^\s/]+")
"""Which schemes there are, depends on the installed transports; a plan refuses an unknown one."""
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def _as_seconds(value: object) -> object:
    """Seconds, or a number with its unit: 90, 30s, 15m, 2h."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", value.strip())
    if found is None:
        raise ValueError("write seconds, or a number with its unit, as in 30s, 15m or 2h")
    return float(found.group(1)) * _UNITS[found.group(2) or "s"]


_Ids = str | tuple[str, ...] | None
_Time = Annotated[float, Field(gt=0)] | Annotated[str, Field(pattern=_TIME)] | None


class DeviceSpec(Section):
    """A device that formats are queried on."""

    profile: Annotated[str, names_of("profile")] | None = None
    """A device profile (`edgeaudit devices list`), or a .yaml file of your own."""
    via: str = ""
    """local, emulated, ssh://[user@]host[:port], or a running server: oip://host:port, http[s]://host:port."""
    formats: Annotated[tuple[str, ...] | None, BeforeValidator(as_list, json_schema_input_type=_Ids)] = None
    """Formats that are queried there; left out, all that an agent can serve."""
    batch: int | None = Field(None, ge=1)
    """Records in one query, in place of the format's own batch."""
    options: dict[str, Params] = Field(default_factory=dict)
    """Runtime -> options, as the device's own application sets them: `{onnxruntime: {session: {}}}`."""
    shadows: Literal["probe", "device", "native"] = "probe"
    """Where shadows are queried: here if that is shown to answer bit for bit the same (`probe`), there, or here."""
    probe_records: int = Field(256, ge=32)
    """Records on which a shadow is queried in both places for `shadows: probe`."""
    rate: float | None = Field(None, gt=0)
    """Records a second, at most."""
    retries: int = Field(6, ge=0)
    """How often a lost connection is restored, with longer and longer waits."""
    max_queries: int | None = Field(None, ge=1)
    """Records that are queried, of all formats together, at most."""
    max_time: Annotated[float | None, BeforeValidator(_as_seconds, json_schema_input_type=_Time)] = Field(
        None, gt=0, lt=math.inf
    )
    """Time of querying, of all formats together: seconds, or 30s, 15m, 2h."""
    python: str = "python3"
    """The interpreter at the other end of ssh."""
    keep: bool = False
    """Leave there what was copied over ssh."""
    token: str | None = None
    """The environment variable with the token of a server; never the token itself."""
    model: str | dict[str, str] | None = None
    """What a server calls the artifact, or format -> name where there are several."""

    @model_validator(mode="before")
    @classmethod
    def _way(cls, raw: object) -> object:
        """A profile alone is emulated, and nothing at all is this machine."""
        if isinstance(raw, dict) and not raw.get("via"):
            return {**raw, "via": EMULATED if raw.get("profile") else LOCAL}
        return raw

    @field_validator("via")
    @classmethod
    def _known_way(cls, via: str) -> str:
        if via not in {LOCAL, EMULATED} and not _FAR.match(via):
            raise ValueError(
                "write local, emulated, ssh://user@host, or oip://, http:// or https:// with host and port"
            )
        return via

    @field_validator("token")
    @classmethod
    def _name_of_a_variable(cls, token: str | None) -> str | None:
        if token is not None and not _VARIABLE.match(token):
            raise ValueError("name the environment variable that has the token; the token itself is never written down")
        return token

    @field_validator("formats")
    @classmethod
    def _formats_differ(cls, formats: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if formats is None else each_once(formats)

    @model_validator(mode="after")
    def _fit(self) -> DeviceSpec:
        if self.via == EMULATED and self.profile is None:
            raise ValueError("an emulated device needs its profile: profile: raspberry-pi-4 (`edgeaudit devices list`)")
        fields = type(self).model_fields
        given = {key: getattr(self, key) for key in fields}
        told = [key for key, field in fields.items() if given[key] != field.get_default(call_default_factory=True)]
        if self.is_local and (unused := [key for key in told if key not in {"via", "formats"}]):
            raise ValueError(f"'{unused[0]}' is of no use on this machine; its formats say how they are asked")
        if not self.is_server and (self.token or self.model):
            raise ValueError("'token' and 'model' are for a server that is already there (via: oip://host:port)")
        if not self.via.startswith("ssh://") and (self.keep or self.python != "python3"):
            raise ValueError("'python' and 'keep' are for via: ssh://user@host")
        return self

    @property
    def is_local(self) -> bool:
        """Whether this is the machine that edgeaudit runs on."""
        return self.via == LOCAL

    @property
    def is_server(self) -> bool:
        """Whether a server is already there, which serves what it serves."""
        return not self.is_local and self.via != EMULATED and not self.via.startswith("ssh://")

    def endpoint(self, format_id: str) -> Endpoint:
        """How the device is reached for a format."""
        model = self.model.get(format_id) if isinstance(self.model, dict) else self.model
        return Endpoint(self.via, self.profile, self.python, self.token, model, self.keep)


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
_Profile = Annotated[str, names_of("device")]
Devices = dict[_Name, DeviceSpec]
DevicesInput = (
    _Profile | Annotated[tuple[_Profile, ...], Field(min_length=1)] | dict[_Name, _Profile | DeviceSpec | None]
)
"""What `as_devices` reads, for the JSON Schema."""


def as_devices(value: object) -> object:
    """A list of names is the mapping of each to itself; a name stands for the profile of that name, emulated."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        if not all(isinstance(one, str) for one in value):
            raise ValueError("must be a list of names of profiles, or a mapping: {pi: {profile: raspberry-pi-4}}")
        each_once(tuple(value))
        value = {one: {} if one == LOCAL else one for one in value}
    if not isinstance(value, dict):
        return value
    return {name: {"profile": one} if isinstance(one, str) else one or {} for name, one in value.items()}
