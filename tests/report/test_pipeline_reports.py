"""Reports that pipelines read say the verdict of audit.json, whatever the outcome, and hold no word as markup."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from typer.testing import CliRunner

from edgeaudit.cli.main import app
from edgeaudit.errors import RunError, SpecError
from edgeaudit.report.model import Audit, Budget, Control, Verdict
from edgeaudit.report.writers import write_reports
from edgeaudit.rows import Rows
from tests.report import sample

HOSTILE = "x|<b>&`*_\x1b[31m]](javascript:1)\x00=1+1"


def _budget(**changes: Any) -> Budget:
    about: dict[str, Any] = {
        "metric": "tpr@fpr=0.01", "level": "error", "limit": "<= 0.05", "format": "onnx-int8-static",
        "attack": "lira/offline-global", "subset": "all", "verdict": "pass", "value": 0.03, "low": 0.01, "high": 0.04,
        "device": "local",
    }  # fmt: skip
    return Budget.model_validate(about | changes)


def _judged(outcome: str, code: int, *budgets: Budget, controls: tuple[Control, ...] = (), **more: Any) -> Audit:
    verdict = Verdict.model_validate(
        {"outcome": outcome, "exit_code": code, "reasons": [f"it is {outcome}"], "budgets": budgets, **more}
    )
    plain = sample.audit()
    formats = [one for one in plain.formats if outcome == "error" or one.status == "ok"]
    changes = {
        "verdict": verdict,
        "controls": Rows(controls, of=Control),
        "formats": Rows(formats, of=type(formats[0])),
    }
    return plain.model_copy(update=changes)


def _written(audit: Audit, folder: Path, writer: str) -> str:
    return write_reports(audit, folder, [writer])[-1].read_text("utf-8")


def _suite(audit: Audit, folder: Path) -> tuple[ET.Element, dict[tuple[str, str], ET.Element]]:
    root = ET.fromstring(_written(audit, folder, "junit"))  # noqa: S314  our own text
    (suite,) = root
    return suite, {(case.get("classname", ""), case.get("name", "")): case for case in suite}


PASS = _budget()
FAIL = _budget(verdict="fail", value=0.2, low=0.1, high=0.3)
OPEN = _budget(verdict="inconclusive", value=0.05, low=0.02, high=0.09, needed="about 900 members would decide")


@pytest.mark.parametrize(
    ("audit", "element", "gate", "kind"),
    [
        (_judged("within budget", 0, PASS), None, None, "pass"),
        (_judged("budget exceeded", 1, FAIL), "failure", "failure", "fail"),
        (_judged("inconclusive", 3, OPEN), "skipped", "error", "open"),
        (_judged("not judged", 0, _budget(level="warn", verdict="fail")), None, "skipped", "fail"),
        (_judged("error", 2, PASS), None, "error", "pass"),
        (_judged("invalid", 3, PASS), None, "error", "pass"),
    ],
)
def test_every_outcome(audit: Audit, element: str | None, gate: str | None, kind: str, tmp_path: Path) -> None:
    suite, cases = _suite(audit, tmp_path)
    said = {"failure", "error", "skipped"}
    name = ("onnx-int8-static", "tpr@fpr=0.01 <= 0.05 (this file, lira/offline-global)")
    found = {key: [part.tag for part in case if part.tag in said] for key, case in cases.items()}
    assert found[name] == ([element] if element else [])
    assert found["gate", "the verdict"] == ([gate] if gate else [])
    counts = {tag: sum(parts == [tag] for parts in found.values()) for tag in said}
    expected = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    assert {tag: int(suite.get(attribute, "")) for tag, attribute in expected.items()} == counts
    assert int(suite.get("tests", "")) == len(cases)
    (run,) = json.loads(_written(audit, tmp_path, "sarif"))["runs"]
    assert [result["kind"] for result in run["results"]] == [kind]
    assert all(result["level"] == "none" for result in run["results"] if result["kind"] != "fail")
    assert run["invocations"][0]["exitCode"] == audit.verdict.exit_code
    small = json.loads(_written(audit, tmp_path, "verdict"))
    assert (small["outcome"], small["exit_code"]) == (audit.verdict.outcome, audit.verdict.exit_code)
    assert audit.verdict.outcome.upper() in _written(audit, tmp_path, "markdown")


def test_names_of_cases_hold_no_figure(tmp_path: Path) -> None:
    """Or each run would have new cases, and no history."""
    first, second = (_judged("within budget", 0, _budget(value=v, high=h)) for v, h in ((0.03, 0.04), (0.02, 0.031)))
    assert set(_suite(first, tmp_path)[1]) == set(_suite(second, tmp_path)[1])
    prints = [
        json.loads(_written(one, tmp_path, "sarif"))["runs"][0]["results"][0]["partialFingerprints"]
        for one in (first, second)
    ]
    assert prints[0] == prints[1]


def test_controls_are_cases(tmp_path: Path) -> None:
    controls = tuple(Control(s, s, f"it {s}") for s in ("holds", "failed", "undecided", "warning", "not run"))
    _, cases = _suite(_judged("invalid", 3, controls=controls), tmp_path)
    found = {name: [part.tag for part in case] for (group, name), case in cases.items() if group == "controls"}
    assert found == {
        "holds": ["system-out"],
        "failed": ["error"],
        "undecided": ["skipped", "system-out"],
        "warning": ["system-out"],
        "not run": ["skipped", "system-out"],
    }


def test_what_others_wrote_stays_text(tmp_path: Path) -> None:
    control = Control(HOSTILE, "undecided", HOSTILE)
    audit = _judged(
        "inconclusive", 3, _budget(format=HOSTILE, needed=HOSTILE, verdict="inconclusive"), controls=(control,)
    )
    _suite(audit, tmp_path)  # well-formed
    for writer in ("junit", "sarif", "markdown"):
        assert "\x1b" not in _written(audit, tmp_path, writer)
        assert "\x00" not in _written(audit, tmp_path, writer)
    text = _written(audit, tmp_path, "markdown")
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "](javascript" not in text.replace("\\]", "")


def test_a_result_is_at_the_line_of_its_format(tmp_path: Path) -> None:
    limits = {"file": "audit.yaml", "sha256": "0", "read": "now", "measured": False}
    lines = {"formats.onnx-int8-static": 7, "budgets.tpr@fpr=0.01": 12}
    for found, expected in ((lines, 7), ({"budgets.tpr@fpr=0.01": 12}, 12), ({"budgets": 3}, 3), ({}, 1)):
        audit = _judged("within budget", 0, PASS, limits={**limits, "lines": found})
        (result,) = json.loads(_written(audit, tmp_path, "sarif"))["runs"][0]["results"]
        place = result["locations"][0]["physicalLocation"]
        assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("audit.yaml", expected)


def test_every_figure_is_in_the_csv(audit: Audit, tmp_path: Path) -> None:
    rows = list(csv.DictReader(_written(audit, tmp_path, "csv").splitlines()))
    assert len(rows) == len(audit.leakage) + len(audit.weaker_leakage)
    for row, own in zip(rows, audit.leakage, strict=False):
        assert row["format"] == own.format
        assert (float(row["value"]) if row["value"] else None) == own.value


def test_the_markdown_of_a_large_audit_is_small(audit: Audit, tmp_path: Path) -> None:
    """Build servers refuse a summary of more than a megabyte, and it names no single records."""
    text = _written(audit, tmp_path, "markdown")
    assert len(text) < 50_000
    assert text.startswith("## ")
    assert audit.formats[0].id in text


def test_a_bill_of_materials_has_every_file_with_its_figures(audit: Audit, tmp_path: Path) -> None:
    bill = json.loads(_written(audit, tmp_path, "cyclonedx"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    models = {one["bom-ref"]: one for one in bill["components"] if one["type"] == "machine-learning-model"}
    audited = {f.artifact.sha256 for f in audit.formats if f.status == "ok" and f.artifact}
    assert audited == {one["hashes"][0]["content"] for one in models.values()}
    for model in models.values():
        metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        assert all(isinstance(value, str) for one in metrics for value in (one["type"], one["value"], one["slice"]))
        assert any("confidenceInterval" in one for one in metrics)
    assert json.loads(_written(audit, tmp_path, "cyclonedx")) == bill  # the serial number, too
    other = audit.model_copy(update={"created": "2026-01-01T00:00:00Z"})
    assert json.loads(_written(other, tmp_path, "cyclonedx"))["serialNumber"] != bill["serialNumber"]


def test_a_model_card_gives_upper_ends_and_claims_no_verification(audit: Audit, tmp_path: Path) -> None:
    text = _written(audit, tmp_path, "model-card")
    head, _, body = text.removeprefix("---\n").partition("---\n")
    (index,) = yaml.safe_load(head)["model-index"]
    names = [metric["name"] for result in index["results"] for metric in result["metrics"]]
    assert len(names) == len(set(names))
    for format_ in (f for f in audit.formats if f.status == "ok"):
        assert f"membership inference AUC of {format_.id}" in names
        assert f"membership inference AUC of {format_.id}, upper 95% end" in names
    assert "verified" not in head
    assert body.strip().startswith("## Membership leakage")


def _states(audit: Audit, baseline: Audit, folder: Path) -> list[tuple[str, str, str]]:
    log = json.loads(write_reports(audit, folder, ["sarif"], baseline)[-1].read_text("utf-8"))
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    return [(result["baselineState"], result["kind"], result["ruleId"]) for result in run["results"]]


def test_sarif_says_what_is_new_since_an_earlier_run(tmp_path: Path) -> None:
    gone, rule = _budget(metric="auc", limit="<= 0.8"), "membership-inference/tpr-at-fpr-0.01"
    before = _judged("within budget", 0, PASS, gone)
    # The same verdict with other figures is unchanged; a limit that was changed is another result.
    same = _budget(value=0.02, low=0.01, high=0.03)
    assert _states(_judged("within budget", 0, same, gone), before, tmp_path) == [
        ("unchanged", "pass", rule),
        ("unchanged", "pass", "membership-inference/auc"),
    ]
    assert _states(_judged("budget exceeded", 1, FAIL), before, tmp_path) == [
        ("updated", "fail", rule),
        ("absent", "notApplicable", "membership-inference/auc"),
    ]
    assert _states(_judged("within budget", 0, _budget(limit="<= 0.06"), gone), before, tmp_path) == [
        ("new", "pass", rule),
        ("unchanged", "pass", "membership-inference/auc"),
        ("absent", "notApplicable", rule),
    ]
    warned = _judged("not judged", 0, _budget(level="warn", verdict="fail"))
    assert _states(warned, _judged("budget exceeded", 1, FAIL), tmp_path) == [("updated", "fail", rule)]
    log = json.loads(_written(before, tmp_path, "sarif"))
    assert all("baselineState" not in result for result in log["runs"][0]["results"])


def test_a_baseline_needs_a_report_that_reads_it(tmp_path: Path) -> None:
    write_reports(_judged("within budget", 0, PASS), tmp_path, [])
    for verb in ("report", "check"):
        done = CliRunner().invoke(app, [verb, str(tmp_path), "--baseline", str(tmp_path)])
        assert isinstance(done.exception, SpecError)
        assert "only the SARIF report tells what is new" in str(done.exception)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--format", "sarif", "--baseline", str(tmp_path / "none")])
    assert isinstance(done.exception, RunError)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--format", "sarif", "--baseline", str(tmp_path)])
    assert done.exit_code == 0
    assert '"baselineState": "unchanged"' in (tmp_path / "audit.sarif").read_text("utf-8")
