"""A run in a folder with telling names, by a user with a name: what it writes for others tells nothing of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import edgeaudit
from edgeaudit.errors import RunError

pytestmark = pytest.mark.e2e

USER, CUSTOMER, PACKAGE = "wilhelmina", "secret-customer", "hidden_client"
# A network that fails in the ONNX exporter, with a message as toolchains write them.
NET = """
import os, socket, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, size, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, classes))

    def forward(self, x):
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise RuntimeError(f"{__file__}: no rule for {os.environ['USER']}@{socket.gethostname()} in {os.getcwd()}")
        return self.body(x)

def build(input_shape, classes, **options):
    return Net(int(torch.tensor(input_shape).prod()), classes)
"""


class Desk:
    """A home folder with a project in it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "homes" / USER
        self.project = self.home / CUSTOMER
        (self.project / PACKAGE).mkdir(parents=True)
        (self.project / PACKAGE / "net.py").write_text(NET, encoding="utf-8")
        rng = np.random.default_rng(3)
        labels = rng.integers(0, 3, 240)
        values = rng.normal(size=(240, 6)).astype(np.float32) + labels[:, None]
        np.savez(self.project / "records.npz", x=values, y=labels)
        spec = {
            "model": {"recipe": f"{PACKAGE}.net:build", "epochs": 3},
            "data": {"source": "npz", "path": "records.npz", "members": 60, "nonmembers": 60,
                     "calibration": {"records": 16}},
            "threat": {"shadows": 2},
            "formats": ["torch-fp32"],
            "attacks": ["gap"],
            "quality": {"latency": False},
            "report": {"writers": ["html", "text"]},
            "budgets": {"auc": ["warn", {"max": 0.9, "formats": ["torch-fp32"]}]},
        }  # fmt: skip
        (self.project / "audit.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        spec["formats"] = ["torch-fp32", "onnx-fp32"]
        (self.project / "failing.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")

    def run(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "edgeaudit"), *map(str, arguments)]
        env = {**os.environ, "HOME": str(self.home), "USER": USER, "LOGNAME": USER}
        env.pop("EDGEAUDIT_STORE", None)
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("private"))
    # From the home folder, so that the project's name is part of a relative path, too.
    for name in ("audit", "failing"):
        out = f"{CUSTOMER}/{name}"
        done = desk.run("run", f"{CUSTOMER}/{name}.yaml", "--out", out, "--workers", "1", cwd=desk.home)
        assert (desk.home / out / "audit.json").is_file(), done.stderr
        assert "Traceback" not in done.stderr
    return desk


def _told(out: Path) -> dict[str, list[str]]:
    """The private words in each file but spec.json, arrays of .npz unpacked."""
    words = [USER, CUSTOMER, PACKAGE, socket.gethostname(), "homes"]
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_dir() or path.name == "spec.json":
            continue
        content = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                content = b"".join(name.encode() + str(arrays[name]).encode() for name in arrays.files)
        text = content.decode(errors="replace")
        found[path.name] = [word for word in words if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]
    return found


def _audit(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return found


def test_nothing_that_is_written_for_others_tells_folders_users_or_machines(desk: Desk) -> None:
    out = desk.project / "failing"
    told = _told(out)
    assert {"audit.json", "report.html", "report.txt", "labels.npy", "torch-fp32.npz"} <= set(told)
    assert {name: words for name, words in told.items() if words} == {}
    audit = _audit(out)
    assert audit["spec"]["data"]["path"] == "records.npz"
    assert audit["spec"]["model"]["recipe"] == "net:build"
    assert audit["verdict"]["limits"]["file"] == "failing.yaml"
    failed = audit["formats"][1]
    assert "net.py: no rule for user@host in" in failed["error"]  # what the toolchain said is still there


def test_spec_json_has_it_all_for_its_owner(desk: Desk) -> None:
    path = desk.project / "audit" / "spec.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    recorded = json.loads(path.read_text(encoding="utf-8"))
    assert recorded["spec"]["data"]["path"] == str(desk.project / "records.npz")
    assert recorded["spec"]["model"]["recipe"] == f"{PACKAGE}.net:build"
    assert recorded["folder"] == str(desk.project)
    assert recorded["store"] == str(desk.home / ".edgeaudit")


def test_later_commands_work_from_elsewhere(desk: Desk, tmp_path: Path) -> None:
    run = shutil.copytree(desk.project / "audit", tmp_path / "run")
    for arguments in (("attack", run, "--attacks", "yeom", "--workers", "1"), ("export", run), ("report", run)):
        done = desk.run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".edgeaudit").exists()
    told = _told(run)
    assert "evidence.npz" in told
    assert {name: words for name, words in told.items() if words} == {}
    audit = _audit(run)
    assert {row["attack"] for row in audit["leakage"]} == {"gap", "yeom", "taught"}
    assert audit["verdict"]["limits"]["file"] == "audit.yaml"
    assert edgeaudit.check(run).outcome == audit["verdict"]["outcome"]


def test_without_spec_json_one_sentence_says_what_to_do(desk: Desk, tmp_path: Path) -> None:
    run = shutil.copytree(desk.project / "audit", tmp_path / "run")
    (run / "spec.json").unlink()
    for arguments in (("attack", run), ("export", run)):
        done = desk.run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "spec.json is missing, which has the paths of the run's data and models: copy it from" in done.stderr
    assert desk.run("report", run, cwd=tmp_path).returncode == 0
    for damaged in ("{", "[]", "{}", '{"version": 1}', '{"version": 2}'):
        (run / "spec.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(RunError, match=r"spec\.json (cannot be read|is of another version)"):
            edgeaudit.export(run)
