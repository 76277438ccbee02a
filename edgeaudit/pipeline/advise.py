"""A finished audit and audits of changed trainings -> what each change does to the formats that fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from edgeaudit.leakage.between_runs import adjusted
from edgeaudit.leakage.paired import Difference
from edgeaudit.leakage.series_names import AT_COMMON_FLOOR, TAUGHT
from edgeaudit.pipeline.compare_runs import FinishedRun, WantedFigure, classified, compare_runs, figure_changes
from edgeaudit.pipeline.environment import version
from edgeaudit.pipeline.training_changes import PlannedChange
from edgeaudit.report.model import Audit, Budget, CanaryResult, JudgedAttack, LeakageRow
from edgeaudit.report.model.advice import (
    Advice,
    AdvisedCanaries,
    AdvisedFigure,
    AdvisedFormat,
    FailingFormat,
    Judged,
    TriedChange,
)
from edgeaudit.report.model.between_runs import AccuracyChange, FigureChange, RunComparison
from edgeaudit.report.words import judged_figure, listed, place_name
from edgeaudit.rows import Rows

__all__ = ["BASE", "Tried", "advice", "is_worth_changing"]

BASE = "base"
"""The folder of the audit without a change."""

_WORST: tuple[Judged, ...] = ("error", "fail", "inconclusive", "pass")
_Place = tuple[str, str]
_ORDER = ("helps", "mixed", "does not help", "not concluded", "leaks more")


@dataclass(frozen=True)
class Tried:
    """A change that was tried. run: its finished audit; None where it was not run. why: of that; or of its failure."""

    planned: PlannedChange
    run: FinishedRun | None = None
    folder: str | None = None
    why: str | None = None


def is_worth_changing(audit: Audit) -> bool:
    """Whether some format does not pass, and figures are evidence, so that there is something to try."""
    return audit.verdict.outcome != "invalid" and bool(_failing_formats(audit))


def _failing_formats(audit: Audit) -> list[FailingFormat]:
    """The formats of an audit that do not pass their budgets of level error."""
    found = []
    for result in audit.formats:
        place = (result.id, result.device)
        judged = _judged(audit, place)
        if judged != "pass":
            said = tuple(_budget_in_words(b) for b in _open_budgets(audit, place))
            found.append(FailingFormat(format=result.id, device=result.device, judged=judged, budgets=said))
    return found


def _is_unsound(audit: Audit) -> bool:
    """Whether a control failed or is undecided, so that the audit's figures are no evidence."""
    return any(control.status in ("failed", "undecided") for control in audit.controls)


def advice(base: FinishedRun, tried: Sequence[Tried]) -> Advice:
    """Compare each changed training with the base, format by format, by the figures that decide budgets.

    A budget's figure is the one on which it rests in each run, so that an attack which the change does not stop cannot
    hide behind one that it does. Each is the largest of several attacks, so that chance favours neither. Holm's method
    is over the figures of all changes.

    Raises:
        RunError: scores of a run cannot be read.
    """
    failing = _failing_formats(base.audit)
    drafts = [_Draft(base, one, failing) for one in tried]
    rows = sum(len(draft.wanted) for draft in drafts)
    found = [draft.changes(rows) for draft in drafts]
    holm = iter(adjusted([change.p_value for changes in found for change in changes]))
    made = [
        draft.result(
            [_figure(wanted, change, next(holm)) for wanted, change in zip(draft.wanted, changes, strict=True)]
        )
        for draft, changes in zip(drafts, found, strict=True)
    ]
    made.sort(key=_rank)
    outcome, exit_code, reasons = _outcome(base.audit, failing, made)
    return Advice.model_validate(
        {
            "name": base.audit.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": version(),
            "seed": base.audit.seed,
            "base": base.folder.name,
            "verdict": base.audit.verdict.outcome,
            "outcome": outcome,
            "exit_code": exit_code,
            "reasons": reasons,
            "failing": failing,
            "changes": Rows(made, of=TriedChange),
        }
    )


# ---- budgets


def _of_place(audit: Audit, place: _Place) -> list[Budget]:
    judged = (b for b in audit.verdict.budgets if b.level == "error")
    return [b for b in judged if b.format == place[0] and b.device in (None, place[1])]


