"""Audits whose attacks ask about a record more than once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Workbench, jobs_run

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

STATIC = "onnx-int8-static"
# One null target in twenty lies outside its 95% interval by chance, and its audit then ends with 3.
BARE = {"formats": [STATIC], "controls": {"null-targets": 0}}


def test_views_add_rows_and_queries(shared_bench: Workbench) -> None:
    plain = shared_bench.audit("plain", **BARE, attacks=["lira", "yeom"])
    assert plain.code == 0, plain.stdout + plain.stderr
    views = shared_bench.audit("views", **BARE, attacks=["lira", "yeom"], threat={"views": ["shift", "noise-2"]})
    assert views.code == 0, views.stdout + views.stderr
    # Two views of a target and four shadows, one measurement and one comparison: no model is trained again.
    assert jobs_run(views.stdout)[0] == 2 * 5 + 2
    rows = {r["variant"]: r for r in views.audit["leakage"] if (r["subset"], r["metric"]) == ("all", "auc")}
    old = {r["variant"]: r for r in plain.audit["leakage"] if (r["subset"], r["metric"]) == ("all", "auc")}
    assert {v.partition("+")[0] for v in rows} == set(old)
    assert {v.partition("+")[2] for v in rows} == {"", "shift-1+noise-2"}
    assert all(rows[variant] == row for variant, row in old.items())
    many = rows["offline-global+shift-1+noise-2"]
    assert many["note"] == "6 queries per record"
    assert many["value"] != old["offline-global"]["value"]
    assert many["low"] > 0.5
    again = shared_bench.audit("views", **BARE, attacks=["lira", "yeom"], threat={"views": ["shift", "noise-2"]})
    assert jobs_run(again.stdout)[0] == 0


def test_reject_views_that_do_not_fit_the_records(shared_bench: Workbench) -> None:
    done = shared_bench.refused(**BARE, threat={"views": ["shift-8"]})
    assert "threat.views: 'shift-8' moves images of 8 by 8 pixels out of sight" in done.stderr


def test_labels_alone_leak_membership(shared_bench: Workbench) -> None:
    attacks = ["label-only", "samia"]
    views, search = {"views": ["shift", "noise-2"]}, {"records": 20, "queries": 60}
    done = shared_bench.audit("labels", **BARE, attacks=attacks, threat=views, **{"label-only": search})
    assert done.code == 0, done.stdout + done.stderr
    found = [r for r in done.audit["leakage"] if r["subset"] == "all"]
    assert {r["variant"] for r in found} == {"augmentation", "boundary", "attention", "classifier"}
    samia = next(r for r in found if (r["attack"], r["metric"]) == ("samia", "auc"))
    assert samia["note"] == "2 queries per record"  # it reads no shift
    assert samia["value"] is not None
    rows = {r["metric"]: r for r in found if r["variant"] == "augmentation"}
    assert rows["auc"]["note"] == "6 queries per record"
    # 200 records and seven different scores: the interval is wide, and whether it holds .5 is chance.
    assert rows["auc"]["low"] < rows["auc"]["value"] < rows["auc"]["high"]
    assert rows["balanced_accuracy"]["value"] is not None


def test_the_boundary_is_searched_if_label_only_is_named(shared_bench: Workbench) -> None:
    settings = {"records": 60, "queries": 150}
    done = shared_bench.audit("edge", **BARE, attacks=["gap", "label-only"], **{"label-only": settings})
    assert done.code == 0, done.stdout + done.stderr
    rows = {r["metric"]: r for r in done.audit["leakage"] if (r["variant"], r["subset"]) == ("boundary", "all")}
    area = rows["auc"]
    assert (area["n_members"], area["n_nonmembers"]) == (30, 30)
    queries = int(area["note"].removesuffix(" queries per record"))
    assert 75 < queries <= 151
    assert rows["balanced_accuracy"]["value"] is not None
    with np.load(done.out / "scores" / f"{STATIC}.npz") as scores:
        assert np.isfinite(scores["label-only.boundary"]).sum() == 60
    votes = next(r for r in done.audit["leakage"] if r["variant"] == "augmentation")
    assert "set threat.views" in votes["note"]


def test_reject_too_few_queries(shared_bench: Workbench) -> None:
    done = shared_bench.refused(**BARE, attacks=["label-only"], **{"label-only": {"queries": 49}})
    assert "label-only.queries" in done.stderr


def test_a_students_losses_leak_membership(shared_bench: Workbench) -> None:
    data = {"members": 150, "nonmembers": 150, "reference": 700}
    settings: dict[str, Any] = {
        "data": data,
        "threat": {"shadows": 2},
        "targets": 2,
        "formats": [{"format": "litert-int8", "softmax": "inside"}],  # whose answers hold exact zeros
        "attacks": ["yeom", "loss-trajectory"],
        "loss-trajectory": {"epochs": 15},
    }
    done = shared_bench.audit("students", **settings)
    assert done.code == 0, done.stdout + done.stderr
    rows = [r for r in done.audit["leakage"] if (r["attack"], r["subset"]) == ("loss-trajectory", "all")]
    figures = {r["metric"]: r for r in rows}
    assert figures["auc"]["low"] > 0.5
    assert figures["auc"]["note"] is None  # no query but the one that every attack asks
    assert (figures["auc"]["n_members"], figures["auc"]["n_nonmembers"]) == (150, 150)
    assert figures["balanced_accuracy"]["value"] > 0.5
    over = [r for r in done.audit["across_targets"] if r["attack"] == "loss-trajectory"]
    area = next(r for r in over if (r["subset"], r["metric"]) == ("all", "auc"))
    assert (area["targets"], area["missing"]) == (2, 0)
    with np.load(done.out / "scores" / "litert-int8+softmax.npz") as scores:
        assert np.isfinite(scores["loss-trajectory/distilled"]).all()
    assert done.audit["timings"]["trajectory"] > 0
    again = shared_bench.audit("students", **settings)
    assert jobs_run(again.stdout)[0] == 0
    # The null target is judged by the first attack of an audit, so this one is judged alone; only the attack is new.
    alone = shared_bench.audit("alone", **settings | {"attacks": "loss-trajectory"})
    assert alone.code == 0, alone.stdout + alone.stderr
    assert jobs_run(alone.stdout)[0] == 2
    null = next(c for c in alone.audit["controls"] if c["name"] == "null target")
    assert null["statement"].startswith("loss-trajectory distilled finds no members of null-target")
    assert null["low"] < 0.5 < null["high"]
