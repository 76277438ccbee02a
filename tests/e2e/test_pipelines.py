"""The command line in a pipeline: files for its next steps, one line, and exit codes."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.conftest import Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

SETTINGS: dict[str, Any] = {
    "attacks": ["yeom", "gap"],
    "threat": {"shadows": 2},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
    "formats": ["torch-fp32", "onnx-fp32"],
}


def test_a_run_and_a_check_leave_what_a_pipeline_reads(bench: Workbench) -> None:
    path = bench.write("gate", **SETTINGS, budgets={"auc": ["error", {"max": 0.99}]})
    files = {name: bench.folder / f"run.{name}" for name in ("junit", "sarif", "markdown", "json")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    # A file in the folder that the run itself makes.
    first = bench.run("run", path, "--out", "out-gate", "--junit", "out-gate/inside.xml", "--set", "name=nightly")
    assert first.code == 0, first.stderr
    done = bench.run("run", path, "--out", "out-gate", *options, "--quiet", "--set", "name=nightly", out="out-gate")
    assert done.code == 0, done.stdout + done.stderr
    (line,) = done.stdout.strip().splitlines()
    assert line.startswith("WITHIN BUDGET (exit code 0)")
    assert done.audit["name"] == "nightly"
    assert json.loads(files["json"].read_text())["outcome"] == "within budget"
    suites = ET.fromstring(files["junit"].read_text())  # noqa: S314  our own text
    assert (suites.get("failures"), suites.get("errors")) == ("0", "0")
    (run,) = json.loads(files["sarif"].read_text())["runs"]
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "gate.yaml"
    assert (bench.folder / "out-gate" / "inside.xml").is_file()
    lines = path.read_text().splitlines()
    assert "onnx-fp32" in lines[place["region"]["startLine"] - 1]
    strict = bench.write("strict", budgets={"auc": ["error", {"max": 0.501}]})
    done = bench.run("check", "out-gate", "--budgets", str(strict), *options, "--quiet", workers=None)
    assert done.code in (1, 3)
    found = json.loads(files["json"].read_text())
    assert found["exit_code"] == done.code
    assert done.stdout.startswith(found["outcome"].upper())
    suites = ET.fromstring(files["junit"].read_text())  # noqa: S314  our own text
    assert int(suites.get("failures", 0)) + int(suites.get("errors", 0)) > 0


def test_a_file_that_cannot_be_written_is_one_sentence(bench: Workbench) -> None:
    path = bench.write("gate", **SETTINGS)
    done = bench.run("run", path, "--out", "out-gate", "--junit", str(bench.folder / "none" / "x.xml"), out="out-gate")
    assert done.code == 2
    assert "x.xml cannot be written: there is no folder" in " ".join(done.stderr.split())
    assert not (bench.folder / "out-gate").exists()  # nothing was run
    assert len(done.stderr.strip().splitlines()) == 1
