"""Who set the limits of an audit, and whether they were set before its figures were known."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.yaml_text import lines_of
from edgeaudit.report.model import LimitsOrigin

__all__ = ["budgets_sha256", "limits_origin"]


def limits_origin(spec: AuditSpec, file: str | None, *, measured: bool, changed: bool = False) -> LimitsOrigin | None:
    """Return the origin of limits that are read now; None without budgets.

    Args:
        spec: the audit.
        file: path of the audit.yaml that has the budgets; None where they were given to the Python interface.
        measured: whether figures of this audit exist already.
        changed: whether a command line has replaced budgets of the file.
    """
    if not spec.budgets:
        return None
    read, digest = datetime.now(UTC).isoformat(timespec="seconds"), budgets_sha256(spec)
    return LimitsOrigin(file=file, sha256=digest, read=read, measured=measured, lines=_lines(file), changed=changed)


def budgets_sha256(spec: AuditSpec) -> str:
    """SHA-256 of an audit's budgets as canonical JSON: sorted keys, no spaces."""
    recorded = spec.model_dump(mode="json", by_alias=True, include={"budgets"})["budgets"]
    return hashlib.sha256(json.dumps(recorded, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _lines(file: str | None) -> dict[str, int]:
    try:
        return {} if file is None else lines_of(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):  # it was removed since it was read
        return {}
