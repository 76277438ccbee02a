"""The gate that a privacy team owns: one small run, judged by many policies through the command line."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Finished, Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

SETTINGS: dict[str, Any] = {
    "attacks": ["yeom", "gap"],
    "threat": {"shadows": 2},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
    "formats": ["torch-fp32", "onnx-fp32"],
}
LIMIT = {"auc": ["error", {"max": 0.501}]}
"""Exceeded by any model that leaks so much that 100 members and nonmembers show it."""


class Policed:
    """A run that was judged by a policy, and more policies for it."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        audit = bench.write("own", **SETTINGS, budgets={"auc": ["error", {"max": 0.99}]})
        self.first = bench.run("run", audit, "--out", "out", "--policy", self.write("first", LIMIT))

    def write(self, name: str, budgets: Any, *waivers: dict[str, Any]) -> Path:
        path = self.bench.folder / f"{name}.policy.yaml"
        path.write_text(yaml.safe_dump({"name": f"policy {name}", "budgets": budgets, "waivers": list(waivers)}))
        return path

    def check(self, *options: str | Path) -> tuple[Finished, dict[str, Any]]:
        """Judge the run again; what --json wrote, or {}."""
        file = self.bench.folder / "verdict.json"
        file.unlink(missing_ok=True)
        done = self.bench.call("check", "out", "--json", file, "--quiet", *options)
        return done, json.loads(file.read_text()) if file.exists() else {}


def _waiver(expires: dt.date, **more: Any) -> dict[str, Any]:
    about = {"metric": "auc", "format": "onnx-fp32", "owner": "Ada", "reason": "retraining", "expires": str(expires)}
    return {**about, **more}


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _soon() -> dt.date:
    return _today() + dt.timedelta(days=30)  # the day itself, at which midnight may come, is tested with a given day


@pytest.fixture(scope="module")
def policed(shared_bench: Workbench) -> Policed:
    return Policed(shared_bench)


