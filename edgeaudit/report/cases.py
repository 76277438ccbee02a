"""What an audit judged, one case each, for reports that pipelines read: budgets, controls, failed formats, the gate.

A case's group and name hold no measured value, so that its history can be followed over runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgeaudit.report.model import Audit, Budget
from edgeaudit.report.summary import waived_by
from edgeaudit.report.words import budget_figure, place_name, printable

__all__ = ["GATE", "CaseStatus", "JudgedCase", "budget_case", "judged_cases", "unwaived_status"]

CaseStatus = Literal["passed", "failed", "warned", "open", "waived", "invalid", "error", "not run"]
"""waived: exceeded or open, and accepted by a policy until a day. open: the records cannot say. invalid: a control
failed, so that figures are no evidence. warned: decides nothing."""

GATE = "gate"
_CONTROLS = "controls"
_BUDGETS: dict[str, CaseStatus] = {"pass": "passed", "fail": "failed", "inconclusive": "open", "waived": "waived"}
_BY_CONTROL: dict[str, CaseStatus] = {
    "holds": "passed", "failed": "invalid", "undecided": "open", "warning": "warned", "not run": "not run",
}  # fmt: skip
_BY_OUTCOME: dict[str, CaseStatus] = {
    "within budget": "passed", "not judged": "not run", "budget exceeded": "failed", "inconclusive": "open",
    "invalid": "invalid", "error": "error",
}  # fmt: skip


@dataclass(frozen=True)
class JudgedCase:
    """One case.

    group: format@device, `controls` or `gate`. message: one line with figure and interval. budget: its row.
    """

    group: str
    name: str
    status: CaseStatus
    message: str
    budget: Budget | None = None


def judged_cases(audit: Audit) -> Iterator[JudgedCase]:
    """Yield every case: formats that failed, budgets, controls, and last the gate, whose status is the verdict's."""
    for result in audit.formats:
        if result.status == "failed":
            where = printable(place_name(result.id, result.device))
            yield JudgedCase(where, "the format could be audited", "error", printable(result.error or "it failed"))
    for budget in audit.verdict.budgets:
        yield budget_case(budget)
    for control in audit.controls:
        name = printable(control.name if control.format is None else f"{control.name} ({control.format})")
        yield JudgedCase(_CONTROLS, name, _BY_CONTROL[control.status], printable(control.statement))
    verdict = audit.verdict
    reasons = "; ".join(printable(reason) for reason in verdict.reasons)
    message = f"{verdict.outcome} (exit code {verdict.exit_code}): {reasons}"
    yield JudgedCase(GATE, "the verdict", _BY_OUTCOME[verdict.outcome], message)


def budget_case(budget: Budget) -> JudgedCase:
    """Return the case of a budget on one deployment."""
    names = dict.fromkeys(one.attack.partition("/")[0] for one in budget.attacks if not one.beside)
    attacks = ", ".join(names) or budget.attack
    subset = "" if budget.subset == "all" else f", {budget.subset}"
    policy = f", policy {budget.policy}" if budget.policy else ""
    name = f"{budget.metric} {budget.limit} (this {budget.scope}, {attacks}{subset}{policy})"
    status = "waived" if budget.waived_by else unwaived_status(budget)
    verb = {"pass": "holds", "fail": "is exceeded", "inconclusive": "is undecided"}[budget.verdict]
    figure = budget_figure(budget)
    more = "; ".join(part for part in (budget.needed, budget.reason) if part)
    waived = f", waived {waived_by(budget)}" if budget.waived_by else ""
    owner = f" of policy {budget.policy}" if budget.policy else ""
    message = f"{budget.metric} {budget.limit}{owner} {verb}{waived}: {budget.decided_by or budget.attack} {figure}"
    where = place_name(budget.format, budget.device)
    return JudgedCase(
        printable(where), printable(name), status, printable(f"{message}{f' ({more})' if more else ''}"), budget
    )


def unwaived_status(budget: Budget) -> CaseStatus:
    """Return what a budget is whether or not it is waived."""
    status = _BUDGETS[budget.verdict]
    return "warned" if budget.level == "warn" and status != "passed" else status
