"""Audits of an attacker who holds several formats of one model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Workbench, jobs_run

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

STATIC = "onnx-int8-static"
FORMATS: list[Any] = [STATIC, "torch-fp32", "litert-fp16"]
BASE: dict[str, Any] = {
    "formats": FORMATS,
    "attacks": ["lira", "yeom"],
    "data": {"members": 100, "nonmembers": 100, "reference": 400},
}


def _areas(rows: list[dict[str, Any]], variant: str) -> dict[str, float]:
    """LiRA's AUC on all records by format."""
    names = ("attack", "variant", "subset", "metric")
    wanted = ["lira", variant, "all", "auc"]
    return {row["format"]: row["value"] for row in rows if [row[name] for name in names] == wanted}


def test_a_set_of_formats_is_compared_with_the_best_of_them(shared_bench: Workbench) -> None:
    sets = [["torch-fp32", "litert-fp16"], FORMATS]
    done = shared_bench.audit("held", **BASE, together=sets)
    assert done.code in {0, 3}, done.stdout + done.stderr  # 3: a control's alarm, which is chance
    rows = done.audit["together"]
    two, three = ["torch-fp32", "litert-fp16"], ["torch-fp32", STATIC, "litert-fp16"]  # the original first
    methods = {"compleak-sr": two, "compleak-mr": three}
    for formats in (two, three):
        own = [r for r in rows if r["formats"] == formats]
        named = {r["method"] for r in own}
        assert named == {"joint-offline", "mean-score", *(m for m, f in methods.items() if f == formats)}
        assert {r["metric"] for r in own} == {"auc", "tpr@fpr=0.01"}
    areas = _areas(done.audit["leakage"], "offline-global")
    for row in (r for r in rows if r["metric"] == "auc"):
        assert row["low"] < row["value"] < row["high"]
        assert row["difference"] == pytest.approx(row["value"] - max(s["value"] for s in row["singles"]))
        assert row["difference"] == min(s["difference"] for s in row["singles"])
        assert 0 < row["p_value"] <= row["adjusted_p"] <= 1
        if row["yardstick"] == "lira/offline-global":
            # LiRA on one format is the same attack here as in the audit's own table.
            assert {s["format"]: s["value"] for s in row["singles"]} == pytest.approx(
                {name: areas[name] for name in row["formats"]}
            )
    # fp16 weights answer like the original: whatever reads both finds what one gives away, but for a hundredth.
    (pair,) = (r for r in rows if (r["formats"], r["method"], r["metric"]) == (two, "mean-score", "auc"))
    assert abs(pair["difference"]) < 0.01
    nulls = [c for c in done.audit["controls"] if c["name"] == "null target" and " + " in c["format"]]
    assert {c["format"] for c in nulls} == {" + ".join(formats) for formats in (two, three)}
    assert {c["status"] for c in nulls} == {"holds"}
    assert "Multi-version attacks" in (done.out / "report.html").read_text(encoding="utf-8")
    assert "Holding torch-fp32 and litert-fp16 together " in " ".join(done.stdout.split())
    assert jobs_run(shared_bench.audit("held", **BASE, together=sets).stdout)[0] == 0
    # The sets are no part of any other job.
    fewer = shared_bench.audit("fewer", **BASE, together=[FORMATS[::-1]])
    assert jobs_run(fewer.stdout)[0] == 1
    kept = [r for r in fewer.audit["together"] if r["metric"] == "auc"]
    for row in kept:
        same = next(r for r in rows if all(r[k] == row[k] for k in ("formats", "method", "metric", "yardstick")))
        assert {**same, "adjusted_p": row["adjusted_p"]} == row


def test_a_format_that_failed_is_left_out_of_its_sets(shared_bench: Workbench) -> None:
    # No runtime agrees with torch to a billionth.
    broken = {"name": "broken", "passes": ["onnx.export", "ort.static-int8"], "tolerance": 1e-9}
    changes = {**BASE, "formats": [*FORMATS, broken], "controls": {"null-targets": 0}}
    done = shared_bench.audit("lost", **changes, together=[["torch-fp32", "broken"], ["torch-fp32", STATIC, "broken"]])
    assert done.code == 2
    rows = done.audit["together"]
    (none,) = (r for r in rows if r["method"] == "-")
    assert (none["formats"], none["value"], none["note"]) == (["torch-fp32", "broken"], None, "not run: broken failed")
    rest = [r for r in rows if r["method"] != "-"]
    assert {tuple(r["formats"]) for r in rest} == {("torch-fp32", STATIC)}
    assert all("without broken, which failed" in r["note"] for r in rest)
    assert {r["method"] for r in rest} == {"compleak-sr", "joint-offline", "mean-score"}


def test_auditor_shadows_distinguish_members(shared_bench: Workbench) -> None:
    threat = {"mode": "auditor", "shadows": 6}
    done = shared_bench.audit("worst", **BASE, threat=threat, targets=2, together=["torch-fp32", STATIC])
    assert done.code in {0, 3}, done.stdout + done.stderr
    rows = [r for r in done.audit["together"] if r["metric"] == "auc"]
    assert {r["method"] for r in rows} == {"compleak-sr", "joint-offline", "joint-online", "mean-score"}
    assert {r["targets"] for r in rows} == {2}
    online = next(r for r in rows if (r["method"], r["yardstick"]) == ("joint-online", "lira/online-global"))
    assert online["value"] > 0.5
    areas = _areas(done.audit["across_targets"], "online-global")
    assert {s["format"]: s["value"] for s in online["singles"]} == pytest.approx(
        {name: areas[name] for name in ("torch-fp32", STATIC)}
    )