def test_a_policy_that_is_exceeded_fails_the_run(policed: Policed) -> None:
    done = policed.first
    assert done.code == 1, done.stdout + done.stderr
    verdict = done.audit["verdict"]
    assert [(one["policy"], one["verdict"]) for one in verdict["budgets"]] == [(None, "pass"), ("policy first", "fail")]
    content = (policed.bench.folder / "first.policy.yaml").read_bytes()
    assert verdict["policy"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert (verdict["policy"]["file"], verdict["policy"]["measured"]) == ("first.policy.yaml", False)
    assert (verdict["limits"]["file"], verdict["limits"]["measured"]) == ("own.yaml", False)
    assert "of policy policy first is exceeded" in " ".join(done.stdout.split())


def test_a_looser_audit_yaml_changes_nothing(policed: Policed) -> None:
    """Neither a limit of the same metric, nor a file without limits, nor a check that names no policy."""
    path = policed.bench.write("loose", **SETTINGS, budgets={"auc": ["error", {"max": 0.995}]})
    done, found = policed.check("--budgets", path)
    assert (done.code, found["policy"]["name"]) == (1, "policy first")
    assert found["policy"]["measured"] is False  # it is the run's own, read before its figures were known
    assert policed.check()[0].code == 1
    done, found = policed.check("--budgets", policed.bench.write("none", **SETTINGS))
    assert (done.code, found) == (2, {})
    assert "none.yaml: the file has no budgets to judge the run by" in " ".join(done.stderr.split())


def test_a_waiver_passes_until_it_ends(policed: Policed) -> None:
    until = _soon()
    done, found = policed.check("--policy", policed.write("waived", LIMIT, _waiver(until)))
    assert done.code == 0, done.stdout
    assert done.stdout.startswith(f"WITHIN BUDGET (1 waived until {until} by Ada; exit code 0)")
    assert [case["status"] for case in found["cases"] if "metric" in case] == ["passed", "waived"]
    assert found["policy"]["measured"] is True
    ended = _waiver(_today() - dt.timedelta(days=1))
    done, found = policed.check("--policy", policed.write("ended", LIMIT, ended))
    assert done.code == 1
    assert f"the waiver of Ada expired on {ended['expires']} (retraining)" in found["reasons"][0]


def test_too_few_records_say_how_many_would_decide(policed: Policed) -> None:
    (_, judged) = policed.first.audit["verdict"]["budgets"]
    between = round((judged["value"] + judged["high"]) / 2, 3)
    limit = {"auc": ["error", {"max": between, "attacks": [judged["attack"]]}]}
    done, found = policed.check("--policy", policed.write("open", limit))
    assert done.code == 3
    assert "if the figures stay, about" in found["reasons"][0]
    done, _ = policed.check("--policy", policed.write("open", limit, _waiver(_soon(), max=0.999)))
    assert done.code == 0
    done, _ = policed.check("--policy", policed.write("open", limit, _waiver(_soon(), max=between)))
    assert done.code == 3


def test_a_policy_that_judges_nothing_is_not_green(policed: Policed) -> None:
    lost = policed.write("lost", {"auc": ["error", {"max": 0.99, "formats": ["litert-int8"]}]})
    done, found = policed.check("--policy", lost)
    assert (done.code, found) == (2, {})
    assert "the policy policy lost judges nothing in this audit, whose formats are torch-fp32, onnx-fp32" in " ".join(
        done.stderr.split()
    )
    own = policed.bench.folder / "own.yaml"
    planned = policed.bench.call("plan", own, "--policy", lost)
    assert planned.code == 2


def test_a_plan_says_what_the_policy_needs(policed: Policed) -> None:
    path = policed.write("planned", {"auc": [["error", {"max": 0.6}], ["error", {"max": 0.7, "formats": ["x-int8"]}]]})
    done = policed.bench.call("plan", policed.bench.folder / "own.yaml", "--policy", path)
    text = " ".join(done.stdout.split())
    assert done.code == 0, done.stderr
    assert "budget auc <= 0.6 (error, this file, 2 attacks, policy policy planned): needs" in text
    assert "budget auc <= 0.7 names what is not among this audit's formats: 'x-int8'" in text


def test_a_composition_is_limited_as_its_preset(policed: Policed) -> None:
    """onnx-fp32 is one pass, onnx.export; a composition that no budget of formats names is told."""
    path = policed.write("spelt", {"auc": [["error", {"max": 0.6, "formats": ["onnx-fp32"]}], ["error", {"max": 0.9}]]})
    formats = ["torch-fp32", {"name": "mine", "passes": ["onnx.export"]},
               {"name": "half", "passes": ["onnx.export", "ort.fp16"]}]  # fmt: skip
    composed = policed.bench.write("composed", **{**SETTINGS, "formats": formats})
    done = policed.bench.call("plan", composed, "--policy", path)
    text = " ".join(done.stdout.split())
    assert done.code == 0, done.stderr
    assert "budget auc <= 0.6 (error, this file, 2 attacks, policy policy spelt): needs" in text
    assert "policy policy spelt: 'half' is a composition that no budget with formats names" in text


def test_what_a_policy_warns_of_is_shown_in_full(policed: Policed) -> None:
    """On the terminal and in the job summary, with --quiet and without; the last line is the verdict."""
    budgets = {"auc": [["error", {"max": 0.99}], *(["error", {"max": 0.9, "formats": [f"no-{n}"]}] for n in range(3))]}
    path = policed.write("noted", budgets, _waiver(_soon(), metric="advantage"))
    notes = [f"budget auc <= 0.9 names what is not among this audit's formats: 'no-{n}'" for n in range(3)]
    notes = [f"warning: policy policy noted: {note}" for note in notes]
    summary = policed.bench.folder / "summary.md"
    quiet, found = policed.check("--policy", path, "--markdown", summary)
    *lines, last = quiet.stdout.splitlines()
    assert [line for line in lines if "policy noted" in line] == notes
    assert "unmatched, no budget limits advantage" in lines[-1]
    assert last.startswith("WITHIN BUDGET (exit code 0)")
    assert set(lines) < set(found["reasons"])
    full = " ".join(policed.bench.call("check", "out", "--policy", path).stdout.split())
    written = summary.read_text().replace("\\", "").splitlines()
    for note in notes:
        assert note in full
        assert f"- {note}" in written


@pytest.mark.parametrize(
    ("waiver", "message"),
    [
        ({"metrc": "auc"}, "'waivers.0.metrc' is not a known key; did you mean 'metric'?"),
        ({"expires": "2027-02-30"}, "waivers.0.expires: there is no such day"),
        ({"attack": "yeon"}, "there is no attack 'yeon'. Did you mean 'yeom'?"),
    ],
)
def test_a_mistake_in_a_policy_is_one_sentence(policed: Policed, waiver: dict[str, Any], message: str) -> None:
    path = policed.write("wrong", LIMIT, {**_waiver(_soon()), **waiver})
    done = policed.bench.call("run", policed.bench.folder / "own.yaml", "--out", "out-wrong", "--policy", path)
    assert done.code == 2
    assert message in " ".join(done.stderr.split())
    assert not (policed.bench.folder / "out-wrong" / "audit.json").exists()
