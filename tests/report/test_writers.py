from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from edgeaudit.cli import app
from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import SpecError, StoreError, ToolchainError
from edgeaudit.report.model import Audit
from edgeaudit.report.schema import read_audit
from edgeaudit.report.summary import verdict_line
from edgeaudit.report.writers import Writer, WriterSpec, find_writers, write_reports
from tests.report import sample

Offer = Callable[..., None]


class Name(Writer):
    spec: ClassVar[WriterSpec] = WriterSpec("name", "name.txt", "its name alone")

    def write(self, audit: Audit, path: Path) -> None:
        path.write_text(audit.name, encoding="utf-8")


class Page(Name):
    spec: ClassVar[WriterSpec] = WriterSpec("page", "report.html", "another page")


class Broken(Name):
    spec: ClassVar[WriterSpec] = WriterSpec("broken", "broken.txt", "nothing")

    def write(self, audit: Audit, path: Path) -> None:
        raise ZeroDivisionError("division by zero")


def test_audit_json_is_always_written_and_the_others_as_named(tmp_path: Path, offered: Offer) -> None:
    offered(("name", Name))
    audit = sample.audit()
    paths = write_reports(audit, tmp_path, ("text", "name", "text"))
    assert [path.name for path in paths] == ["audit.json", "report.txt", "name.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.json", "name.txt", "report.txt"]
    assert read_audit(tmp_path / "audit.json") == audit
    assert (tmp_path / "name.txt").read_text() == audit.name
    assert AuditSpec().report.writers == ("html",)


def test_text_is_what_a_terminal_shows(tmp_path: Path) -> None:
    audit = sample.audit()
    write_reports(audit, tmp_path, ["text"])
    lines = (tmp_path / "report.txt").read_text(encoding="utf-8").splitlines()
    assert all(len(line) <= 100 for line in lines[:5])
    assert "\x1b" not in "".join(lines)
    assert verdict_line(audit) in " ".join(line.strip() for line in lines)


def test_reject_writers_that_cannot_be_used(tmp_path: Path, offered: Offer) -> None:
    offered(("page", Page), ("broken", Broken))
    with pytest.raises(SpecError, match=r"no report writer 'htm'\. Did you mean 'html'\? There are: json, html, csv, "):
        find_writers(["htm"])
    with pytest.raises(SpecError, match=r"'html' and 'page' both write report\.html; choose one"):
        find_writers(["html", "page"])
    with pytest.raises(ToolchainError, match="the report writer 'broken' failed: ZeroDivisionError: division by zero"):
        write_reports(sample.audit(), tmp_path, ["broken"])
    with pytest.raises(StoreError, match="nowhere"):
        write_reports(sample.audit(), tmp_path / "nowhere", ["html"])


def test_the_verb_report_writes_the_named_reports(tmp_path: Path) -> None:
    write_reports(sample.audit(), tmp_path, [])
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--write", "text"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.json", "report.txt"]


def test_writers_of_the_command_line_are_added_to_those_of_audit_yaml() -> None:
    spec = AuditSpec.model_validate({"report": {"writers": ["text"]}})
    assert spec.with_writers(["html", "text"]).report.writers == ("text", "html")
    assert spec.with_writers([]).report == spec.report
