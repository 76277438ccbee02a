"""Device profiles: what is known of a device beforehand. One YAML file each, in device_profiles/ or the user's own."""

from __future__ import annotations

from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edgeaudit.devices.local import KERNEL_FLAGS
from edgeaudit.errors import DeviceError, did_you_mean

__all__ = [
    "GROUP",
    "Accelerator",
    "Cpu",
    "Default",
    "Emulation",
    "Profile",
    "RuntimeBuild",
    "System",
    "Verified",
    "find_profile",
    "profile_names",
]

GROUP = "edgeaudit.device_profiles"
"""Entry points of other packages: name -> a package with profiles as `<name>.yaml`."""

Flag = Annotated[str, Field(pattern=f"^({'|'.join(KERNEL_FLAGS)})$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cpu(_Part):
    """The processor. isa: flags (edgeaudit.devices.local.KERNEL_FLAGS) that it has; lacks: that it does not."""

    name: str
    machine: Literal["aarch64", "x86_64"]
    cores: int = Field(ge=1)
    isa: tuple[Flag, ...]
    lacks: tuple[Flag, ...] = ()


class Emulation(_Part):
    """How QEMU's user mode stands in. cpu: its model for -cpu. differs: in what it is not that processor."""

    cpu: str
    differs: tuple[str, ...] = ()


class System(_Part):
    """Operating system, its C library and the Python that runtimes are installed for."""

    name: str
    libc: str | None = None
    python: str = Field(pattern=r"^3\.\d+$")


class RuntimeBuild(_Part):
    """A runtime as it can be had for the device.

    requirements: exact pins, as pip takes them, that the emulation installs; empty where pip cannot bring it.
    version: of the runtime. source: where the build comes from, in words.
    """

    version: str
    requirements: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+==[^ ]+$")], ...] = ()
    source: str


class Accelerator(_Part):
    """Something beside the CPU that computes. options: of the runtime, that engage it; none where it cannot."""

    name: str
    runtime: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    note: str = ""


class Default(_Part):
    """A default of a runtime on this device that changes answers."""

    runtime: str
    what: str


class Verified(_Part):
    """What was compared with what. by: hardware, emulated (nobody compared a board) or none (nothing was run)."""

    by: Literal["hardware", "emulated", "none"]
    compared: str


class Profile(_Part):
    """One device. `schema` is the version of this layout."""

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    cpu: Cpu
    emulation: Emulation | None = None
    memory_mib: tuple[int, ...] = Field(min_length=1)
    system: System
    runtimes: dict[str, RuntimeBuild]
    accelerators: tuple[Accelerator, ...] = ()
    defaults: tuple[Default, ...] = ()
    verified: Verified
    sources: tuple[str, ...] = Field(min_length=1)

    @field_validator("sources")
    @classmethod
    def _say_something(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if any(len(source.split()) < 2 for source in sources):
            raise ValueError("a source is named in words: who published what, and when it was read")
        return sources


def profile_names() -> tuple[str, ...]:
    """Names of all profiles: our own and those of other packages."""
    return tuple(sorted(_files()))


def find_profile(name: str) -> Profile:
    """The profile called `name`, or in the file `name` where that ends in .yaml.

    Raises `DeviceError`: with the known names where there is none, with key and file where it breaks the schema.
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else _files().get(name)
    if path is None:
        known = ", ".join(profile_names())
        hint = did_you_mean(name, profile_names())
        raise DeviceError(f"there is no device profile '{name}'.{hint} There are: {known}; or name a .yaml file")
    profile = _read(path)
    if path.name != f"{profile.name}.yaml" and not name.endswith((".yaml", ".yml")):
        raise DeviceError(f"{path}: it is called '{profile.name}', and the file {path.stem}")
    return profile


@cache
def _files() -> dict[str, Path]:
    folders = [Path(str(resources.files("edgeaudit.device_profiles")))]
    folders += [Path(str(resources.files(point.value))) for point in metadata.entry_points(group=GROUP)]
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            if path.stem in found:
                raise DeviceError(f"two packages have a device profile '{path.stem}': {found[path.stem]} and {path}")
            found[path.stem] = path
    return found


def _read(path: Path) -> Profile:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DeviceError(f"the device profile {path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise DeviceError(f"the device profile {path} is not YAML: {' '.join(str(exc).split())}") from exc
    try:
        return Profile.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DeviceError(f"the device profile {path}: {key}: {first['msg']}") from exc
