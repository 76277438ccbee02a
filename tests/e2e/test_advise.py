"""Measured advice, as a user asks for it: an audit, and audits of changed trainings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeaudit.report.model.advice import Advice
from tests.e2e.conftest import Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

SETTINGS: dict[str, Any] = {
    "model": {"recipe": "mlp", "options": {"hidden": [32]}, "epochs": 40, "batch": 16},
    "formats": ["onnx-fp32"],
    "attacks": ["gap", "yeom"],
    "threat": {"shadows": 2},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
    "canaries": {"records": 40},
}


def _compared(audit: dict[str, Any], series: str) -> float:
    """The AUC by which runs are compared: at the common probability floor, where that is another."""
    stated = {
        f"{row['attack']}/{row['variant']}": float(row["value"])
        for row in audit["leakage"]
        if (row["subset"], row["metric"]) == ("all", "auc") and row["value"] is not None
    }
    return stated.get(f"{series} at common floor", stated[series])


def test_changes_are_audited_and_compared_with_the_training_without_them(bench: Workbench) -> None:
    path = bench.write("leaky", **SETTINGS, budgets={"auc": ["error", {"max": 0.51}]})
    done = bench.call("advise", path, "--out", "advice", "--changes", "early-stopping,dp-sgd", "--workers", "1")
    assert done.code in (0, 1, 3), done.stderr
    found = Advice.model_validate_json((bench.folder / "advice" / "advice.json").read_text("utf-8"))
    assert found.exit_code == done.code
    assert [one.format for one in found.failing] == ["onnx-fp32"]
    changes = {one.name: one for one in found.changes}
    assert set(changes) == {"early-stopping", "dp-sgd"}

    audits = {
        name: json.loads((bench.folder / "advice" / name / "audit.json").read_text("utf-8"))
        for name in ("base", *changes)
    }
    assert len({audit["population"]["sha256"] for audit in audits.values()}) == 1
    for name, change in changes.items():
        audit = audits[name]
        assert change.status == "measured", change.why
        assert change.verdict == audit["verdict"]["outcome"]
        (one,) = change.formats
        (row,) = one.figures
        (budget,) = audit["verdict"]["budgets"]
        assert one.after == budget["verdict"]
        assert row.changed_attack == budget["attack"].removesuffix(" at common floor")
        first, second = _compared(audits["base"], row.attack), _compared(audit, row.changed_attack)
        assert (row.base, row.changed) == (first, second)
        assert row.value == pytest.approx(second - first)
        assert row.method == "paired"
        assert one.accuracy is not None
        assert one.canaries is not None
    stopped, spent = (changes[name].training for name in ("early-stopping", "dp-sgd"))
    assert stopped is not None
    assert stopped.early_stopping is not None
    assert stopped.early_stopping.held_out == 12  # a tenth of 100 members and 20 planted canaries
    assert spent is not None
    assert spent.privacy is not None
    assert spent.privacy.epsilon <= 8
    (control,) = [one for one in audits["dp-sgd"]["controls"] if one["name"] == "privacy"]
    assert control["status"] == "holds"
    assert not [one for one in audits["base"]["controls"] if one["name"] == "privacy"]
    html = (bench.folder / "advice" / "dp-sgd" / "report.html").read_text("utf-8")
    assert "at delta 1e-05 (rdp)" in html

    again = bench.call("advise", path, "--out", "advice", "--changes", "early-stopping,dp-sgd", "--json")
    assert again.code == done.code, again.stderr
    repeated = Advice.model_validate_json(again.stdout)
    assert repeated.model_dump(exclude={"created"}) == found.model_dump(exclude={"created"})


def test_a_change_that_a_model_cannot_take_is_named(bench: Workbench) -> None:
    settings = {**SETTINGS, "model": {"recipe": "cnn", "options": {"width": 4}, "epochs": 3}}
    path = bench.write("layers", **settings, budgets={"auc": ["error", {"max": 0.51}]})
    done = bench.call("advise", path, "--changes", "dp-sgd", "--workers", "1")
    assert done.code == 3, done.stderr
    (change,) = Advice.model_validate_json((bench.folder / "advice" / "advice.json").read_text("utf-8")).changes
    assert change.status == "failed"
    assert "(BatchNorm2d) of model.recipe 'cnn' mixes the records of a batch" in (change.why or "")


def test_what_is_refused_before_anything_runs(bench: Workbench) -> None:
    path = bench.write("none", **SETTINGS)
    done = bench.call("advise", path)
    assert done.code == 2
    assert "no budget of level error is set" in done.stderr
    done = bench.call("advise", path, "--changes", "dp")
    assert done.code == 2
    assert "'dp' is no change" in done.stderr
    assert not (bench.folder / "advice").exists()


def test_a_plan_names_the_layer_that_no_private_training_takes(bench: Workbench) -> None:
    settings = {**SETTINGS, "model": {"recipe": "cnn", "options": {"width": 4}, "privacy": {"epsilon": 8}}}
    done = bench.call("plan", bench.write("private", **settings), "--workers", "1")
    assert done.code == 2
    assert "model.privacy: the layer '0.1' (BatchNorm2d) of model.recipe 'cnn' mixes the records" in done.stderr
