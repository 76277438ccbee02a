"""Findings name the rates and p-values that the sample sizes cannot resolve."""

from __future__ import annotations

import pytest

from edgeaudit.controls.resolution import Answers, resolution, tie_mass


@pytest.mark.parametrize(
    ("n", "statuses", "statement"),
    [
        (99, ("warning", "warning"), "99 nonmembers cannot resolve it; at least 100 are needed"),
        (299, ("warning", "warning"), "299 nonmembers allow 2 false positives; bounding the rate itself takes 300"),
        (300, ("holds", "warning"), "300 nonmembers cannot resolve it; at least 1,000 are needed"),
        (1000, ("holds", "warning"), "1,000 nonmembers allow 1 false positive; bounding the rate itself takes 3,000"),
        (3000, ("holds", "holds"), "TPR at 0.1% FPR: 3,000 nonmembers allow 3 false positives"),
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
