"""Output granularity in the report: tables, a sentence and a line."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from edgeaudit.report.exposures import attack_matrix, format_tables, gains, in_words, overview
from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place
from edgeaudit.report.model import Audit, Comparison, LeakageRow, Outputs, WeakerExposure
from edgeaudit.report.tables import Row, Table
from edgeaudit.report.terminal import render
from tests.report import sample

WORST, OTHER = "nncf-pruned-70", "onnx-fp32"
HEAD = {"device": sample.DEVICE, "shadow_match": "matched"}
LEAKAGE: dict[str, Any] = {**HEAD, "subset": "all", "n_members": sample.MEMBERS, "n_nonmembers": sample.NONMEMBERS}
REASON = "not applicable: 'cm-mia' needs the model's confidence, which a label does not give"


def leakage(name: str, level: str, attack: str, variant: str, value: float | None, **more: Any) -> LeakageRow:
    low, high = (None, None) if value is None else (value - 0.02, value + 0.02)
    figures = {"metric": AUC, "value": value, "low": low, "high": high}
    place = {"format": name, "exposure": level, "attack": attack, "variant": variant}
    return LeakageRow(**(LEAKAGE | figures | place | more))


def difference(name: str, level: str, series: str, value: float | None, p: float | None, **more: Any) -> Comparison:
    ends = (None, None) if value is None else (value - 0.01, value + 0.01)
    row = {
        **HEAD, "kind": "exposure", "format": name, "series": series, "metric": AUC, "first": level,
        "second": "probabilities", "first_value": None if value is None else 0.7 + value, "second_value": 0.7,
        "value": value, "low": ends[0], "high": ends[1], "p_value": p, "adjusted_p": p, "targets": 1,
    }  # fmt: skip
    return Comparison(**(row | more))


@pytest.fixture(scope="module")
def weaker(audit: Audit) -> Audit:
    levels = {"top-3": Outputs(distinct=1712, tie_mass=0.02), "rounded-2": Outputs(distinct=101, tie_mass=0.98),
              "label": Outputs(distinct=2, tie_mass=1.0)}  # fmt: skip
    exposures = [
        WeakerExposure(**HEAD, format=name, exposure=level, outputs=outputs)
        for name in (OTHER, WORST) for level, outputs in levels.items()
    ]  # fmt: skip
    exposures[2] = WeakerExposure(**HEAD, format=OTHER, exposure="label", error="attack broke")
    rows = [
        leakage(WORST, "top-3", "cm-mia", "calibrated", 0.69),
        leakage(WORST, "top-3", "cm-mia", "calibrated", 0.2, metric=TPR),
        leakage(WORST, "top-3", "gap", "", 0.55),
        leakage(WORST, "rounded-2", "cm-mia", "calibrated", 0.64),
        leakage(WORST, "rounded-2", "gap", "", 0.55),
        leakage(WORST, "rounded-2", "cm-mia", "discrete", 0.65),
        leakage(WORST, "label", "cm-mia", "calibrated", None, note=REASON),
        leakage(WORST, "label", "gap", "", 0.55),
        leakage(OTHER, "top-3", "cm-mia", "calibrated", 0.66),
    ]
    differences = [
        difference(WORST, "top-3", "cm-mia/calibrated", -0.01, 0.4),
        difference(WORST, "rounded-2", "cm-mia/calibrated", -0.06, 0.01),
        difference(WORST, "label", "gap/", -0.15, 0.001, note="gap reads label, cm-mia calibrated reads probabilities"),
        difference(OTHER, "top-3", "cm-mia/calibrated", 0.002, 1.0),
    ]
    changes = {"weaker_exposures": tuple(exposures), "weaker_leakage": tuple(rows)}
    return audit.model_copy(update={**changes, "comparisons": (*audit.comparisons, *differences)})


def row(table: Table | None, name: str) -> Row:
    assert table is not None
    return next(r for r in table.rows if r.head.text == name)


def test_the_sample_leaks_most_in_the_expected_format(weaker: Audit) -> None:
    assert Lookup(weaker).most_leaking() == Place(WORST, sample.DEVICE)


@pytest.mark.parametrize(
    ("level", "words"),
    [("top-1", "the largest"), ("top-5", "the 5 largest"), ("rounded-1", "1 decimal"), ("rounded-3", "3 decimals"),
     ("label", "nothing else"), ("probabilities", "and no logits"), ("of-later", "of-later")],
)  # fmt: skip
def test_levels_in_words(level: str, words: str) -> None:
    assert in_words(level) == words


def test_without_weaker_exposures_there_is_no_section(audit: Audit, page: str) -> None:
    lookup = Lookup(audit)
    assert overview(lookup) is None
    assert format_tables(lookup) == []
    assert attack_matrix(lookup) == []
    assert gains(lookup) == []
    assert 'id="weaker"' not in page
    assert 'href="#weaker"' not in page


def test_formats_by_level_show_insignificant_differences_in_grey(weaker: Audit) -> None:
    table = overview(Lookup(weaker))
    cells = row(table, WORST).cells
    assert [cell.text for cell in cells[1:]] == ["-0.010", "-0.060", "-0.150"]
    assert [cell.tone for cell in cells[1:]] == ["muted", "sure", "sure"]
    assert cells[3].why == "gap reads label, cm-mia calibrated reads probabilities"
    assert cells[2].detail == "[-0.070, -0.050]"
    assert [cell.text for cell in row(table, OTHER).cells[1:]] == ["+0.002", "-", "-"]


def test_a_format_s_table_lists_output_attack_and_granularity(weaker: Audit) -> None:
    first, second = format_tables(Lookup(weaker))
    assert first.caption.startswith(f"{WORST}: ")
    assert [r.head.text for r in first.rows] == ["probabilities", "top-3", "rounded-2", "label"]
    assert all(len(r.cells) == first.width for r in first.rows)
    label = row(first, "label")
    assert (label.cells[0].text, label.cells[0].tone) == ("gap", "warn")
    assert [cell.text for cell in label.cells[2:5]] == ["0.550", "-0.150", "0.001"]
    assert [cell.text for cell in row(first, "rounded-2").cells[-2:]] == ["101", "98.0%"]
    full = row(first, "probabilities")
    headline = next(
        r.value for r in weaker.leakage
        if (r.format, r.attack, r.variant, r.subset, r.metric, r.shadow_match)
        == (WORST, "cm-mia", "calibrated", "all", AUC, "matched")
    )  # fmt: skip
    assert full.cells[2].text == f"{headline:.3f}"
    assert row(second, "label").across == "attack broke"


def test_footnotes_are_those_of_the_table(weaker: Audit) -> None:
    for table in (*format_tables(Lookup(weaker)), *attack_matrix(Lookup(weaker)), overview(Lookup(weaker))):
        assert table is not None
        for cell in (c for r in table.rows for c in r.cells if c.note is not None):
            assert table.notes[(cell.note or 0) - 1] == cell.why


def test_every_attack_by_exposure_keeps_an_attack_s_variants_together(weaker: Audit) -> None:
    first = attack_matrix(Lookup(weaker))[0]
    assert [r.head.text for r in first.rows] == ["cm-mia calibrated", "cm-mia discrete", "gap"]
    calibrated = row(first, "cm-mia calibrated").cells
    assert (calibrated[-1].text, calibrated[-1].why) == ("-", REASON)
    assert [cell.text for cell in row(first, "cm-mia discrete").cells] == ["-", "-", "0.650", "-"]


def test_the_summary_and_the_terminal_name_levels_with_and_without_change(weaker: Audit) -> None:
    (said,) = gains(Lookup(weaker))
    assert said == (
        f"Returning less than all probabilities of {WORST} (paired over the records of one target, Holm-adjusted): "
        "rounded-2 lowers the AUC to 0.640 (-0.060 [-0.070, -0.050]); label lowers the AUC to 0.550 "
        "(-0.150 [-0.160, -0.140], by gap); with top-3 no difference was found."
    )
    console = Console(file=StringIO(), width=200)
    console.print(render(weaker))
    line = f"returning less of {WORST}: AUC with rounded-2 -0.060 [-0.070, -0.050], label -0.150 [-0.160, -0.140]"
    assert line in console.file.getvalue()  # type: ignore[attr-defined]


def test_no_change_is_reported(weaker: Audit) -> None:
    rows = [replace(r, adjusted_p=0.06) if r.kind == "exposure" else r for r in weaker.comparisons]
    (said,) = gains(Lookup(weaker.model_copy(update={"comparisons": tuple(rows)})))
    assert said.endswith("Holm-adjusted): no difference was found with top-3, rounded-2 and label.")


def test_the_page_has_the_section_once(weaker: Audit) -> None:
    page = html_text(weaker)
    assert page.count('<section id="weaker">') == 1
    assert "attack broke" in page