def _open_budgets(audit: Audit, place: _Place) -> list[Budget]:
    return [b for b in _of_place(audit, place) if b.counted in ("fail", "inconclusive")]


def _judged(audit: Audit, place: _Place) -> Judged:
    result = next((one for one in audit.formats if (one.id, one.device) == place), None)
    if result is None or result.status == "failed":
        return "error"
    counted: set[str] = {budget.counted for budget in _of_place(audit, place)}
    return next((one for one in _WORST if one in counted), "pass")


def _same(budget: Budget, candidates: Iterable[Budget]) -> Budget | None:
    """The same budget in another run."""

    def key(one: Budget) -> tuple[object, ...]:
        return one.metric, one.limit, one.subset, one.scope, one.level, one.policy

    return next((one for one in candidates if key(one) == key(budget)), None)


def _budget_in_words(budget: Budget) -> str:
    verb = "exceeds" if budget.counted == "fail" else "may exceed"
    figure = judged_figure(budget.value, budget.low, budget.high)
    return f"{budget.decided_by or budget.attack} {figure} {verb} {budget.metric} {budget.limit} of this {budget.scope}"


def _deciding(budget: Budget) -> JudgedAttack:
    """The figure on which a budget rests; the largest of an attack's where it rests on what is taught memberships."""
    found = next((one for one in budget.attacks if one.name == budget.decided_by and one.attack != TAUGHT), None)
    own = JudgedAttack(attack=budget.attack, subset=budget.subset, value=budget.value, low=budget.low, high=budget.high)
    others = [one for one in budget.attacks if one.attack != TAUGHT]
    return found or max(others, key=lambda one: -1.0 if one.value is None else one.value, default=own)


# ---- one change


@dataclass(frozen=True)
class _Wanted:
    """A budget's deciding figure in both runs, to be compared."""

    place: _Place
    budget: Budget
    base: JudgedAttack
    changed: JudgedAttack

    @property
    def figure(self) -> WantedFigure:
        """Under the names by which runs are compared, which is at the common floor."""
        old, new = (one.attack.removesuffix(AT_COMMON_FLOOR) for one in (self.base, self.changed))
        return WantedFigure(*self.place, old, new, _METRIC.get(self.budget.metric, self.budget.metric))

    @property
    def why_not(self) -> str | None:
        """Why runs are not compared by this figure; None where they are."""
        if self.budget.against is not None:
            return f"the budget limits the increase over {self.budget.against}, which is not compared between runs"
        subsets = {self.base.subset, self.changed.subset} - {"all"}
        if subsets:
            return f"figures on {listed(sorted(subsets))} are judged in each run, and not compared between runs"
        return None


class _Draft:
    """A change, before the p-values of all changes are adjusted."""

    def __init__(self, base: FinishedRun, tried: Tried, failing: Sequence[FailingFormat]) -> None:
        self._base, self._tried, self._failing = base, tried, failing
        self._comparison: RunComparison | None = None
        self.wanted: list[_Wanted] = []
        if tried.run is not None:
            self._comparison = compare_runs(base, tried.run)
            self.wanted = [one for place in self._places for one in _wanted(base.audit, tried.run.audit, place)]

    @property
    def _places(self) -> list[_Place]:
        return [(one.format, one.device) for one in self._failing]

    def changes(self, rows: int) -> list[FigureChange]:
        """The differences of the wanted figures, for a family of so many."""
        run = self._tried.run
        if run is None:
            return []
        comparable = [one for one in self.wanted if one.why_not is None]
        found = iter(figure_changes(self._base, run, [one.figure for one in comparable], rows))
        return [next(found) if one.why_not is None else _uncompared(one, one.why_not) for one in self.wanted]

    def result(self, figures: Sequence[AdvisedFigure]) -> TriedChange:
        """The change with its figures, in the order of `wanted`."""
        tried, planned = self._tried, self._tried.planned
        about = {"name": planned.name, "about": planned.about, "keys": planned.keys, "folder": tried.folder}
        if tried.run is None or self._comparison is None:
            status = "not applied" if planned.why is not None else "failed"
            return TriedChange.model_validate({**about, "status": status, "why": planned.why or tried.why})
        audit, remaining = tried.run.audit, iter(figures)
        formats = []
        for place in self._places:
            count = sum(one.place == place for one in self.wanted)
            formats.append(self._format(place, audit, self._comparison, tuple(islice(remaining, count))))
        enough = bool(formats) and not _is_unsound(audit) and all(one.after == "pass" for one in formats)
        return TriedChange.model_validate(
            {
                **about,
                "status": "measured",
                "verdict": audit.verdict.outcome,
                "enough": enough,
                "training": audit.training,
                "formats": formats,
                "warnings": self._comparison.warnings,
            }
        )

    def _format(
        self, place: _Place, audit: Audit, comparison: RunComparison, figures: tuple[AdvisedFigure, ...]
    ) -> AdvisedFormat:
        after, note = _judged(audit, place), None
        outcome = _outcome_of(figures)
        if after == "error":
            failed = next((one.error for one in audit.formats if (one.id, one.device) == place), None)
            outcome, note = "not concluded", f"it failed with the change: {failed}"
        elif comparison.outcome == "not comparable":
            outcome, note = "not concluded", comparison.reasons[0]
        return AdvisedFormat.model_validate(
            {
                "format": place[0],
                "device": place[1],
                "before": _judged(self._base.audit, place),
                "after": after,
                "outcome": outcome,
                "figures": figures,
                "accuracy": _of(comparison.accuracy, place),
                "canaries": _canaries(self._base.audit, audit, place),
                "note": note,
            }
        )


