"""The wheel: its files are the checkout's, and it audits from an environment of its own, outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, root_folder: Path) -> Path:
    """The wheel, built from a copy of the files that git knows."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root_folder, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    listing = "\n".join(f for f in files if f and (root_folder / f).exists())
    subprocess.run(
        ["tar", "cf", str(source / "all.tar"), "-T", "-"], cwd=root_folder, input=listing, text=True, check=True
    )
    subprocess.run(["tar", "xf", "all.tar"], cwd=source, check=True)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_has_the_files_of_the_checkout(wheel: Path, root_folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set()
    for top, prefix in (("edgeaudit", ""), ("exporters", "edgeaudit/"), ("device_profiles", "edgeaudit/")):
        listed = subprocess.run(
            ["git", "ls-files", top], cwd=root_folder, capture_output=True, text=True, check=True
        ).stdout.split()
        expected |= {prefix + name for name in listed if (root_folder / name).is_file()}
    assert packed == expected  # nothing generic lands in site-packages, nothing is forgotten


def test_an_audit_from_a_clean_environment(wheel: Path, root_folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-compile"]  # most of torch is never imported here; what is, the first run compiles
    subprocess.run([*pip, "-c", str(root_folder / "constraints.txt"), f"{wheel}[onnx]"], check=True)
    spec = tmp_path / "audit.yaml"
    spec.write_text(json.dumps(SMALL), encoding="utf-8")  # JSON is YAML
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}}

    def run(out: str) -> subprocess.CompletedProcess[str]:
        command = [str(home / "bin" / "edgeaudit"), "run", "audit.yaml", "--out", out, "--workers", "1"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, check=False)

    done = run("out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    # Only the extra that was asked for is there; what another format lacks is said with the line that mends it.
    spec.write_text(json.dumps({**SMALL, "formats": ["litert-int8"]}), encoding="utf-8")
    done = run("out2")
    assert done.returncode == 2
    assert "pip install 'edgeaudit[litert]'" in done.stderr
