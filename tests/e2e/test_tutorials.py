"""The tutorials' commands, run in their order from an empty folder to a verdict."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgeaudit.report.schema import read_audit

pytestmark = pytest.mark.e2e

PAGES = Path(__file__).parents[2] / "docs" / "tutorials"
_BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<name>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
BIN = Path(sys.executable).parent


def _follow(page: Path, folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Write every titled block into the folder, run every command, as a reader does; command -> what it said."""
    said = {}
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["name"]:
            (folder / block["name"]).write_text(block["text"], encoding="utf-8")
        elif block["language"] == "console":
            for line in block["text"].splitlines():
                command = line.removeprefix("$ ")
                said[command] = _run(command, folder)
    return said


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    return subprocess.run(
        [str(BIN / program), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("name", sorted(page.stem for page in PAGES.glob("*.md")))
def test_a_tutorial_leads_from_an_empty_folder_to_a_verdict(tmp_path: Path, name: str) -> None:
    said = _follow(PAGES / f"{name}.md", tmp_path)
    for command, done in said.items():
        verdict = command.startswith(("edgeaudit run", "edgeaudit check"))
        assert done.returncode in ({0, 1, 3} if verdict else {0}), (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    audit = read_audit(tmp_path / "out" / "audit.json")
    assert all(one.status == "ok" for one in audit.formats)
    assert not [control for control in audit.controls if control.status == "failed"]
    assert audit.verdict.outcome != "invalid"
    assert (tmp_path / "out" / "report.html").is_file()
