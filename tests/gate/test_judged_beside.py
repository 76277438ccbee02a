"""What is judged beside the attacks of a budget: figures at the common floor, and a classifier that is taught."""

from __future__ import annotations

from typing import Any

from edgeaudit.leakage.rows import LeakageRow
from tests.gate.cases import SERIES, judged, one, row, spec

_WITHIN, _BEYOND, _ACROSS = (0.55, 0.52, 0.58), (0.7, 0.66, 0.74), (0.58, 0.54, 0.62)
_COMMON, _TAUGHT = f"{SERIES['lira']} at common floor", "taught/classifier"
_LIMIT: dict[str, Any] = {"auc": ["error", {"max": 0.6}]}


def _rows() -> list[LeakageRow]:
    return [row(SERIES[name], _WITHIN) for name in ("lira", "yeom", "gap")]


def test_the_larger_of_both_floors_is_judged() -> None:
    assert judged(spec(_LIMIT), _rows()).exit_code == 0
    beyond = one(judged(spec(_LIMIT), [*_rows(), row(_COMMON, _ACROSS)]))
    assert (beyond.verdict, beyond.decided_by) == ("inconclusive", _COMMON)
    named = spec({"auc": ["error", {"max": 0.6, "attacks": ["lira"]}]})
    assert one(judged(named, [*_rows(), row(_COMMON, _ACROSS)])).decided_by == _COMMON
    other = spec({"auc": ["error", {"max": 0.6, "attacks": ["gap"]}]})
    passed = judged(other, [*_rows(), row(_COMMON, _BEYOND)])
    assert passed.exit_code == 0
    outside = one(passed).worst_outside
    assert outside is not None
    assert outside.name == _COMMON
    assert any(f"outside the attack set: auc <= 0.6 ({_COMMON})" in reason for reason in passed.reasons)


def test_what_is_taught_keeps_from_a_pass_and_makes_none_fail() -> None:
    across, beyond = (one(judged(spec(_LIMIT), [*_rows(), row(_TAUGHT, f)])) for f in (_ACROSS, _BEYOND))
    for budget in (across, beyond):
        assert (budget.verdict, budget.decided_by) == ("inconclusive", _TAUGHT)
        assert next(a for a in budget.attacks if a.attack == _TAUGHT).low_corrected is None
    assert "would decide" in (across.needed or "")
    assert "no number of records decides; train the shadows as the target was trained" in (beyond.needed or "")
    # .02 and a standard error of .0204 from a pass of 1,000 a side: ((1.960 + .842) * .0204 / .02)^2 = 8.17.
    assert across.needs is not None
    assert (across.needs.count, across.needs.outcome) == (8200, "pass")
    assert "corrected" not in (across.needed or "")
    assert beyond.needs is None
    reason = judged(spec(_LIMIT), [*_rows(), row(_TAUGHT, _BEYOND)]).reasons[0]
    assert f"{_TAUGHT} 0.700 [0.660, 0.740], by which no budget fails" in reason
    assert one(judged(spec(_LIMIT), [*_rows(), row(_TAUGHT, _WITHIN)])).verdict == "pass"


def test_records_decide_by_an_attack_that_is_beyond_although_what_is_taught_is_further() -> None:
    """Expected: (2.394 + .842) standard errors of .0204 over .01, squared, are 43.6; a tail of 2.5% / 3 is 2.394."""
    over = row(SERIES["lira"], (0.61, 0.57, 0.65))
    budget = one(judged(spec(_LIMIT), [over, *_rows()[1:], row(_TAUGHT, _BEYOND)]))
    assert (budget.verdict, budget.decided_by) == ("inconclusive", _TAUGHT)
    assert budget.needs is not None
    assert (budget.needs.count, budget.needs.outcome) == (44000, "fail")
    assert "would decide that it is exceeded, corrected for 3 figures" in (budget.needed or "")


def test_a_fail_of_an_attack_stays_one() -> None:
    rows = [row(SERIES["lira"], _BEYOND), *_rows()[1:], row(_TAUGHT, _WITHIN)]
    named = spec({"auc": ["error", {"max": 0.6, "attacks": ["lira"]}]})
    assert one(judged(named, rows)).verdict == "fail"


def test_a_set_that_is_named_is_not_judged_by_what_is_taught() -> None:
    named = spec({"auc": ["error", {"max": 0.6, "attacks": ["lira"]}]})
    verdict = judged(named, [*_rows(), row(_TAUGHT, _BEYOND)])
    assert verdict.exit_code == 0
    assert any(f"({_TAUGHT})" in reason for reason in verdict.reasons)


def test_naming_every_attack_is_the_whole_set() -> None:
    named = spec({"auc": ["error", {"max": 0.6, "attacks": ["lira", "yeom", "gap"]}]})
    budget = one(judged(named, [*_rows(), row(_TAUGHT, _BEYOND)]))
    assert (budget.verdict, budget.decided_by) == ("inconclusive", _TAUGHT)
    assert budget.worst_outside is None


def test_what_is_judged_beside_blocks_nothing_where_it_has_no_figure() -> None:
    missing = row(_TAUGHT, (None, None, None), note="nothing is taught")
    assert judged(spec(_LIMIT), [*_rows(), missing]).exit_code == 0
