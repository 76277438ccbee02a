"""Findings name the rates and p-values that the sample sizes cannot resolve."""

from __future__ import annotations

import pytest

from edgeaudit.controls.resolution import Answers, resolution, tie_mass


@pytest.mark.parametrize(
    ("n", "statuses", "statement"),
    [
        (98, ("warning", "warning"), "98 nonmembers cannot resolve it; at least 99 are needed"),
        (
            99,
            ("warning", "warning"),
            "99 nonmembers cannot show a breach, since the interval begins at 0; at least 368",
        ),
        (367, ("warning", "warning"), "367 nonmembers cannot show a breach, since the interval begins at 0"),
        (368, ("holds", "warning"), "368 nonmembers cannot resolve it; at least 999 are needed"),
        (1000, ("holds", "warning"), "1,000 nonmembers cannot show a breach, since the interval begins at 0"),
        (3688, ("holds", "holds"), "TPR at 0.1% FPR: 3,688 nonmembers resolve it, and can show a breach"),
    ],
)
def test_rates(n: int, statuses: tuple[str, str], statement: str) -> None:
    findings = resolution(n, 64)
    assert tuple(f.status for f in findings[:2]) == statuses
    assert any(statement in f.statement for f in findings)


@pytest.mark.parametrize(("k", "status"), [(18, "warning"), (19, "holds"), (64, "holds")])
def test_a_cutoff_of_5_percent_takes_19_shadows(k: int, status: str) -> None:
    finding = resolution(5000, k)[-1]
    assert (finding.status, finding.value) == (status, 1 / (k + 1))


def test_ties_are_a_warning_that_names_the_format() -> None:
    answers = {"torch-fp32": Answers(600, 0.0), "litert-int8": Answers(40, 0.97)}
    findings = tie_mass(answers, 600)
    assert [(f.format, f.status) for f in findings] == [("litert-int8", "warning")]
    assert "40 distinct answers to 600 records; 97.0%" in findings[0].statement
    fine = tie_mass({"torch-fp32": Answers(600, 0.0), "onnx-fp32": Answers(599, 0.004)}, 600)
    assert [(f.format, f.status) for f in fine] == [(None, "holds")]
    assert "at most 0.4%" in fine[0].statement
    assert tie_mass({}, 600) == []
