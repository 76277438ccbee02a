from __future__ import annotations

import json
from collections.abc import Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

import edgeaudit.report.schema as module
from edgeaudit.errors import RunError, StoreError
from edgeaudit.report.model import SCHEMA_VERSION, Audit, Outputs
from edgeaudit.report.schema import audit_text, json_schema, read_audit, schema_text, write_audit
from tests.report import sample

COMMITTED = Path(module.__file__).with_name("audit.schema.json")
REMEDY = "edgeaudit run"


def test_committed_schema_is_current() -> None:
    again = "from edgeaudit.report.schema import schema_text; print(schema_text(), end='')"
    assert COMMITTED.read_text(encoding="utf-8") == schema_text(), f'python -c "{again}" > {COMMITTED}'


def test_schema_names_itself() -> None:
    schema = json_schema()
    assert schema["version"] == SCHEMA_VERSION
    assert schema["$id"].endswith(f":{SCHEMA_VERSION}")
    assert schema["additionalProperties"] is False
    jsonschema.Draft202012Validator.check_schema(schema)


def test_written_audit_validates(audit: Audit, tmp_path: Path) -> None:
    write_audit(audit, tmp_path / "audit.json")
    jsonschema.validate(json.loads((tmp_path / "audit.json").read_bytes()), json_schema())


def test_schema_refuses_an_unknown_key(audit: Audit) -> None:
    content = json.loads(audit_text(audit))
    content["formats"][0]["acuracy"] = None
    with pytest.raises(jsonschema.ValidationError, match="acuracy"):
        jsonschema.validate(content, json_schema())


def test_round_trip_is_exact(audit: Audit, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    write_audit(audit, path)
    again = read_audit(path)
    assert again == audit
    assert audit_text(again).encode() == path.read_bytes()


def test_floats_are_not_rounded(audit: Audit) -> None:
    third = audit.model_copy(update={"timings": {"train": 1 / 3}})
    assert json.loads(audit_text(third))["timings"]["train"] == 1 / 3


def test_order_of_free_tables_does_not_matter() -> None:
    one = sample.audit(threat={"mode": "auditor", "x": {"b": 1, "a": (1, 2)}})
    two = sample.audit(threat={"x": {"a": [1, 2], "b": 1}, "mode": "auditor"})
    assert audit_text(one) == audit_text(two)


def test_a_row_is_a_line(audit: Audit) -> None:
    rows = [line for line in audit_text(audit).splitlines() if line.startswith(' {"format"')]
    sections: tuple[Sized, ...] = (audit.leakage, audit.curves, audit.null_p_values, audit.exposed)
    assert len(rows) == sum(map(len, (*sections, audit.p_calibration, audit.across_targets, audit.latency)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(audit: Audit, value: float) -> None:
    with pytest.raises(ValidationError, match=r"tie_mass\n.*finite"):
        Outputs(distinct=3, tie_mass=value)
    rows = tuple(replace(row, value=value) for row in audit.leakage[:1])  # a dataclass, which checks nothing itself
    with pytest.raises(ValidationError, match=r"leakage\.0\.value\n.*finite"):
        sample.audit(leakage=rows)


def test_rows_are_described_as_models_are() -> None:
    row = json_schema()["$defs"]["LeakageRow"]
    assert row["additionalProperties"] is False
    assert row["description"].startswith("One figure.")


def test_a_failed_write_leaves_the_old_file(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.json"
    path.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="disk is full"):
        write_audit(audit, path)
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]
    assert path.read_text() == "old"


def test_missing_folder_is_a_store_error(audit: Audit, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        write_audit(audit, tmp_path / "nowhere" / "audit.json")


def changed(audit: Audit, **changes: Any) -> bytes:
    return json.dumps(json.loads(audit_text(audit)) | changes).encode()


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "audit.json"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_audit(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert REMEDY in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file; `edgeaudit run`"):
        read_audit(tmp_path / "audit.json")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_audit(tmp_path)


def test_cut_short(audit: Audit, tmp_path: Path) -> None:
    assert "line" in refusal(tmp_path, audit_text(audit).encode()[:5000])


def test_not_utf8(tmp_path: Path) -> None:
    assert "byte 1 is not UTF-8" in refusal(tmp_path, b"{\xff}")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"3"])
def test_another_file(tmp_path: Path, content: bytes) -> None:
    assert "schema_version: missing" in refusal(tmp_path, content)


def test_another_version(audit: Audit, tmp_path: Path) -> None:
    message = refusal(tmp_path, changed(audit, schema_version="9.1"))
    assert "'9.1'" in message
    assert f"'{SCHEMA_VERSION}'" in message


def test_a_wrong_value_is_named_by_key(audit: Audit, tmp_path: Path) -> None:
    assert "seed: Input should be a valid integer" in refusal(tmp_path, changed(audit, seed="7"))


def test_an_unknown_key_is_named(audit: Audit, tmp_path: Path) -> None:
    assert "seeed: Extra inputs are not permitted" in refusal(tmp_path, changed(audit, seeed=7))


def test_nested_keys_and_further_errors_are_counted(audit: Audit, tmp_path: Path) -> None:
    message = refusal(tmp_path, changed(audit, verdict={"outcome": "fine", "exit_code": 0, "reasons": []}))
    assert "verdict.outcome" in message
    assert "(and 1 more)" in message
