"""The tables of differences, means over targets and p-values, as values."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from edgeaudit.leakage.rows import CalibrationStatus
from edgeaudit.report.compared import (
    NOMINAL_TAIL,
    RANKING,
    attack_comparison_tables,
    calibration_tables,
    format_tables,
    match_tables,
    mean_tables,
)
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.model import Audit, PCalibration
from edgeaudit.report.sections import verdict_tables
from edgeaudit.report.tables import Row, Table
from edgeaudit.report.terminal import render
from tests.report import sample


@pytest.fixture(scope="module")
def lookup(audit: Audit) -> Lookup:
    return Lookup(audit)


def row(table: Table | None, name: str) -> Row:
    assert table is not None
    return next(r for r in table.rows if r.head.text == name)


def texts(found: Row) -> list[str]:
    return [cell.text for cell in found.cells]


def changed(audit: Audit, section: str, **fields: Any) -> Lookup:
    """The audit with these fields in all rows of a section."""
    rows = tuple(replace(r, **fields) for r in getattr(audit, section))
    return Lookup(audit.model_copy(update={section: rows}))


def test_formats_are_compared_in_words(lookup: Lookup) -> None:
    (table,) = format_tables(lookup)  # at 0.1% FPR nothing is resolvable, so there is no second table
    assert table.caption == "AUC and TPR at 1% FPR minus torch-fp32's, by cm-mia calibrated, over 5 targets"
    assert texts(row(table, "nncf-pruned-70"))[1] == "leaks more than torch-fp32"
    assert texts(row(table, "nncf-pruned-90"))[1] == "leaks less than torch-fp32"
    assert texts(row(table, "onnx-fp32"))[1] == "no difference found"
    assert [r.head.text for r in table.rows] == [f.id for f in lookup.audit.formats[1:] if f.status == "ok"]


def test_significance_uses_the_adjusted_p(audit: Audit) -> None:
    (table,) = format_tables(changed(audit, "comparisons", p_value=0.001, adjusted_p=0.051))
    assert {texts(r)[1] for r in table.rows} == {"no difference found"}
    (table,) = format_tables(changed(audit, "comparisons", p_value=0.001, adjusted_p=None))
    assert {texts(r)[1] for r in table.rows} == {"not tested"}


def test_a_single_target_is_named_in_the_caption(audit: Audit) -> None:
    (table,) = format_tables(changed(audit, "comparisons", targets=1))
    assert table.caption.endswith("over the records of one target")


def test_matching_shows_the_headline_and_baselines_and_folds_the_rest(lookup: Lookup) -> None:
    table, full = match_tables(lookup)
    assert table is not None
    assert [g.text for g in table.groups] == ["", "cm-mia calibrated", "lira offline-global", "rmia offline-0.3"]
    assert {c.tone for c in row(table, "nncf-pruned-70").cells} == {"sure"}
    assert {c.tone for c in row(table, "onnx-fp32").cells} == {"muted"}
    assert len(full) == 6
    assert full[0].caption == "cm-mia t: matched shadows against fp32"


def test_attack_comparisons_start_with_the_format_that_leaks_most_and_the_strongest_attack(lookup: Lookup) -> None:
    tables = attack_comparison_tables(lookup)
    assert tables[0][0] == "nncf-pruned-70"
    assert len(tables) == 12
    table = tables[0][1]
    assert table.rows[-1].head.text == "gap"
    assert texts(table.rows[-1])[1] == "cm-mia calibrated"
    weaker = changed(lookup.audit, "comparisons", value=-0.1, adjusted_p=0.001)
    assert texts(row(attack_comparison_tables(weaker)[0][1], "gap"))[1] == "gap"


def test_valid_tests_come_first_and_rankings_are_labelled(lookup: Lookup) -> None:
    overview, per_format = calibration_tables(lookup)
    assert overview is not None
    assert len(per_format) == 12
    # What is no p-value is in the overview alone.
    for table, rankings in ((overview, 4), (per_format[0][1], 0)):
        heads = [(r.head.text, r.head.detail, r.cells[0].text) for r in table.rows]
        assert [h[1] for h in heads] == ["conformal p-value"] * 4 + [NOMINAL_TAIL] * rankings
        assert [h[2] for h in heads] == ["nonmembers", "null target"] * (2 + rankings // 2)
        assert [h.text for h in table.heads[2:]] == [f"a = {a}" for a in ("0.001", "0.01", "0.02", "0.05", "0.1")]


def test_a_ranking_is_never_called_valid(audit: Audit) -> None:
    calm = changed(audit, "p_calibration", status="calibrated")
    overview, _ = calibration_tables(calm)
    assert overview is not None
    rankings = [r.cells[1] for r in overview.rows if r.head.detail == NOMINAL_TAIL]
    assert {(c.text, c.detail, c.tone) for c in rankings} == {("anti-conservative", "in 0 of 12", "muted")}
    assert {texts(r)[1] for r in overview.rows if r.head.detail != NOMINAL_TAIL} == {"valid in 12 of 12"}


def test_the_overview_counts_formats(audit: Audit) -> None:
    def status(n: int, one: PCalibration) -> PCalibration:
        words: dict[int, CalibrationStatus] = {0: "anti-conservative", 1: "not resolvable"}
        return replace(one, status=words.get(n, "conservative"))

    order = {f: n for n, f in enumerate(dict.fromkeys(r.format for r in audit.p_calibration))}
    rows = tuple(status(order[r.format], r) for r in audit.p_calibration)
    overview, _ = calibration_tables(Lookup(audit.model_copy(update={"p_calibration": rows})))
    cell = row(overview, "cm-mia ecdf").cells[1]
    assert (cell.text, cell.detail, cell.tone) == (
        "valid in 10 of 11", "anti-conservative in 1, 1 not resolvable", "warn",
    )  # fmt: skip


def test_one_format_needs_no_overview(audit: Audit) -> None:
    rows = tuple(r for r in audit.p_calibration if r.format == "onnx-fp32")
    table, further = calibration_tables(Lookup(audit.model_copy(update={"p_calibration": rows})))
    assert table is not None
    assert table.caption.startswith("onnx-fp32: observed share")
    assert further == []


def test_means_are_the_headlines_and_their_intervals_stay_within_bounds(audit: Audit) -> None:
    table, others = mean_tables(Lookup(audit))
    assert table is not None
    assert table.caption == "Mean over 5 targets, cm-mia calibrated, all records, 95% t intervals"
    assert texts(row(table, "torch-fp32"))[2] == "not resolvable"
    assert [h.text for h in others[0].heads[1:]] == [
        "cm-mia calibrated", "gap", "yeom", "lira offline-global", "rmia offline-0.3",
    ]  # fmt: skip
    wide, _ = mean_tables(changed(audit, "across_targets", low=-0.2, high=1.2))
    assert row(wide, "torch-fp32").cells[0].detail == "[0.000, 1.000]"


def test_empty_sections_are_left_out(audit: Audit) -> None:
    bare = Lookup(audit.model_copy(update={"comparisons": (), "across_targets": (), "p_calibration": ()}))
    assert format_tables(bare) == []
    assert attack_comparison_tables(bare) == []
    assert match_tables(bare) == mean_tables(bare) == (None, [])
    assert calibration_tables(bare) == (None, [])
    assert bare.targets == 1


def test_the_headline_is_the_first_wanted_series_with_values(audit: Audit) -> None:
    def without(*names: tuple[str, str]) -> str | None:
        """The headline where (variant, format) are not applicable."""
        gone: dict[str, Any] = {"value": None, "low": None, "high": None, "note": "not applicable"}
        rows = tuple(replace(r, **gone) if (r.variant, r.format) in names else r for r in audit.leakage)
        headline = Lookup(audit.model_copy(update={"leakage": rows})).headline
        return headline.variant if headline else None

    ids = [f.id for f in audit.formats]
    assert without() == "calibrated"
    assert without(*(("calibrated", name) for name in ids)) == "t"
    assert without(("calibrated", ids[0])) == "t"  # not on every format
    assert without(("calibrated", ids[0]), *((v, ids[1]) for v in ("t", "ecdf"))) == "calibrated"
    assert without(*((v, name) for v in ("calibrated", "t", "ecdf") for name in ids)) == "pchip"


def test_the_headlines_of_the_audit_decide_and_those_of_cm_mia_where_it_has_none(audit: Audit) -> None:
    lira = next(r for r in audit.leakage if r.attack == "lira")
    named = Lookup(audit.model_copy(update={"headlines": (f"lira/{lira.variant}", "cm-mia/calibrated")}))
    assert named.headline_name == f"lira/{lira.variant}"
    assert Lookup(audit.model_copy(update={"headlines": ()})).headline_name == "cm-mia/calibrated"


def test_unfolded_verdicts_use_valid_p_values(lookup: Lookup) -> None:
    shown, behind = verdict_tables(lookup)
    assert shown is not None
    assert shown.caption == "cm-mia calibrated, p-value at most 0.05, all records"
    captions = [t.caption for t in behind]
    # The same test at each other cutoff; every other test at this one; subsets of the records not at all.
    assert [c for c in captions if c.startswith("cm-mia calibrated, p-value")] == [
        f"cm-mia calibrated, p-value at most {a}, all records" for a in sample.CUTOFFS if a != 0.05
    ]
    assert [c for c in captions if c.startswith("cm-mia t,")] == ["cm-mia t, p-value at most 0.05, all records"]
    assert all(c.endswith(", all records") for c in captions)
    # The paper's rule has tables of its own, after those by p-values.
    assert [c for c in captions if c.startswith("cm-mia ecdf")] == [
        "cm-mia ecdf, p-value at most 0.05, all records",
        "cm-mia ecdf, the paper's rule: nominal tail at most 0.05 (not a p-value), all records",
    ]


def test_an_invalid_test_is_a_ranking_in_that_format(audit: Audit) -> None:
    def broken(one: PCalibration) -> PCalibration:
        hit = (one.format, one.variant) == ("onnx-fp32", "ecdf")
        return replace(one, is_p_value=False, status="anti-conservative") if hit else one

    rows = tuple(broken(one) for one in audit.p_calibration)
    lookup = Lookup(audit.model_copy(update={"p_calibration": rows}))
    own, other = (next(p for p in lookup.places if p.format == name) for name in ("onnx-fp32", "torch-fp32"))
    assert (lookup.demoted(own), lookup.demoted(other)) == (["cm-mia/ecdf"], [])
    tables = dict(calibration_tables(lookup)[1])
    assert row(tables["onnx-fp32"], "cm-mia ecdf").head.detail == f"{RANKING}: not valid here"
    assert row(tables["torch-fp32"], "cm-mia ecdf").head.detail == "conformal p-value"
    console = Console(width=200, file=StringIO())
    console.print(render(lookup.audit))
    assert isinstance(console.file, StringIO)
    assert "so a ranking, not a p-value: cm-mia ecdf on onnx-fp32" in console.file.getvalue()
