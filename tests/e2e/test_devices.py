"""Audits of formats on devices: a server that is already there, whose answers are known from an audit without it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.agent import MAX_BODY
from edgeaudit.devices.agent_file import write_agent
from edgeaudit.devices.agent_process import AgentProcess
from tests.e2e.conftest import Workbench, jobs_run

pytestmark = pytest.mark.e2e

FORMAT = "litert-int8"
TOKEN = "EDGEAUDIT_TEST_TOKEN"  # noqa: S105  the name of a variable
RECORDS, CHECK = 600, 32
"""What a target is asked about: all records, and those on which it is compared with the trained model."""


@contextmanager
def served(artifact: Path, **options: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve an artifact by edgeaudit's agent, in the Python that runs the tests; (url, environment)."""
    agent = write_agent(artifact.parent / "agent.pyz")
    command = [sys.executable, "-I", str(agent)]
    process = AgentProcess(
        command, "litert", {"made": artifact}, {"batch": 64, "xnnpack": True, **options}, max_body=MAX_BODY
    )
    token = process.client._token
    assert token is not None
    try:
        yield process.client.url, {TOKEN: token}
    finally:
        process.close()


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, dict[str, Any], Path]:
    """An audit on this machine, its figures, and the target's artifact."""
    bench = Workbench(tmp_path_factory.mktemp("bench"))
    done = bench.audit("native", formats=[FORMAT])
    assert done.code == 0, done.stderr
    entries = [
        json.loads((e / "entry.json").read_text("utf-8")) | {"folder": e}
        for e in bench.folder.glob(".edgeaudit/compress/*")
    ]
    return bench, done.audit, next(e["folder"] for e in entries if e["label"] == "aeq.static-int8 target")


def auc(audit: dict[str, Any], device: str) -> tuple[float, float, float]:
    rows = [
        r
        for r in audit["leakage"]
        if (r["device"], r["attack"], r["metric"], r["subset"]) == (device, "lira", "auc", "all")
    ]
    return rows[0]["value"], rows[0]["low"], rows[0]["high"]


def device(url: str, **more: Any) -> dict[str, Any]:
    return {"there": {"via": url, "token": TOKEN, "model": "made", **more}}


def test_a_server_that_answers_like_this_machine(native: tuple[Workbench, dict[str, Any], Path]) -> None:
    bench, here, artifact = native
    with served(artifact) as (url, env):
        spec = bench.write("same", formats=[FORMAT], devices={"local": None, **device(url)})
        done = bench.run("run", spec, "--out", "out-same", out="out-same", env=env)
        assert done.code == 0, done.stderr
        again = bench.run("run", spec, "--out", "out-same", out="out-same", env=env)
    assert jobs_run(again.stdout)[0] == 0
    found = done.audit
    assert [(f["id"], f["device"], f["status"]) for f in found["formats"]] == [
        (FORMAT, "local", "ok"),
        (FORMAT, "there", "ok"),
    ]
    assert auc(found, "there") == auc(found, "local") == auc(here, "local")
    (there,) = found["devices"]
    (asked,) = there["formats"]
    assert (asked["asked"], asked["restored"], asked["resumed"]) == (RECORDS + CHECK, 0, 0)
    # Neither the null target nor a shadow can be brought to a server: the target alone is the evidence.
    assert asked["shadows"] == "this machine"
    assert asked["equivalence"] == [{"model": "target", "records": RECORDS, "rows": 0, "max_abs": 0, "top1": 0}]
    assert asked["fingerprint"]["probes"]["int8"]["kernels"] == "exact"
    (outputs,) = found["same_file"]
    assert (outputs["device"], outputs["other_device"]) == ("local", "there")
    assert (outputs["records"], outputs["rows"]) == (RECORDS, 0)
    compared = [c for c in found["comparisons"] if c["kind"] == "device" and c["metric"] == "auc"]
    assert [(c["format"], c["first"], c["second"], c["value"]) for c in compared] == [(FORMAT, "local", "there", 0)]
    assert "Every device gave the same answers, bit for bit, to all 600 records" in done.stdout.replace("\n", " ")
    report = (done.out / "report.html").read_text(encoding="utf-8")
    assert "litert-int8 @ there" in report
    assert "this machine's, bit-identical".replace("'", "&#39;") in report


