"""SARIF 2.1.0 (OASIS 2020), which code hosts show beside the lines of a repository.

A result for each budget on each deployment, at the line of audit.yaml that has the format, or the budget. What a result
is does not depend on the figure or on the file's digest, or each run would have new ones (`partialFingerprints`). A
waived result keeps its kind and level, and has `suppressions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.report.cases import CaseStatus, budget_case, unwaived_status
from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit, Budget, LimitsOrigin, PolicyOrigin, Waiver
from edgeaudit.report.words import metric_name, place_name, printable
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["ATLAS", "SarifWriter", "sarif_log"]

ATLAS = {"name": "MITRE ATLAS", "version": "5.6.0", "organization": "MITRE"}
_MEMBERSHIP = ("AML.T0024.000", "Infer Training Data Membership")
_KINDS: dict[CaseStatus, tuple[str, str]] = {
    "passed": ("pass", "none"),
    "failed": ("fail", "error"),
    "warned": ("fail", "warning"),
    "open": ("open", "none"),
}
"""Status -> kind and level; a level other than `none` is for kind `fail` alone."""


class SarifWriter(Writer):
    """Writes audit.sarif."""

    spec: ClassVar[WriterSpec] = WriterSpec("sarif", "audit.sarif", "SARIF 2.1.0 for code hosts")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        write_atomically(path, json.dumps(sarif_log(audit), indent=1, allow_nan=False) + "\n")


def sarif_log(audit: Audit) -> dict[str, Any]:
    """Return the log, with one run."""
    verdict = audit.verdict
    metrics = list(dict.fromkeys(budget.metric for budget in verdict.budgets))
    said = [{"level": "error", "message": {"text": printable(reason)}} for reason in verdict.reasons]
    invocation: dict[str, Any] = {"executionSuccessful": verdict.outcome != "error", "exitCode": verdict.exit_code}
    if verdict.outcome in ("error", "invalid"):
        invocation["toolExecutionNotifications"] = said
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "edgeaudit",
                "version": audit.tool.version,
                "rules": [_rule(metric) for metric in metrics],
                "supportedTaxonomies": [{"name": ATLAS["name"], "index": 0}],
            }
        },
        "taxonomies": [{**ATLAS, "taxa": [{"id": _MEMBERSHIP[0], "name": _MEMBERSHIP[1]}]}],
        "automationDetails": {"id": f"edgeaudit/{printable(audit.name)}/"},
        "invocations": [invocation],
        "artifacts": list(_artifacts(audit)),
        "results": [_result(audit, budget, metrics.index(budget.metric)) for budget in verdict.budgets],
        "columnKind": "unicodeCodePoints",
        "properties": {"outcome": verdict.outcome, "reasons": [printable(reason) for reason in verdict.reasons]},
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _rule_id(metric: str) -> str:
    return f"membership-inference/{metric.replace('@', '-at-').replace('=', '-').replace('_', '-')}"


def _rule(metric: str) -> dict[str, Any]:
    return {
        "id": _rule_id(metric),
        "shortDescription": {"text": f"Membership leakage: {metric_name(metric)} is beyond its limit"},
        "defaultConfiguration": {"level": "error"},
        "relationships": [
            {
                "target": {"id": _MEMBERSHIP[0], "toolComponent": {"name": ATLAS["name"], "index": 0}},
                "kinds": ["relevant"],
            }
        ],
    }


def _artifacts(audit: Audit) -> Iterator[dict[str, Any]]:
    for result in audit.formats:
        if result.artifact is not None:
            yield {
                "location": {"description": {"text": printable(place_name(result.id, result.device))}},
                "length": result.artifact.bytes,
                "hashes": {"sha-256": result.artifact.sha256},
            }


def _result(audit: Audit, budget: Budget, rule: int) -> dict[str, Any]:
    case = budget_case(budget)
    kind, level = _KINDS[unwaived_status(budget)]
    where = place_name(budget.format, budget.device)
    attack = budget.decided_by or budget.attack
    same = [_rule_id(budget.metric), budget.limit, budget.format, budget.device, budget.subset, budget.scope]
    same += [budget.policy] if budget.policy else []
    found: dict[str, Any] = {
        "ruleId": _rule_id(budget.metric),
        "ruleIndex": rule,
        "kind": kind,
        "level": level,
        "message": {"text": f"{case.group}: {case.message}"},
        "locations": [_location(audit, budget, f"{where}/{attack}/{budget.subset}")],
        "partialFingerprints": {"edgeaudit/v1": hashlib.sha256(json.dumps(same).encode()).hexdigest()},
        "taxa": [{"id": _MEMBERSHIP[0], "toolComponent": {"name": ATLAS["name"], "index": 0}}],
        "properties": {"value": budget.value, "low": budget.low, "high": budget.high, "limit": budget.limit},
    }
    if budget.policy:
        found["properties"]["policy"] = printable(budget.policy)
    if budget.waived_by:
        found["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": printable(_justification(one))}
            for one in budget.waived_by
        ]
    return found


def _justification(waiver: Waiver) -> str:
    up_to = "" if waiver.max is None else f", up to {waiver.max:g}"
    return f"{waiver.reason} (waived by {waiver.owner} until {waiver.expires}{up_to})"


def _location(audit: Audit, budget: Budget, name: str) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": printable(name), "kind": "module"}]}
    limits, policy = audit.verdict.limits, audit.verdict.policy
    keys = [f"formats.{budget.format}", f"budgets.{budget.metric}", "budgets"]
    # Code hosts show results in files of the repository, where a policy need not be.
    in_audit = budget.policy is None or (limits is not None and keys[0] in limits.lines)
    where: LimitsOrigin | PolicyOrigin | None = limits if in_audit else policy
    if where is not None and where.file:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": Path(where.file).name},
            "region": {"startLine": next((where.lines[key] for key in keys if key in where.lines), 1)},
        }
    return location
