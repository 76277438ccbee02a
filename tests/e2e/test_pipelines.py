"""The command line in a pipeline: files for its next steps, one line, and exit codes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.e2e.conftest import Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

SETTINGS: dict[str, Any] = {
    "attacks": ["yeom", "gap"],
    "threat": {"shadows": 2},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
    "formats": ["torch-fp32", "onnx-fp32"],
}


@pytest.fixture(scope="module")
def gate(shared_bench: Workbench) -> Path:
    """The audit.yaml of a finished run in out-gate, which is within its budget."""
    path = shared_bench.write("gate", **SETTINGS, budgets={"auc": ["error", {"max": 0.99}]})
    # A file in the folder that the run itself makes.
    first = shared_bench.run(
        "run", path, "--out", "out-gate", "--junit", "out-gate/inside.xml", "--set", "name=nightly"
    )
    assert first.code == 0, first.stderr
    return path


def test_a_run_and_a_check_leave_what_a_pipeline_reads(shared_bench: Workbench, gate: Path) -> None:
    bench, path = shared_bench, gate
    files = {name: bench.folder / f"run.{name}" for name in ("junit", "sarif", "markdown", "json")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
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


def test_a_deployment_step_verifies_what_was_signed(shared_bench: Workbench, gate: Path, tmp_path: Path) -> None:
    bench = shared_bench
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    signer = Ed25519PrivateKey.generate()
    pem = signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public.write_bytes(signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    done = bench.run("sign", "out-gate", workers=None, env={"EDGEAUDIT_SIGNING_KEY": pem})
    assert (done.code, done.stderr) == (0, "")
    evidence = bench.folder / "out-gate" / "evidence.dsse.json"
    payload = base64.b64decode(json.loads(evidence.read_text())["payload"])
    subjects = {one["name"]: one["digest"]["sha256"] for one in json.loads(payload)["subject"]}
    # The file as it was given to the run, although --set changed a key of it.
    assert subjects["gate.yaml"] == hashlib.sha256(gate.read_bytes()).hexdigest()
    assert not [text for text in (str(bench.folder), str(tmp_path), pem.splitlines()[1]) if text in payload.decode()]
    done = bench.run("artifacts", "out-gate", "onnx-fp32", "--out", str(tmp_path / "ship"), workers=None)
    assert (done.code, done.stderr) == (0, "")
    model = tmp_path / "ship" / "onnx-fp32" / "model.onnx"
    assert str(model) in done.stdout
    assert hashlib.sha256(model.read_bytes()).hexdigest() == subjects["onnx-fp32/local/model.onnx"]
    assert bench.call("artifacts", "out-gate", "onnx-fp16").code == 2
    with_it = ["--key", str(public), "--audit", "out-gate/audit.json", "--budgets", str(gate)]
    done = bench.run("verify", str(evidence), "--artifact", str(model), *with_it, workers=None)
    assert (done.code, done.stderr) == (0, "")
    (line,) = done.stdout.strip().splitlines()
    assert line.startswith("VERIFIED (exit code 0): ")
    assert "audit.yaml with name replaced on the command line" in line
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(model.read_bytes() + b"\0")
    assert bench.call("verify", str(evidence), "--artifact", str(changed), *with_it).code == 1
    gate.with_name("looser.yaml").write_text(gate.read_text().replace("0.99", "0.995"))
    with_it[-1] = "looser.yaml"
    assert bench.call("verify", str(evidence), "--artifact", str(model), *with_it).code == 1
    key.write_text(pem)  # a private key where the public one belongs
    done = bench.call("verify", str(evidence), "--artifact", str(model), "--key", str(key))
    assert done.code == 2
    assert "is a private key, which a step that verifies must not have" in done.stderr


def test_a_file_that_cannot_be_written_is_one_sentence(bench: Workbench) -> None:
    path = bench.write("gate", **SETTINGS)
    done = bench.run("run", path, "--out", "out-gate", "--junit", str(bench.folder / "none" / "x.xml"), out="out-gate")
    assert done.code == 2
    assert "x.xml cannot be written: there is no folder" in " ".join(done.stderr.split())
    assert not (bench.folder / "out-gate").exists()  # nothing was run
    assert len(done.stderr.strip().splitlines()) == 1
