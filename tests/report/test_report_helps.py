"""What helps, as far as an audit has measured it: which alternatives are named, with which figures and verdicts."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeaudit.report.first_screen import answers
from edgeaudit.report.helps import help_lines, help_table, helps
from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup, Place
from edgeaudit.report.markdown import MarkdownWriter
from edgeaudit.report.model import Audit, Budget, Comparison, LeakageRow
from edgeaudit.report.terminal import render
from tests.report import sample

LEAKY, PRUNED, SAME = "onnx-int8-static", "nncf-pruned-90", "onnx-fp32"
PLACE: dict[str, Any] = {"device": sample.DEVICE, "shadow_match": "matched"}


def _pair(first: str, second: str, value: float, p: float, **changes: Any) -> Comparison:
    row = {
        **PLACE, "kind": "format pair", "format": first, "series": "lira/offline-global", "metric": "auc",
        "first": first, "second": second, "first_value": 0.7 + value, "second_value": 0.7, "value": value,
        "low": value - 0.01, "high": value + 0.03, "p_value": p, "adjusted_p": p, "targets": 1,
    }  # fmt: skip
    return Comparison(**(row | changes))


def _exposure(level: str, value: float, p: float) -> Comparison:
    return _pair(level, "probabilities", value, p, kind="exposure", format=LEAKY)


def _budget(name: str, verdict: str, **changes: Any) -> Budget:
    fields = {
        "metric": "auc", "level": "error", "limit": "<= 0.6", "format": name, "device": sample.DEVICE, "attack": "lira",
        "subset": "all", "verdict": verdict, "value": 0.7, "low": 0.65, "high": 0.75,
    }  # fmt: skip
    return Budget.model_validate(fields | changes)


def _weaker(level: str, attack: str, value: float | None, high: float | None, **changes: Any) -> LeakageRow:
    row = {
        **PLACE, "format": LEAKY, "exposure": level, "attack": attack, "variant": "", "subset": "all", "metric": "auc",
        "value": value, "low": value, "high": high, "n_members": 100, "n_nonmembers": 100,
    }  # fmt: skip
    return LeakageRow(**(row | changes))


def _audit(*rows: Comparison, budgets: tuple[Budget, ...], weaker: tuple[LeakageRow, ...] = ()) -> Audit:
    made = sample.audit()
    verdict = made.verdict.model_copy(update={"budgets": budgets})
    return made.model_copy(update={"comparisons": rows, "verdict": verdict, "weaker_leakage": weaker})


FAILS = (_budget(LEAKY, "fail"), _budget(PRUNED, "pass"), _budget(SAME, "fail"))


def _found(audit: Audit, name: str = LEAKY) -> dict[str, Any]:
    return {one.name: one for one in helps(Lookup(audit))[Place(name, sample.DEVICE)]}


def test_only_what_is_significant_or_passes_is_named() -> None:
    audit = _audit(
        _pair(LEAKY, PRUNED, 0.08, 0.3),
        _pair(SAME, LEAKY, -0.02, 0.4),
        _pair("litert-int8", LEAKY, -0.05, 0.01),
        _pair("litert-fp16", LEAKY, +0.05, 0.01),
        budgets=FAILS,
    )
    found = _found(audit)
    assert list(found) == [PRUNED, "litert-int8"]  # what passes first
    assert (found[PRUNED].judged, found[PRUNED].is_less) == ("pass", False)
    assert (found["litert-int8"].judged, found["litert-int8"].is_less) == ("", True)


def test_the_difference_is_that_of_the_alternative() -> None:
    """As stored it is of the format that fails minus the other one, 0.08 [0.07, 0.11]."""
    audit = _audit(_pair(LEAKY, PRUNED, 0.08, 0.001), budgets=FAILS)
    one = _found(audit)[PRUNED]
    assert (one.value, one.low, one.high) == pytest.approx((-0.08, -0.11, -0.07))
    tests = {f.id: f.accuracy.test for f in audit.formats if f.accuracy is not None}
    assert one.accuracy == pytest.approx(tests[PRUNED] - tests[LEAKY])
    swapped = _audit(_pair(PRUNED, LEAKY, -0.08, 0.001), budgets=FAILS)
    assert (_found(swapped)[PRUNED].low, _found(swapped)[PRUNED].high) == pytest.approx((-0.09, -0.05))


@pytest.mark.parametrize(
    ("rows", "judged"),
    [
        ((_weaker("label", "gap", 0.55, 0.59), _weaker("label", "lira", None, None, note="not applicable")), "pass"),
        ((_weaker("label", "gap", 0.55, 0.59), _weaker("label", "yeom", 0.58, 0.61)), ""),
        ((_weaker("label", "gap", 0.55, None),), ""),
        ((_weaker("label", "gap", 0.55, 0.59, metric="tpr@fpr=0.01"),), ""),
        ((), ""),
    ],
)
def test_an_exposure_is_within_where_every_attack_that_reads_it_is(rows: tuple[LeakageRow, ...], judged: str) -> None:
    audit = _audit(_exposure("label", -0.1, 0.001), budgets=FAILS, weaker=rows)
    one = _found(audit)["return label alone"]
    assert (one.judged, one.is_less, one.accuracy) == (judged, True, None)


def test_an_increase_over_another_format_is_not_judged_at_an_exposure() -> None:
    limited = (_budget(LEAKY, "fail", limit="<= torch-fp32 + 0.6"),)
    rows = (_weaker("label", "gap", 0.55, 0.59),)
    assert (
        _found(_audit(_exposure("label", -0.1, 0.001), budgets=limited, weaker=rows))["return label alone"].judged == ""
    )


def test_formats_that_pass_or_only_warn_need_nothing() -> None:
    budgets = (_budget(LEAKY, "pass"), _budget(PRUNED, "fail", level="warn"))
    audit = _audit(_pair(PRUNED, LEAKY, -0.08, 0.001), budgets=budgets)
    assert helps(Lookup(audit)) == {}
    assert help_table(Lookup(audit)) is None
    assert "What helps, measured" not in html_text(audit)


def test_every_view_names_it(tmp_path: Path) -> None:
    audit = _audit(_pair(PRUNED, LEAKY, -0.08, 0.001), _exposure("label", -0.1, 0.001), budgets=FAILS)
    MarkdownWriter().write(audit, tmp_path / "summary.md")
    text = StringIO()
    Console(file=text, width=300).print(render(audit))
    page = html_text(audit)
    for view in (page, text.getvalue(), (tmp_path / "summary.md").read_text("utf-8").replace("\\", "")):
        assert PRUNED in view
        assert "return label alone" in view
        assert "-0.080" in view
        assert "[-0.090, -0.050]" in view
    assert f"in place of {LEAKY}, measured: {PRUNED} (AUC -0.080 [-0.090, -0.050]" in text.getvalue()
    assert f"in place of {SAME}: nothing measured here leaks significantly less, or passes" in text.getvalue()
    assert "nothing that this audit measured leaks significantly less, or passes" in page


@pytest.mark.parametrize(
    ("spec", "advised"),
    [
        ({"model": {"recipe": "mlp", "checkpoint": None}, "target": None}, True),
        ({"model": {"checkpoint": "m.pt"}}, False),
        ({"target": {"artifact": "m.onnx"}}, False),
    ],
)
def test_advice_is_named_where_the_model_can_be_trained_again(spec: dict[str, Any], advised: bool) -> None:
    audit = _audit(budgets=(_budget(LEAKY, "fail"),)).model_copy(update={"spec": spec})
    assert ("edgeaudit advise" in help_lines(Lookup(audit))[0]) is advised
    (line,) = [one.text for one in answers(Lookup(audit)) if one.key == "next"]
    assert ("edgeaudit advise" in line) is advised
    assert "What helps, measured" in line


def test_a_terminal_has_three_lines_at_most() -> None:
    names = [f.id for f in sample.audit().formats if f.status == "ok" and f.id not in ("torch-fp32", PRUNED)][:6]
    rows = tuple(replace(_pair(PRUNED, name, -0.08, 0.001)) for name in names)
    audit = _audit(*rows, budgets=tuple(_budget(name, "fail") for name in names))
    lines = help_lines(Lookup(audit))
    assert len(lines) == 4
    assert lines[3] == "and in place of 3 further formats: see the report"
