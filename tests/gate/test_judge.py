"""Budgets are judged on intervals; an undecided budget never gives exit code 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import BudgetError
from edgeaudit.gate.judge import FormatScores, judge
from edgeaudit.gate.requirements import SUBSETS, require_budgets_exist
from edgeaudit.report.model import Control, FormatResult, LeakageRow, Verdict
from edgeaudit.stages.measure import _SELECTIONS

_FORMATS = ("torch-fp32", "onnx-int8-static", "litert-int8")


def _spec(budgets: dict[str, Any], **more: Any) -> AuditSpec:
    return AuditSpec.model_validate({"formats": list(_FORMATS), "attacks": ["cm-mia"], "budgets": budgets, **more})


def _row(format_id: str, value: float | None, low: float | None, high: float | None, metric: str = "auc") -> LeakageRow:
    return LeakageRow(
        format=format_id,
        device="local",
        attack="cm-mia",
        variant="t",
        exposure="probabilities",
        subset="all",
        shadow_match="matched",
        metric=metric,
        value=value,
        low=low,
        high=high,
        n_members=100,
        n_nonmembers=100,
    )


def _format(format_id: str, error: str | None = None) -> FormatResult:
    return FormatResult.model_validate(
        {
            "id": format_id,
            "device": "local",
            "status": "failed" if error else "ok",
            "summary": "",
            "precision": "int8",
            "error": error,
        }
    )


def _no_scores(format_id: str, device: str) -> FormatScores:
    raise AssertionError(f"scores of {format_id} on {device} are needed for max-increase only")


def _judge(
    spec: AuditSpec, rows: list[LeakageRow], failed: tuple[str, ...] = (), controls: tuple[Control, ...] = ()
) -> Verdict:
    formats = [_format(f, "no" if f in failed else None) for f in _FORMATS]
    return judge(spec, formats, rows, controls, _no_scores)


def _rows(low: float, high: float) -> list[LeakageRow]:
    return [_row(f, (low + high) / 2, low, high) for f in _FORMATS]


@pytest.mark.parametrize(
    ("low", "high", "outcome", "code"),
    [
        (0.50, 0.60, "within budget", 0),
        (0.50, 0.70, "within budget", 0),  # the upper bound may touch the limit
        (0.71, 0.80, "budget exceeded", 1),
        (0.65, 0.75, "inconclusive", 3),
        (0.70, 0.75, "inconclusive", 3),  # a lower bound at the limit is not beyond it
    ],
)
def test_the_interval_decides(low: float, high: float, outcome: str, code: int) -> None:
    verdict = _judge(_spec({"auc": ["error", {"max": 0.7}]}), _rows(low, high))
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)


def test_the_reference_is_not_judged_unless_named() -> None:
    rows = [_row("torch-fp32", 0.9, 0.88, 0.92), *_rows(0.5, 0.6)[1:]]
    assert _judge(_spec({"auc": ["error", {"max": 0.7}]}), rows).exit_code == 0
    assert _judge(_spec({"auc": ["error", {"max": 0.7, "formats": ["torch-fp32"]}]}), rows).exit_code == 1


def test_without_budgets_no_format_is_approved() -> None:
    verdict = _judge(_spec({}), _rows(0.8, 0.9))
    assert (verdict.outcome, verdict.exit_code) == ("not judged", 0)
    assert "no budget was set" in verdict.reasons[0]


def test_a_budget_with_level_warn_is_reported_and_does_not_fail() -> None:
    verdict = _judge(_spec({"auc": ["warn", {"max": 0.55}]}), _rows(0.6, 0.7))
    assert verdict.exit_code == 0
    assert any("warning: litert-int8: budget auc <= 0.55 is exceeded by this file" in r for r in verdict.reasons)


def test_a_rate_that_cannot_be_resolved_is_inconclusive() -> None:
    rows = [_row(f, None, None, None, "tpr@fpr=0.001") for f in _FORMATS]
    assert _judge(_spec({"tpr@fpr=0.001": ["error", {"max": 0.1}]}), rows).exit_code == 3


def test_a_failed_format_is_an_error_even_where_all_budgets_hold() -> None:
    verdict = _judge(_spec({"auc": ["error", {"max": 0.9}]}), _rows(0.5, 0.6), failed=("litert-int8",))
    assert verdict.exit_code == 2
    assert "litert-int8 failed: no" in verdict.reasons


def test_an_exceeded_budget_outweighs_an_undecided_one() -> None:
    rows = [_row("onnx-int8-static", 0.9, 0.85, 0.95), _row("litert-int8", 0.7, 0.6, 0.8)]
    assert _judge(_spec({"auc": ["error", {"max": 0.7}]}), rows).exit_code == 1


@pytest.mark.parametrize(("low", "outcome"), [(0.75, "budget exceeded"), (0.6, "inconclusive")])
def test_the_first_reason_is_the_worst_format_of_a_budget(low: float, outcome: str) -> None:
    """The terminal's last line has no other; its line of the budget names the worst format, too."""
    rows = [
        *(_row("onnx-int8-static", 0.8, low, 0.85, metric) for metric in ("auc", "balanced_accuracy")),
        *(_row("litert-int8", 0.9, low, 0.95, metric) for metric in ("auc", "balanced_accuracy")),
    ]
    limits = ["error", {"max": 0.7}]
    verdict = _judge(_spec({"auc": limits, "balanced_accuracy": limits}), rows)
    assert verdict.outcome == outcome
    assert [reason.split(":")[0] + reason.split("budget")[1].split()[0] for reason in verdict.reasons] == [
        "litert-int8auc",
        "onnx-int8-staticauc",
        "litert-int8balanced_accuracy",
        "onnx-int8-staticbalanced_accuracy",
    ]


