"""`edgeaudit devices deploy` on a host of its own (far_host.py)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from edgeaudit.cli import app
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.ssh import link as ssh_link
from edgeaudit.errors import ArtifactError, DeviceError, EdgeAuditError, RunError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.runtimes.registry import find_runtime
from tests.devices.far_host import FarHost, find_programs, host_python
from tests.e2e.conftest import SMALL
from tests.runtimes.served import RAMP, onnx_artifact

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarHost]:
    folder = tmp_path_factory.mktemp("far")
    programs = find_programs(folder / "openssh")
    host = FarHost(folder / "host", programs, 900, host_python())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ssh_link.COMMAND, host.command())
        for name, value in programs.environment.items():
            patch.setenv(name, value)
        try:
            host.start()
            yield host
        finally:
            host.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    monkeypatch.setenv("EDGEAUDIT_TOKENS", str(tmp_path / "tokens"))
    folder = tmp_path / "doubled"
    folder.mkdir()
    return onnx_artifact(folder)


def deploy(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["devices", "deploy", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def inside(host: FarHost, port: int, token: str) -> float:
    """What the agent there answers to the first record, asked from within the host."""
    body = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 3]}]})
    code = (
        "import sys, urllib.request, json\n"
        "url, token, body = sys.argv[1:]\n"
        "asked = urllib.request.Request(url, body.encode(), {'Authorization': 'Bearer ' + token})\n"
        "print(json.load(urllib.request.urlopen(asked))['outputs'][0]['data'][0])"
    )
    url = f"http://127.0.0.1:{port}/v2/models/doubled/infer"
    command = [host.programs["ip"], "netns", "exec", host.name, sys.executable, "-c", code, url, token, body]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def test_keep_leaves_it_running_and_stop_removes_it(host: FarHost, served: Artifact) -> None:
    said = deploy(str(served.folder), "--to", host.address, "--keep")
    assert "serves doubled with onnxruntime until" in said
    found = re.search(rf"ssh -N -L 8000:127\.0\.0\.1:(\d+) {host.address}", said)
    assert found is not None
    (path,) = Path(os.environ["EDGEAUDIT_TOKENS"]).iterdir()
    assert f"$(cat {path})" in said.replace("\n", "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    token = path.read_text().strip()
    assert token not in said
    assert inside(host, int(found[1]), token) == 5.0  # 10 times the first value
    assert not host.processes("sshd: board")  # the command has gone
    second = deploy(f"other={served.folder}", "--to", host.address, "--keep", "--options", '{"batch": 3}')
    assert "serves other with" in second
    assert len(list(path.parent.iterdir())) == 2
    assert "ended 2 agents" in deploy("--stop", "--keep", "--to", host.address)
    kept = [name for name in host.left() if "/device/files/" in name]
    assert len(kept) == 3
    assert list(path.parent.iterdir()) == []
    assert "ended 0 agents" in deploy("--stop", "--to", host.address)
    assert not [name for name in host.left() if "edgeaudit" in name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_keep_it_serves_until_interrupted(host: FarHost, served: Artifact, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "edgeaudit", "devices", "deploy", str(served.folder), "--to", host.address]
    # A shell's background jobs ignore SIGINT, and so would this one where the tests are such a job.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert "serves doubled with onnxruntime; stop with Ctrl-C" in process.stdout.readline()
    token = Path(process.stdout.readline().split("$(cat ")[1].strip(" )\n"))
    url = process.stdout.readline().split()[-1].partition("/v2/")[0]
    client = OipClient(url, token.read_text().strip())
    answers = client.infer("doubled", {"input": RAMP})["logits"]
    np.testing.assert_array_equal(answers, find_runtime("onnxruntime")(served, {}).ask(RAMP))
    client.close()
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert "removing the copied files" in said
    assert process.returncode == 0
    assert not token.exists()
    assert not [name for name in host.left() if "edgeaudit" in name]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], DeviceError, "name the folder of an artifact or of a run, or use --stop"),
        (["nothing"], ArtifactError, "nothing is not an artifact"),
        (["a={0}", "a={0}"], ArtifactError, "two artifacts are called 'a'"),
        (["{0}", "--format", "x"], RunError, "--format is for the folder of a run"),
        (["{0}", "--options", "{{"], ArtifactError, "--options is not JSON"),
        (["{0}", "--options", "3"], ArtifactError, "--options is a JSON object"),
        (["{0}", "--runtime", "torch"], DeviceError, "the agent does not serve 'torch' on a device; it serves: exec"),
    ],
)
def test_errors_of_deploy(served: Artifact, arguments: list[str], kind: type[EdgeAuditError], message: str) -> None:
    given = [argument.format(served.folder) for argument in arguments]
    with pytest.raises(kind, match=message):
        CliRunner().invoke(app, ["devices", "deploy", *given, "--to", "ssh://nowhere.invalid"], catch_exceptions=False)


@pytest.mark.e2e
def test_an_artifact_of_a_run(host: FarHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in the store that the run used, and served with the runtime and the options of its format."""
    monkeypatch.setenv("EDGEAUDIT_TOKENS", str(tmp_path / "tokens"))
    monkeypatch.chdir(tmp_path)
    spec = {**SMALL, "model": {"recipe": "mlp", "epochs": 20}, "threat": {"shadows": 2}, "attacks": ["gap"]}
    Path("audit.yaml").write_text(yaml.safe_dump(spec))
    done = CliRunner().invoke(app, ["run", "audit.yaml", "--out", "out", "--workers", "1"], catch_exceptions=False)
    assert Path("out/audit.json").is_file(), done.output
    to = ("--to", host.address, "--keep")
    for more, message in (
        ((), r"choose with --format among: torch-fp32 \(torch\), onnx-int8-static \(onnxruntime\)"),
        (("--format", "onnx-int8"), r"has no format 'onnx-int8'; it has: .* Did you mean 'onnx-int8-static'"),
    ):
        with pytest.raises(RunError, match=message):
            CliRunner().invoke(app, ["devices", "deploy", "out", *to, *more], catch_exceptions=False)
    said = deploy("out", *to, "--format", "onnx-int8-static")
    assert "serves onnx-int8-static with onnxruntime until" in said
    (lock,) = host.home.rglob("edgeaudit-agent.lock")
    assert json.loads(lock.read_text())["models"] == ["onnx-int8-static"]
    audit = json.loads(Path("out/audit.json").read_text())
    (row,) = [row for row in audit["formats"] if row["id"] == "onnx-int8-static"]
    assert row["artifact"]["sha256"] in {path.name for path in host.home.rglob("device/files/*")}
    assert "ended 1 agent on" in deploy("--stop", "--to", host.address)
