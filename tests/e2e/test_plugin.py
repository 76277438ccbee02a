"""The example package of docs/plugins.md: installed without a network, found by name, run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edgeaudit.config.yaml_text import read_yaml

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, root_folder: Path) -> dict[str, str]:
    """The environment of a process that has the example package installed."""
    source = shutil.copytree(root_folder / "examples" / "plugin", tmp_path_factory.mktemp("source") / "plugin")
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(pip, check=True)
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def _edgeaudit(environment: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeaudit", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def _aucs(out: Path) -> dict[tuple[str, str], float]:
    """(format, attack) -> AUC, as the example's report writer wrote them."""
    first, *rows = (out / "auc.csv").read_text(encoding="utf-8").splitlines()
    assert first == "format,attack,variant,auc"
    return {(row.split(",")[0], row.split(",")[1]): float(row.split(",")[3]) for row in rows}


def test_an_audit_uses_every_plugin_of_the_example(
    environment: dict[str, str], root_folder: Path, tmp_path: Path
) -> None:
    audit = root_folder / "examples" / "plugin" / "audit.yaml"
    done = _edgeaudit(environment, "run", str(audit), "--out", "out", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    reference, mine = result["formats"]
    assert (reference["id"], mine["id"]) == ("torch-fp32", "mlp-npz")
    assert {reference["status"], mine["status"]} == {"ok"}
    assert [step["name"] for step in mine["passes"]] == ["npz.export"]
    assert mine["artifact"]["file"] == "model.npz"
    assert mine["runtime"]["name"] == "numpy"
    # The file type reads the kernels of 64 x 128, 128 x 64 and 64 x 10, and no bias: 8,192 + 8,192 + 640.
    assert mine["quality"]["weights"] == 17_024
    assert mine["accuracy"] == reference["accuracy"]  # the same products, in another order of summation
    # What is judged beside attacks has rows, too.
    aucs = {key: auc for key, auc in _aucs(tmp_path / "out").items() if key[1] != "taught"}
    assert set(aucs) == {
        (name, attack) for name in ("torch-fp32", "mlp-npz") for attack in ("yeom", "power-confidence")
    }
    assert all(auc > 0.5 for auc in aucs.values())

    # Another setting gives another score from the same models and answers: two measurements and their comparison.
    text = audit.read_text(encoding="utf-8")
    (tmp_path / "audit.yaml").write_text(text.replace("power: 3.0", "power: 0.5"), encoding="utf-8")
    done = _edgeaudit(environment, "run", "audit.yaml", "--out", "other", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 of "), done.stdout
    other = _aucs(tmp_path / "other")
    assert all((aucs[key] == other[key]) == (key[1] == "yeom") for key in aucs)


def test_settings_of_the_example_are_checked(environment: dict[str, str], root_folder: Path, tmp_path: Path) -> None:
    text = (root_folder / "examples" / "plugin" / "audit.yaml").read_text(encoding="utf-8")
    (tmp_path / "audit.yaml").write_text(text.replace("power: 3.0", "pwoer: 3.0"), encoding="utf-8")
    done = _edgeaudit(environment, "plan", "audit.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "attacks: 'power-confidence' has no setting 'pwoer'; it has: power. Did you mean 'power'?" in done.stderr


def test_the_example_is_listed(environment: dict[str, str], root_folder: Path, tmp_path: Path) -> None:
    attacks = _edgeaudit(environment, "attacks", cwd=tmp_path).stdout
    assert "power-confidence" in attacks
    assert "settings: power: 2.0" in attacks
    schema = json.loads(_edgeaudit(environment, "schema", cwd=tmp_path).stdout)
    assert "auc-table" in schema["definitions"]["writer"]["enum"]
    audit = read_yaml((root_folder / "examples" / "plugin" / "audit.yaml").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(audit)


def test_missing_packages_of_the_example_name_its_own_extra(
    environment: dict[str, str], root_folder: Path, tmp_path: Path
) -> None:
    code = """
from importlib import metadata
from edgeaudit.exporters import find_pass

installed = metadata.version
def version(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return installed(name)
metadata.version = version
find_pass("npz.export").spec.versions()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "the pass 'npz.export' needs the package 'torch'" in done.stderr
    assert "pip install 'edgeaudit-example[export]'" in done.stderr
