"""Whole audits through the command line, as a user runs them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeaudit.cli.main import main

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"recipe": "cnn", "options": {"width": 8}, "epochs": 20, "batch": 32},
    "data": {"source": "digits", "members": 100, "nonmembers": 100, "reference": 400, "calibration": {"records": 32}},
    "threat": {"shadows": 4},
    "formats": ["torch-fp32", "onnx-int8-static"],
    # cm-mia trains classifiers for seconds a format; the tests that read it name it.
    "attacks": ["lira", "gap"],
}


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code, what it printed, and audit.json where it wrote one."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def audit(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "audit.json").read_text(encoding="utf-8"))
        return found


def jobs_run(stdout: str) -> tuple[int, int]:
    """(run, of how many) from the last line of a run."""
    found = re.search(r"(\d+) of (\d+) jobs run", stdout)
    assert found is not None, stdout
    return int(found[1]), int(found[2])


class Workbench:
    """A folder with a store of its own, and the edgeaudit command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, **changes: Any) -> Path:
        """SMALL with top-level keys replaced (mappings are merged)."""
        spec = {
            key: {**value, **changes.get(key, {})} if isinstance(value, dict) and key in changes else value
            for key, value in SMALL.items()
        }
        spec |= {key: value for key, value in changes.items() if not isinstance(SMALL.get(key), dict)}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        return path

    def run(
        self,
        verb: str,
        *arguments: str | Path,
        out: str = "out",
        workers: int | None = 1,
        env: dict[str, str] | None = None,
    ) -> Finished:
        """Run `edgeaudit VERB ARGUMENTS`.

        workers: of the verbs that have them; `None` leaves the default, one a core. One imports the toolchains once,
        and other tests run beside this one.
        """
        count = ["--workers", str(workers)] if workers and verb in {"run", "attack"} else []
        done = subprocess.run(
            [str(Path(sys.executable).parent / "edgeaudit"), verb, *map(str, arguments), *count],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(env or {})},
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Finished(done.returncode, done.stdout, done.stderr, self.folder / out)

    def call(self, verb: str, *arguments: str | Path) -> Finished:
        """The same in this process: for commands that end before the work, whose start-up would be most of the test."""
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(sys, "argv", ["edgeaudit", verb, *map(str, arguments)])
            main()
        code = ended.value.code
        assert isinstance(code, int)
        assert "Traceback" not in stdout.getvalue() + stderr.getvalue()
        return Finished(code, stdout.getvalue(), stderr.getvalue(), self.folder / "out")

    def refused(self, **changes: Any) -> Finished:
        """Write a spec that is wrong and call `run` on it; nothing may have been trained."""
        before = self._models()
        done = self.call("run", self.write("wrong", **changes), "--out", "out-wrong", "--workers", "1")
        assert done.code == 2
        assert self._models() == before
        return done

    def _models(self) -> set[Path]:
        return set(self.folder.glob(".edgeaudit/train/*"))

    def audit(self, name: str = "audit", **changes: Any) -> Finished:
        """Write a spec and run it."""
        out = f"out-{name}"
        return self.run("run", self.write(name, **changes), "--out", out, out=out)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A workbench of the test's own."""
    return Workbench(tmp_path)


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workbench whose store the module's tests share."""
    return Workbench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def without_times() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """audit.json less its times."""

    def strip(audit: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in audit.items() if key not in {"created", "latency", "timings"}}

    return strip