@pytest.mark.parametrize("metric", ["auc", "tpr@fpr=0.01"])
def test_a_budget_on_an_attack_that_could_not_be_run_is_inconclusive(metric: str) -> None:
    rows = [replace(_row(f, None, None, None), note="not applicable: no IN shadows") for f in _FORMATS]
    verdict = _judge(_spec({metric: ["error", {"max": 0.7}]}), rows)
    assert verdict.exit_code == 3
    assert "not applicable: no IN shadows" in verdict.reasons[0]
    # The scores lack the attack, too.
    increase = _spec({metric: ["error", {"max-increase": 0.1, "against": "torch-fp32"}]})
    empty = FormatScores({}, np.arange(4) < 2)
    assert judge(increase, [_format(f) for f in _FORMATS], rows, (), lambda *_: empty).exit_code == 3


_HOLDS = Control(name="shift: labels", status="holds", statement="label counts do not differ", p_value=0.4)
_NOT_RUN = Control(name="null target", status="not run", statement="controls.null-targets is 0")
_UNDECIDED = Control(name="members known", status="undecided", statement="no gap", format="litert-int8")
_FAILED = Control(
    name="null target", status="failed", statement="cm-mia t finds members of null-target", value=0.6, low=0.55,
    high=0.65, p_value=1e-4, format="litert-int8",
)  # fmt: skip


@pytest.mark.parametrize("limit", [0.9, 0.6, 0.51])  # a budget that holds, one that is undecided, one exceeded
def test_a_failed_control_makes_the_audit_invalid_whatever_the_budgets_say(limit: float) -> None:
    spec = _spec({"auc": ["error", {"max": limit}]})
    verdict = _judge(spec, _rows(0.52, 0.7), controls=(_HOLDS, _FAILED))
    assert (verdict.outcome, verdict.exit_code) == ("invalid", 3)
    reason = "litert-int8: null target: cm-mia t finds members of null-target, 0.600 [0.550, 0.650], p = 0.0001"
    assert verdict.reasons[0] == f"control failed: {reason}"


