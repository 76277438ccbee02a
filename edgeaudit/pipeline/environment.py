"""The environment of an audit: Python, operating system, CPU and the versions of packages that affect numbers."""

from __future__ import annotations

import platform
from importlib import metadata

from edgeaudit.devices.environment_runtimes import EnvironmentSpec
from edgeaudit.exporters import pass_specs
from edgeaudit.graph.confinement import described
from edgeaudit.host.fingerprint import cpu_flags, cpu_name
from edgeaudit.report.model import Environment
from edgeaudit.runtimes.registry import runtime_specs

__all__ = ["current_environment", "installed", "version"]

_OWN = ("numpy", "scipy", "scikit-learn", "torch", "torchvision", "safetensors")


def version() -> str:
    """The version of edgeaudit."""
    return metadata.version("edgeaudit")


def installed(package: str) -> str | None:
    """A distribution's version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def current_environment() -> Environment:
    """The environment of this process; workers run in the same one."""
    runtimes = [spec for spec in runtime_specs() if not isinstance(spec, EnvironmentSpec)]
    plugins = [s.packages for s in pass_specs()] + [s.packages for s in runtimes]
    names = sorted({*_OWN, *(package for packages in plugins for package in packages)})
    packages = {name: installed(name) for name in names} | _elsewhere()
    return Environment(
        python=platform.python_version(),
        os=f"{platform.system()} {platform.machine()}",
        cpu=cpu_name(),
        isa=cpu_flags(),
        packages={name: found for name, found in packages.items() if found is not None},
        foreign_files=described(),
    )


def _elsewhere() -> dict[str, str | None]:
    """Packages of separate environments, by environment and name, since a package may be in several."""
    specs = [spec for spec in runtime_specs() if isinstance(spec, EnvironmentSpec)]
    return {f"{s.environment}: {name}": version for s in specs for name, version in s.installed().items()}
