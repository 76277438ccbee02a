"""The section `devices`: where formats are queried, how to reach a device, and query budgets."""

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
"""The schemes depend on the installed transports; the plan rejects an unknown one."""
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def _as_seconds(value: object) -> object:
    """Seconds, or a number with its unit: 90, 30s, 15m, 2h."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", value.strip())
    if match is None:
        raise ValueError("write seconds, or a number with its unit, as in 30s, 15m or 2h")
    return float(match.group(1)) * _UNITS[match.group(2) or "s"]


_Ids = str | tuple[str, ...] | None
_Time = Annotated[float, Field(gt=0)] | Annotated[str, Field(pattern=_TIME)] | None


class DeviceSpec(Section):
    """A device that formats are queried on."""

    profile: Annotated[str, names_of("profile")] | None = None
    """A device profile (`edgeaudit devices list`), or a .yaml file of your own."""
    via: str = ""
    """local, emulated, ssh://[user@]host[:port], or a running server: oip://host:port, http[s]://host:port."""
    formats: Annotated[tuple[str, ...] | None, BeforeValidator(as_list, json_schema_input_type=_Ids)] = None
    """Formats to query there; by default all that an agent can serve."""
    batch: int | None = Field(None, ge=1, le=1_000_000)
    """Records per query, instead of the format's own batch."""
    options: dict[str, Params] = Field(default_factory=dict)
    """Runtime -> options, as the device's own application sets them: `{onnxruntime: {session: {}}}`."""
    shadows: Literal["probe", "device", "native"] = "probe"
    """Where shadows are queried: here if answers are bit-identical (`probe`), there (`device`), or here (`native`)."""
    probe_records: int = Field(256, ge=32, le=1_000_000)
    """Records on which a shadow is compared on both machines for `shadows: probe`."""
    rate: float | None = Field(None, gt=0)
    """Maximum number of records per second."""
    retries: int = Field(6, ge=0)
    """How often a lost connection is restored, with increasing waits."""
    max_queries: int | None = Field(None, ge=1)
    """Maximum number of queried records, over all formats."""
    max_time: Annotated[float | None, BeforeValidator(_as_seconds, json_schema_input_type=_Time)] = Field(
        None, gt=0, lt=math.inf
    )
    """Maximum time of querying, over all formats: seconds, or 30s, 15m, 2h."""
    python: str = "python3"
    """The Python interpreter on the ssh host."""
    keep: bool = False
    """Keep the files that were copied over ssh."""
    token: str | None = None
    """The environment variable with the token of a server; never the token itself."""
    model: str | dict[str, str] | None = None
    """Name of the artifact on a server, or format -> name for several."""

    @model_validator(mode="before")
    @classmethod
    def _way(cls, raw: object) -> object:
        """A profile alone means emulation, an empty mapping this machine."""
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
        values = {key: getattr(self, key) for key in fields}
        set_keys = [key for key, field in fields.items() if values[key] != field.get_default(call_default_factory=True)]
        if self.is_local and (unused := [key for key in set_keys if key not in {"via", "formats"}]):
            raise ValueError(f"'{unused[0]}' has no effect on this machine; set it in the formats")
        if not self.is_server and (self.token or self.model):
            raise ValueError("'token' and 'model' are for an existing server (via: oip://host:port)")
        if not self.via.startswith("ssh://") and (self.keep or self.python != "python3"):
            raise ValueError("'python' and 'keep' are for via: ssh://user@host")
        return self

    @property
    def is_local(self) -> bool:
        """Whether this is the machine that edgeaudit runs on."""
        return self.via == LOCAL

    @property
    def is_server(self) -> bool:
        """Whether the device is an existing server with fixed models."""
        return not self.is_local and self.via != EMULATED and not self.via.startswith("ssh://")

    def endpoint(self, format_id: str) -> Endpoint:
        """How the device is reached for a format."""
        model = self.model.get(format_id) if isinstance(self.model, dict) else self.model
        return Endpoint(self.via, self.profile, self.python, self.token, model, self.keep)


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
_Profile = Annotated[str, names_of("device")]
Devices = dict[_Name, DeviceSpec]
DevicesInput = (
    _Profile | Annotated[tuple[_Profile, ...], Field(min_length=1)] | dict[_Name, _Profile | DeviceSpec | None]
)
"""What `as_devices` reads, for the JSON Schema."""


def as_devices(value: object) -> object:
    """A list of names maps each to itself; a name means the emulated profile of that name."""
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
