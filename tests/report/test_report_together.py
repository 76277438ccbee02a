"""The report on multi-version attacks."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.model import Audit, TogetherRow, TogetherSingle
from edgeaudit.report.summary import sentences
from edgeaudit.report.terminal import render
from edgeaudit.report.together import together_sentences, together_tables

PAIR = ("torch-fp32", "litert-int8")
OWN = "lira/offline-global"


def _row(method: str, value: float | None, difference: float | None, p: float | None, **changes: Any) -> TogetherRow:
    low, high = (None, None) if difference is None else (difference - 0.01, difference + 0.01)
    single: dict[str, Any] = {"low": low, "high": high, "p_value": p, "difference": difference}
    best = 0.7 if value is None or difference is None else value - difference
    fields: dict[str, Any] = {
        "formats": PAIR, "device": "local", "shadow_match": "matched", "method": method, "metric": "auc",
        "yardstick": "cm-mia/calibrated", "value": value, "low": None if value is None else value - 0.02,
        "high": None if value is None else value + 0.02, "best": "litert-int8", "difference": difference,
        "difference_low": low, "difference_high": high, "p_value": p, "adjusted_p": p, "targets": 1,
        "singles": tuple(TogetherSingle(format=name, value=best, **single) for name in PAIR),
    }  # fmt: skip
    return TogetherRow(**(fields | changes))


def _with(audit: Audit, *rows: TogetherRow) -> Audit:
    return audit.model_copy(update={"together": rows})


def test_a_gain_is_reported_with_its_size_and_p(audit: Audit) -> None:
    rows = (_row("joint-offline", 0.75, 0.05, 0.001), _row("compleak-sr", 0.72, 0.02, 0.3))
    (said,) = together_sentences(_with(audit, *rows))
    assert said == (
        "Holding torch-fp32 and litert-int8 together leaks more than the best of them alone under cm-mia calibrated: "
        "the strongest multi-version attack (joint-offline) reaches AUC 0.750 [0.730, 0.770], against 0.700 of "
        "litert-int8 alone, a difference of +0.050 [+0.040, +0.060], adjusted p = 0.001."
    )
    assert said in sentences(_with(audit, *rows))


def test_an_insignificant_gain_and_a_loss_are_no_gain(audit: Audit) -> None:
    for difference, p in ((0.05, 0.051), (-0.05, 0.001), (0.05, None)):
        (said,) = together_sentences(_with(audit, _row("joint-offline", 0.75, difference, p)))
        assert "does not leak significantly more than the best of them alone under " in said


def test_the_headline_goes_before_the_same_kind(audit: Audit) -> None:
    rows = (
        _row("joint-offline", 0.75, -0.02, 1.0),
        _row("mean-score", 0.74, -0.03, 1.0),
        _row("joint-offline", 0.75, 0.06, 0.001, yardstick=OWN),
    )
    (said,) = together_sentences(_with(audit, *rows))
    assert "alone under cm-mia calibrated: " in said
    assert "a difference of -0.020" in said


def test_a_set_that_was_not_run_has_the_reason(audit: Audit) -> None:
    bare = _row("-", None, None, None, yardstick="-", singles=(), best=None, note="not run: litert-int8 failed")
    (said,) = together_sentences(_with(audit, bare))
    assert said == "The multi-version attack on torch-fp32 and litert-int8 was not run: not run: litert-int8 failed."
    ((open_, closed),) = together_tables(Lookup(_with(audit, bare)))
    assert (open_.rows[0].head.text, open_.rows[0].cells[0].text) == ("all of them", "not run")
    assert open_.notes == ("not run: litert-int8 failed",)
    assert closed is None
    assert "not run: litert-int8 failed" in html_text(_with(audit, bare))


def test_a_row_has_the_combination_the_best_alone_and_the_difference(audit: Audit) -> None:
    rows = (
        _row("joint-offline", 0.75, 0.05, 0.001, note="a remark"),
        _row("joint-offline", 0.2, 0.01, 0.6, metric="tpr@fpr=0.01"),
        _row("joint-offline", 0.75, None, None, metric="auc", yardstick=OWN, best=None, note="not compared with x"),
    )
    ((open_, closed),) = together_tables(Lookup(_with(audit, *rows)))
    assert open_.caption == "torch-fp32 + litert-int8"
    first, second = open_.rows
    texts = [cell.text for cell in first.cells]
    assert texts == ["cm-mia calibrated", "0.750", "0.700", "+0.050", "0.001", "20.0%", "19.0%", "+1.0 pp", "0.6"]
    assert [cell.tone for cell in first.cells][3] == "bad"
    assert first.cells[2].detail == "litert-int8"
    assert first.cells[1].note == 1
    assert [cell.text for cell in second.cells] == ["lira offline-global", "0.750", "-", "-", "-", "-", "-", "-", "-"]
    assert open_.notes == ("a remark", "not compared with x")
    assert closed is not None
    assert [head.text for head in closed.heads][3:] == list(PAIR)
    assert [cell.text for cell in closed.rows[0].cells] == ["cm-mia calibrated", "AUC", "+0.050", "+0.050"]


def test_large_sets_are_counted(audit: Audit) -> None:
    names = tuple(f"format-{n}" for n in range(6))
    (said,) = together_sentences(_with(audit, _row("joint-offline", 0.75, 0.05, 0.9, formats=names)))
    assert said.startswith("Holding 6 formats (format-0, format-1, format-2, format-3, format-4, format-5) together")


def test_the_section_exists_only_with_sets(audit: Audit) -> None:
    held = _with(audit, _row("joint-offline", 0.75, 0.05, 0.001))
    assert 'id="together"' in html_text(held)
    assert 'href="#together"' in html_text(held)
    assert 'id="together"' not in html_text(audit)
    text = StringIO()
    Console(file=text, width=400).print(render(held))
    assert "Holding torch-fp32 and litert-int8 together leaks more than" in text.getvalue()
