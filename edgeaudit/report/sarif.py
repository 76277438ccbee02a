"""SARIF 2.1.0 (OASIS 2020), which code hosts show beside the lines of a repository.

A result for each budget on each deployment, at the line of audit.yaml that has the format, or the budget. What a result
is does not depend on the figure or on the file's digest, or each run would have new ones (`partialFingerprints`). A
waived result keeps its kind and level, and has `suppressions`. Against an earlier audit of the same, each result says
whether it is new or its verdict is another (`baselineState`).
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
        self.write_since(audit, None, path)

    def write_since(self, audit: Audit, baseline: Audit | None, path: Path) -> None:
        """See `Writer.write_since`."""
        write_atomically(path, json.dumps(sarif_log(audit, baseline), indent=1, allow_nan=False) + "\n")


def sarif_log(audit: Audit, baseline: Audit | None = None) -> dict[str, Any]:
    """Return the log, with one run. baseline: an earlier audit, whose budgets tell what is new."""
    verdict = audit.verdict
    judged = (*verdict.budgets, *(() if baseline is None else baseline.verdict.budgets))
    metrics = list(dict.fromkeys(budget.metric for budget in judged))
    results = _results(audit, metrics)
    if baseline is not None:
        results = _since(results, _results(baseline, metrics))
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
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {"outcome": verdict.outcome, "reasons": [printable(reason) for reason in verdict.reasons]},
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _results(audit: Audit, metrics: list[str]) -> list[dict[str, Any]]:
    return [_result(audit, budget, metrics.index(budget.metric)) for budget in audit.verdict.budgets]


def _since(results: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results with their `baselineState`, and those that are gone.

    A result that is gone is of kind `notApplicable`: hosts that do not read the state must not show it as a failure.
    """
    before = {_fingerprint(result): result for result in earlier}
    now = {_fingerprint(result) for result in results}
    states = [_state(result, before.get(_fingerprint(result))) for result in results]
    absent = [
        {**result, "kind": "notApplicable", "level": "none", "baselineState": "absent"}
        for key, result in before.items()
        if key not in now
    ]
    return [*({**result, "baselineState": state} for result, state in zip(results, states, strict=True)), *absent]


def _state(result: dict[str, Any], earlier: dict[str, Any] | None) -> str:
    if earlier is None:
        return "new"
    same = (result["kind"], result["level"]) == (earlier["kind"], earlier["level"])
    return "unchanged" if same else "updated"


def _fingerprint(result: dict[str, Any]) -> str:
    return str(result["partialFingerprints"]["edgeaudit/v1"])


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
