"""The first screen answers what a reader asks first, from figures of the audit alone."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.report.first_screen import facts, recommended
from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.model import Audit, Budget, Control, Verdict
from edgeaudit.rows import Rows
from tests.report import sample


def _audit(verdicts: dict[str, str], outcome: str, code: int, *controls: Control, level: str = "error") -> Audit:
    budgets = tuple(
        Budget.model_validate(
            {
                "metric": "auc", "level": level, "limit": "<= 0.6", "format": name, "attack": "lira/offline-global",
                "subset": "all", "verdict": verdict, "value": 0.58, "low": 0.55, "high": 0.61, "device": "local",
                "needed": "about 900 members would decide" if verdict == "inconclusive" else None,
            }
        )
        for name, verdict in verdicts.items()
    )  # fmt: skip
    reasons: Any = ("because",)
    verdict = Verdict.model_validate({"outcome": outcome, "exit_code": code, "reasons": reasons, "budgets": budgets})
    return sample.audit().model_copy(update={"verdict": verdict, "controls": Rows(controls, of=Control)})


def _names() -> list[str]:
    return [f.id for f in sample.audit().formats if f.status == "ok" and f.runtime and f.runtime.name != "torch"]


def test_the_smallest_good_file_within_budget_is_recommended() -> None:
    audit = _audit(dict.fromkeys(_names(), "pass"), "within budget", 0)
    found = recommended(Lookup(audit))
    formats = {f.id: f for f in audit.formats if f.id in _names()}
    accuracy = {name: f.accuracy.test for name, f in formats.items() if f.accuracy}
    good = [name for name, test in accuracy.items() if test >= max(accuracy.values()) - 0.01]
    sizes = {name: f.artifact.bytes for name in good if (f := formats[name]).artifact}
    assert found.label == min(sizes, key=lambda name: sizes[name])
    assert f"of {len(formats)} formats within all budgets the smallest" in found.why
    one = _audit({name: "pass" if name == _names()[1] else "fail" for name in _names()}, "budget exceeded", 1)
    assert recommended(Lookup(one)).label == _names()[1]
    assert dict(facts(Lookup(one)))["Next"] == f"ship {_names()[1]}"


@pytest.mark.parametrize(
    ("verdict", "outcome", "code", "words"),
    [
        ("fail", "budget exceeded", 1, "every format is beyond a limit"),
        ("inconclusive", "inconclusive", 3, "the records cannot say"),
    ],
)
def test_nothing_is_recommended_that_is_not_within(verdict: str, outcome: str, code: int, words: str) -> None:
    audit = _audit(dict.fromkeys(_names(), verdict), outcome, code)
    found = recommended(Lookup(audit))
    assert found.label is None
    assert words in found.why
    if verdict == "inconclusive":
        assert dict(facts(Lookup(audit)))["Next"] == "about 900 members would decide"


@pytest.mark.parametrize("status", ["failed", "undecided"])
def test_nothing_is_recommended_where_the_audit_is_not_sound(status: Any) -> None:
    outcome = "invalid" if status == "failed" else "inconclusive"
    audit = _audit(dict.fromkeys(_names(), "pass"), outcome, 3, Control("c", status, "it is so"))
    assert recommended(Lookup(audit)).label is None
    told = dict(facts(Lookup(audit)))
    assert "c" in told["How sure"]
    assert "control's advice" in told["Next"]


def test_warnings_alone_recommend_nothing() -> None:
    audit = _audit(dict.fromkeys(_names(), "pass"), "not judged", 0, level="warn")
    found = recommended(Lookup(audit))
    assert found.label is None
    assert "budgets: recommended" in found.why


def test_the_figure_that_decided_is_named() -> None:
    verdicts = dict.fromkeys(_names(), "pass") | {_names()[2]: "fail"}
    told = dict(facts(Lookup(_audit(verdicts, "budget exceeded", 1))))
    assert told["Decided by"].startswith(
        f"lira/offline-global on {_names()[2]}: 0.580 [0.550, 0.610] exceeds auc <= 0.6"
    )


def test_the_page_begins_with_them(audit: Audit) -> None:
    page = html_text(audit)
    start = page[: page.index("<nav")]
    for name, value in facts(Lookup(audit)):
        assert f"<dt>{name}</dt>" in start
        assert value
    assert page.index('id="formats"') < page.index('id="controls"')
