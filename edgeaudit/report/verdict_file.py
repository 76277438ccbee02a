"""verdict.json: what a pipeline's next step reads. A small part of audit.json with a version of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.report.cases import judged_cases
from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["VERSION", "VerdictWriter"]

VERSION = "1.1"
"""Of the file. Keys and statuses are added within a major version, none is renamed or removed."""


class VerdictWriter(Writer):
    """Writes verdict.json: outcome, exit code, reasons, cases, and the SHA-256 of every audited file."""

    spec: ClassVar[WriterSpec] = WriterSpec("verdict", "verdict.json", "the verdict and its cases alone, as JSON")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        write_atomically(path, json.dumps(_content(audit), indent=1, allow_nan=False) + "\n")


def _content(audit: Audit) -> dict[str, Any]:
    verdict, limits = audit.verdict, audit.verdict.limits
    return {
        "verdict_version": VERSION,
        "name": audit.name,
        "created": audit.created,
        "tool": audit.tool.model_dump(mode="json"),
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "reasons": list(verdict.reasons),
        "limits": None if limits is None else limits.model_dump(mode="json"),
        "policy": None if verdict.policy is None else verdict.policy.model_dump(mode="json", exclude={"content"}),
        "judged_on": verdict.judged_on,
        "waivers": [waiver.model_dump(mode="json") for waiver in verdict.waivers],
        "cases": [
            {
                "group": case.group,
                "name": case.name,
                "status": case.status,
                "message": case.message,
                **({} if case.budget is None else _figures(case.budget.model_dump(mode="json"))),
            }
            for case in judged_cases(audit)
        ],
        "artifacts": [
            {"format": f.id, "device": f.device, "file": f.artifact.file, "sha256": f.artifact.sha256}
            for f in audit.formats
            if f.artifact is not None
        ],
    }


def _figures(budget: dict[str, Any]) -> dict[str, Any]:
    names = ("metric", "limit", "level", "format", "device", "subset", "scope", "decided_by", "value", "low", "high",
             "verdict", "policy", "waived_by")  # fmt: skip
    return {name: budget[name] for name in names}
