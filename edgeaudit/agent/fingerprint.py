"""What the agent tells of the machine it runs on, as far as it changes a runtime's answers."""

from __future__ import annotations

import json
import os
import pkgutil
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from edgeaudit.agent.probes import run_probes
from edgeaudit.agent.served import Served, runtime_class
from edgeaudit.host.fingerprint import cpu_flags, cpu_name

__all__ = ["BUILD", "agent_version", "fingerprint", "machine"]

BUILD = "build.json"
"""In the zipapp, beside this module: {"version", "sources"}."""


def agent_version() -> str:
    """Edgeaudit's version, and with it the first digits of the SHA-256 of the agent's sources where it was packed."""
    try:
        packed = pkgutil.get_data(__package__, BUILD)
    except OSError:
        packed = None
    if packed is None:
        return metadata.version("edgeaudit")
    about = json.loads(packed)
    return f"{about['version']}+{about['sources'][:12]}"


def machine() -> dict[str, Any]:
    """The part of it that is known without a runtime."""
    return {
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "isa": list(cpu_flags()),
        "os": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "python": platform.python_version(),
    }


def fingerprint(runtime: str, models: Mapping[str, Served], given: Mapping[str, Any]) -> dict[str, Any]:
    """Everything by which two devices that answer differently can be told apart.

    given: options of the runtime; with models, those that hold for the first count.
    threads: that a runtime computes with; cores: that this process may use.
    """
    spec = runtime_class(runtime).spec
    first = next(iter(models.values()), None)
    options = dict(first.runtime.options if first is not None else given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "agent": agent_version(),
        **machine(),
        "numpy": np.__version__,
        "cores": cores,
        "threads": 1,
        "runtime": {"name": spec.name, "versions": spec.versions()},
        "models": {name: model.facts() for name, model in models.items()},
        "probes": run_probes(runtime, options),
    }
