"""Two real runs that differ in the quantiser alone, compared."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from edgeaudit.report.model.between_runs import RunComparison
from tests.e2e.conftest import Workbench, jobs_run

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

SETTINGS: dict[str, Any] = {
    "model": {"recipe": "mlp", "options": {"hidden": [32]}, "epochs": 20, "batch": 32},
    "attacks": ["yeom", "gap"],
    "threat": {"shadows": 2},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
}
STATIC, PERCENTILE = "onnx-int8-static", "onnx-int8-percentile"


def test_two_quantisers_of_one_model_are_compared_on_the_same_records(bench: Workbench) -> None:
    old = bench.audit("old", **SETTINGS, formats=[STATIC], budgets={"auc": ["error", {"max": 0.98}]})
    assert old.code == 0, old.stderr
    sarif = bench.folder / "new.sarif"
    path = bench.write("new", **SETTINGS, formats=[PERCENTILE], budgets={"auc": ["error", {"max": 0.99}]})
    baseline = ["--sarif", str(sarif), "--baseline", "out-old"]
    new = bench.run("run", path, "--out", "out-new", *baseline, out="out-new")
    assert new.code == 0, new.stderr
    run, planned = jobs_run(new.stdout)
    assert run < planned  # models are those of the first run
    states = [one["baselineState"] for one in json.loads(sarif.read_text())["runs"][0]["results"]]
    assert states == ["new", "absent"]

    found = bench.folder / "found.json"
    named = ["--map", f"{STATIC}={PERCENTILE}", "--json", str(found)]
    done = bench.call("compare", "out-old", "out-new", *named)
    assert done.code in (0, 1), done.stderr
    paired = RunComparison.model_validate_json(found.read_text("utf-8"))
    assert paired.exit_code == done.code
    (one,) = paired.formats
    assert (one.method, one.old, one.new) == ("paired", STATIC, PERCENTILE)
    assert any("ort.static-int8.calibration: min-max -> percentile" in change for change in one.changes)
    assert paired.loosened == (f"auc <= 0.98 (level error) is now <= 0.99: {PERCENTILE}",)
    assert {change.name for change in paired.settings} == {"budgets"}
    # Figures are those of the two reports.
    for audit, side in ((old.audit, "old"), (new.audit, "new")):
        stated = {
            (r["attack"], r["variant"], r["metric"]): r["value"] for r in audit["leakage"] if r["subset"] == "all"
        }
        for row in paired.rows:
            attack, variant = row.attack.split("/")
            common = (attack, f"{variant} at common floor", row.metric)
            assert getattr(row, side) == stated.get(common, stated[attack, variant, row.metric])

    shutil.rmtree(bench.folder / "out-new" / "scores")
    done = bench.call("compare", "out-old", "out-new", *named)
    assert done.code == 0, done.stderr
    unpaired = RunComparison.model_validate_json(found.read_text("utf-8"))
    assert [one.method for one in unpaired.formats] == ["unpaired"]
    widths = [
        next((row.high or 0) - (row.low or 0) for row in run.rows if (row.attack, row.metric) == ("yeom/loss", "auc"))
        for run in (paired, unpaired)
    ]
    assert 0 < widths[0] < widths[1] / 4


def test_fewer_shadows_of_the_same_file_conclude_nothing(bench: Workbench) -> None:
    more = bench.audit("more", **{**SETTINGS, "threat": {"shadows": 4}}, formats=[STATIC])
    fewer = bench.audit("fewer", **{**SETTINGS, "attacks": ["gap"]}, formats=[STATIC])
    assert (more.code, fewer.code) == (0, 0), fewer.stderr
    found = bench.folder / "found.json"
    done = bench.call("compare", "out-more", "out-fewer", "--quiet", "--json", str(found))
    assert done.code == 3, done.stderr
    assert "NEW was not attacked by yeom" in done.stdout
    (one,) = RunComparison.model_validate_json(found.read_text("utf-8")).formats
    assert one.changes == ("same file",)
    # The gap's scores and its threshold need no shadow, so that the runs differ in what was not tried alone.
    assert "shadows" not in done.stdout
    done = bench.call("compare", "out-fewer", "out-more", "--quiet")
    assert done.code == 0, done.stdout
