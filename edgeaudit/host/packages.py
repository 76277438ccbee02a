"""What all plugins share: versions of the packages they need, and those that other packages offer by entry point.

Read by the device side, too: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from typing import Any, TypeVar

from edgeaudit.errors import EdgeAuditError, MissingToolchain

__all__ = ["installed_versions", "package_versions", "with_entry_points"]

_Plugin = TypeVar("_Plugin")


def package_versions(what: str, packages: Iterable[str], extra: str) -> dict[str, str]:
    """Installed version of each package; raises `MissingToolchain` with the pip line for `extra`."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            raise MissingToolchain(what, package, extra) from None
    return found


def installed_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Version of each distribution, None where it is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in found:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def with_entry_points(
    own: Iterable[type[_Plugin]], group: str, kind: type[Any], error: type[EdgeAuditError]
) -> dict[str, type[_Plugin]]:
    """Our own classes and those of other packages, by the name in their `spec`.

    group: of the entry points. kind: the class that each must be a subclass of. Raises `error` for an entry point
    that is not, and for a name that is taken.
    """
    noun = kind.__name__.lower()
    found: dict[str, type[_Plugin]] = {_name(plugin): plugin for plugin in own}
    for point in metadata.entry_points(group=group):  # Python 3.10's; the agent, on 3.9, has no plugins
        plugin = point.load()
        if not (isinstance(plugin, type) and issubclass(plugin, kind)):
            raise error(f"the entry point '{point.name}' of {group} is no {kind.__name__} class: {point.value}")
        if _name(plugin) in found:
            raise error(f"there is a {noun} called '{_name(plugin)}' already; the second is {point.value}")
        found[_name(plugin)] = plugin
    return found


def _name(plugin: Any) -> str:
    return str(plugin.spec.name)
