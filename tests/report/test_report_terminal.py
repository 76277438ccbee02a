from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from edgeaudit.report.model import Audit, Budget
from edgeaudit.report.summary import verdict_line
from edgeaudit.report.terminal import budget_word, render
from tests.report import sample


def printed(audit: Audit, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(render(audit))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_every_format_is_one_line_at_100_columns(audit: Audit) -> None:
    lines = printed(audit, 100)
    for result in audit.formats:
        found = [line for line in lines if line.split()[:2] == [result.id, result.status]]
        assert len(found) == 1, result.id
    assert (
        "nncf-pruned-70       ok      316.4 kB   98.2/86.8  0.777 [0.750, 0.805]  10.7% [8.7, 12.9]  exceeded" in lines
    )


def test_narrow_puts_intervals_on_a_second_line(audit: Audit) -> None:
    lines = printed(audit, 80)
    at = next(n for n, line in enumerate(lines) if line.startswith("nncf-pruned-70 "))
    assert "0.777" in lines[at]
    assert "exceeded" in lines[at]
    assert "[0.750, 0.805]" in lines[at + 1]
    assert max(map(len, lines)) <= 80


def test_failure_and_verdict_come_last(audit: Audit) -> None:
    text = " ".join(printed(audit, 200)[-3:])
    assert f"{sample.FAILED} failed: {sample.ERROR}" in text
    assert verdict_line(audit) in text


def test_controls_are_one_line(audit: Audit) -> None:
    found = [line for line in printed(audit, 200) if line.startswith("controls: ")]
    assert found == ["controls: 2 warning (resolution, tie mass), 14 hold"]
    failed = replace(audit.controls[0], status="failed")
    one = printed(audit.model_copy(update={"controls": (failed, *audit.controls[1:])}), 200)
    assert "controls: 1 failed (shift: blind classifier), 2 warning (resolution, tie mass), 13 hold" in one
    unknown = replace(audit.controls[0], status="undecided")
    two = printed(audit.model_copy(update={"controls": (unknown, *audit.controls[1:])}), 200)
    assert "controls: 1 undecided (shift: blind classifier), 2 warning (resolution, tie mass), 13 hold" in two
    assert not [line for line in printed(audit.model_copy(update={"controls": ()}), 200) if "controls" in line]


def test_piped_output_has_no_escapes(audit: Audit) -> None:
    assert "\x1b" not in "".join(printed(audit, 100))


def test_markup_and_escapes_in_names_are_escaped(audit: Audit) -> None:
    bad = audit.formats[0].model_copy(
        update={"id": "[red]x[/red]\x1b[31m", "status": "failed", "error": "[bold]\x1b]0;hi\x07"}
    )
    text = "\n".join(printed(audit.model_copy(update={"formats": (bad,)}), 100))
    assert "[red]x[/red]" in text
    assert "[bold]" in text
    assert "\x1b" not in text


def test_missing_values_are_a_dash_and_no_error(audit: Audit) -> None:
    empty = audit.model_copy(update={"leakage": (), "verdict": audit.verdict.model_copy(update={"budgets": ()})})
    assert any(line.startswith("torch-fp32") and line.endswith("-") for line in printed(empty, 100))


def test_unresolved_is_written_out(audit: Audit) -> None:
    rows = tuple(replace(r, value=None, low=None, high=None) for r in audit.leakage)
    assert "not resolvable" in "\n".join(printed(audit.model_copy(update={"leakage": rows}), 100))


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        ([], ""),
        ([("error", "pass"), ("warn", "pass")], "pass"),
        ([("error", "pass"), ("warn", "fail")], "warn"),
        ([("warn", "fail"), ("error", "fail")], "fail"),
        ([("error", "inconclusive"), ("error", "pass")], "inconclusive"),
    ],
)
def test_the_worst_budget_counts(audit: Audit, kinds: list[tuple[str, str]], word: str) -> None:
    one = audit.verdict.budgets[0]
    budgets = [Budget.model_validate(one.model_dump() | {"level": level, "verdict": v}) for level, v in kinds]
    assert budget_word(budgets) == word


def test_several_targets_and_the_largest_difference_are_a_line_each(audit: Audit) -> None:
    lines = printed(audit, 200)
    (targets,) = [line for line in lines if line.startswith("mean AUC over 5 targets: nncf-pruned-70 0.7")]
    assert targets.endswith("; the table is the first target's")
    (difference,) = [line for line in lines if " than torch-fp32: " in line]
    assert difference.startswith("nncf-pruned-90 leaks less than torch-fp32: AUC -0.2")
    assert difference.endswith("adjusted p < 0.001")
    # The table has figures at each format's own floor, which may be in another order.
    note = "compared at one probability floor; at its own floor each has 0.7932 and 0.7913"
    rows = tuple(replace(row, note=note) for row in audit.comparisons)
    (noted,) = [
        line for line in printed(audit.model_copy(update={"comparisons": rows}), 400) if " than torch-fp32" in line
    ]
    assert noted.endswith(f"adjusted p < 0.001 ({note})")


def test_one_target_and_no_difference_are_no_lines(audit: Audit) -> None:
    rows = tuple(replace(row, adjusted_p=0.2) for row in audit.comparisons)
    text = "\n".join(printed(audit.model_copy(update={"across_targets": (), "comparisons": rows}), 200))
    assert "targets" not in text
    assert "than torch-fp32" not in text
