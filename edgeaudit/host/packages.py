"""Versions of the packages that a plugin needs, and the distribution that provides it.

Read by the device side, too: standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata

from edgeaudit.errors import MissingToolchain

__all__ = ["installed_versions", "package_versions", "providing_distribution"]

_OWN = "edgeaudit"


def package_versions(
    what: str, packages: Iterable[str], extra: str, provider: Callable[[], str] = lambda: _OWN
) -> dict[str, str]:
    """Installed version of each package.

    Raises `MissingToolchain` with the pip command for `extra` of the distribution that `provider` returns.
    """
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            raise MissingToolchain(what, package, extra, provider()) from None
    return versions


def providing_distribution(spec: object, group: str) -> str:
    """The distribution whose entry point in `group` provides the plugin with this spec; edgeaudit for built-in ones.

    Imports nothing: a plugin whose spec is available is already imported.
    """
    if sys.version_info < (3, 10):  # noqa: UP036  the oldest Python of the agent, which has no plugins
        return _OWN
    for point in metadata.entry_points(group=group):
        plugin = getattr(sys.modules.get(point.module), point.attr, None)
        if point.dist is not None and getattr(plugin, "spec", None) == spec:
            return point.dist.name
    return _OWN


def installed_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Version of each distribution, None if it is not installed."""
    versions: dict[str, str | None] = dict.fromkeys(packages)
    for package in versions:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
