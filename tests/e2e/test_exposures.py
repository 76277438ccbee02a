"""Audits that also say what is left where a device returns less of its answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Finished, Workbench, jobs_run

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

INT8 = "litert-int8+softmax"
SETTINGS: dict[str, Any] = {
    "formats": [{"format": "litert-int8", "softmax": "inside"}],
    "controls": {"null-targets": 0},
    "attacks": ["cm-mia", "lira", "yeom", "gap"],
}
LEVELS = ["top-10", "top-1", "rounded-2", "label"]


@pytest.fixture(scope="module")
def plain(shared_bench: Workbench) -> Finished:
    """The audit without weaker exposures."""
    done = shared_bench.audit("plain", **SETTINGS)
    assert done.code == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def weaker(shared_bench: Workbench, plain: Finished) -> Finished:
    """The same with all of them, right after it."""
    done = shared_bench.audit("weaker", **SETTINGS, threat={"weaker": LEVELS})
    assert done.code == 0, done.stdout + done.stderr
    return done


def test_weaker_exposures_are_derived_from_stored_answers(plain: Finished, weaker: Finished) -> None:
    assert plain.audit["weaker_exposures"] == plain.audit["weaker_leakage"] == []
    # A job for each level and the comparison: nothing is asked or measured again.
    assert jobs_run(weaker.stdout)[0] == len(LEVELS) + 1
    audit = weaker.audit
    assert audit["leakage"] == plain.audit["leakage"]
    full = _figures(audit["leakage"])
    found = {level: _figures(r for r in audit["weaker_leakage"] if r["exposure"] == level) for level in LEVELS}
    # All ten classes are the whole answer.
    for name, value in found["top-10"].items():
        assert value == full[name]
    assert all(found[level]["gap", "label", "auc"] == full["gap", "label", "auc"] for level in ("top-1", "label"))
    # The headline variant of each attack, and the test of intervals where answers are rounded.
    assert {name[:2] for name in found["top-1"]} == {
        ("cm-mia", "calibrated"), ("lira", "offline-global"), ("yeom", "loss"), ("gap", "label"),
    }  # fmt: skip
    assert found["rounded-2"]["cm-mia", "discrete", "auc"][0] is not None
    assert {name[0] for name, value in found["label"].items() if value[0] is not None} == {"gap"}
    notes = {r["attack"]: r["note"] for r in audit["weaker_leakage"] if r["exposure"] == "label"}
    assert notes["lira"] == "not applicable: 'lira' needs the model's confidence, which a label does not give"


def test_weaker_exposures_are_compared_with_the_whole_answer(weaker: Finished) -> None:
    audit = weaker.audit
    rows = {r["first"]: r for r in audit["comparisons"] if (r["kind"], r["metric"]) == ("exposure", "auc")}
    assert list(rows) == LEVELS
    whole = rows["top-10"]
    assert (whole["value"], whole["adjusted_p"], whole["note"]) == (0.0, 1.0, None)
    label = rows["label"]
    assert (label["series"], label["second"]) == ("gap/label", "probabilities")
    assert label["note"] == "gap label reads label, cm-mia calibrated reads probabilities"
    assert label["value"] == pytest.approx(label["first_value"] - label["second_value"])
    assert label["high"] < 0
    exposures = {e["exposure"]: e["outputs"] for e in audit["weaker_exposures"]}
    (outputs,) = (f["outputs"] for f in audit["formats"])
    assert exposures["top-10"] == outputs
    assert outputs["distinct"] <= 256
    assert exposures["label"]["distinct"] == 2
    assert exposures["label"]["distinct"] < exposures["rounded-2"]["distinct"] <= 101
    page = (weaker.out / "report.html").read_text(encoding="utf-8")
    assert "<h2>Output granularity</h2>" in page
    assert f"returning less of {INT8}: AUC with" in weaker.stdout
    assert "label -0." in weaker.stdout


def test_an_integer_softmax_is_tested_as_intervals_and_ties_are_reported(plain: Finished) -> None:
    audit = plain.audit
    tested = _figures(audit["leakage"])["cm-mia", "discrete", "auc"]
    assert tested[0] is not None
    (outputs,) = (f["outputs"] for f in audit["formats"])
    (control,) = (c for c in audit["controls"] if c["name"] == "tie mass")
    assert (control["format"], control["value"]) == (INT8, outputs["tie_mass"])
    assert control["statement"].startswith(f"{outputs['distinct']} distinct answers to 200 records")


def test_a_finished_run_is_measured_at_further_exposures(shared_bench: Workbench) -> None:
    first = shared_bench.audit("further", **SETTINGS)
    done = shared_bench.run("attack", "out-further", "--weaker", "rounded-1, label", out="out-further")
    assert done.code == 0, done.stdout + done.stderr
    assert "attack jobs in" in done.stdout
    assert [e["exposure"] for e in done.audit["weaker_exposures"]] == ["rounded-1", "label"]
    assert done.audit["leakage"] == first.audit["leakage"]  # no attack was added
    for given, said in (("rounded", "is not a weaker exposure"), ("probabilities", "is the exposure itself")):
        refused = shared_bench.call("attack", "out-further", "--weaker", given)
        assert refused.code == 2
        assert "error: weaker: " in refused.stderr
        assert said in refused.stderr


def test_logits_have_probabilities_as_a_weaker_exposure_and_several_targets_their_means(
    shared_bench: Workbench,
) -> None:
    threat = {"exposure": "logits", "weaker": ["probabilities", "label"], "views": ["noise-2"]}
    settings = SETTINGS | {"formats": ["onnx-int8-static"], "attacks": ["yeom", "label-only", "gap"]}
    done = shared_bench.audit("logits", **settings, threat=threat, targets=2)
    assert done.code == 0, done.stdout + done.stderr
    audit = done.audit
    rows = {(r["first"], r["metric"]): r for r in audit["comparisons"] if r["kind"] == "exposure"}
    assert {r["targets"] for r in rows.values() if r["value"] is not None} == {2}
    # Losses of logits and of their probabilities differ by rounding alone.
    assert rows["probabilities", "auc"]["value"] == pytest.approx(0, abs=1e-9)
    votes = _figures(r for r in audit["weaker_leakage"] if r["exposure"] == "label")
    assert votes["label-only", "augmentation", "auc"] == _figures(audit["leakage"])["label-only", "augmentation", "auc"]
    assert rows["label", "auc"]["series"] == "label-only/augmentation"
    (note,) = {r["note"] for r in audit["weaker_leakage"] if (r["variant"], r["metric"]) == ("augmentation", "auc")}
    assert note == "2 queries per record"


def _figures(rows: Any) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """(attack, variant, metric) -> value, interval and counts, on all records."""
    parts = ("value", "low", "high", "n_members", "n_nonmembers")
    return {
        (r["attack"], r["variant"], r["metric"]): tuple(r[part] for part in parts)
        for r in rows if r["subset"] == "all"
    }  # fmt: skip
