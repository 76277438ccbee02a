"""MLflow: an audit as a run on a tracking server, with parameters, figures, verdict and reports.

The server is the one of MLFLOW_TRACKING_URI, the experiment that of MLFLOW_EXPERIMENT_NAME, `edgeaudit` by default;
credentials are those that MLflow reads (MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN). mlflow.json in the output
folder says where the run is. The same audit is the same run: written again, it is changed there, so that what was taken
out of the reports does not stay on the server.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import util
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from edgeaudit.errors import MissingToolchain, ToolchainError
from edgeaudit.report.cyclonedx import serial_number
from edgeaudit.report.files import write_atomically
from edgeaudit.report.first_screen import recommended
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place
from edgeaudit.report.model import Audit
from edgeaudit.report.summary import verdict_line
from edgeaudit.report.words import printable
from edgeaudit.report.writers import Writer, WriterSpec, write_reports
from edgeaudit.scratch import scratch

__all__ = ["MlflowWriter", "metrics", "parameters", "tags"]

_SERVER, _EXPERIMENT, _DEFAULT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "edgeaudit"
_CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_SILENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Of mlflow 3.17: no usage statistics, of which the first are sent on import, and nothing on the terminal."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""MLflow's own are 120 seconds and 7 retries with growing pauses: a server that is not there would take minutes."""
_REPORTS = ("verdict", "html")
_AT_ONCE = 1000
"""Metrics that a request to a server may have, by MLflow's REST API."""
_LONGEST = 100
"""Letters of a format's name in a metric's, which may have 250."""
_ID = "edgeaudit.audit"
_STATUS = re.compile(r"(?:error code |too many )(\d{3})\b")
"""The HTTP status in messages of mlflow 3.17 and urllib3 2.8."""


