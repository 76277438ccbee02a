"""Who set the limits of an audit, its own and those of a policy, and whether that was before its figures were known."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.mistakes import sentences
from edgeaudit.config.policy import PolicySpec, ReadPolicy
from edgeaudit.config.yaml_text import lines_of
from edgeaudit.errors import RunError
from edgeaudit.report.model import LimitsOrigin, PolicyOrigin

__all__ = ["budgets_sha256", "limits_origin", "policy_origin", "recorded_policy"]


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
    digest = budgets_sha256(spec)
    return LimitsOrigin(file=file, sha256=digest, read=_now(), measured=measured, lines=_lines(file), changed=changed)


def budgets_sha256(spec: AuditSpec) -> str:
    """SHA-256 of an audit's budgets as canonical JSON: sorted keys, no spaces."""
    recorded = spec.model_dump(mode="json", by_alias=True, include={"budgets"})["budgets"]
    return hashlib.sha256(json.dumps(recorded, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def policy_origin(policy: ReadPolicy, *, measured: bool) -> PolicyOrigin:
    """Return the origin of a policy that is read now.

    Args:
        policy: as it was read.
        measured: whether figures of this audit exist already.
    """
    return PolicyOrigin(
        name=policy.title,
        owner=policy.spec.owner,
        file=policy.file,
        sha256=policy.sha256,
        read=_now(),
        measured=measured,
        lines=dict(policy.lines),
        content=policy.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    )


def recorded_policy(origin: PolicyOrigin) -> ReadPolicy:
    """Return the policy that an audit.json records. Raises `RunError` where this version cannot read it."""
    try:
        spec = PolicySpec.model_validate(origin.content)
    except ValidationError as exc:
        mistakes = "; ".join(sentences(exc, PolicySpec))
        raise RunError(
            f"the run's policy {origin.name} cannot be read by this version of edgeaudit: {mistakes}. Give the "
            "policy's file with --policy"
        ) from exc
    return ReadPolicy(spec, origin.file, origin.sha256, origin.lines)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lines(file: str | None) -> dict[str, int]:
    try:
        return {} if file is None else lines_of(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):  # it was removed since it was read
        return {}