_METRIC: Mapping[str, str] = {"advantage": "balanced_accuracy"}
"""Metrics of budgets that are compared as another one: advantage = 2 x balanced accuracy - 1."""


def _of(rows: Iterable[AccuracyChange], place: _Place) -> AccuracyChange | None:
    return next((one for one in rows if (one.format, one.device) == place), None)


def _wanted(base: Audit, changed: Audit, place: _Place) -> Iterator[_Wanted]:
    """Yield the deciding figures of each budget that is not met in the base."""
    if "error" in (_judged(base, place), _judged(changed, place)):
        return
    for budget in _open_budgets(base, place):
        other = _same(budget, _of_place(changed, place))
        if other is not None:
            yield _Wanted(place, budget, _deciding(budget), _deciding(other))


def _uncompared(wanted: _Wanted, why: str) -> FigureChange:
    return FigureChange.model_validate(
        {
            "format": wanted.place[0],
            "old_format": wanted.place[0],
            "device": wanted.place[1],
            "attack": wanted.changed.attack,
            "metric": wanted.budget.metric,
            "old": wanted.base.value,
            "new": wanted.changed.value,
            **dict.fromkeys(("value", "low", "high", "p_value", "adjusted_p")),
            "method": "unpaired",
            "outcome": "inconclusive",
            "note": why,
        }
    )


def _figure(wanted: _Wanted, change: FigureChange, adjusted_p: float | None) -> AdvisedFigure:
    budget, twice = wanted.budget, 2.0 if wanted.budget.metric in _METRIC else 1.0
    value, low, high = (None if end is None else twice * end for end in (change.value, change.low, change.high))
    notes = [change.note] if change.note else []
    if budget.scope == "pipeline":
        notes.append("the budget is on the pipeline; this is the difference of the first target's files")
    names = wanted.figure
    return AdvisedFigure(
        metric=budget.metric,
        limit=budget.limit,
        attack=_named(names.old, wanted.base.subset),
        changed_attack=_named(names.new, wanted.changed.subset),
        base=_scaled(change.old, budget.metric),
        changed=_scaled(change.new, budget.metric),
        value=value,
        low=low,
        high=high,
        p_value=change.p_value,
        adjusted_p=adjusted_p,
        method=None if value is None else change.method,
        outcome=classified(Difference(value, low, high, change.p_value), adjusted_p),
        note="; ".join(notes) or None,
    )


def _named(attack: str, subset: str) -> str:
    return attack if subset == "all" else f"{attack} on {subset}"


def _scaled(value: float | None, metric: str) -> float | None:
    """The figure of a budget from the one that is compared in its place."""
    return value if value is None or metric not in _METRIC else 2 * value - 1