class MlflowWriter(Writer):
    """Logs the audit as a run to an MLflow tracking server, and writes mlflow.json."""

    spec: ClassVar[WriterSpec] = WriterSpec(
        "mlflow", "mlflow.json", "a run on the MLflow server of MLFLOW_TRACKING_URI"
    )

    def require_ready(self) -> None:
        """See `Writer.require_ready`: MLflow is installed, and the server is named."""
        _server()
        if util.find_spec("mlflow") is None:
            raise MissingToolchain("the report writer 'mlflow'", "mlflow-skinny", "mlflow")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`.

        Raises:
            ToolchainError: no server is named; it cannot be reached, does not answer in time, or refuses.
            MissingToolchain: MLflow is not installed.
        """
        self.require_ready()
        server = _server()
        name = os.environ.get(_EXPERIMENT, "").strip() or _DEFAULT
        with _quiet(), _server_errors(server), scratch() as folder:
            experiment, run = _logged(audit, server, name, write_reports(audit, folder, _REPORTS))
        shown = _without_credentials(server)
        page = f"{shown}/#/experiments/{experiment}/runs/{run}" if shown.startswith("http") else None
        about = {"tracking_uri": shown, "experiment": name, "experiment_id": experiment, "run_id": run, "url": page}
        write_atomically(path, json.dumps(about, indent=1) + "\n")


def _server() -> str:
    server = os.environ.get(_SERVER, "").strip().rstrip("/")
    if not server:
        raise ToolchainError(
            f"the report writer 'mlflow' has no server: set {_SERVER}, such as {_SERVER}=http://127.0.0.1:5000"
        )
    return server


def _without_credentials(server: str) -> str:
    """The address as it may be shown."""
    scheme, separator, rest = server.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}".partition("?")[0]


def _logged(audit: Audit, server: str, name: str, reports: list[Path]) -> tuple[str, str]:
    """Make the run, or change the one of this audit; returns ids of experiment and run."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking_uri=server)
    experiment = _experiment(client, server, name)
    known = tags(audit, hashlib.sha256(reports[0].read_bytes()).hexdigest())
    found = client.search_runs([experiment], f"tags.`{_ID}` = '{known[_ID]}'", max_results=1)
    run = found[0].info.run_id if found else client.create_run(experiment, run_name=printable(audit.name)).info.run_id
    try:
        # Equal rows of time, step and value are one row, so that a run that is written again has none twice.
        when = int(datetime.fromisoformat(audit.created).timestamp() * 1000)
        figures = [Metric(key, value, when, 0) for key, value in metrics(audit).items()]
        params = [Param(key, value) for key, value in parameters(audit).items()]
        client.log_batch(run, params=params, tags=[RunTag(key, value) for key, value in known.items()])
        for first in range(0, len(figures), _AT_ONCE):
            client.log_batch(run, metrics=figures[first : first + _AT_ONCE])
        for report in reports:
            client.log_artifact(run, str(report))
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run, "FINISHED")
    return experiment, run


def _experiment(client: Any, server: str, name: str) -> str:
    """The id of an experiment, which is made where there is none of this name."""
    from mlflow.exceptions import RestException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except RestException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process has made it meanwhile
    if found is None or found.lifecycle_stage != "active":
        raise ToolchainError(
            f"the experiment '{name}' on the MLflow server {_without_credentials(server)} was deleted: restore it, or "
            f"set {_EXPERIMENT} to another name"
        )
    return str(found.experiment_id)


def parameters(audit: Audit) -> dict[str, str]:
    """What was audited and by which attacker, as parameters of a run."""
    lookup, threat, population = Lookup(audit), audit.threat, audit.population
    found = {
        "formats": ", ".join(lookup.label(place) for place in lookup.places),
        "attack": lookup.headline.label if lookup.headline else None,
        "mode": threat.get("mode"),
        "exposure": threat.get("exposure"),
        "shadows": threat.get("shadows"),
        "seed": audit.seed,
        "data": population.source,
        "members": population.members,
        "nonmembers": population.nonmembers,
    }
    return {key: printable(str(value)) for key, value in found.items() if value is not None}


def metrics(audit: Audit) -> dict[str, float]:
    """The figures of each audited format by name, such as `onnx-int8-static/auc.high`.

    AUC and TPR at 1% FPR are those of the headline attack on all records, `.low` and `.high` the ends of their 95%
    intervals; accuracies are shares, sizes bytes. What is not known is left out.
    """
    lookup = Lookup(audit)
    names = _names([place for place, _ in lookup.ok()], lookup)
    found: dict[str, float | None] = {}
    for place, result in lookup.ok():
        name = names[place]
        for metric in (AUC, TPR):
            row = lookup.row(place, lookup.headline, metric)
            key = f"{name}/{metric.replace('@', '-at-').replace('=', '-')}"
            if row is not None and row.value is not None:
                found |= {key: row.value, f"{key}.low": row.low, f"{key}.high": row.high}
        if result.accuracy is not None:
            found |= {f"{name}/accuracy.test": result.accuracy.test, f"{name}/accuracy.train": result.accuracy.train}
        if result.artifact is not None:
            found[f"{name}/bytes"] = result.artifact.bytes
    return {key: float(value) for key, value in found.items() if value is not None}


def _names(places: list[Place], lookup: Lookup) -> dict[Place, str]:
    """What each place is called in names of metrics, which may have no `@`, `+` or `(`; no two are the same."""
    names: dict[Place, str] = {}
    for place in places:
        label = lookup.label(place).replace(" @ ", " on ")
        plain = re.sub(r"[^A-Za-z0-9_. -]", "-", label).strip(" .")[:_LONGEST] or "format"
        taken = sum(re.fullmatch(rf"{re.escape(plain)}(_\d+)?", other) is not None for other in names.values())
        names[place] = f"{plain}_{taken + 1}" if taken else plain
    return names


def tags(audit: Audit, digest: str) -> dict[str, str]:
    """The verdict and whose limits it is of, as tags of a run. digest: SHA-256 of audit.json."""
    verdict = audit.verdict
    ship = recommended(Lookup(audit))
    found = {
        _ID: serial_number(audit),
        "edgeaudit.version": audit.tool.version,
        "edgeaudit.audit_sha256": digest,
        "edgeaudit.verdict": verdict.outcome,
        "edgeaudit.exit_code": str(verdict.exit_code),
        "edgeaudit.recommended": ship.label or "none",
        "edgeaudit.budgets_sha256": verdict.limits.sha256 if verdict.limits else None,
        "edgeaudit.policy": verdict.policy.name if verdict.policy else None,
        "edgeaudit.policy_sha256": verdict.policy.sha256 if verdict.policy else None,
        "mlflow.note.content": verdict_line(audit),
    }
    return {key: printable(value) for key, value in found.items() if value is not None}


@contextmanager
def _quiet() -> Iterator[None]:
    """Set MLflow's variables in the block, and print neither its log nor that of its HTTP client."""
    before, disabled = dict(os.environ), logging.root.manager.disable
    os.environ.update({**_PATIENCE, **{name: before[name] for name in _PATIENCE.keys() & before.keys()}, **_SILENT})
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        for name in _SILENT.keys() | _PATIENCE.keys():
            _restore(name, before)


def _restore(name: str, before: Mapping[str, str]) -> None:
    if name in before:
        os.environ[name] = before[name]
    else:
        os.environ.pop(name, None)


@contextmanager
def _server_errors(server: str) -> Iterator[None]:
    """Turn what the client raises into one sentence that names the server and no credentials."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException, ValueError) as exc:
        chain = list(_chain(exc))
        said = _network_trouble(chain) or _refusal(exc, chain, server)
        said = said or f"does not answer as MLflow does ({type(exc).__name__}): correct {_SERVER}"
        # What the client says has the address with its password.
        raise ToolchainError(f"the MLflow server {_without_credentials(server)} {said}") from None


def _network_trouble(chain: list[BaseException]) -> str | None:
    from requests.exceptions import ConnectionError as Unreachable
    from requests.exceptions import Timeout

    # Retries that are used up hide the time-out in a ConnectionError.
    if any(isinstance(one, Timeout) or "timed out" in str(one).lower() for one in chain):
        return "does not answer in time: try again later, or set MLFLOW_HTTP_REQUEST_TIMEOUT to more seconds"
    if any(isinstance(one, Unreachable) for one in chain):
        return f"cannot be reached: start it, or correct {_SERVER}"
    return None


def _refusal(exc: Exception, chain: list[BaseException], server: str) -> str | None:
    from mlflow.exceptions import RestException
    from requests.exceptions import HTTPError

    statuses = [one.response.status_code for one in chain if isinstance(one, HTTPError) and one.response is not None]
    # Of a status that is retried, such as 500, nothing but this text is left.
    statuses += [int(code) for one in chain for code in _STATUS.findall(str(one))]
    denied = isinstance(exc, RestException) and exc.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    if denied or (statuses and statuses[0] in (401, 403)):
        return f"refuses access: check {_CREDENTIALS}"
    if isinstance(exc, RestException):
        return f"refuses: {_redacted(exc.message, server)}"
    return f"answers with the HTTP status {statuses[0]}: see its log, or correct {_SERVER}" if statuses else None


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _redacted(text: str, server: str) -> str:
    """The first line, without what is secret."""
    secrets = [os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")]
    secrets += [urlsplit(server).password or ""]
    line = (text.strip().splitlines() or ["no message"])[0]
    for secret in filter(None, secrets):
        line = line.replace(secret, "***")
    return line
