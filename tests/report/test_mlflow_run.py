"""An audit on an MLflow server: read back through the server's REST API, and told in one sentence where it fails."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import URLError
from urllib.parse import urlencode

import pytest
from typer.testing import CliRunner

import edgeaudit
from edgeaudit.cli import app
from edgeaudit.errors import MissingToolchain, ToolchainError
from edgeaudit.report.mlflow_run import metrics
from edgeaudit.report.model import Audit, FormatResult
from edgeaudit.report.schema import audit_text
from edgeaudit.report.writers import write_reports
from edgeaudit.rows import Rows
from tests.report import sample
from tests.report.test_pipeline_reports import HOSTILE, PASS, _judged
from tests.report.test_waived import WAIVED, _audit

SECRET = "hunter2-of-a-test"  # noqa: S105  of no server
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
FORMAT = "onnx-int8-static"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[str]:
    """A local `mlflow server` with a database and a folder for artifacts: 10 seconds to start."""
    for module in ("mlflow", "aiohttp", "alembic", "flask", "flask_cors", "sqlalchemy"):
        pytest.importorskip(module, reason=f"`mlflow server` needs {module}")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.sqlite", "--artifacts-destination", f"{folder}/files"]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        env = {**os.environ, **QUIET, "HOME": str(folder)}
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(240):
            if process.poll() is not None or _healthy(address):
                break
            time.sleep(0.5)
        assert _healthy(address), (folder / "log").read_text()
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _healthy(address: str) -> bool:
    try:
        with request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


class Rest:
    """The server's REST API, without MLflow's client."""

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        url = f"{self.address}/api/2.0/mlflow/{path}" + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        asked = request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310
        with request.urlopen(asked, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def run(self, run: str) -> tuple[dict[str, Any], dict[str, str], dict[str, str], dict[str, float]]:
        """info, parameters, tags and metrics of a run."""
        found = self.call("runs/get", run_id=run)["run"]
        data = found["data"]
        pairs = [{one["key"]: one["value"] for one in data.get(name, ())} for name in ("params", "tags", "metrics")]
        return found["info"], pairs[0], pairs[1], pairs[2]

    def file(self, run: str, name: str) -> bytes:
        with request.urlopen(f"{self.address}/get-artifact?{urlencode({'path': name, 'run_uuid': run})}") as answer:  # noqa: S310
            return bytes(answer.read())


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Set MLflow's variables; returns the name of an experiment of this test alone."""

    def name(address: str, **more: str) -> str:
        experiment = f"of {request.node.name}"
        for key, value in {"TRACKING_URI": address, "EXPERIMENT_NAME": experiment, **more}.items():
            monkeypatch.setenv(f"MLFLOW_{key}", value)
        return experiment

    return name


