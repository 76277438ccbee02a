"""What all plugins share: versions of the packages that they need, and the command that installs those.

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

    Raises `MissingToolchain` with the pip line for `extra` of the distribution that `provider` names.
    """
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            raise MissingToolchain(what, package, extra, provider()) from None
    return found


def providing_distribution(spec: object, group: str) -> str:
    """The distribution whose entry point in `group` brings the plugin with this spec; edgeaudit for its own.

    Imports nothing: a plugin that has a spec to ask for is imported already.
    """
    if sys.version_info < (3, 10):  # noqa: UP036  the oldest Python of the agent, which has no plugins
        return _OWN
    for point in metadata.entry_points(group=group):
        plugin = getattr(sys.modules.get(point.module), point.attr, None)
        if point.dist is not None and getattr(plugin, "spec", None) == spec:
            return point.dist.name
    return _OWN


def installed_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Version of each distribution, None where it is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in found:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