def test_this_machine_does_not_stand_in_for_a_server_with_other_answers(
    native: tuple[Workbench, dict[str, Any], Path],
) -> None:
    """LiteRT without XNNPACK rounds otherwise: what is bit-identical to it, nobody knows of the shadows."""
    bench, _, artifact = native
    with served(artifact, xnnpack=False) as (url, env):
        options = {"options": {"litert": {"xnnpack": False}}}
        spec = bench.write("otherwise", formats=[FORMAT], devices=device(url, **options))
        refused = bench.run("run", spec, "--out", "out-refused", out="out-refused", env=env)
        told = bench.write("told", formats=[FORMAT], devices=device(url, shadows="native", **options))
        done = bench.run("run", told, "--out", "out-told", out="out-told", env=env)
    assert refused.code == 2
    (failed,) = refused.audit["formats"]
    assert failed["status"] == "failed"
    assert "devices.there: its answers for " in failed["error"]
    assert "shadows: native" in failed["error"]
    assert done.code == 0, done.stderr
    (asked,) = done.audit["devices"][0]["formats"]
    assert asked["stood_in_regardless"]
    assert asked["shadows"] == "this machine"
    assert asked["equivalence"][0]["rows"] > RECORDS / 10
    assert "this machine&#39;s, as configured" in (done.out / "report.html").read_text(encoding="utf-8")


def test_a_budget_is_kept_and_answered_queries_are_not_repeated(
    native: tuple[Workbench, dict[str, Any], Path],
) -> None:
    bench, here, artifact = native
    with served(artifact) as (url, env):
        small = bench.write("budget", seed=0, formats=[FORMAT], devices=device(url, max_queries=300))
        refused = bench.run("run", small, "--out", "out-budget", out="out-budget", env=env)
        assert refused.code == 2
        assert "devices.there.max_queries: the targets alone need 632 queries there, but only 300" in refused.stderr
        slow = device(url, max_time=1e-6)
        first = bench.run(
            "run", bench.write("slow", formats=[FORMAT], devices=slow), "--out", "out-slow", out="out-slow", env=env
        )
        assert first.code == 2
        assert "devices.there.max_time: queries took 0 seconds" in first.audit["formats"][0]["error"]
        more = bench.write("more", formats=[FORMAT], devices=device(url, max_time="1h", rate=100000))
        done = bench.run("run", more, "--out", "out-more", out="out-more", env=env)
    assert done.code == 0, done.stderr
    (asked,) = done.audit["devices"][0]["formats"]
    assert asked["resumed"] == CHECK  # the first question, after which the time was spent
    assert asked["asked"] == RECORDS + CHECK
    assert auc(done.audit, "there") == auc(here, "local")


def test_reject_another_file_than_the_target(native: tuple[Workbench, dict[str, Any], Path]) -> None:
    bench, _, artifact = native
    with served(artifact) as (url, env):
        spec = bench.write("other", seed=1, formats=[FORMAT], devices=device(url))
        done = bench.run("run", spec, "--out", "out-other", out="out-other", env=env)
    assert done.code == 2
    assert "a file with SHA-256" in done.audit["formats"][0]["error"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"via": "http://127.0.0.1:9", "retries": 0}, "devices.there: http://127.0.0.1:9 cannot be reached"),
        ({"via": "emulated", "profile": "no-such-board"}, "devices.there: there is no device profile 'no-such-board'"),
        ({"via": "http://127.0.0.1:9", "options": {"litert": {"xnpack": 1}}}, "has no option 'xnpack'"),
        ({"via": "http://127.0.0.1:9", "options": {"lite": {}}}, "there is no runtime 'lite' on devices"),
        ({"via": "http://127.0.0.1:9", "shadows": "device"}, "a server offers a fixed model"),
    ],
)  # fmt: skip
def test_unreachable_devices_are_reported_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    done = Workbench(tmp_path).refused(formats=[FORMAT], devices={"there": changes})
    assert message in done.stderr.replace("\n", " ")


def test_reject_a_runtime_without_an_agent_by_the_devices_key(tmp_path: Path) -> None:
    torch = {"name": "mine", "passes": [{"nncf.prune": {"ratio": 0.5}}], "runtime": "torch"}
    done = Workbench(tmp_path).refused(formats=[FORMAT, torch], devices={"there": {"via": "http://127.0.0.1:9"}})
    assert "devices.there: 'mine' runs in torch, which is only available on this machine" in done.stderr.replace(
        "\n", " "
    )
