"""Names that a shell completes: what stands so far -> the names that go on from there.

Each is called by the shell's Tab, so it imports little and raises nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

from edgeaudit.errors import EdgeAuditError

__all__ = [
    "agent_runtimes", "attacks", "environments", "executors", "formats", "formats_of_old", "formats_of_run", "profiles",
    "training_changes", "weaker", "writers",
]  # fmt: skip


def attacks(incomplete: str) -> list[str]:
    """Names of attacks, separated by commas, and `all`."""
    from edgeaudit.attacks.registry import ALL, ATTACKS

    with suppress(EdgeAuditError):
        return _after_commas((*ATTACKS.names(), ALL), incomplete)
    return []


def formats(incomplete: str) -> list[str]:
    """Preset formats."""
    from edgeaudit.formats.presets import FORMATS

    return _from(FORMATS, incomplete)


def training_changes(incomplete: str) -> list[str]:
    """Changes that `advise` tries, separated by commas."""
    from edgeaudit.pipeline.training_changes import CHANGES

    with suppress(EdgeAuditError):
        return _after_commas(tuple(CHANGES), incomplete)
    return []


def weaker(incomplete: str) -> list[str]:
    """Weaker exposures as threat.weaker has them, separated by commas; the numbers are examples."""
    return _after_commas(("top-1", "top-3", "rounded-1", "rounded-2", "label", "probabilities"), incomplete)


def writers(incomplete: str) -> list[str]:
    """Report writers."""
    from edgeaudit.report.registry import WRITERS

    with suppress(EdgeAuditError):
        return _from(WRITERS.names(), incomplete)
    return []


def executors(incomplete: str) -> list[str]:
    """Executors."""
    from edgeaudit.graph.registry import EXECUTORS

    with suppress(EdgeAuditError):
        return _from(EXECUTORS.names(), incomplete)
    return []


def agent_runtimes(incomplete: str) -> list[str]:
    """Runtimes that the agent on a device has."""
    from edgeaudit.agent import RUNTIMES

    return _from(RUNTIMES, incomplete)


def profiles(incomplete: str) -> list[str]:
    """Profiles of devices."""
    from edgeaudit.devices.profiles import profile_names

    with suppress(EdgeAuditError):
        return _from(profile_names(), incomplete)
    return []


def environments(incomplete: str) -> list[str]:
    """Environments of runtimes."""
    from edgeaudit.devices.environments import ENVIRONMENTS

    return _from(ENVIRONMENTS, incomplete)


def formats_of_run(context: typer.Context, incomplete: str) -> list[str]:
    """Formats of the run whose folder stands before the option."""
    # An option that lacks its value leaves the arguments before it unparsed.
    words = (*(context.params.get("what") or ()), *context.args)
    return _from(_formats_in(words), incomplete)


def formats_of_old(context: typer.Context, incomplete: str) -> list[str]:
    """`OLD=NEW`: formats of the first run whose folder stands before the option; after `=` those of the second."""
    given = (context.params.get("old"), context.params.get("new"))
    folders = [str(one) for one in (*given, *context.args) if one is not None and Path(str(one)).is_dir()]
    old, equals, new = incomplete.partition("=")
    if equals:
        return [f"{old}={name}" for name in _from(_formats_in(folders[1:2]), new)]
    return [f"{name}=" for name in _from(_formats_in(folders[:1]), old)]


def _formats_in(folders: Iterable[str]) -> list[str]:
    found = [path for text in folders if (path := Path(text) / "audit.json").is_file()]
    with suppress(OSError, ValueError, KeyError, TypeError):
        rows = [row for path in found for row in json.loads(path.read_text(encoding="utf-8"))["formats"]]
        return list(dict.fromkeys(str(row["id"]) for row in rows))
    return []


def _from(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _after_commas(names: Iterable[str], incomplete: str) -> list[str]:
    """As `_from`, for the last of several names; none is offered twice."""
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in _from(names, last) if name not in taken]
