"""spec.json: what later commands need of a run and its report does not show, such as where its data are.

The file is for its owner alone (mode 0600). `attack`, `export` and `devices deploy` read it, `check` and `report` do
not.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from edgeaudit.config.audit import AuditSpec, recorded_spec
from edgeaudit.errors import RunError
from edgeaudit.graph.store import Store
from edgeaudit.report.files import write_atomically
from edgeaudit.report.private import Private, machine_names

__all__ = ["RECORDED", "Recorded", "SpecOrigin", "private_of", "read_recorded", "require_records", "write_recorded"]

RECORDED = "spec.json"
_VERSION = 1
_REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+:[A-Za-z_]\w*")
_MEMBERS = ("audit_yaml", "folder", "store", "population", "spec")


@dataclass(frozen=True)
class SpecOrigin:
    """Where an audit comes from.

    file: the audit.yaml as it was named, if any. folder: where modules are found. replaced: keys whose values are not
    the file's own, but those of a command line. sha256: of the file as it was read; None where that was not recorded.
    """

    folder: Path
    file: str | None = None
    replaced: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def changed(self) -> bool:
        """Whether budgets were replaced."""
        return any(key.split(".")[0] == "budgets" for key in self.replaced)


@dataclass(frozen=True)
class Recorded:
    """A run's spec with full paths, where it comes from and what its store is. population: key of its records."""

    spec: AuditSpec
    origin: SpecOrigin
    store: Path
    population: str


def write_recorded(out: Path, spec: AuditSpec, origin: SpecOrigin, store: Path, population: str) -> None:
    """Write spec.json into a run's folder, mode 0600. Raises `StoreError`."""
    about = {
        "version": _VERSION,
        "audit_yaml": None if origin.file is None else str(Path(origin.file).resolve()),
        "audit_yaml_sha256": origin.sha256,
        "replaced": list(origin.replaced),
        "folder": str(origin.folder.resolve()),
        "store": str(store.resolve()),
        "population": population,
        "spec": spec.model_dump(mode="json", by_alias=True),
    }
    write_atomically(out / RECORDED, json.dumps(about, indent=1) + "\n")


def read_recorded(run: Path) -> Recorded:
    """Read what a run recorded. Raises `RunError` with the remedy where that is missing or damaged."""
    path = run / RECORDED
    again = "copy it from where the audit ran, or run the audit again with this folder as --out, which repeats no work"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        texts = {name: about[name] for name in _MEMBERS if name != "spec"}
        spec = about["spec"]
    except FileNotFoundError as exc:
        raise RunError(f"{path} is missing, which has the paths of the run's data and models: {again}") from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise RunError(f"{path} cannot be read: {again}") from exc
    if about.get("version") != _VERSION or not isinstance(spec, dict):
        raise RunError(f"{path} is of another version of edgeaudit: run the audit again with this folder as --out")
    if not all(isinstance(text, str) for name, text in texts.items() if name != "audit_yaml"):
        raise RunError(f"{path} cannot be read: {again}")
    folder = Path(texts["folder"])
    # A project that was moved is found from the current folder, as before it was recorded.
    return Recorded(
        recorded_spec(spec, path),
        SpecOrigin(folder if folder.is_dir() else Path.cwd(), texts["audit_yaml"], _replaced(about), _digest(about)),
        Path(texts["store"]),
        texts["population"],
    )


def _replaced(about: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that a command line replaced; records of earlier versions have none."""
    keys = about.get("replaced")
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()


def _digest(about: Mapping[str, Any]) -> str | None:
    """The digest of audit.yaml; records of earlier versions have none."""
    value = about.get("audit_yaml_sha256")
    return value if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else None


def require_records(recorded: Recorded, store: Store, run: Path) -> None:
    """Raise `RunError` where the store does not have the records of a run, which is at `run`."""
    if not store.has("population", recorded.population):
        raise RunError(
            f"the store {store.root} does not have the records of {run}: they were purged, or it is another store; "
            "name the run's store with --store, or run the audit again, which reads them from the data"
        )


def private_of(spec: AuditSpec, origin: SpecOrigin, store: Path, out: Path) -> Private:
    """What the report of an audit does not show."""
    here, folder = Path.cwd(), origin.folder.resolve()
    values = spec.model_dump(by_alias=True)
    known = {path for value in _texts(values) if (path := _as_path(value, folder, here)) is not None}
    paths: dict[str, str] = {}
    for path in (*known, folder, here, store.resolve(), out.resolve()):
        for spelled in _spellings(path, folder, here):
            paths.setdefault(spelled, path.name)
    if origin.file is not None:
        for spelled in (origin.file, *_spellings(Path(origin.file).resolve(), folder, here)):
            if "/" in spelled:
                paths.setdefault(spelled, Path(origin.file).name)
    home = Path.home()
    paths |= {str(home): "~", str(home.resolve()): "~"}
    paths.pop("/", None)
    users, hosts = machine_names()
    return Private(paths, {**_addresses(spec), **_modules(values, folder)}, users, hosts)


def _texts(value: Any) -> Iterator[str | Path]:
    """Every text and path in a spec."""
    if isinstance(value, str | Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from _texts(value.model_dump(by_alias=True))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _as_path(value: str | Path, folder: Path, here: Path) -> Path | None:
    """The path that a value of audit.yaml names; None for other texts."""
    if isinstance(value, Path):
        return folder / value
    if "/" not in value or "\n" in value or len(value) > 1024:
        return None
    named = Path(value).expanduser() if value.startswith(("~", "/")) else None
    if named is not None:
        return named
    try:
        return next((base / value for base in (folder, here) if (base / value).exists()), None)
    except OSError:  # a name that is too long, or has a null byte
        return None


def _spellings(path: Path, folder: Path, here: Path) -> Iterator[str]:
    """How messages may write a path: in full, through links, and from the folders in which a user works."""
    for one in dict.fromkeys((path, Path(os.path.normpath(path)), path.resolve())):
        yield str(one)
        for base in (folder, here):
            if one != base and one.is_relative_to(base):
                relative = one.relative_to(base)
                yield from (str(part) for part in (relative, *relative.parents) if "/" in str(part))


def _addresses(spec: AuditSpec) -> dict[str, str]:
    """Addresses of devices -> the same kind of address with the device's name."""
    words: dict[str, str] = {}
    for name, device in spec.devices.items():
        address = urlsplit(device.via)
        if not address.netloc:
            continue
        words[device.via] = f"{address.scheme}://{name}"
        words[device.via.rstrip("/")] = f"{address.scheme}://{name}"
        words[address.netloc] = name
        if address.hostname and address.hostname != "localhost":
            words.setdefault(address.hostname, name)
            port = f":{address.port}" if address.port else ""
            words.setdefault(f"{address.hostname}{port}", name)
            if address.username:
                words.setdefault(f"{address.username}@{address.hostname}", name)
    return words


def _modules(values: Any, folder: Path) -> dict[str, str]:
    """References to functions in modules below the folder of audit.yaml -> the same without their packages."""
    found: dict[str, str] = {}
    for text in _texts(values):
        for reference in _REFERENCE.findall(str(text)) if isinstance(text, str) else ():
            module, _, function = reference.partition(":")
            if (folder / module.partition(".")[0]).is_dir():
                found[reference] = f"{module.rpartition('.')[2]}:{function}"
                found[module] = module.rpartition(".")[2]
    return found
