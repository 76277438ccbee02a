"""Domination, by cases made by hand: what is better, what is noise, what is not known."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup, Place
from edgeaudit.report.model import (
    Accuracy,
    ArtifactInfo,
    Audit,
    Comparison,
    FormatResult,
    Latency,
    PopulationInfo,
    Quality,
    RuntimeInfo,
)
from edgeaudit.report.pareto import Pareto, accuracy_interval
from tests.report import sample

pytestmark = pytest.mark.slow  # every test makes whole pages, with all their plots

DEVICE = "local"
A, B, C = (Place(name, DEVICE) for name in "abc")


def made(name: str, size: int = 100, packed: int = 90, test: float = 0.8, runtime: str = "onnxruntime") -> FormatResult:
    return FormatResult(
        id=name, device=DEVICE, status="ok", summary="", precision="int8",
        runtime=RuntimeInfo(name=runtime, version="1", options={}),
        artifact=ArtifactInfo(
            file=name, sha256="0", bytes=size, softmax_inside=False, calibration_policy=None, calibration_records=0
        ),
        accuracy=Accuracy(train=1.0, test=test),
        quality=Quality(compressed_bytes=packed, compression="deflate", weights=1, zeros=0, sparsity=0.0),
    )  # fmt: skip


def paired(first: str, second: str, value: float, half: float, adjusted_p: float) -> Comparison:
    """AUC of first less that of second, with an interval of value +- half."""
    return Comparison(
        kind="format pair", format=first, device=DEVICE, shadow_match="matched", series="cm-mia/t", metric="auc",
        first=first, second=second, first_value=0.7, second_value=0.7 - value, value=value, low=value - half,
        high=value + half, p_value=adjusted_p, adjusted_p=adjusted_p, targets=1,
    )  # fmt: skip


def timed(name: str, median: float, half: float = 0.01) -> Latency:
    return Latency(
        format=name, device=DEVICE, batch=1, threads=1, n=200, median_ms=median, median_low=median - half,
        median_high=median + half, p95_ms=median * 1.1, record_ms=median,
    )  # fmt: skip


def judged(formats: list[FormatResult], pairs: list[Comparison], latency: tuple[Latency, ...] = ()) -> dict[str, Any]:
    """Format -> [(what dominates it, on what)]."""
    population = PopulationInfo(
        source="x", sha256="0", records=400, members=200, nonmembers=200, reference=0, classes=2, input_shape=(2,),
        duplicates=0, conflicting_labels=0,
    )  # fmt: skip
    audit = sample.audit(formats=tuple(formats), comparisons=tuple(pairs), latency=latency, population=population)
    found = Pareto(Lookup(audit)).dominated
    return {place.format: [(d.by.format, d.wins) for d in by] for place, by in found.items()}


SAME = paired("a", "b", 0.0, 0.005, 1.0)


def test_a_smaller_otherwise_equal_format_dominates() -> None:
    assert judged([made("a", size=50), made("b")], [SAME]) == {"a": [], "b": [("a", ("smaller",))]}


def test_equal_formats_do_not_dominate_each_other() -> None:
    assert judged([made("a"), made("b")], [SAME]) == {"a": [], "b": []}


def test_smaller_but_larger_compressed_does_not_dominate() -> None:
    assert judged([made("a", size=50, packed=95), made("b")], [SAME]) == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("value", "half", "p", "dominated"),
    [
        (0.005, 0.01, 1.0, True),  # at most .015 more: no worse
        (0.005, 0.03, 1.0, False),  # "no difference found", and it may leak .035 more
        (0.03, 0.005, 0.001, False),  # it leaks more
        (0.015, 0.004, 0.001, True),  # more, significantly, and less than .02 with 97.5%
        (-0.1, 0.02, 0.001, True),
    ],
)
def test_leakage_is_no_worse_only_with_evidence(value: float, half: float, p: float, dominated: bool) -> None:
    formats, pair = [made("a", size=50), made("b")], paired("a", "b", value, half, p)
    assert bool(judged(formats, [pair])["b"]) == dominated
    # The same pair told the other way round: b less a.
    turned = paired("b", "a", -value, half, p)
    assert bool(judged(formats, [turned])["b"]) == dominated


def test_less_leakage_is_a_win_where_it_is_significant() -> None:
    formats = [made("a"), made("b")]
    assert judged(formats, [paired("a", "b", -0.05, 0.03, 0.004)])["b"] == [("a", ("leaks less",))]
    assert judged(formats, [paired("b", "a", 0.05, 0.03, 0.004)])["b"] == [("a", ("leaks less",))]
    # The interval of one pair lies below 0, and among many pairs such a one comes up by chance.
    assert judged(formats, [paired("a", "b", -0.05, 0.045, 0.3)]) == {"a": [], "b": []}


def test_accuracy_is_worse_by_one_record_and_better_only_beyond_noise() -> None:
    # 160 of 200 right: 73.8% to 85.3%. One record fewer is worse; 161 are no win, 182 (86.2% and more) are.
    assert accuracy_interval(0.8, 200) == pytest.approx((0.738, 0.853), abs=0.001)
    assert accuracy_interval(0.91, 200)[0] == pytest.approx(0.862, abs=0.001)
    assert judged([made("a", size=50, test=0.795), made("b")], [SAME])["b"] == []
    assert judged([made("a", test=0.805), made("b")], [SAME])["b"] == []
    assert judged([made("a", test=0.91), made("b")], [SAME])["b"] == [("a", ("more accurate",))]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (1.0, 2.0, [("a", ("smaller", "faster"))]),
        (1.05, 1.0, [("a", ("smaller",))]),  # within what two measurements of one file differ by
        (1.2, 1.0, []),
        (1.0, 1.05, [("a", ("smaller",))]),
    ],
)
def test_latency(ours: float, theirs: float, expected: list[Any]) -> None:
    latency = (timed("a", ours), timed("b", theirs))
    assert judged([made("a", size=50), made("b")], [SAME], latency)["b"] == expected


def test_overlapping_latency_intervals_are_no_win() -> None:
    latency = (timed("a", 1.0, 0.6), timed("b", 2.0, 0.6))
    assert judged([made("a"), made("b")], [SAME], latency)["b"] == []


def test_unknown_figures_give_no_domination() -> None:
    formats = [made("a", size=50), made("b")]
    assert judged(formats, [])["b"] == []  # never compared
    assert judged(formats, [SAME], (timed("b", 1.0),))["b"] == []  # latency counts, and a's is not known
    disturbed = timed("a", 1.0).model_copy(update={"cpu_share": 0.5})
    assert judged(formats, [SAME], (disturbed, timed("b", 2.0)))["b"] == []
    unread = formats[0].model_copy(update={"quality": None})
    assert judged([unread, formats[1]], [SAME])["b"] == []


def test_the_reference_and_failed_formats_take_no_part() -> None:
    failed = FormatResult(id="c", device=DEVICE, status="failed", summary="", precision="int8", error="no")
    found = judged([made("a", size=50, runtime="torch"), made("b"), failed], [SAME])
    assert found == {"b": []}


def test_pareto_optimal_formats_are_named_first() -> None:
    formats = [made("a", size=100), made("b", size=80), made("c", size=50)]
    pairs = [paired(x, y, 0.0, 0.005, 1.0) for x, y in (("a", "b"), ("a", "c"), ("b", "c"))]
    found = judged(formats, pairs)
    assert [by for by, _ in found["a"]] == ["c", "b"]
    assert found["c"] == []


def test_the_report_lists_dominating_formats(audit: Audit, page: str) -> None:
    section = page[page.index('<section id="cost">') :]
    section = section[: section.index("</section>")]
    pareto = Pareto(Lookup(audit))
    unbeaten = [place for place, by in pareto.dominated.items() if not by]
    assert unbeaten
    # litert-fp32 was timed on a busy machine, so it takes part in nothing and the others are unbeaten as far as known.
    assert pareto.untimed == [Place("litert-fp32", sample.DEVICE)]
    assert section.count(">none known<") == len(unbeaten) - 1
    assert section.count(">not known<") == 2  # and the zeros of litert-fp16
    assert len(unbeaten) < len(pareto.dominated)
    assert section.count('aria-label="AUC against') == 3
    assert "the format takes 1 at a time" in section
    assert "other programs used the processor" in section
    assert "is stored sparsely" in section


def test_an_audit_without_sizes_and_times_has_no_such_section(audit: Audit) -> None:
    formats = tuple(f.model_copy(update={"quality": None}) for f in audit.formats)
    assert 'id="cost"' not in html_text(audit.model_copy(update={"formats": formats, "latency": ()}))
    untimed = html_text(audit.model_copy(update={"latency": ()}))
    assert 'id="cost"' in untimed
    assert "Milliseconds" not in untimed
    assert untimed.count('aria-label="AUC against') == 2
