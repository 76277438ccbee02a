"""An AUC below 0.5 beyond chance makes an audit invalid, whichever attack has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.controls.sides import sides_in_order
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.rows import NullControlRow

ROW = NullControlRow("a", "local", "yeom", "loss", "matched", "target", 0.5, 0.45, 0.55, 0.9, 100, 100)


def test_one_attack_below_chance_fails_its_format() -> None:
    low = replace(ROW, format="b", attack="gap", value=0.4, low=0.37, high=0.43, p_value=1e-9)
    (found,) = sides_in_order([ROW, low, replace(ROW, format="b")])
    assert (found.status, found.format, found.value, found.n) == ("failed", "b", 0.4, 200)
    assert "are the sides swapped" in found.statement
    assert found.p_value == pytest.approx(3e-9)


def test_the_strongest_of_a_format_is_named() -> None:
    rows = [replace(ROW, attack=name, value=v, p_value=1e-9) for name, v in (("gap", 0.42), ("yeom", 0.39))]
    (found,) = sides_in_order(rows)
    assert found.statement.startswith("yeom")


def test_a_leak_is_no_fault() -> None:
    (found,) = sides_in_order([replace(ROW, value=0.8, p_value=1e-40)])
    assert found.status == "holds"


def test_holm_over_all_attacks_and_formats() -> None:
    low = replace(ROW, value=0.46, p_value=2e-4)
    assert sides_in_order([low])[0].status == "failed"
    assert sides_in_order([low, *[ROW] * 9])[0].status == "holds"


def test_nothing_is_said_without_a_test() -> None:
    assert sides_in_order([]) == []
    assert sides_in_order([replace(ROW, p_value=None)]) == []


def test_models_that_leak_nothing_fail_at_most_at_the_level() -> None:
    rng, members = np.random.default_rng(0), np.arange(400) < 200
    failed = 0
    for _ in range(500):
        scores = [rng.standard_normal(400) for _ in range(5)]
        rows = []
        for score in scores:
            area = delong(score, members)
            rows.append(
                replace(
                    ROW, value=area.auc, low=area.low, high=area.high, p_value=chance_p_value(score, members)
                )
            )  # fmt: skip
        failed += sides_in_order(rows)[0].status == "failed"
    assert failed <= 3  # .1% of 500 is half an audit
