"""Device profiles: what is known about a device in advance.

One YAML file each, in device_profiles/ or the user's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from edgeaudit.agent import RUNTIMES
from edgeaudit.config.base import PlainNumbers
from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import DeviceError, did_you_mean
from edgeaudit.host.fingerprint import KERNEL_FLAGS

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

_ARM_FLAGS = KERNEL_FLAGS[KERNEL_FLAGS.index("asimd") :]
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "aarch64": _ARM_FLAGS,
    "x86_64": KERNEL_FLAGS[: -len(_ARM_FLAGS)],
}
"""Machine -> the flags of `KERNEL_FLAGS` that exist on it."""


def _known(names: tuple[str, ...], what: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Annotations that restrict a string to `names`, with a suggestion in the error."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"'{name}' is not a known {what}.{did_you_mean(name, names)} Known: {', '.join(names)}")
        return name

    return AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(names)})


Flag = Annotated[str, *_known(KERNEL_FLAGS, "CPU flag by which runtimes choose kernels")]
RuntimeName = Annotated[str, *_known(tuple(RUNTIMES), "runtime that can be served on a device")]


class _Part(PlainNumbers):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cpu(_Part):
    """The processor.

    machine: as in `uname -m`. cores: their number. isa: flags (edgeaudit.host.fingerprint.KERNEL_FLAGS) that it has;
    lacks: flags that it does not have. A flag in neither is unknown.
    """

    name: str
    machine: Literal["aarch64", "x86_64"]
    cores: int = Field(ge=1)
    isa: tuple[Flag, ...]
    lacks: tuple[Flag, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Cpu:
        if both := [flag for flag in self.isa if flag in self.lacks]:
            raise ValueError(f"'{both[0]}' is in both isa and lacks")
        if unknown := [flag for flag in (*self.isa, *self.lacks) if flag not in _FLAGS[self.machine]]:
            raise ValueError(
                f"'{unknown[0]}' is not a flag of {self.machine}; it has: {', '.join(_FLAGS[self.machine])}"
            )
        return self

    @property
    def int8(self) -> str:
        """ONNX Runtime's int8 kernels on this CPU, and whether their sums are exact."""
        flags = set(self.isa)
        if self.machine == "aarch64":
            return "i8mm, exact" if "i8mm" in flags else "dot product, exact" if "asimddp" in flags else "NEON, exact"
        if flags & {"avx512_vnni", "avx_vnni"}:
            return "VNNI, exact"
        if "avx2" in flags:
            return f"{'AVX512' if 'avx512bw' in flags else 'AVX2'}, saturating"
        return "SSE, exact"


class Emulation(_Part):
    """Emulation by QEMU in user mode.

    cpu: the model for -cpu. qemu: the first release with that model. differs: how the emulated device differs from
    the real one.
    """

    cpu: str
    qemu: str = Field("7.2", pattern=r"^\d+\.\d+$")
    differs: tuple[str, ...] = ()


class System(_Part):
    """The operating system, its C library and its Python."""

    name: str
    libc: str | None = None
    python: str = Field(pattern=r"^3\.\d+$")
    note: str = ""


class RuntimeBuild(_Part):
    """A runtime as available for the device.

    requirements: exact pins for pip, which the emulation installs; empty if pip cannot install it.
    version: of the runtime. source: where the build comes from, in words.
    """

    version: str
    requirements: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+==[^ ]+$")], ...] = ()
    source: str

    @model_validator(mode="after")
    def _pinned(self) -> RuntimeBuild:
        versions = [pin.partition("==")[2] for pin in self.requirements]
        if versions and self.version not in versions:
            raise ValueError(f"version is {self.version}, and none of the requirements pins it: {self.requirements}")
        return self


class Accelerator(_Part):
    """A processor other than the CPU.

    runtime: that can use it; None if none of edgeaudit's can. options: of that runtime, to use it.
    """

    name: str
    runtime: RuntimeName | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    note: str = ""

    @model_validator(mode="after")
    def _engaged(self) -> Accelerator:
        if self.options and self.runtime is None:
            raise ValueError("options require a runtime; name it, or remove them")
        return self


class Default(_Part):
    """A default of a runtime on this device that changes outputs.

    options: with which edgeaudit's runtime behaves like an application that sets nothing; empty if it does already.
    """

    runtime: RuntimeName
    what: str
    options: dict[str, Any] = Field(default_factory=dict)


class Verified(_Part):
    """How the profile was verified. by: hardware, emulated (not compared with a board) or none (nothing was run)."""

    by: Literal["hardware", "emulated", "none"]
    compared: str


