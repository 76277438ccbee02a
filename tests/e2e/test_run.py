"""One audit from a spec to its report, and what a second one does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from edgeaudit.attacks.registry import attack_specs
from edgeaudit.leakage.series_names import is_judged_beside
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.report.schema import json_schema
from tests.e2e.conftest import Workbench, jobs_run

pytestmark = pytest.mark.e2e

OFFLINE = "offline-global"
FORMATS = [
    "torch-fp32", "onnx-fp32", "onnx-int8-dynamic", "onnx-int8-static", "onnx-int8-qop", "litert-fp32", "litert-fp16",
    "litert-int8-dynamic", "litert-int8", "nncf-pruned-50", "nncf-pruned-70", "nncf-pruned-90", "nncf-pruned-70-int8",
]  # fmt: skip


def test_every_format_end_to_end(shared_bench: Workbench, without_times: Callable[[Any], Any]) -> None:
    changes: dict[str, Any] = {
        "formats": FORMATS,
        "threat": {"shadows": 3},
        "attacks": ["cm-mia", "lira", "yeom", "gap"],
        "controls": {"null-targets": 0},
    }
    spec = shared_bench.write("all", **changes)
    done = shared_bench.run("run", spec, "--out", "out-all", out="out-all", workers=None)
    assert done.code == 0, done.stdout + done.stderr
    audit = done.audit
    jsonschema.validate(audit, json_schema())
    assert [f["id"] for f in audit["formats"]] == FORMATS
    assert all(f["status"] == "ok" for f in audit["formats"])
    aucs = {
        r["format"]: (r["low"], r["value"], r["high"])
        for r in audit["leakage"]
        if (r["attack"], r["variant"], r["subset"], r["metric"]) == ("cm-mia", "t", "all", "auc")
    }
    assert set(aucs) == set(FORMATS)
    assert all(low < value < high for low, value, high in aucs.values())
    # 100 records and 20 epochs overfit: train accuracy is far above test, and an honest attack must see it.
    assert aucs["torch-fp32"][0] > 0.5
    html = (done.out / "report.html").read_text(encoding="utf-8")
    assert all(f in html for f in FORMATS)

    again = shared_bench.audit("all", **changes)
    assert jobs_run(again.stdout)[0] == 0
    assert without_times(again.audit) == without_times(audit)


def test_more_shadows_reuse_existing_ones(shared_bench: Workbench) -> None:
    few = shared_bench.audit("few", threat={"shadows": 4})
    more = shared_bench.audit("more", threat={"shadows": 5})
    assert few.code == more.code == 0
    # One more shadow: train, export, quantise, two queries; two formats to attack and to compare anew.
    assert jobs_run(more.stdout)[0] == 8


def test_a_changed_recipe_or_seed_never_reuses_old_models(shared_bench: Workbench) -> None:
    before = shared_bench.audit("before", threat={"shadows": 2})
    for change, kept in (({"model": {"epochs": 21}}, 1), ({"seed": 7}, 0)):
        after = shared_bench.audit("after", threat={"shadows": 2}, **change)
        executed, total = jobs_run(after.stdout)
        assert executed == total - kept  # the comparison of the records does not depend on the recipe
        digests = [{f["id"]: f["artifact"]["sha256"] for f in run.audit["formats"]} for run in (before, after)]
        assert all(digests[0][f] != digests[1][f] for f in digests[0])


def test_several_targets_are_compared_on_the_same_shadows(shared_bench: Workbench) -> None:
    one = shared_bench.audit("one", threat={"shadow_match": ["matched", "fp32"]})
    many = shared_bench.audit("many", threat={"shadow_match": ["matched", "fp32"]}, targets=4)
    assert many.code == 0, many.stderr
    # Three targets more: train, export, quantise, two queries each; four measurements and their comparison.
    assert jobs_run(many.stdout)[0] == 3 * 5 + 4 + 1
    first, audit = one.audit, many.audit
    jsonschema.validate(audit, json_schema())
    assert audit["leakage"] == first["leakage"]  # the first target is the one of an audit of one
    assert first["across_targets"] == []
    over = [r for r in audit["across_targets"] if (r["variant"], r["subset"], r["metric"]) == (OFFLINE, "all", "auc")]
    assert len(over) == 4
    assert all(r["targets"] == 4 and r["low"] < r["value"] < r["high"] for r in over)
    for run, targets in ((first, 1), (audit, 4)):
        rows = [r for r in run["comparisons"] if r["metric"] == "auc"]
        assert {r["kind"] for r in rows} == {"format", "shadow match", "attack"}
        assert {r["targets"] for r in rows} == {targets}
        for r in rows:
            assert r["first_value"] - r["second_value"] == pytest.approx(r["value"])
            assert r["adjusted_p"] >= r["p_value"]


def test_p_values_are_compared_with_known_nonmembers(shared_bench: Workbench) -> None:
    rows = shared_bench.audit("calibration", attacks=["cm-mia", "gap"]).audit["p_calibration"]
    places = {(r["format"], r["variant"], r["source"]) for r in rows if r["kind"] == "conformal"}
    assert {v for _, v, _ in places} >= {"t", "ecdf", "pchip", "calibrated"}
    assert {s for _, _, s in places} == {"nonmembers", "null target"}
    wrong = {(r["format"], r["shadow_match"], r["attack"], r["variant"]) for r in rows
             if (r["kind"], r["status"]) == ("conformal", "anti-conservative")}  # fmt: skip
    rankings = {(r["format"], r["shadow_match"], r["attack"], r["variant"]) for r in rows
                if (r["kind"], r["is_p_value"]) == ("conformal", False)}  # fmt: skip
    assert rankings <= wrong  # a row above its own band alone is not enough
    for r in rows:
        demoted = (r["format"], r["shadow_match"], r["attack"], r["variant"]) in rankings
        assert r["is_p_value"] == (r["kind"] == "conformal" and not demoted)
        assert ("a ranking in this format" in (r["note"] or "")) == (r["kind"] == "conformal" and demoted)
        assert (r["band_high"] is not None) == (r["kind"] == "conformal")
        assert r["observed"] == pytest.approx(r["count"] / r["n"])
        assert r["n"] == (200 if r["source"] == "null target" else 100)
    # Four shadows: no rank test can say 5%, and none does.
    ecdf = [r for r in rows if (r["variant"], r["kind"], r["nominal"]) == ("ecdf", "nominal", 0.05)]
    assert all(r["count"] == 0 and r["status"] in {"conservative", "not resolvable"} for r in ecdf)


def test_budgets_decide_the_exit_code(shared_bench: Workbench) -> None:
    judged = {"attacks": ["cm-mia", "gap"]}
    wide = shared_bench.audit("wide", **judged, budgets={"auc": ["error", {"max": 0.99}]})
    assert (wide.code, wide.audit["verdict"]["outcome"]) == (0, "within budget")
    tight = shared_bench.audit("tight", **judged, budgets={"auc": ["error", {"max": 0.51}]})
    assert (tight.code, tight.audit["verdict"]["outcome"]) == (1, "budget exceeded")
    rows = [r for r in wide.audit["leakage"] if (r["format"], r["metric"]) == ("onnx-int8-static", "auc")]
    # At the largest figure: no interval lies above it, and not all lie below.
    close = max(float(r["value"]) for r in rows if r["subset"] == "all" and r["value"] is not None)
    open_one = shared_bench.audit("open", **judged, budgets={"auc": ["error", {"max": close}]})
    assert (open_one.code, open_one.audit["verdict"]["outcome"]) == (3, "inconclusive")
    wrong = shared_bench.refused(**judged, budgets={"auc": ["error", {"max": 0.9, "formats": ["onnx-int8-sttic"]}]})
    assert "onnx-int8-sttic" in wrong.stderr
    check = shared_bench.run("check", wide.out, "--budgets", shared_bench.folder / "tight.yaml")
    assert check.code == 1
    assert shared_bench.call("check", wide.out).code == 0
    increase = shared_bench.audit(
        "increase", **judged, budgets={"auc": ["error", {"max-increase": 0.2, "against": "torch-fp32"}]}
    )
    assert increase.code == 0


def test_all_attacks_run_or_report_why_not(shared_bench: Workbench) -> None:
    done = shared_bench.audit("attacks", attacks="all", formats=["onnx-int8-static"])
    assert done.code == 0, done.stdout + done.stderr
    every = [r for r in done.audit["leakage"] if (r["subset"], r["metric"]) == ("all", "auc")]
    rows = [r for r in every if not is_judged_beside(f"{r['attack']}/{r['variant']}")]
    assert [(r["attack"], r["variant"]) for r in rows] == [(s.name, v) for s in attack_specs() for v in s.variants]
    beside = {f"{r['attack']}/{r['variant']}" for r in every if r not in rows}
    assert {"taught/classifier", "cm-mia/calibrated at common floor"} <= beside
    unrun = {f"{r['attack']}/{r['variant']}": r["note"] for r in rows if r["value"] is None}
    online = {
        "cm-mia/calibrated-online",
        "lira/online-global",
        "lira/online-per-record",
        "bavaria/online-t",
        "bavaria/online-n",
        "rmia/online",
        "info-rmia/online",
    }
    active = {"label-only/augmentation", "samia/attention"}
    named = {"label-only/boundary", "loss-trajectory/distilled"}
    assert set(unrun) == online | active | named
    assert all("not applicable:" in note for note in unrun.values())
    assert all("200 of 200 records have fewer" in unrun[name] for name in online)
    assert all("cost queries: set threat.views" in unrun[name] for name in active)
    assert all(f"add '{name.partition('/')[0]}' to attacks" in unrun[name] for name in named)
    html = (done.out / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert all(note.removeprefix("not applicable: ") in html for note in unrun.values())
    thresholds = [r for r in done.audit["leakage"] if r["metric"] == "advantage"]
    assert all(r["value"] is not None for r in thresholds)


def test_fp32_shadows_are_a_second_set_of_rows(shared_bench: Workbench) -> None:
    done = shared_bench.audit("match", threat={"shadow_match": ["matched", "fp32"]})
    rows = [r for r in done.audit["leakage"] if (r["variant"], r["subset"], r["metric"]) == (OFFLINE, "all", "auc")]
    assert {(r["format"], r["shadow_match"]) for r in rows} == {
        (f, m) for f in ("torch-fp32", "onnx-int8-static") for m in ("matched", "fp32")
    }
    by_match = {r["shadow_match"]: r["value"] for r in rows if r["format"] == "torch-fp32"}
    assert by_match["matched"] == by_match["fp32"]  # for the reference both are the same shadows


def test_variants_of_a_format_and_who_calibrated_them(shared_bench: Workbench) -> None:
    static = "onnx-int8-static"
    formats = [static, {"format": static, "calibration": "nonmembers"}, {"format": static, "softmax": "inside"}]
    done = shared_bench.audit("variants", formats=formats)
    assert done.code == 0, done.stdout + done.stderr
    found = {f["id"]: f["artifact"] for f in done.audit["formats"]}
    assert {i: a["calibration_audited"] for i, a in found.items()} == {
        static: 0,
        f"{static}@nonmembers": 32,
        f"{static}+softmax": 0,
    }
    assert [a["softmax_inside"] for a in found.values()] == [False, False, True]
    with np.load(done.out / "scores" / f"{static}@nonmembers.npz") as scores:
        assert scores["calibrated"].sum() == 32
        assert not scores["members"][scores["calibrated"]].any()


def test_an_auditor_runs_the_online_attacks(shared_bench: Workbench) -> None:
    static = ["onnx-int8-static"]
    done = shared_bench.audit("auditor", threat={"mode": "auditor", "shadows": 8}, attacks="all", formats=static)
    assert done.code == 0, done.stdout + done.stderr
    rows = {
        (r["attack"], r["variant"]): r
        for r in done.audit["leakage"]
        if (r["format"], r["subset"], r["metric"]) == ("onnx-int8-static", "all", "auc")
    }
    assert len(rows) >= 15
    online = (("cm-mia", "calibrated-online"), ("lira", "online-global"), ("bavaria", "online-t"), ("rmia", "online"))
    for one in (*online, ("cm-mia", "t"), ("shokri", "classifier")):
        assert rows[one]["low"] > 0.5  # the target overfits, and the worst case must see it
    accuracy = done.audit["formats"][0]["accuracy"]
    assert accuracy["shadow_train"] > accuracy["shadow_test"] + 0.05
    # The online test leads: what attacks are compared with, and whose scores rank records.
    headline = "cm-mia/calibrated-online"
    assert done.audit["headlines"][0] == headline
    assert {r["series"] for r in done.audit["comparisons"] if r["kind"] == "attack"} == {headline}
    assert done.audit["threat"]["records_per_model"] == done.audit["population"]["members"]
    with np.load(done.out / "scores" / "onnx-int8-static.npz") as scores:
        best = np.argsort(-scores[headline], kind="stable")[:20]
        assert [r["record"] for r in done.audit["exposed"]] == scores["records"][best].tolist()
        # Claims rest on p-values, which the online test has none of; they were made by halves of 8 shadows, too.
        test = done.audit["claims"]["tests"][0].replace("/", ".")
        assert {f"{kind}.{test}" for kind in ("p_value", "half-0", "half-1")} <= set(scores.files)
    claims, claimed = done.audit["claims"], done.audit["claimed"]
    assert claims["claimed"] == len(claimed)
    assert all(r["q_value"] <= claims["level"] == 0.05 for r in claimed)
    assert not claimed or claims["half_shadows"] == 4

    adversary = shared_bench.audit("adversary", attacks=["lira"], formats=static)
    refused = [r for r in adversary.audit["leakage"] if r["variant"] == "online-global"]
    assert refused
    assert all(r["value"] is None and "not applicable" in r["note"] for r in refused)


def test_more_attacks_on_a_finished_run_query_nothing(bench: Workbench) -> None:
    first = bench.audit("first", attacks=["yeom"], budgets={"auc": ["error", {"max": 0.999, "attack": "yeom"}]})
    other = bench.run("attack", first.out, "--attacks", "gap", out="out-first")
    # What the run had is kept, and its budgets are judged on it.
    assert other.code == 0, other.stderr
    assert {r["attack"] for r in other.audit["leakage"]} == {"yeom", "gap", "taught"}
    assert len(other.audit["verdict"]["budgets"]) == 1
    wrong = bench.call("attack", first.out, "--attacks", "yoem")
    assert wrong.code == 2
    assert "there is no attack 'yoem'. Did you mean 'yeom'?" in wrong.stderr
    before = {f["id"]: f["artifact"] for f in first.audit["formats"]}
    more = bench.run("attack", first.out, "--attacks", "all", out="out-first")
    assert more.code == 0, more.stderr
    assert "3 attack jobs" in more.stdout  # one a format, their comparison, and nothing else
    ran = {
        (r["attack"], r["variant"]) for r in more.audit["leakage"] if r["metric"] == "auc" and r["value"] is not None
    }
    assert len(ran) >= 15
    assert {f["id"]: f["artifact"] for f in more.audit["formats"]} == before
    asks = bench.call("attack", first.out, "--attacks", "loss-trajectory")
    assert asks.code == 2
    assert "loss-trajectory needs more than the answers of" in asks.stderr
    lost = bench.call("attack", first.out, "--store", "elsewhere")
    assert lost.code == 2
    assert "name the run's store with --store" in lost.stderr


QUICK: dict[str, Any] = {
    "model": {"recipe": "mlp", "options": {}, "epochs": 15}, "threat": {"shadows": 2}, "formats": ["torch-fp32"],
}  # fmt: skip


def test_a_clean_audit_reports_its_controls(shared_bench: Workbench) -> None:
    done = shared_bench.audit("clean", **QUICK)
    assert done.code == 0, done.stdout + done.stderr
    controls = {(c["name"], c["format"]): c for c in done.audit["controls"]}
    ran = ["shift: labels", "shift: single features", "shift: blind classifier", "duplicates", "near duplicates"]
    assert all(controls[name, None]["status"] == "holds" for name in ran)
    null = controls["null target", "torch-fp32"]
    assert null["status"] == "holds"
    assert null["low"] <= null["value"] <= null["high"]
    assert any("controls that hold: shift" in reason for reason in done.audit["verdict"]["reasons"])
    assert "controls: " in done.stdout

    without = shared_bench.audit("without", **QUICK, controls={"null-targets": 0, "shift": False})
    assert without.code == 0
    not_run = {c["name"] for c in without.audit["controls"] if c["status"] == "not run"}
    assert not_run == {"shift", "null target"}


def test_members_from_another_source_make_the_audit_invalid(bench: Workbench) -> None:
    digits = load_digits()
    x = np.round(digits.images * 15).astype(np.uint8)
    rng = np.random.default_rng(0)
    ids = rng.permutation(len(x))[:200]
    members, nonmembers = np.sort(ids[:100]), np.sort(ids[100:])
    x[members] += 5  # a brighter scanner: below what an eye sees
    np.savez(bench.folder / "digits.npz", x=x, y=digits.target)
    np.save(bench.folder / "members.npy", members)
    np.save(bench.folder / "nonmembers.npy", nonmembers)
    data = {"source": "npz", "path": "digits.npz", "members": "members.npy", "nonmembers": "nonmembers.npy"}
    budgets = {"auc": ["error", {"max": 0.999, "attack": "lira", "formats": ["torch-fp32"]}]}
    done = bench.audit("shifted", **QUICK, data=data, budgets=budgets)
    assert done.code == 3, done.stdout + done.stderr
    assert done.audit["verdict"]["outcome"] == "invalid"
    failed = {c["name"] for c in done.audit["controls"] if c["status"] == "failed"}
    assert "shift: blind classifier" in failed
    assert done.audit["verdict"]["reasons"][0].startswith("control failed: shift")
    assert "INVALID (exit code 3)" in done.stdout
    assert "A control of this audit failed" in (done.out / "report.html").read_text(encoding="utf-8")
    assert bench.call("check", done.out).code == 3


def test_a_trained_target_with_its_own_lists(shared_bench: Workbench) -> None:
    recipe = Recipe("cnn", (1, 8, 8), 10, {"width": 8})
    torch.save(build(recipe, 5).state_dict(), shared_bench.folder / "model.pt")
    (shared_bench.folder / "members.txt").write_text("\n".join(map(str, range(100))))
    np.save(shared_bench.folder / "nonmembers.npy", np.arange(100, 200))
    lists = {"members": "members.txt", "nonmembers": "nonmembers.npy"}
    done = shared_bench.audit("own", model={"checkpoint": "model.pt"}, data=lists)
    # An untrained checkpoint knows nothing: it is really the one that was audited, and it is refused.
    assert done.code == 2
    assert "it is not a model of these records" in " ".join(done.stderr.split())
    (shared_bench.folder / "model.pt").write_bytes(b"not a checkpoint")
    for verb, *options in (("plan",), ("run", "--out", "bad")):
        spec = shared_bench.write("own", model={"checkpoint": "model.pt"}, data=lists)
        bad = shared_bench.call(verb, spec, *options)
        assert bad.code == 2
        assert "cannot be read as a state_dict" in bad.stderr


def test_a_users_own_recipe_and_data(bench: Workbench, root_folder: Path) -> None:
    shutil.copy(root_folder / "examples" / "own_model" / "wine.py", bench.folder / "own_recipe.py")
    changes: dict[str, Any] = {
        "model": {"recipe": "own_recipe:make_model", "train": "own_recipe:train_model", "options": {"hidden": 24}},
        "data": {"source": "own_recipe:make_data"},
    }
    formats = ["torch-fp32", "litert-int8", "nncf-pruned-50"]
    done = bench.audit("own", **changes, formats=formats)
    assert done.code == 0, done.stdout + done.stderr
    assert done.audit["population"]["source"] == "own_recipe:make_data"
    again = bench.audit("own", **changes, formats=formats)
    assert jobs_run(again.stdout)[0] == 0  # the function was called again, and its records are the same
    (bench.folder / "own_recipe.py").write_text((bench.folder / "own_recipe.py").read_text() + "\n# changed\n")
    changed = bench.audit("own", **changes, formats=["torch-fp32"])
    executed, total = jobs_run(changed.stdout)
    assert executed == total - 1  # the records are the same, and so is the comparison of them; no model is


@pytest.mark.parametrize("recipe", ["mlp", "resnet8", "ds-cnn", pytest.param("mobilenet-v2", marks=pytest.mark.matrix)])
def test_every_recipe_reaches_every_toolchain(bench: Workbench, recipe: str) -> None:
    done = bench.audit(
        recipe,
        model={"recipe": recipe, "options": {}, "epochs": 12, "batch": 16},
        threat={"shadows": 2},
        formats=["onnx-int8-static", "litert-int8", "nncf-pruned-50"],
        controls={"null-targets": 0},
    )
    assert done.code == 0, done.stdout + done.stderr
