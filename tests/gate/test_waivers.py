"""What a waiver waives, what it does not, and when it ends."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from edgeaudit.config.policy import ReadPolicy, policy_of
from edgeaudit.gate.judge import judge
from edgeaudit.report.model import Control, Verdict
from tests.gate import cases

TODAY = dt.date(2026, 6, 1)
LIRA, YEOM = "lira/offline-global", "yeom/loss"
WAIVER: dict[str, Any] = {
    "metric": "auc", "format": cases.FORMAT, "owner": "Privacy team", "reason": "until the retraining",
    "expires": "2026-12-31",
}  # fmt: skip
EXCEEDED, OPEN, WITHIN = (0.65, 0.62, 0.68), (0.59, 0.55, 0.63), (0.52, 0.49, 0.55)
"""Value, low and high: beyond, across and within the limit .6."""


def _policy(*waivers: dict[str, Any], budgets: Any = None) -> ReadPolicy:
    limits = {"auc": ["error", {"max": 0.6}]} if budgets is None else budgets
    return policy_of({"budgets": limits, "name": "privacy", "waivers": [{**WAIVER, **one} for one in waivers]}, TODAY)


def _judged(policy: ReadPolicy, *rows: Any, today: dt.date = TODAY, own: Any = None, **more: Any) -> Verdict:
    attacks = list(dict.fromkeys(row.attack for row in rows))
    return cases.judged(cases.spec(own or {}, attacks), rows, policy=policy, today=today, **more)


@pytest.mark.parametrize(("figure", "verdict"), [(EXCEEDED, "fail"), (OPEN, "inconclusive")])
def test_a_waived_budget_decides_nothing_and_stays_what_it_is(figure: Any, verdict: str) -> None:
    found = _judged(_policy({}), cases.row(LIRA, figure))
    assert (found.outcome, found.exit_code) == ("within budget", 0)
    budget = cases.one(found)
    assert (budget.verdict, budget.counted, budget.waived_until) == (verdict, "waived", "2026-12-31")
    assert [(one.owner, one.reason) for one in budget.waived_by] == [("Privacy team", "until the retraining")]
    assert [one.status for one in found.waivers] == ["applied"]
    assert found.reasons[0] == "no budget check counts: 1 is waived"
    assert found.reasons[1].startswith("waived until 2026-12-31 by Privacy team (until the retraining): litert-int8")


def test_the_day_itself_is_still_valid() -> None:
    policy, row = _policy({"expires": "2026-06-30"}), cases.row(LIRA, EXCEEDED)
    assert _judged(policy, row, today=dt.date(2026, 6, 30)).exit_code == 0
    ended = _judged(policy, row, today=dt.date(2026, 7, 1))
    assert (ended.outcome, ended.exit_code) == ("budget exceeded", 1)
    assert ended.reasons[0].endswith("; the waiver of Privacy team expired on 2026-06-30 (until the retraining)")
    assert [one.status for one in ended.waivers] == ["expired"]
    assert cases.one(ended).waived_by == ()


def test_an_expired_waiver_of_an_undecided_budget_leaves_it_undecided() -> None:
    ended = _judged(_policy({"expires": "2026-05-31"}), cases.row(LIRA, OPEN))
    assert (ended.outcome, ended.exit_code) == ("inconclusive", 3)
    assert "expired on 2026-05-31" in ended.reasons[0]


def test_an_expired_waiver_that_is_not_needed_is_a_warning() -> None:
    found = _judged(_policy({"expires": "2026-05-31"}), cases.row(LIRA, WITHIN))
    assert (found.outcome, found.exit_code) == ("within budget", 0)
    (warning,) = [reason for reason in found.reasons if reason.startswith("warning: waiver of Privacy team")]
    assert "expired" in warning
    assert warning.endswith("remove it")


def test_an_unneeded_and_an_unmatched_waiver_are_warnings() -> None:
    found = _judged(_policy({}, {"format": "litert-int9"}, {"metric": "advantage"}), cases.row(LIRA, WITHIN))
    assert found.exit_code == 0
    assert [one.status for one in found.waivers] == ["unneeded", "unmatched", "unmatched"]
    notes = [one.note or "" for one in found.waivers]
    assert "remove it" in notes[0]
    assert "'litert-int9' (did you mean 'litert-int8'?)" in notes[1]
    assert notes[2] == "no budget limits advantage"
    assert sum(reason.startswith("warning: waiver of") for reason in found.reasons) == 3


@pytest.mark.parametrize(
    ("most", "code"),
    [(0.7, 0), (0.68, 0), (0.679, 1), (0.64, 1)],  # the interval of the figure is [.62, .68]
)
def test_a_waiver_up_to_a_figure_ends_there(most: float, code: int) -> None:
    found = _judged(_policy({"max": most}), cases.row(LIRA, EXCEEDED))
    assert found.exit_code == code
    if code:
        assert f"not waived by Privacy team: {LIRA} 0.650 [0.620, 0.680] (max {most:g})" in found.reasons[0]
        assert [one.status for one in found.waivers] == ["insufficient"]


def test_a_figure_without_an_upper_end_is_waived_by_a_waiver_without_max_alone() -> None:
    row = cases.row(LIRA, (None, None, None), note="too few records")
    assert _judged(_policy({}), row).exit_code == 0
    assert _judged(_policy({"max": 0.9}), row).exit_code == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"attack": "lira"}, 0),
        ({"attack": "yeom"}, 3),
        ({"subset": "class:3"}, 3),
        ({"metric": "advantage"}, 3),
        ({"format": "torch-fp32"}, 3),
        ({"format": None, "formats": ["torch-fp32", cases.FORMAT]}, 0),
        ({"format": None, "formats": "all"}, 0),
        ({"device": "local"}, 0),
        ({"device": "pi4"}, 3),
        ({"scope": "pipeline"}, 3),
        ({"against": "torch-fp32"}, 3),
    ],
)
def test_a_waiver_waives_what_it_names(changes: dict[str, Any], code: int) -> None:
    assert _judged(_policy(changes), cases.row(LIRA, OPEN), cases.row(YEOM, WITHIN)).exit_code == code


def test_one_figure_that_no_waiver_foresaw_makes_the_budget_count() -> None:
    rows = (cases.row(LIRA, OPEN), cases.row(YEOM, OPEN))
    one = _judged(_policy({"attack": "lira"}), *rows)
    assert one.exit_code == 3
    assert "not waived by Privacy team: yeom/loss" in one.reasons[0]
    both = _judged(_policy({"attack": "lira"}, {"attack": "yeom", "owner": "Other", "expires": "2026-08-01"}), *rows)
    assert both.exit_code == 0
    assert [one.owner for one in cases.one(both).waived_by] == ["Privacy team", "Other"]
    assert cases.one(both).waived_until == "2026-08-01"  # from then on one figure is not waived


def test_of_two_waivers_for_one_figure_the_later_end_counts() -> None:
    policy = _policy({"expires": "2026-07-01"}, {"attack": "lira", "expires": "2026-09-01", "owner": "Other"})
    found = _judged(policy, cases.row(LIRA, OPEN))
    assert cases.one(found).waived_until == "2026-09-01"
    assert [one.status for one in found.waivers] == ["applied", "applied"]


def test_one_class_of_a_budget_on_every_class_is_waived() -> None:
    limits = {"auc": ["error", {"max": 0.6, "subset": "class:*"}]}
    rows = [
        cases.row(LIRA, WITHIN),
        cases.row(LIRA, OPEN, subset="class:0"),
        cases.row(LIRA, WITHIN, subset="class:1"),
    ]
    for subset, code in (("class:0", 0), ("class:*", 0), ("class:1", 3), ("all", 3)):
        found = _judged(_policy({"subset": subset}, budgets=limits), *rows, classes=2)
        assert found.exit_code == code, subset
    rows[2] = cases.row(LIRA, OPEN, subset="class:1")
    assert _judged(_policy({"subset": "class:0"}, budgets=limits), *rows, classes=2).exit_code == 3


def test_the_audits_own_budget_is_waived_by_the_policy_too() -> None:
    own = {"auc": ["error", {"max": 0.6}]}
    found = _judged(_policy({}, budgets={"auc": ["error", {"max": 0.7}]}), cases.row(LIRA, EXCEEDED), own=own)
    assert found.exit_code == 0
    assert [(b.policy, b.counted) for b in found.budgets] == [(None, "waived"), ("privacy", "pass")]
    assert found.reasons[0] == "1 budget check holds for this file, 1 is waived"


def test_a_waiver_waives_no_control_and_no_failed_format() -> None:
    audit, rows, policy = cases.spec({}, ["lira"]), [cases.row(LIRA, EXCEEDED)], _policy({})
    about = {"scores": cases.no_scores, "policy": policy, "today": TODAY}
    for status, outcome, code in (("failed", "invalid", 3), ("undecided", "inconclusive", 3)):
        control = Control("null target", status, "it is so")  # type: ignore[arg-type]
        found = judge(audit, [cases.result()], rows, [control], **about)  # type: ignore[arg-type]
        assert (found.outcome, found.exit_code) == (outcome, code)
    broken = cases.result("torch-fp32").model_copy(update={"status": "failed", "error": "no"})
    found = judge(audit, [cases.result(), broken], rows, (), **about)  # type: ignore[arg-type]
    assert (found.outcome, found.exit_code) == ("error", 2)


def test_a_waived_warning_is_no_warning() -> None:
    found = _judged(_policy({}, budgets={"auc": ["warn", {"max": 0.6}]}), cases.row(LIRA, EXCEEDED))
    assert found.outcome == "not judged"  # no budget of level error was set, waived or not
    assert not any(reason.startswith("warning: ") for reason in found.reasons)
