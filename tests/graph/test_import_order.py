from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeaudit.errors import RecipeError
from edgeaudit.graph.closure import require_found
from edgeaudit.graph.import_order import with_users_last


def test_what_is_installed_goes_first_and_the_working_directory_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, here = tmp_path / "audit", tmp_path / "here"
    audit.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    for first in ("", str(here)):
        found = with_users_last([first, "/named/in/PYTHONPATH", "/lib/python3", "/lib/site-packages"], audit)
        assert found == ["/named/in/PYTHONPATH", "/lib/python3", "/lib/site-packages", str(audit), str(here)]
    # The command line has no working directory on its path, and gets none.
    assert with_users_last(["/lib/python3"], audit) == ["/lib/python3", str(audit)]
    assert with_users_last(["", str(audit), "/lib/python3"], here) == [str(audit), "/lib/python3", str(here)]


@pytest.mark.parametrize("name", ["onnx", "statistics"])
def test_a_module_with_the_name_of_an_installed_one_is_refused_by_its_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text("def make(shape, n): ...\n")
    monkeypatch.setattr(sys, "path", with_users_last(sys.path, tmp_path))
    with pytest.raises(RecipeError, match=rf"the module '{name}' is the installed one, not .*{name}\.py: rename your"):
        require_found(name)


def test_a_module_beside_the_audit_takes_over_no_toolchain(tmp_path: Path) -> None:
    for name in ("onnx", "rich", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the file beside audit.yaml was imported')\n")
    (tmp_path / "audit.yaml").write_text(
        "model: {recipe: mlp, epochs: 1}\n"
        "data: {source: digits, members: 100, nonmembers: 100}\n"
        "threat: {shadows: 2}\ncontrols: {null-targets: 0, shift: false}\nquality: {latency: false}\n"
        "attacks: [yeom]\nformats: [onnx-fp32]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edgeaudit", "run", "audit.yaml", "--out", "out", "--store", "store"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was imported" not in done.stdout + done.stderr
    # What it wrote is for nobody else to read.
    written = [tmp_path / "out", *(tmp_path / "out").rglob("*"), tmp_path / "store"]
    assert {path.name for path in written} >= {"audit.json", "report.html", "scores", "onnx-fp32.npz"}
    assert not [path for path in written if path.stat().st_mode & 0o077]
