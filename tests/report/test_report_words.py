from __future__ import annotations

from dataclasses import replace

import pytest

from edgeaudit.report.model import LeakageRow
from edgeaudit.report.words import (
    about,
    chance,
    counted,
    difference,
    difference_interval,
    figure,
    figure_and_interval,
    file_size,
    interval,
    judged_figure,
    listed,
    metric_name,
    percent,
    printable,
    shown,
)
from tests.report import sample


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0%"), (1.0, "100.0%"), (0.1234, "12.3%"), (0.001, "0.1%"), (0.00047, "0.047%"), (-0.02, "-2.0%")],
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "12%"), (0.0345, "3.5%"), (0.998, "99.8%"), (0.0, "0%"), (1.0, "100%")]
)
def test_about(value: float, text: str) -> None:
    assert about(value) == text


def test_shares_are_percents_and_auc_is_not() -> None:
    assert figure("auc", 0.71234) == "0.712"
    assert figure("tpr@fpr=0.01", 0.71234) == "71.2%"
    assert figure("advantage", 0.1) == "0.100"


def test_interval_is_in_the_unit_of_its_value() -> None:
    assert interval("auc", 0.6, 0.8) == "[0.600, 0.800]"
    assert interval("recall@0.05", 0.06, 0.081) == "[6.0, 8.1]"
    assert not interval("auc", None, 0.8)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("auc", "AUC"),
        ("tpr@fpr=0.01", "TPR at 1% FPR"),
        ("tpr@fpr=0.001", "TPR at 0.1% FPR"),
        ("ppv@prior=0.1", "PPV at prior 0.1"),
        ("coverage@0.05", "coverage at 0.05"),
        ("balanced_accuracy", "balanced accuracy"),
        ("forced_accuracy", "forced-guess accuracy"),
        ("claimed@by=0.05", "claimed at FDR 0.05 (BY)"),
        ("some_plugin_metric", "some plugin metric"),
    ],
)
def test_metric_name(metric: str, name: str) -> None:
    assert metric_name(metric) == name


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (78_312, "78.3 kB"), (999_960, "1.0 MB"), (3_400_000, "3.4 MB")]
)
def test_file_size(count: int, text: str) -> None:
    assert file_size(count) == text


def test_phrases() -> None:
    assert counted(1, "format") == "1 format"
    assert counted(1200, "record") == "1,200 records"
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_control_characters_are_removed() -> None:
    assert printable("a\x1b[31mred\x1b[0m\nb\tc\x07") == "ared b c"


def row(value: float | None) -> LeakageRow:
    return replace(next(r for r in sample.audit().leakage if r.metric == "auc"), value=value)


def test_a_null_value_is_not_resolvable() -> None:
    assert shown(row(None)) == "not resolvable"
    assert shown(None) == "-"
    assert shown(row(0.5)).startswith("0.500 [")


def test_differences_carry_their_sign_and_unit() -> None:
    assert difference("auc", 0.0123) == "+0.012"
    assert difference("tpr@fpr=0.01", -0.0123) == "-1.2 pp"
    assert difference("auc", -0.00001) == "0.000"
    assert difference("tpr@fpr=0.01", 0.0) == "0.0 pp"
    assert difference_interval("tpr@fpr=0.01", -0.01, 0.02) == "[-1.0, +2.0]"
    assert not difference_interval("auc", None, 0.1)


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0234, "0.023"), (0.0009, "< 0.001"), (1.0, "1"), (0.996, "1"), (0.5, "0.5")]
)
def test_chance(p_value: float, text: str) -> None:
    assert chance(p_value) == text


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ((0.5, 0.4, 0.6), "0.500 [0.400, 0.600]"),
        ((None, None, 0.058), "at most 0.058"),
        ((None, 0.1, None), "at least 0.100"),
        ((None, None, None), "not resolvable"),
        ((0.5, None, None), "0.500"),
    ],
)
def test_a_judged_figure_is_told_by_the_ends_that_it_has(
    figure: tuple[float | None, float | None, float | None], words: str
) -> None:
    assert judged_figure(*figure) == words


@pytest.mark.parametrize(
    ("high", "limit", "words"),
    [
        (0.71735, 0.71725, "0.6903 [0.6500, 0.7174]"),  # .717 would be within .71725
        (0.71735, 0.75, "0.690 [0.650, 0.717]"),
        (0.71724, 0.71725, "0.690 [0.650, 0.717]"),
        (0.7004, 0.7, "0.6903 [0.6500, 0.7004]"),  # .700 would be within .7
        (0.6996, 0.6996, "0.6903 [0.6500, 0.6996]"),  # .700 would be above .6996
        (0.70000004, 0.7, "0.69030000 [0.65000000, 0.70000004]"),
    ],
)
def test_figures_have_the_digits_that_tell_them_from_a_limit(high: float, limit: float, words: str) -> None:
    assert judged_figure(0.6903, 0.65, high, limit) == words
    assert judged_figure(None, None, high, limit) == f"at most {words.rsplit(maxsplit=1)[-1].rstrip(']')}"


def test_shares_have_them_in_percent() -> None:
    usual = ("6.6%", "[3.5, 10.8]")
    assert figure_and_interval("tpr@fpr=0.01", 0.066, 0.035, 0.1078) == usual
    assert figure_and_interval("tpr@fpr=0.01", 0.066, 0.035, 0.1078, [0.12]) == usual
    # 10.8% would be within .108.
    near = figure_and_interval("tpr@fpr=0.01", 0.066, 0.035, 0.10804, [0.12, 0.108])
    assert near == ("6.600%", "[3.500, 10.804]")
    # A share at its limit is within, whatever floating point makes of .07 times 100.
    assert figure_and_interval("tpr@fpr=0.01", 0.066, 0.035, 0.07, [0.07]) == ("6.6%", "[3.5, 7.0]")
    assert figure_and_interval("auc", 0.6, None, None, [0.6]) == ("0.600", "")