def test_a_failed_format_outweighs_a_failed_control_and_both_are_reported() -> None:
    verdict = _judge(_spec({}), _rows(0.5, 0.6), failed=("litert-int8",), controls=(_FAILED,))
    assert verdict.exit_code == 2
    assert any(reason.startswith("control failed: ") for reason in verdict.reasons)


@pytest.mark.parametrize("budgets", [{}, {"auc": ["error", {"max": 0.9}]}])
def test_controls_that_hold_and_those_not_run_are_reported(budgets: dict[str, Any]) -> None:
    coarse = Control(name="tie mass", status="warning", statement="3 distinct answers", format="litert-int8")
    verdict = _judge(_spec(budgets), _rows(0.5, 0.6), controls=(_HOLDS, _NOT_RUN, coarse))
    assert verdict.exit_code == 0
    warned, held, missing = verdict.reasons[1:]
    assert warned == "controls that warn: tie mass"
    assert (held, missing) == ("controls that hold: shift", "controls that were not run: null target")


@pytest.mark.parametrize(
    ("low", "high", "outcome", "code"),
    [(0.5, 0.6, "inconclusive", 3), (0.65, 0.75, "inconclusive", 3), (0.8, 0.9, "budget exceeded", 1)],
)
def test_an_undecided_control_takes_a_pass_away_and_no_breach(low: float, high: float, outcome: str, code: int) -> None:
    verdict = _judge(_spec({"auc": ["error", {"max": 0.7}]}), _rows(low, high), controls=(_UNDECIDED, _HOLDS))
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    assert any(reason.startswith("control undecided: litert-int8: members known") for reason in verdict.reasons)
    if code == 3:
        assert verdict.reasons[0].startswith("control undecided: ")
    warned = _judge(_spec({"auc": ["warn", {"max": 0.7}]}), _rows(0.5, 0.6), controls=(_UNDECIDED,))
    assert (warned.outcome, warned.exit_code) == ("not judged", 0)  # a warning alone judges nothing
    assert any(reason.startswith("control undecided: ") for reason in warned.reasons)
    failed = _judge(_spec({"auc": ["error", {"max": 0.7}]}), _rows(0.5, 0.6), controls=(_UNDECIDED, _FAILED))
    assert failed.outcome == "invalid"


def test_without_a_budget_nothing_is_taken_away() -> None:
    verdict = _judge(_spec({}), _rows(0.5, 0.6), controls=(_UNDECIDED,))
    assert (verdict.outcome, verdict.exit_code) == ("not judged", 0)
    assert verdict.reasons[1].startswith("control undecided: ")


