"""A Python under QEMU user-mode emulation."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.agent.messages import Machine
from edgeaudit.errors import ToolchainError

__all__ = ["Guest"]

_NOT_FOR_GUESTS = ("LD_LIBRARY_PATH", "LD_PRELOAD", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Environment variables specific to the host's libraries and CPU."""

_SECONDS = 600.0

# -I ignores PYTHONPATH and the working directory, and -S the site-packages of the system that the guest sees; the rest
# of sys.path is set here.
_LAUNCH = """
import sys
packages, program = sys.argv[1:3]
sys.path[:0] = [program, *([packages] if packages else [])]
sys.argv[:3] = [program]
"""
_RUN = _LAUNCH + "import runpy; runpy.run_path(program, run_name='__main__')"
_FINGERPRINT = (
    _LAUNCH
    + """
import json, platform
from edgeaudit.host.fingerprint import local_fingerprint
print(json.dumps({**local_fingerprint(), "libc": " ".join(platform.libc_ver()), "python": platform.python_version()}))
"""
)
_IMPORT = _LAUNCH + "import importlib; importlib.import_module(sys.argv[1])"


@dataclass(frozen=True)
class Guest:
    """A Python under QEMU. root: of its userland. packages: folder of installed wheels, if any."""

    program: Path
    root: Path
    cpu: str
    python: Path
    packages: Path | None

    def command(self, agent: Path) -> list[str]:
        """The command line that runs the agent's file; append the agent's arguments."""
        return self._command(_RUN, agent)

    def fingerprint(self, agent: Path) -> Machine:
        """Machine, cpu, isa, libc and python as seen by the guest."""
        fingerprint: Machine = json.loads(self._run(self._command(_FINGERPRINT, agent)))
        return fingerprint

    def try_import(self, module: str) -> None:
        """Import a module; `ToolchainError` if that fails."""
        self._run([*self._command(_IMPORT, Path("-")), module])

    def _command(self, code: str, file: Path) -> list[str]:
        unset = [part for name in _NOT_FOR_GUESTS for part in ("-U", name)]
        emulator = [str(self.program), "-L", str(self.root), "-cpu", self.cpu, *unset]
        packages = "" if self.packages is None else str(self.packages)
        return [*emulator, str(self.python), "-I", "-S", "-c", code, packages, str(file)]

    def _run(self, command: list[str]) -> str:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        what = f"QEMU's {self.cpu}"
        try:
            done = subprocess.run(  # noqa: S603  ours
                command, capture_output=True, text=True, check=False, env={**inherited, **threads}, timeout=_SECONDS
            )
        except OSError as exc:
            raise ToolchainError(f"{what} cannot be started: {exc.strerror or exc}") from exc
        except subprocess.TimeoutExpired as exc:
            raise ToolchainError(f"{what} did not respond within {_SECONDS:.0f} seconds") from exc
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise ToolchainError(f"{what} exited with code {done.returncode}: {lines[-1]}")
        return done.stdout