def written(audit: Audit, folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(write_reports(audit, folder, ["mlflow"])[-1].read_text())
    return found


@pytest.mark.slow
def test_a_run_has_parameters_figures_verdict_and_reports(
    server: str, named: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    experiment, audit = named(f"{server}/", TRACKING_TOKEN=SECRET), _audit(PASS, WAIVED)
    before = dict(os.environ)
    receipt = written(audit, tmp_path)
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")
    rest = Rest(server)
    info, params, tags, figures = rest.run(receipt["run_id"])
    assert (info["run_name"], info["status"]) == (audit.name, "FINISHED")
    assert rest.call("experiments/get", experiment_id=info["experiment_id"])["experiment"]["name"] == experiment
    assert receipt == {
        "tracking_uri": server,
        "experiment": experiment,
        "experiment_id": info["experiment_id"],
        "run_id": info["run_id"],
        "url": f"{server}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}",
    }
    assert params["formats"] == ", ".join(name for name in sample.FORMATS if name != sample.FAILED)
    expected = {"mode": "adversary", "exposure": "probabilities", "shadows": "64", "seed": "7", "data": "digits"}
    assert expected.items() <= params.items()
    assert (params["members"], params["nonmembers"]) == ("900", "900")
    assert params["attack"] == "cm-mia calibrated"
    assert tags["edgeaudit.verdict"] == "within budget"
    assert tags["edgeaudit.exit_code"] == "0"
    assert (tags["edgeaudit.policy"], tags["edgeaudit.policy_sha256"]) == ("Devices", "ab" * 32)
    assert tags["edgeaudit.budgets_sha256"] == "cd" * 32
    assert tags["edgeaudit.recommended"] == FORMAT
    content = audit_text(audit).encode()
    assert tags["edgeaudit.audit_sha256"] == hashlib.sha256(content).hexdigest()
    assert tags["mlflow.note.content"].startswith("WITHIN BUDGET (1 waived until 2027-01-31 by Ada Example;")
    files = {one["path"] for one in rest.call("artifacts/list", run_id=info["run_id"])["files"]}
    assert files == {"audit.json", "verdict.json", "report.html"}
    assert rest.file(info["run_id"], "audit.json") == content
    assert json.loads(rest.file(info["run_id"], "verdict.json"))["outcome"] == "within budget"
    for metric, key in (("auc", "auc"), ("tpr@fpr=0.01", "tpr-at-fpr-0.01")):
        (row,) = [
            row for row in audit.leakage
            if (row.format, row.attack, row.variant, row.metric, row.subset, row.shadow_match, row.exposure)
            == (FORMAT, "cm-mia", "calibrated", metric, "all", "matched", "probabilities")
        ]  # fmt: skip
        assert row.low is not None
        found = [figures[f"{FORMAT}/{key}{end}"] for end in ("", ".low", ".high")]
        assert found == [row.value, row.low, row.high]
    assert figures[f"{FORMAT}/accuracy.test"] == sample.FORMATS[FORMAT].test
    assert figures[f"{FORMAT}/bytes"] == sample.FORMATS[FORMAT].size
    audited = {name for name in sample.FORMATS if name != sample.FAILED}
    assert {key.partition("/")[0] for key in figures} == audited
    # auc and tpr with two ends each, two accuracies and the size
    assert len(figures) == len(audited) * 9


@pytest.mark.slow
def test_the_same_audit_is_one_run_and_another_is_another(
    server: str, named: Callable[..., str], tmp_path: Path
) -> None:
    named(server)
    audit, rest = _judged("within budget", 0, PASS), Rest(server)
    first = written(audit, tmp_path)
    without = audit.model_copy(update={"exposed": Rows((), of=type(audit.exposed[0]))})
    assert written(without, tmp_path) == first
    assert rest.file(first["run_id"], "audit.json") == audit_text(without).encode() != audit_text(audit).encode()
    history = rest.call("metrics/get-history", run_id=first["run_id"], metric_key=f"{FORMAT}/auc")["metrics"]
    created = datetime.fromisoformat(audit.created).astimezone(UTC)
    assert [one["timestamp"] for one in history] == [int(created.timestamp() * 1000)]
    other = written(audit.model_copy(update={"created": "2026-04-01T00:00:00Z"}), tmp_path)
    found = rest.call("runs/search", {"experiment_ids": [first["experiment_id"]]})["runs"]
    assert {one["info"]["run_id"] for one in found} == {first["run_id"], other["run_id"]}
    assert len(found) == 2


@pytest.mark.slow
def test_the_verb_report_logs_a_run_and_leaves_nothing_in_the_home(
    server: str, tmp_path: Path, named: Callable[..., str]
) -> None:
    named(server)
    run, home = tmp_path / "run", tmp_path / "home"
    run.mkdir()
    home.mkdir()
    write_reports(_judged("within budget", 0, PASS), run, [])
    env = {key: value for key, value in os.environ.items() if key not in {"CI", "PYTEST_CURRENT_TEST"}}
    code = (
        "import sys; from edgeaudit.cli.main import app\n"
        "app(['report', sys.argv[1], '--format', 'mlflow'], standalone_mode=False)\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "print('telemetry:', get_telemetry_client())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)],
        env={**env, "HOME": str(home)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"Written: {run / 'mlflow.json'}" in done.stdout
    assert "telemetry: None" in done.stdout
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "run"]
    assert Rest(server).run(json.loads((run / "mlflow.json").read_text())["run_id"])[0]["status"] == "FINISHED"


@pytest.mark.slow
def test_hostile_names_are_logged(server: str, named: Callable[..., str], tmp_path: Path) -> None:
    named(server)
    audit = sample.audit()
    formats = list(audit.formats)
    odd = [HOSTILE, "../a", "..", "é+(1)"]
    renamed = [formats[i].model_copy(update={"id": name}) for i, name in enumerate(odd)]
    audit = audit.model_copy(update={"name": HOSTILE, "formats": Rows([*renamed, *formats[4:]], of=FormatResult)})
    _, params, _, figures = Rest(server).run(written(audit, tmp_path)["run_id"])
    assert HOSTILE.partition("\x1b")[0] in params["formats"]
    assert len(figures) == len(metrics(audit))


@pytest.mark.slow
def test_a_run_whose_reports_cannot_be_stored_has_failed(
    server: str, folder: Path, named: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    name, rest, audit = named(server), Rest(server), _judged("within budget", 0, PASS)
    experiment = rest.call("experiments/create", {"name": name})["experiment_id"]
    place = folder / "files" / experiment
    place.parent.mkdir(exist_ok=True)
    place.write_text("where the server would make the experiment's folder")
    with pytest.raises(ToolchainError, match=rf"the MLflow server {server} answers with the HTTP status 500: see its"):
        written(audit, tmp_path)
    assert not (tmp_path / "mlflow.json").exists()
    (run,) = rest.call("runs/search", {"experiment_ids": [experiment]})["runs"]
    assert run["info"]["status"] == "FAILED"
    place.unlink()
    receipt = written(audit, tmp_path)
    (run,) = rest.call("runs/search", {"experiment_ids": [experiment]})["runs"]  # the same run, now whole
    assert (run["info"]["run_id"], run["info"]["status"]) == (receipt["run_id"], "FINISHED")


@pytest.mark.slow
def test_a_deleted_experiment_is_told(server: str, named: Callable[..., str], tmp_path: Path) -> None:
    name, rest = named(server), Rest(server)
    made = rest.call("experiments/create", {"name": name})["experiment_id"]
    rest.call("experiments/delete", {"experiment_id": made})
    with pytest.raises(ToolchainError, match=rf"the experiment '{name}' on the MLflow server {server} was deleted"):
        written(_judged("within budget", 0, PASS), tmp_path)


def test_places_whose_names_become_the_same_stay_apart() -> None:
    audit = sample.audit()
    changed = {0: ("a+b", "local"), 1: ("a-b", "local"), 2: ("a", "pi4"), 3: ("a on pi4", "local")}
    formats = [
        one.model_copy(update=dict(zip(("id", "device"), changed.get(i, (one.id, one.device)), strict=True)))
        for i, one in enumerate(audit.formats)
    ]
    found = metrics(audit.model_copy(update={"formats": Rows(formats, of=FormatResult)}))
    sizes = [found[f"{name}/bytes"] for name in ("a-b", "a-b_2", "a on pi4", "a on pi4_2")]
    assert sizes == [sample.FORMATS[name].size for name in list(sample.FORMATS)[:4]]


class Silent(BaseHTTPRequestHandler):
    """Answers every request with what the test says."""

    status, body, kind = 200, b"{}", "application/json"

    def answer(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(status: int, body: bytes, kind: str = "application/json") -> Iterator[int]:
    handler = type("Handler", (Silent,), {"status": status, "body": body, "kind": kind})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served.server_port
        finally:
            served.shutdown()
            thread.join()


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the client of MLflow is needed")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def _refused(port: int, folder: Path, named: Callable[..., str]) -> str:
    named(f"http://user:{SECRET}@127.0.0.1:{port}?key={SECRET}")
    long = ("leakage", "curves", "null_p_values", "p_calibration", "across_targets", "comparisons", "latency")
    small: dict[str, Any] = dict.fromkeys(long, ())
    write_reports(sample.audit(**small), folder, [])
    done = CliRunner().invoke(app, ["report", str(folder), "--format", "mlflow"])
    assert isinstance(done.exception, ToolchainError), done.exception
    said = str(done.exception)
    assert said.startswith(f"the MLflow server http://127.0.0.1:{port} ")
    assert SECRET not in said + done.output
    assert done.exception.__suppress_context__  # nor in what a debugger prints
    assert not (folder / "mlflow.json").exists()
    return said.removeprefix(f"the MLflow server http://127.0.0.1:{port} ")


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (401, b"who are you", "text/plain", "refuses access: check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PAS"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "application/json", "refuses access: check"),
        (500, b"oops", "text/plain", "answers with the HTTP status 500: see its log, or correct MLFLOW_TRACKING_URI"),
        (404, b"<html>", "text/html", "answers with the HTTP status 404"),
        (200, b"<html>", "text/html", "does not answer as MLflow does (MlflowException): correct MLFLOW_TRACKING_URI"),
        (
            400,
            json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": f"key {SECRET}\nis bad"}).encode(),
            "application/json",
            "refuses: INVALID_PARAMETER_VALUE: key ***",
        ),
    ],
)
def test_a_server_that_refuses_is_one_sentence(
    status: int, body: bytes, kind: str, sentence: str, tmp_path: Path, named: Callable[..., str], secrets: None
) -> None:
    with answering(status, body, kind) as port:
        said = _refused(port, tmp_path, named)
    assert said.startswith(sentence)


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path, named: Callable[..., str], secrets: None) -> None:
    assert _refused(free_port(), tmp_path, named) == "cannot be reached: start it, or correct MLFLOW_TRACKING_URI"


def test_a_server_that_never_answers_is_one_sentence(tmp_path: Path, named: Callable[..., str], secrets: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # takes connections, and reads nothing
        started = time.monotonic()
        said = _refused(listening.getsockname()[1], tmp_path, named)
    assert said.startswith("does not answer in time: try again later, or set MLFLOW_HTTP_REQUEST_TIMEOUT")
    assert time.monotonic() - started < 30


def test_without_a_server_or_the_package_an_audit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = {"data": {"source": "digits"}, "model": {"recipe": "mlp", "epochs": 1}, "formats": ["torch-fp32"],
             "threat": {"shadows": 2}, "report": {"writers": ["mlflow"]}}  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    with pytest.raises(ToolchainError, match="'mlflow' has no server: set MLFLOW_TRACKING_URI, such as MLFLOW"):
        edgeaudit.run(audit, out=tmp_path / "out", store=tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingToolchain, match=r"'mlflow-skinny'.*pip install 'edgeaudit\[mlflow\]'"):
        edgeaudit.run(audit, out=tmp_path / "out", store=tmp_path / "store")
    assert not (tmp_path / "out" / "audit.json").exists()
