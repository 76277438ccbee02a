"""A waived limit stays in every view as what it is, with who answers for it and until when; it is green in none."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from edgeaudit.report.first_screen import answers, recommended
from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.markdown import plain
from edgeaudit.report.model import Audit, Budget, JudgedWaiver, LimitsOrigin, PolicyOrigin, Verdict, Waiver
from edgeaudit.report.schema import audit_text, json_schema, read_audit, write_audit
from edgeaudit.report.summary import limits_sentence, sentences, verdict_line, waiver_lines
from edgeaudit.report.terminal import budget_word
from edgeaudit.report.writers import write_reports
from edgeaudit.rows import Rows
from tests.report import sample

FORMAT = "onnx-int8-static"
UNTIL = "until 2027-01-31 by Ada Example"
WHY = "waits for the | retraining"
_ABOUT: dict[str, Any] = {
    "metric": "tpr@fpr=0.01", "formats": (FORMAT,), "device": None, "subset": "all", "attack": None, "scope": "file",
    "against": None, "max": 0.4, "owner": "Ada Example", "reason": WHY, "expires": "2027-01-31",
}  # fmt: skip
WAIVER = Waiver.model_validate(_ABOUT)


def _budget(**changes: Any) -> Budget:
    attack = {"attack": "lira/offline-global", "subset": "all", "value": 0.2, "low": 0.1, "high": 0.3}
    about: dict[str, Any] = {
        "metric": "tpr@fpr=0.01", "level": "error", "limit": "<= 0.05", "format": FORMAT, "device": "local",
        "subset": "all", "verdict": "fail", "attack": "lira/offline-global", "value": 0.2, "low": 0.1, "high": 0.3,
        "attacks": (attack,), "policy": "Devices",
    }  # fmt: skip
    return Budget.model_validate(about | changes)


WAIVED = _budget(waived_by=(WAIVER,))
OWN = _budget(policy=None, limit="<= 0.5", verdict="pass")


def _audit(*budgets: Budget, status: str = "applied", **changes: Any) -> Audit:
    policy = PolicyOrigin(
        name="Devices", owner="Privacy team", file="privacy.yaml", sha256="ab" * 32, read="2026-12-01T00:00:00+00:00",
        measured=False, lines={"budgets.tpr@fpr=0.01": 3}, content={"budgets": {}},
    )  # fmt: skip
    limits = LimitsOrigin(
        file="audit.yaml", sha256="cd" * 32, read="2026-12-01T00:00:00+00:00", measured=True, lines={}
    )
    about: dict[str, Any] = {
        "outcome": "within budget", "exit_code": 0, "reasons": ("1 budget check holds for this file, 1 is waived",),
        "budgets": budgets, "limits": limits, "policy": policy, "judged_on": "2026-12-01",
        "waivers": (JudgedWaiver.model_validate({**_ABOUT, "status": status}),),
    }  # fmt: skip
    plain = sample.audit()
    formats = [one for one in plain.formats if one.status == "ok"]
    verdict = Verdict.model_validate(about | changes)
    return plain.model_copy(update={"verdict": verdict, "formats": Rows(formats, of=type(formats[0]))})


@pytest.fixture(scope="module")
def waived() -> Audit:
    return _audit(OWN, WAIVED)


def _written(audit: Audit, folder: Path, writer: str) -> str:
    return write_reports(audit, folder, [writer])[-1].read_text("utf-8")


def test_the_last_line_says_how_many_until_when_and_by_whom(waived: Audit) -> None:
    assert verdict_line(waived).startswith(f"WITHIN BUDGET (1 waived {UNTIL}; exit code 0): 1 budget check holds")
    later = WAIVER.model_copy(update={"expires": "2027-03-01", "owner": "Bo"})
    both = _audit(
        WAIVED, _budget(waived_by=(later,), limit="<= 0.06"), WAIVED.model_copy(update={"subset": "canaries"})
    )
    assert "(3 waived, the first until 2027-01-31 by Ada Example and Bo; exit code 0)" in verdict_line(both)
    assert "waived" not in verdict_line(_audit(OWN)).partition(":")[0]


def test_the_terminal_and_the_sentences_name_owner_reason_and_end(waived: Audit, tmp_path: Path) -> None:
    assert budget_word([OWN, WAIVED]) == "waived"
    assert budget_word([OWN, WAIVED, _budget(verdict="inconclusive")]) == "inconclusive"
    text = " ".join(_written(waived, tmp_path, "text").split())
    assert f"policy Devices, level error): exceeded, waived {UNTIL} ({WHY}), on {FORMAT}" in text
    assert f"waiver of Ada Example for tpr@fpr=0.01 on {FORMAT}, up to 0.4, until 2027-01-31 ({WHY}): applied" in text
    said = " ".join(sentences(waived))
    assert f"waived for {FORMAT} (exceeded, {UNTIL} ({WHY}))." in said
    assert "Budget tpr@fpr=0.01, <= 0.5 (this file, lira/offline-global, level error): met by" in said


def test_both_files_and_their_digests_are_named(waived: Audit) -> None:
    sentence = limits_sentence(waived.verdict) or ""
    assert "those of audit.yaml, SHA-256 cdcdcdcdcdcd, read 2026-12-01T00:00:00+00:00 when figures" in sentence
    assert (
        "the policy Devices (by Privacy team, privacy.yaml), SHA-256 abababababab, read 2026-12-01T00:00:00+00:00 "
        "before any figure was known; waivers as of 2026-12-01." in sentence
    )
    alone = limits_sentence(waived.verdict.model_copy(update={"limits": None})) or ""
    assert alone.startswith("Limits are those of the policy Devices")


def test_the_first_screen_ships_what_is_waived_and_says_so(waived: Audit) -> None:
    ship = recommended(Lookup(waived))
    assert ship.label == FORMAT
    assert "the one format whose budgets are met or waived" in ship.why
    found = {one.name: one.text for one in answers(Lookup(waived))}
    assert "TPR at 1% FPR 0.200 [0.100, 0.300], beyond the limit 0.05 of policy Devices for this file" in found["Why"]
    assert found["Waived"] == f"tpr@fpr=0.01 <= 0.05 on {FORMAT} {UNTIL} ({WHY})"
    assert "a waiver ends on 2027-01-31" in found["Next"]
    # One that is within all limits is shipped instead.
    better = _audit(WAIVED, _budget(format="litert-int8", verdict="pass"))
    assert recommended(Lookup(better)).label == "litert-int8"
    assert "waived" not in recommended(Lookup(better)).why


def test_the_page_lists_the_row_and_the_waiver(waived: Audit) -> None:
    page = html_text(waived)
    assert '<section class="verdict warn"' in page
    assert f'<span class="exit">1 waived {UNTIL}; exit code 0</span>' in page
    assert '<section class="verdict good"' in html_text(_audit(OWN))
    for text in ("Exceeded, inconclusive and waived", "Waivers, as of 2026-12-01", "policy Devices", "audit.yaml"):
        assert text in page
    assert f"waived {UNTIL} ({WHY})" in page  # a note of the row
    expired = html_text(_audit(_budget(), outcome="budget exceeded", exit_code=1, status="expired"))
    assert "expired" in expired
    assert "Waivers" not in html_text(_audit(OWN, waivers=()))


def test_in_junit_a_waived_limit_is_skipped_and_the_gate_passes(waived: Audit, tmp_path: Path) -> None:
    (suite,) = ET.fromstring(_written(waived, tmp_path, "junit"))  # noqa: S314  our own text
    cases = {case.get("name"): case for case in suite}
    tags = {name: [part.tag for part in case] for name, case in cases.items()}
    name = "tpr@fpr=0.01 <= 0.05 (this file, lira/offline-global, policy Devices)"
    assert tags[name.replace("lira/offline-global", "lira")] == ["skipped", "system-out"]
    assert tags["the verdict"] == ["system-out"]
    said = cases[name.replace("lira/offline-global", "lira")][0].text or ""
    assert f"of policy Devices is exceeded, waived {UNTIL} ({WHY}): lira/offline-global 0.200" in said
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")


def test_in_sarif_a_waived_result_fails_and_is_suppressed(waived: Audit, tmp_path: Path) -> None:
    (run,) = json.loads(_written(waived, tmp_path, "sarif"))["runs"]
    own, policy = run["results"]
    assert (policy["kind"], policy["level"]) == ("fail", "error")
    assert policy["suppressions"] == [
        {"kind": "external", "status": "accepted",
         "justification": f"{WHY} (waived by Ada Example until 2027-01-31, up to 0.4)"},
    ]  # fmt: skip
    assert "suppressions" not in own
    assert own["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "audit.yaml"
    assert policy["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "privacy.yaml"}, "region": {"startLine": 3},
    }  # fmt: skip
    same = _audit(_budget(policy=None), _budget())
    first, second = json.loads(_written(same, tmp_path, "sarif"))["runs"][0]["results"]
    assert first["partialFingerprints"] != second["partialFingerprints"]  # the same limit of both is two results
    undecided = _audit(_budget(verdict="inconclusive", waived_by=(WAIVER,)))
    (result,) = json.loads(_written(undecided, tmp_path, "sarif"))["runs"][0]["results"]
    assert (result["kind"], result["level"], len(result["suppressions"])) == ("open", "none", 1)


def test_in_markdown_it_is_a_row_of_its_own(waived: Audit, tmp_path: Path) -> None:
    rows = [line for line in _written(waived, tmp_path, "markdown").splitlines() if line.startswith("|")]
    assert f"| {FORMAT} | within | tpr@fpr=0.01 \\<= 0.5 (audit.yaml) | lira/offline-global | 0.200 " in "\n".join(rows)
    assert any(
        f"| {FORMAT} | waived until 2027-01-31: exceeded | " in row and "(policy Devices)" in row for row in rows
    )
    assert any("| Ada Example | 2027-01-31 | applied | waits for the \\| retraining |" in row for row in rows)


def test_in_the_verdict_file_its_status_is_waived(waived: Audit, tmp_path: Path) -> None:
    found = json.loads(_written(waived, tmp_path, "verdict"))
    assert (found["outcome"], found["exit_code"], found["judged_on"]) == ("within budget", 0, "2026-12-01")
    own, policy = found["cases"][:2]
    assert (own["status"], own["policy"], own["waived_by"]) == ("passed", None, [])
    assert (policy["status"], policy["verdict"], policy["policy"]) == ("waived", "fail", "Devices")
    assert [(one["owner"], one["expires"]) for one in policy["waived_by"]] == [("Ada Example", "2027-01-31")]
    assert (found["policy"]["file"], found["policy"]["sha256"]) == ("privacy.yaml", "ab" * 32)
    assert [one["status"] for one in found["waivers"]] == ["applied"]


def test_in_the_csv_a_figure_says_what_became_of_its_budget(tmp_path: Path) -> None:
    sample_row = next(
        row for row in sample.audit().leakage
        if (row.format, row.attack, row.metric, row.subset) == (FORMAT, "lira", "tpr@fpr=0.01", "all")
    )  # fmt: skip
    rows = list(csv.DictReader(_written(_audit(OWN, WAIVED), tmp_path, "csv").splitlines()))
    marked = [row for row in rows if row["budget"]]
    assert [(row["format"], row["attack"], row["metric"], row["budget"], row["waived_until"]) for row in marked] == [
        (FORMAT, "lira", "tpr@fpr=0.01", "waived", "2027-01-31")
    ]
    assert marked[0]["shadow_match"] == sample_row.shadow_match  # later shadow matches are not judged
    increase = _budget(limit="<= onnx-fp32 + 0.02")
    assert increase.against == "onnx-fp32"
    rows = list(csv.DictReader(_written(_audit(increase), tmp_path, "csv").splitlines()))
    assert not any(row["budget"] for row in rows)


def test_in_the_bill_of_materials_it_is_a_property(waived: Audit, tmp_path: Path) -> None:
    bill = json.loads(_written(waived, tmp_path, "cyclonedx"))
    (model,) = [one for one in bill["components"] if one["bom-ref"] == f"model:{FORMAT}"]
    properties = {one["name"]: one["value"] for one in model["properties"]}
    assert properties["edgeaudit:verdict"] == "pass, waived"
    assert properties["edgeaudit:policy"] == "Devices"
    assert properties["edgeaudit:waived"] == f"tpr@fpr=0.01 <= 0.05 (fail), {UNTIL} ({WHY})"
    assert UNTIL in _written(waived, tmp_path, "model-card")


def test_what_a_policy_says_stays_text(tmp_path: Path) -> None:
    hostile = "x|<b>&`*_]](javascript:1)=1+1\x1b[31m"
    waiver = WAIVER.model_copy(update={"owner": hostile, "reason": hostile, "formats": (hostile,)})
    told = JudgedWaiver.model_validate({**waiver.model_dump(), "status": "unmatched", "note": hostile})
    audit = _audit(_budget(policy=hostile, waived_by=(waiver,)), waivers=(told,))
    ET.fromstring(_written(audit, tmp_path, "junit"))  # noqa: S314  well-formed
    for writer in ("junit", "sarif", "markdown", "text", "cyclonedx", "model-card"):
        assert "\x1b" not in _written(audit, tmp_path, writer).replace("\\u001b", "\x1b"), writer
    assert "<b>" not in html_text(audit)
    assert "<b>" not in _written(audit, tmp_path, "markdown").replace("\\<b\\>", "")


def test_audit_json_keeps_it_and_reads_files_without_it(waived: Audit, tmp_path: Path) -> None:
    write_audit(waived, tmp_path / "audit.json")
    assert read_audit(tmp_path / "audit.json") == waived
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(audit_text(waived)))
    older = json.loads(audit_text(waived))
    for key in ("policy", "waivers", "judged_on"):
        del older["verdict"][key]
    for budget in older["verdict"]["budgets"]:
        del budget["policy"], budget["waived_by"]
    (tmp_path / "audit.json").write_text(json.dumps(older))
    found = read_audit(tmp_path / "audit.json").verdict
    assert (found.policy, found.waivers, found.budgets[1].counted) == (None, (), "fail")


NOTES = (
    "warning: policy Devices: 'mine' is a composition that no budget with formats names",
    "warning: policy Devices: budget auc <= 0.6 names what is not among this audit's formats: 'x', 'y_1'",
    *(f"warning: policy Devices: budget auc <= 0.{n} is measured from 'base', which is made like it" for n in range(6)),
)


def test_what_a_policy_warns_of_is_in_no_fold(tmp_path: Path) -> None:
    """Six notes and three other warnings: the notes are lines of their own, the others are counted."""
    others = [f"warning: litert-int8: budget auc <= 0.{n} is exceeded" for n in range(5)]
    reasons = ("1 budget check holds for this file", *others, *NOTES)
    audit = _audit(OWN, reasons=reasons, policy_notes=NOTES)
    assert verdict_line(audit).startswith(
        "WITHIN BUDGET (exit code 0): 1 budget check holds for this file (and 5 more)"
    )
    text = " ".join(_written(audit, tmp_path, "text").split())
    summary, card = _written(audit, tmp_path, "markdown"), _written(audit, tmp_path, "model-card")
    page = _written(audit, tmp_path, "html")
    (folded,) = re.findall(r"<details><summary>5 warnings of budgets</summary>.*?</details>", page, re.DOTALL)
    for note in NOTES:
        assert text.count(note) == 1
        assert f"\n- {plain(note)}\n" in summary
        assert f"\n- {plain(note)}\n" in card
        assert note in html.unescape(re.sub(r"<[^>]*>", "", page.replace(folded, "")))
    assert _audit(OWN).verdict.policy_notes == ()


def test_a_waiver_that_can_be_removed_is_told_once(tmp_path: Path) -> None:
    (line,) = waiver_lines(_audit(OWN, status="unneeded"))
    audit = _audit(OWN, status="unneeded", reasons=("held", f"warning: {line}"), policy_notes=(f"warning: {line}",))
    text = " ".join(_written(audit, tmp_path, "text").split())
    assert text.count(line) == 1
    assert f"warning: {line}" in text
