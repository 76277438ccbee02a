"""The agent as a single file that Python runs: a zipapp with only the device side of edgeaudit.

The build is reproducible: entries are sorted, have one fixed date and are not compressed (compressors differ between
machines). `zipapp.create_archive` of the standard library would write the files' modification times, in
file system order.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from functools import cache
from importlib import metadata, resources
from pathlib import Path

from edgeaudit.agent import RUNTIMES
from edgeaudit.agent.fingerprint import BUILD
from edgeaudit.agent.probes import FOLDER
from edgeaudit.errors import store_errors
from edgeaudit.graph.closure import closure

__all__ = ["OLDEST_PYTHON", "agent_bytes", "agent_in", "agent_sources", "write_agent"]

OLDEST_PYTHON = (3, 9)
"""The oldest Python the packed modules must support: Debian 11 has it, and tflite-runtime 2.14 has wheels for it."""

_SHEBANG = b"#!/usr/bin/env python3\n"
_DATE = (1980, 1, 1, 0, 0, 0)
_MAIN = f'''"""Start the agent, or explain that this Python is too old."""
import sys

if sys.version_info < {OLDEST_PYTHON}:
    sys.exit("edgeaudit-agent needs Python {".".join(map(str, OLDEST_PYTHON))} or later")
from edgeaudit.agent.main import main

sys.exit(main())
'''


def agent_sources() -> dict[str, bytes]:
    """Name in the archive -> content: the agent, every module that it and its runtimes can import, and its probes."""
    package = Path(str(resources.files("edgeaudit")))
    agent = [f"edgeaudit.agent.{path.stem}" for path in (package / "agent").glob("*.py") if path.stem != "__init__"]
    modules = closure([*agent, *(module for module, _ in RUNTIMES.values())]).files
    sources = {_archive_name(module, path): path.read_bytes() for module, path in modules}
    probes = sorted(path for path in (package / "agent" / FOLDER).rglob("*") if path.is_file())
    return sources | {f"edgeaudit/{path.relative_to(package).as_posix()}": path.read_bytes() for path in probes}


def _archive_name(module: str, path: Path) -> str:
    name = module.replace(".", "/")
    return f"{name}/__init__.py" if path.name == "__init__.py" else f"{name}.py"


@cache
def agent_bytes() -> bytes:
    """The zipapp."""
    sources = agent_sources()
    digest = hashlib.sha256()
    for name, content in sorted(sources.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    build = {"version": metadata.version("edgeaudit"), "sources": digest.hexdigest()}
    sources[f"edgeaudit/agent/{BUILD}"] = json.dumps(build, sort_keys=True).encode()
    sources["__main__.py"] = _MAIN.encode()
    archive = io.BytesIO()
    archive.write(_SHEBANG)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as packed:
        for name, content in sorted(sources.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # not those of the build machine
            packed.writestr(entry, content)
    return archive.getvalue()


def agent_in(folder: Path) -> Path:
    """The path of the zipapp in a folder, under a content-addressed name; written if missing."""
    content = agent_bytes()
    path = folder / f"edgeaudit-agent-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
    present = path.is_file() and path.stat().st_size == len(content)
    return path if present else write_agent(path)


def write_agent(path: Path) -> Path:
    """Write the zipapp atomically, as an executable file; returns the path."""
    with store_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(agent_bytes())
            Path(draft).chmod(0o755)
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    return path