def _outcome_of(figures: Sequence[AdvisedFigure]) -> str:
    """What the figures of a format's budgets show together; nothing where none of them was compared."""
    if all(one.value is None for one in figures):
        return "not concluded"
    falls, rises = (any(one.outcome == outcome for one in figures) for outcome in ("decrease", "increase"))
    if rises:
        return "mixed" if falls else "leaks more"
    return "helps" if falls else "does not help"


def _canaries(base: Audit, changed: Audit, place: _Place) -> AdvisedCanaries | None:
    """The canaries of both, by the attack that finds most of them in the base."""
    told = [_told(audit, place) for audit in (base, changed)]
    first, second = told
    rows = {row.attack + "/" + row.variant: row for row in _canary_rows(base, place)}
    if first is None or second is None or not rows:
        return None
    name = max(rows, key=lambda one: rows[one].value or 0.0)
    there = next((row for row in _canary_rows(changed, place) if f"{row.attack}/{row.variant}" == name), None)
    return AdvisedCanaries(
        attack=name,
        base=rows[name].value,
        base_low=rows[name].low,
        base_high=rows[name].high,
        changed=None if there is None else there.value,
        changed_low=None if there is None else there.low,
        changed_high=None if there is None else there.high,
        base_learned=first.planted_learned,
        changed_learned=second.planted_learned,
    )


def _told(audit: Audit, place: _Place) -> CanaryResult | None:
    return next((one for one in audit.canaries if (one.format, one.device) == place), None)


def _canary_rows(audit: Audit, place: _Place) -> Iterator[LeakageRow]:
    for row in audit.leakage:
        if row.of_canaries and row.metric == "auc" and (row.format, row.device) == place:
            yield row


# ---- all changes


def _rank(change: TriedChange) -> tuple[object, ...]:
    """Those that are enough first, then those that help most formats, then by how much on average."""
    statuses = ("measured", "failed", "not applied")
    kinds = [_ORDER.index(one.outcome) for one in change.formats]
    differences = [figure.value for one in change.formats for figure in one.figures if figure.value is not None]
    mean = sum(differences) / len(differences) if differences else 0.0
    helped = sum(kind == 0 for kind in kinds)
    return statuses.index(change.status), not change.enough, -helped, sorted(kinds), mean


def _outcome(
    base: Audit, failing: Sequence[FailingFormat], changes: Sequence[TriedChange]
) -> tuple[str, int, tuple[str, ...]]:
    """Return outcome, exit code and reasons."""
    if base.verdict.outcome == "invalid" or (not failing and _is_unsound(base)):
        return "undecided", 3, (f"the audit without a change is {base.verdict.outcome}: {base.verdict.reasons[0]}",)
    if not failing:
        return "within budget", 0, ("every format is within its budgets: no change was tried",)
    names = listed([place_name(one.format, one.device) for one in failing])
    enough = [change for change in changes if change.enough]
    if enough:
        holds = f"with {listed([one.name for one in enough])} every budget of {names} holds"
        return "a change is enough", 0, (holds, *_unsure(enough))
    measured = [change for change in changes if change.status == "measured"]
    if not measured:
        return "undecided", 3, (f"no change could be tried on {names}",)
    open_ = [one.name for one in measured if _may_pass(one)]
    if open_:
        why = "budgets are undecided, or figures are no evidence"
        return "undecided", 3, (f"with {listed(open_)} no budget of {names} is exceeded, and not all hold: {why}",)
    helping = [one.name for one in measured if any(found.outcome == "helps" for found in one.formats)]
    helps = f"{listed(helping)} {'helps' if len(helping) == 1 else 'help'}, and not enough" if helping else "none helps"
    return "no change is enough", 1, (f"with each change that was tried some of {names} exceeds a budget: {helps}",)


def _unsure(enough: Iterable[TriedChange]) -> Iterator[str]:
    """Say which changes passed although no significant fall shows on some format."""
    names = [one.name for one in enough if any(found.outcome != "helps" for found in one.formats)]
    if names:
        yield f"that {listed(names)} made figures fall is not shown, and other records may decide otherwise"


def _may_pass(change: TriedChange) -> bool:
    """Whether nothing shows that a format exceeds a budget with the change."""
    if change.verdict == "invalid":
        return all(one.after != "error" for one in change.formats)
    return all(one.after in ("pass", "inconclusive") for one in change.formats)