def test_all_includes_every_attack() -> None:
    require_budgets_exist(_spec({"auc": ["error", {"max": 0.7, "attack": "rmia", "variant": "online"}]}, attacks="all"))


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"auc": ["error", {"max": 0.7, "formats": ["litert-int9"]}]}, "'litert-int9' is not in this audit"),
        ({"auc": ["error", {"max-increase": 0.1, "against": "onnx-fp32"}]}, "'onnx-fp32' is not in this audit"),
        ({"aux": ["error", {"max": 0.7}]}, "unknown metric. Did you mean 'auc'?"),
        ({"auc": ["error", {"max": 0.7, "subset": "abnormal:fractoin"}]}, "Did you mean 'abnormal:fraction'?"),
        ({"auc": ["error", {"max": 0.7, "attack": "rmia"}]}, "'rmia' is not in this audit's attacks"),
        ({"auc": ["error", {"max": 0.7, "variant": "z"}]}, "no variant 'z'"),
        ({"auc": ["error", {"max": 0.7, "attacks": ["cm-mai"]}]}, "'cm-mai' is not in this.* Did you mean 'cm-mia'?"),
        ({"auc": ["error", {"max": 0.7, "attacks": ["cm-mia/z"]}]}, "'cm-mia' has no variant 'z'"),
        ({"auc": ["error", {"max": 0.7, "subset": "class:x"}]}, "must be class:<k>"),
        ({"auc": ["error", {"max": 0.7, "subset": "class:07"}]}, "must be class:<k>"),
        ({"advantage": ["error", {"max": 0.7, "subset": "class:*"}]}, "figures by class are auc and tpr@fpr=0.01"),
        ({"auc": ["error", {"max": 0.7, "subset": "class:*", "scope": "pipeline"}]}, "judged on all records"),
        ({"advantage": ["error", {"max-increase": 0.1, "against": "torch-fp32"}]}, "paired test"),
    ],
)
def test_a_budget_that_does_not_fit_the_audit_is_rejected(budgets: dict[str, Any], message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        require_budgets_exist(_spec(budgets))


def test_budgets_accept_exactly_the_measured_subsets() -> None:
    assert {"all", *(f"abnormal:{name}" for name in _SELECTIONS), "canaries", "class:*"} == set(SUBSETS)


def test_a_class_that_the_records_do_not_have_is_refused() -> None:
    spec = _spec({"auc": ["error", {"max": 0.7, "subset": "class:3"}]})
    require_budgets_exist(spec, classes=4)
    with pytest.raises(BudgetError, match="there is no class 3; the records have classes 0 to 2"):
        require_budgets_exist(spec, classes=3)


def test_an_audit_of_the_reference_alone_has_nothing_to_judge() -> None:
    spec = AuditSpec.model_validate({"formats": ["torch-fp32"], "budgets": {"auc": ["error", {"max": 0.7}]}})
    with pytest.raises(BudgetError, match="applies to no format"):
        require_budgets_exist(spec)


@pytest.mark.parametrize("metric", ["auc", "tpr@fpr=0.01"])
def test_an_increase_is_judged_by_a_paired_test(metric: str) -> None:
    rng = np.random.default_rng(0)
    members = np.arange(2000) < 1000
    common = rng.normal(size=2000)
    weak, strong = common + 0.2 * members, common + 2.0 * members
    scores = {
        "torch-fp32": FormatScores({"cm-mia/t": weak}, members),
        "onnx-int8-static": FormatScores({"cm-mia/t": weak + 1e-3 * rng.normal(size=2000)}, members),
        "litert-int8": FormatScores({"cm-mia/t": strong}, members),
    }
    spec = _spec({metric: ["error", {"max-increase": 0.1, "against": "torch-fp32"}]})
    rows = [_row(f, 0.6, 0.5, 0.7) for f in scores]
    verdict = judge(spec, [_format(f) for f in _FORMATS], rows, (), lambda name, _: scores[name])
    by_format = {b.format: b.verdict for b in verdict.budgets}
    assert by_format == {"onnx-int8-static": "pass", "litert-int8": "fail"}
    assert verdict.exit_code == 1


def test_a_budget_without_a_variant_takes_the_first_that_could_be_run() -> None:
    spec = _spec({"auc": ["error", {"max": 0.7}]})
    test = [_row(f, 0.6, 0.55, 0.65) for f in _FORMATS]
    calibrated = [replace(r, variant="calibrated", value=0.8, low=0.75, high=0.85) for r in test]
    assert _judge(spec, [*test, *calibrated]).exit_code == 1
    missing = [replace(r, value=None, low=None, high=None, note="no shadows") for r in calibrated]
    verdict = _judge(spec, [*test, *missing])
    assert verdict.exit_code == 0
    assert {b.attack for b in verdict.budgets} == {"cm-mia/t"}


def test_budgets_of_level_warn_alone_judge_no_format() -> None:
    verdict = _judge(_spec({"auc": ["warn", {"max": 0.7}]}), _rows(0.5, 0.6))
    assert (verdict.outcome, verdict.exit_code) == ("not judged", 0)
    assert "only budgets with level 'warn'" in verdict.reasons[0]
