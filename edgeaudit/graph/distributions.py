"""Installed distributions: whose a package is, its version, what it depends on, what files it brought.

All is said of what was installed, whatever the process has done to its import path since: setuptools 71 and later
appends the folder `setuptools/_vendor` to `sys.path` when it is imported, which has distributions of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = [
    "content_digest", "distribution_versions", "distributions_of", "installed_folders", "installed_state",
    "is_vendored", "standard_folders", "with_dependencies",
]  # fmt: skip

_OWN = "edgeaudit"
_VENDOR = f"{os.sep}_vendor"
"""What ends the path of a folder with another package's copies of its dependencies."""


def distribution_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Distribution -> version for top-level package names; name -> None for packages that are not installed."""
    installed = installed_state()
    versions: dict[str, str | None] = {}
    for name in packages:
        distributions = _distributions_of(name, installed)
        versions |= {full: _version(full, installed) for full in distributions} if distributions else {name: None}
    return dict(sorted(versions.items()))


def distributions_of(package: str) -> tuple[str, ...]:
    """The distributions that a top-level package is of; empty where it is of none, as a module copied by hand."""
    return _distributions_of(package, installed_state())


def with_dependencies(distributions: Iterable[str]) -> tuple[str, ...]:
    """The distributions and the installed ones that they require, directly or not, sorted; missing ones of the first.

    Not those of extras, since their owner works without them, those for other Pythons and systems, and those of
    edgeaudit, whose code is in the key.
    """
    names = tuple(sorted(set(distributions)))
    return _with_dependencies(names, installed_state())


def content_digest(distribution: str) -> str:
    """SHA-256 over the names and digests of the files that a distribution brought, as it lists them itself.

    So a distribution that is built and installed again under the same version is noticed. "" where it has no list.
    Left out is what differs between installations of one wheel: bytecode, scripts, the installer's own files.
    """
    try:
        record = _distribution(distribution).read_text("RECORD") or ""
    except metadata.PackageNotFoundError:
        return ""
    kept = sorted(line for line in record.splitlines() if not re.match(r'"?\.\.|[^/]*\.dist-info/|[^,]*\.pyc,', line))
    return hashlib.sha256("\n".join(kept).encode()).hexdigest() if kept else ""


def installed_state() -> tuple[int, ...]:
    """When packages were last installed or removed, from the folders' mtimes: ns since the epoch."""
    return tuple(_mtime(folder) for folder in installed_folders())


def installed_folders() -> tuple[Path, ...]:
    """The folders called site-packages or dist-packages that modules are imported from."""
    return _resolved(tuple(sys.path))


def is_vendored(path: str) -> bool:
    """Whether a file or folder is an installed package's own copy of one that it depends on."""
    inside = f"{path}{os.sep}"
    return f"{_VENDOR}{os.sep}" in inside and inside.startswith(tuple(f"{one}{os.sep}" for one in installed_folders()))


@cache
def standard_folders() -> tuple[Path, ...]:
    """The folders of the standard library; those of installed distributions may be inside them."""
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")})


@cache
def _resolved(path: tuple[str, ...]) -> tuple[Path, ...]:
    entries = (*sysconfig.get_paths().values(), *path)  # 50 us, and each job asks
    folders = {Path(entry).resolve() for entry in entries if entry.endswith(("site-packages", "dist-packages"))}
    return tuple(sorted(folders))


def _mtime(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _distribution(name: str) -> metadata.Distribution:
    """The installed distribution with this name. Raises `PackageNotFoundError`."""
    path = [entry for entry in sys.path if not is_vendored(entry)]
    for found in metadata.distributions(name=name, path=path):
        return found
    raise metadata.PackageNotFoundError(name)


@cache
def _distributions_of(package: str, installed: tuple[int, ...]) -> tuple[str, ...]:
    if not _is_present(package):
        return tuple(name for name in sorted(set(_by_package(installed).get(package, ()))) if _is_present(name))
    return (package,)


def _is_present(name: str) -> bool:
    try:
        _distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@cache
def _version(distribution: str, installed: tuple[int, ...]) -> str:  # noqa: ARG001  see `installed_state`
    return metadata.version(distribution)


@cache
def _by_package(installed: tuple[int, ...]) -> dict[str, list[str]]:  # noqa: ARG001  see `installed_state`
    return dict(metadata.packages_distributions())


@cache
def _with_dependencies(names: tuple[str, ...], installed: tuple[int, ...]) -> tuple[str, ...]:
    found: dict[str, str] = {}  # normalised name -> as written first
    queue = list(names)
    while queue:
        name = queue.pop(0)
        plain = _plain(name)
        required = _required(plain, installed)
        if plain not in found and plain != _OWN and (required is not None or name in names):
            found[plain] = name if name in names else plain
            queue += required or ()
    return tuple(sorted(found.values()))


@cache
def _required(name: str, installed: tuple[int, ...]) -> tuple[str, ...] | None:  # noqa: ARG001  see `installed_state`
    """Names of the distributions that one requires; None if it is not installed."""
    try:
        about = _distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return tuple(_names(about.requires or ()))


def _names(requirements: Iterable[str]) -> Iterator[str]:
    """Names of the distributions that are required here."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in requirements:
        with suppress(InvalidRequirement):  # written before there was a standard; pip refuses it, too
            required = Requirement(text)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                yield required.name


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
