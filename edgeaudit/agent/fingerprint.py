"""The properties of the machine that can change a runtime's outputs."""

from __future__ import annotations

import json
import os
import pkgutil
import platform
from collections.abc import Mapping
from importlib import metadata

import numpy as np

from edgeaudit.agent.messages import Fingerprint, Machine
from edgeaudit.agent.probes import run_probes
from edgeaudit.agent.served import Served, runtime_class
from edgeaudit.host.fingerprint import cpu_flags, cpu_name

__all__ = ["BUILD", "agent_version", "fingerprint", "machine"]

BUILD = "build.json"
"""In the zipapp, beside this module: {"version", "sources"}."""


def agent_version() -> str:
    """Edgeaudit's version; in a zipapp followed by the first digits of the SHA-256 of its sources."""
    try:
        packed = pkgutil.get_data(__package__, BUILD)
    except OSError:
        packed = None
    if packed is None:
        return metadata.version("edgeaudit")
    about = json.loads(packed)
    return f"{about['version']}+{about['sources'][:12]}"


def machine() -> Machine:
    """The part of the fingerprint that needs no runtime."""
    return {
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "isa": list(cpu_flags()),
        "os": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "python": platform.python_version(),
    }


def fingerprint(runtime: str, models: Mapping[str, Served], options: Mapping[str, object]) -> Fingerprint:
    """Everything that distinguishes devices whose outputs differ.

    options: of the runtime; if models are served, the first model's options are used instead. In the result, threads is
    the number that a runtime uses, and cores the number available to this process.
    """
    spec = runtime_class(runtime).spec
    first = next(iter(models.values()), None)
    options = first.runtime.options if first is not None else options
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
