"""Whether the audit is valid and within budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeaudit.leakage.series_names import TAUGHT, TAUGHT_ATTACK, is_judged_beside
from edgeaudit.report.model.base import Model, Table

__all__ = [
    "TAUGHT_ATTACK",
    "Budget",
    "JudgedAttack",
    "JudgedWaiver",
    "LimitsOrigin",
    "Needs",
    "PolicyOrigin",
    "Verdict",
    "Waiver",
    "bound_of",
]


class Waiver(Model):
    """A limit that a policy accepts not to be met, until a day.

    metric, subset, scope, against: of the budget; against null: its `max` is waived. formats: ids; null: all of them.
    device null: every device. attack null: by whatever attack the limit is exceeded. max: the figure up to which it is
    waived; null: any. owner: who answers for it. expires: the last day on which it holds, in UTC, as YYYY-MM-DD.
    """

    metric: str
    formats: tuple[str, ...] | None
    device: str | None
    subset: str
    attack: str | None
    scope: Literal["file", "pipeline"]
    against: str | None
    max: float | None
    owner: str
    reason: str
    expires: str

    @property
    def about(self) -> str:
        """What is waived: auc on onnx-int8-static @ pi4, class:3, by lira."""
        where = "all formats" if self.formats is None else ", ".join(self.formats)
        parts = [f"{self.metric} on {where}" + (f" @ {self.device}" if self.device else "")]
        parts += [self.subset] if self.subset != "all" else []
        parts += [f"by {self.attack}"] if self.attack else []
        parts += [f"this {self.scope}"] if self.scope != "file" else []
        parts += [f"against {self.against}"] if self.against else []
        return ", ".join(parts)


class JudgedWaiver(Waiver):
    """A waiver and what became of it.

    status: `applied`, a budget is waived by it; `unneeded`, what it waives is within the limit; `unmatched`, no budget
    that was judged is what it waives; `insufficient`, what is not within the limit is not waived, since it goes beyond
    `max`, or other figures do, too; `expired`, it waives nothing any more. note: a sentence on it.
    """

    status: Literal["applied", "unneeded", "unmatched", "insufficient", "expired"]
    note: str | None = None


class JudgedAttack(Model):
    """One figure behind a budget's verdict.

    attack: attack/variant. subset: records. low, high: 95% interval. low_corrected: lower end, corrected for all
    figures of the budget; null where `low` is within the limit, too.
    """

    attack: str
    subset: str
    value: float | None
    low: float | None
    high: float | None
    low_corrected: float | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """The attack, with the subset where that is not all records."""
        return self.attack if self.subset == "all" else f"{self.attack} on {self.subset}"

    @property
    def beside(self) -> bool:
        """Whether it is judged beside the set: at the common probability floor, or taught memberships."""
        return is_judged_beside(self.attack)

    @property
    def taught(self) -> bool:
        """Whether it is what is taught memberships: it keeps a budget from a pass, and makes none fail."""
        return self.attack == TAUGHT


class Needs(Model):
    """With how many records, or targets, an undecided budget would be decided if its figures stayed what they are.

    count: of one side. of: what is counted, such as `members, and as many nonmembers`. outcome: what it would be.
    """

    count: int
    of: str
    outcome: Literal["pass", "fail"]


def bound_of(limit: str) -> float | None:
    """Return the number in a limit, `<= 0.6` or `<= torch-fp32 + 0.05`; None where there is none."""
    try:
        return float(limit.rsplit(" ", 1)[-1])
    except ValueError:
        return None


class Budget(Model):
    """One budget and its verdict, which rests on the intervals of all of its attacks. device null: all devices.

    scope: `file` is the file that was audited, `pipeline` any file that this pipeline makes. attacks: the attack set,
    on each subset that is judged. decided_by: the one on which the verdict rests, whose figures are `attack`, `value`,
    `low`, `high` and `note`. worst_outside: of a set that was named, the audit's other attack with the largest figure.
    needed: what would decide an inconclusive one. needs: the number in it, where one would. reason: why the limit is
    what it is. policy: title of the policy that set the limit; null: the audit's own budgets. waived_by: waivers for
    which the verdict does not count, which stays what it is.
    """

    metric: str
    level: Literal["warn", "error"]
    limit: str
    format: str
    attack: str
    subset: str
    verdict: Literal["pass", "fail", "inconclusive"]
    value: float | None
    low: float | None
    high: float | None
    note: str | None = None
    device: str | None = None
    scope: Literal["file", "pipeline"] = "file"
    decided_by: str | None = None
    attacks: tuple[JudgedAttack, ...] = ()
    worst_outside: JudgedAttack | None = None
    needed: str | None = None
    needs: Needs | None = None
    reason: str | None = None
    policy: str | None = None
    waived_by: tuple[Waiver, ...] = ()

    @property
    def counted(self) -> Literal["pass", "fail", "inconclusive", "waived"]:
        """What the verdict counts as."""
        return "waived" if self.waived_by else self.verdict

    @property
    def against(self) -> str | None:
        """The format over which an increase is limited; None for a limit of the figure itself."""
        return self.limit.removeprefix("<= ").rpartition(" + ")[0] or None

    @property
    def waived_until(self) -> str | None:
        """The last day on which the budget is waived; None where it is not."""
        return min((one.expires for one in self.waived_by), default=None)

    @property
    def bound(self) -> float | None:
        """The number in `limit`, of the figure or of its increase; None where there is none."""
        return bound_of(self.limit)

    @property
    def exceeded_outside(self) -> str | None:
        """The limit, and the attack left out by a named set whose figure is above it; None where there is none."""
        outside, bound = self.worst_outside, self.bound
        if self.level == "warn" or outside is None or outside.value is None or bound is None or outside.value <= bound:
            return None
        return f"{self.metric} {self.limit} ({outside.name})"


class LimitsOrigin(Model):
    """Who set the limits, and when.

    file: the audit.yaml; null where they were given to the Python interface. sha256: of the budgets, as canonical JSON
    (sorted keys, no spaces) of `spec.budgets`. read: time in UTC at which they were read. measured: whether figures
    that they limit existed by then, so that the limits may have been chosen for them. lines: of the file, from 1 on,
    where a format (`formats.NAME`) or a budget (`budgets.METRIC`) begins. changed: whether a command line replaced
    budgets of the file.
    """

    file: str | None
    sha256: str
    read: str
    measured: bool
    lines: dict[str, int] = Field(default={})
    changed: bool = False


class PolicyOrigin(Model):
    """The policy that was judged beside the audit's own budgets.

    name: its title. owner: who set its limits. file: its file; null where it was given to the Python interface. sha256:
    of the file's bytes, or of the canonical JSON of what was given. read, measured, lines: as in `LimitsOrigin`.
    content: its budgets and waivers, by which `edgeaudit check` judges the run again.
    """

    name: str
    owner: str | None
    file: str | None
    sha256: str
    read: str
    measured: bool
    lines: dict[str, int] = Field(default={})
    content: Table = Field(default={})


class Verdict(Model):
    """The audit's outcome. exit_code: 0 within budget or not judged, 1 exceeded, 2 error, 3 inconclusive or invalid.

    limits: null where the audit itself has no budget. policy: null where none was judged. waivers: of the policy.
    judged_on: the day, in UTC, by which waivers expire; null without a policy. policy_notes: those of the reasons that
    warn of what a policy does not judge, or of waivers that can be removed; no view folds them.
    """

    outcome: Literal["within budget", "not judged", "budget exceeded", "error", "inconclusive", "invalid"]
    exit_code: Literal[0, 1, 2, 3]
    reasons: tuple[str, ...]
    budgets: tuple[Budget, ...]
    limits: LimitsOrigin | None = None
    policy: PolicyOrigin | None = None
    waivers: tuple[JudgedWaiver, ...] = ()
    judged_on: str | None = None
    policy_notes: tuple[str, ...] = ()