class Profile(_Part):
    """One device. `schema` is the version of the file format."""

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    cpu: Cpu
    emulation: Emulation | None = None
    memory_mib: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    system: System
    runtimes: dict[RuntimeName, RuntimeBuild]
    accelerators: tuple[Accelerator, ...] = ()
    defaults: tuple[Default, ...] = ()
    verified: Verified
    sources: tuple[str, ...] = Field(min_length=1)

    @field_validator("sources")
    @classmethod
    def _say_something(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if any(len(source.split()) < 2 for source in sources):
            raise ValueError("a source must say in words who published what")
        return sources

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if self.emulation is None and self.verified.by == "emulated":
            raise ValueError("verified.by is 'emulated', but 'emulation' is missing")
        parts = [("accelerators", part.runtime) for part in self.accelerators]
        for key, runtime in [*parts, *(("defaults", part.runtime) for part in self.defaults)]:
            if runtime is not None and runtime not in self.runtimes:
                raise ValueError(f"{key} refer to the runtime '{runtime}', which is not in 'runtimes'")
        return self

    @property
    def transports(self) -> tuple[str, ...]:
        """Names of the transports that reach it."""
        return (*(("emulated",) if self.emulation is not None else ()), "ssh", "http")


def profile_names() -> tuple[str, ...]:
    """Names of all profiles: built-in and from other packages."""
    return tuple(sorted(_files()))


def find_profile(name: str) -> Profile:
    """The profile called `name`, or in the file `name` if that ends in .yaml.

    Raises `DeviceError` with the known names if there is none, and with key and file if it violates the schema.
    """
    by_path = name.endswith((".yaml", ".yml"))
    path = Path(name).expanduser() if by_path else _files().get(name)
    if path is None:
        known = ", ".join(profile_names())
        hint = did_you_mean(name, profile_names())
        raise DeviceError(
            f"there is no device profile '{name}'.{hint} Known: {known}; or give the path of a .yaml file"
        )
    profile = _read(path)
    if path.stem != profile.name and not by_path:
        raise DeviceError(f"the device profile {path}: name: '{profile.name}' does not match the file name {path.name}")
    return profile


@cache
def _files() -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.yaml")):
            if path.stem in files:
                raise DeviceError(f"two packages have a device profile '{path.stem}': {files[path.stem]} and {path}")
            files[path.stem] = path
    return files


def _folders() -> Iterator[Path]:
    yield Path(str(resources.files("edgeaudit.device_profiles")))
    for point in metadata.entry_points(group=GROUP):
        try:
            folder = Path(str(resources.files(point.value)))
        except (ImportError, TypeError) as exc:  # TypeError: a module, not a package
            raise DeviceError(
                f"the entry point '{point.name}' of {GROUP} names '{point.value}', which is not a package with "
                "profiles "
                f"({exc}); fix or uninstall it"
            ) from exc
        if not any(folder.glob("*.yaml")):
            raise DeviceError(f"the entry point '{point.name}' of {GROUP}: no profile (*.yaml) in {folder}")
        yield folder


def _read(path: Path) -> Profile:
    what = f"the device profile {path}"
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DeviceError(
            f"{what} cannot be read: {exc.strerror}. `edgeaudit devices list` shows the built-in profiles"
        ) from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise DeviceError(f"{what} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(raw, dict):
        raise DeviceError(f"{what} must be a mapping of keys ({', '.join(_keys(Profile))}); got {type(raw).__name__}")
    try:
        return Profile.model_validate(raw)
    except ValidationError as exc:
        raise DeviceError(f"{what}: " + "; ".join(_sentence(entry) for entry in exc.errors())) from exc


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "cpu": Cpu, "emulation": Emulation, "system": System, "runtimes": RuntimeBuild, "accelerators": Accelerator,
    "defaults": Default, "verified": Verified,
}  # fmt: skip

_PLAIN = {
    "dict_type": "must be a mapping of keys",
    "missing": "is missing",
    "model_type": "must be a mapping of keys",
    "string_type": "must be text; put it in quotes",
    "too_short": "must have at least one entry",
    "tuple_type": "must be a list",
}
"""Replacements for pydantic's messages that use Python terms."""


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _sentence(error: Any) -> str:
    """A pydantic error as a sentence that names the key."""
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(parts)
    if error["type"] == "extra_forbidden":
        known = _keys(_SECTIONS[parts[0]] if len(parts) > 1 else Profile)
        return f"'{key}' is not a known key.{did_you_mean(parts[-1], known)} Known: {', '.join(known)}"
    message = _PLAIN.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    value = error.get("input")
    got = f" (got {value!r})" if isinstance(value, (str, int, float, bool)) and repr(value) not in message else ""
    return f"{key}: {message}{got}" if key else message
