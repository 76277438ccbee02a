"""Canaries in whole audits: what is memorised is found, judged, and follows from the stored scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgeaudit.config.canaries import CanariesSpec
from tests.e2e.conftest import Finished, Workbench, jobs_run

pytestmark = pytest.mark.e2e

CANARIES = {"records": 80}


@pytest.fixture(scope="module")
def audited(shared_bench: Workbench) -> Finished:
    return shared_bench.audit(
        "canaries",
        canaries=CANARIES,
        attacks=["lira", "yeom"],
        budgets={"auc": [["error", {"max": 0.95}], ["error", {"max": 0.6, "subset": "canaries"}]]},
    )


def test_canaries_are_found_where_the_average_says_little(audited: Finished) -> None:
    assert audited.code == 1, audited.stderr
    rows = {(r["format"], r["attack"], r["subset"], r["metric"]): r for r in audited.audit["leakage"]}
    for name in ("torch-fp32", "onnx-int8-static"):
        planted, all_of = (rows[name, "yeom", subset, "auc"] for subset in ("canaries", "all"))
        assert planted["value"] > all_of["high"]
        assert (planted["n_members"], planted["n_nonmembers"]) == (40, 40)
        assert rows[name, "lira", "canaries", "epsilon_one_run"]["value"] > 0
    about = audited.audit["canaries"]
    assert [one["format"] for one in about] == ["torch-fp32", "onnx-int8-static"]
    assert all(one["planted_learned"] > 0.4 > one["held_out_learned"] + 0.2 for one in about)


def test_the_budget_on_canaries_decides_and_that_on_all_records_holds(audited: Finished) -> None:
    budgets = {b["subset"]: b for b in audited.audit["verdict"]["budgets"]}
    assert budgets["all"]["verdict"] == "pass"
    assert budgets["canaries"]["verdict"] == "fail"
    assert "40 mislabelled canaries were planted" in audited.stdout
    report = (audited.out / "report.html").read_text(encoding="utf-8")
    assert "Planted against held-out canaries under" in report


def test_what_would_decide_is_counted_in_canaries(shared_bench: Workbench, audited: Finished) -> None:
    row = next(
        r
        for r in audited.audit["leakage"]
        if (r["format"], r["attack"], r["subset"], r["metric"]) == ("onnx-int8-static", "yeom", "canaries", "auc")
    )
    tight = shared_bench.folder / "tight.yaml"
    limit = (row["value"] + row["high"]) / 2
    tight.write_text(f"budgets: {{auc: [error, {{max: {limit}, subset: canaries, attacks: [yeom]}}]}}\n")
    again = shared_bench.call("check", audited.out, "--budgets", tight)
    assert again.code == 3
    assert "planted canaries, and as many held out, would decide" in " ".join(again.stdout.split())


def test_figures_on_canaries_follow_from_the_stored_scores(audited: Finished) -> None:
    rows = [r for r in audited.audit["leakage"] if (r["subset"], r["metric"]) == ("canaries", "auc")]
    for row in rows:
        with np.load(audited.out / "scores" / "canaries" / f"{row['format']}.npz") as scores:
            found = roc_auc_score(scores["members"], scores[f"{row['attack']}/{row['variant']}"])
        assert row["value"] == pytest.approx(found, abs=1e-12)


def test_a_finished_run_is_judged_anew_and_attacked_further(shared_bench: Workbench, audited: Finished) -> None:
    again = shared_bench.call("check", audited.out)
    assert again.code == 1
    more = shared_bench.run("attack", audited.out, "--attacks", "gap", out="out-canaries")
    assert more.code == 1, more.stderr
    kinds = {r["attack"] for r in more.audit["leakage"] if r["subset"] == "canaries"}
    assert kinds == {"lira", "yeom", "gap"}
    assert "canary-query" not in more.stderr
    same = shared_bench.run("run", "canaries.yaml", "--out", "out-again", out="out-again")
    assert same.code == 1, same.stderr
    assert jobs_run(same.stdout)[0] == 0


def test_canaries_that_cannot_be_planted_or_judged_are_refused(bench: Workbench) -> None:
    for changes, message in (
        ({"canaries": {"kind": "duplicated"}}, "set 'repeats' to 2 or more"),
        ({"canaries": {"records": 10}}, "canaries.records"),
        (
            {"canaries": {}, "model": {"checkpoint": "w.pt"}, "data": {"members": "m.txt", "nonmembers": "n.txt"}},
            "model.checkpoint is trained already",
        ),
        ({"budgets": {"auc": ["error", {"max": 0.6, "subset": "canaries"}]}}, "plant some with the section 'canaries'"),
        (
            {"canaries": {}, "budgets": {"advantage": ["error", {"max": 0.6, "subset": "canaries"}]}},
            "figures of canaries are auc",
        ),
    ):
        refused = bench.refused(**changes)
        assert message in refused.stderr
    assert CanariesSpec().records == 100


def test_figures_on_canaries_are_recomputed_from_the_evidence(
    shared_bench: Workbench, audited: Finished, root_folder: Path
) -> None:
    exported = shared_bench.call("export", audited.out, "--out", "evidence.npz")
    assert exported.code == 0, exported.stderr
    code = [sys.executable, str(root_folder / "examples" / "recompute.py"), "evidence.npz"]
    done = subprocess.run(
        [*code, str(audited.out / "audit.json")], cwd=shared_bench.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tpr@fpr=0.05" in done.stdout
    with np.load(shared_bench.folder / "evidence.npz") as file:
        arrays = {name: file[name] for name in file.files}
    name = next(name for name in arrays if name.endswith("canary_scores"))
    arrays[name] = arrays[name][:, ::-1]
    np.savez(shared_bench.folder / "other.npz", **arrays)
    code[-1] = "other.npz"
    wrong = subprocess.run(
        [*code, str(audited.out / "audit.json")], cwd=shared_bench.folder, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
