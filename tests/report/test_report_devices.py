"""What the report says about devices and runtimes: only what was measured, and the sign of differences."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from edgeaudit.report.devices import device_sentences, devices_view
from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.model import Audit, Comparison, DeviceFormat, DeviceInfo, PlacesCompared, SameFile
from edgeaudit.report.terminal import render

FORMAT = "litert-int8"


def same(rows: int, top1: int = 0, **changes: Any) -> SameFile:
    places = {"format": FORMAT, "device": "local", "other_format": FORMAT, "other_device": "pi4"}
    return SameFile(
        **{**places, "records": 900, "rows": rows, "max_abs": 0.5 if rows else 0.0, "top1": top1, **changes}
    )


def compared(value: float | None, p: float | None, metric: str = "auc", **changes: Any) -> Comparison:
    low, high = (None, None) if value is None else (value - 0.01, value + 0.02)
    fields: dict[str, Any] = {
        "kind": "device", "format": FORMAT, "device": "local", "shadow_match": "matched", "series": "cm-mia/calibrated",
        "metric": metric, "first": "local", "second": "pi4", "first_value": 0.7, "second_value": 0.7, "value": value,
        "low": low, "high": high, "p_value": p, "adjusted_p": p, "targets": 1,
    }  # fmt: skip
    return Comparison(**(fields | changes))


def device(**changes: Any) -> DeviceInfo:
    device_format = DeviceFormat(
        format=FORMAT, versions={"ai-edge-litert": "2.3.0"}, options={"batch": 64}, engaged=("XNNPACK",), asked=1028,
        resumed=256, restored=2, shadows="device",
        equivalence=(PlacesCompared(model="target", records=900, rows=7, max_abs=0.1, top1=0),),
        fingerprint={"runtime": {"name": "litert", "versions": {"ai-edge-litert": "2.3.0"}},
                     "probes": {"int8": {"kernels": "saturating"}, "float": {"kernels": "float16"}}},
    )  # fmt: skip
    return DeviceInfo(
        name="pi4", via="emulated", profile="raspberry-pi-4", title="Raspberry Pi 4", cpu="Cortex-A72", isa=("asimd",),
        verified="emulated", compared="no board was compared", formats=(device_format.model_copy(update=changes),),
    )  # fmt: skip


def with_devices(audit: Audit, *rows: SameFile, comparisons: tuple[Comparison, ...] = (), **changes: Any) -> Audit:
    more = (*audit.comparisons, *comparisons)
    return audit.model_copy(update={"devices": (device(**changes),), "same_file": rows, "comparisons": more})


def said(audit: Audit) -> str:
    return " ".join(device_sentences(Lookup(audit)))


def test_an_audit_without_devices_has_no_devices_section(audit: Audit) -> None:
    assert devices_view(Lookup(audit)) is None
    assert device_sentences(Lookup(audit)) == []
    assert 'id="devices"' not in html_text(audit)


def test_equal_answers_are_reported_with_their_count(audit: Audit) -> None:
    told = said(with_devices(audit, same(0), comparisons=(compared(0.0, None),)))
    assert told == "Every device gave the same answers, bit for bit, to all 900 records in every format."


def test_the_file_that_differs_most_is_named_with_rows_and_classes(audit: Audit) -> None:
    rows = (same(9), same(450, 31, format="onnx-fp32", other_format="onnx-fp32"))
    told = said(with_devices(audit, *rows))
    assert "onnx-fp32 answers 450 of 900 records differently on pi4 than on this machine, and 31 records with" in told
    assert "1 other format differs between devices, too" in told


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (
            0.01,
            "litert-int8 by +0.030 of AUC on this machine against pi4 [+0.020, +0.050]",
        ),
        (0.2, "In no format was a difference in leakage between devices found."),
    ],
)
def test_leakage_differs_where_the_paired_test_says_so(audit: Audit, p: float, expected: str) -> None:
    assert expected in said(with_devices(audit, same(9), comparisons=(compared(0.03, p),)))


def test_the_same_difference_against_several_devices_is_reported_once(audit: Audit) -> None:
    rows = (compared(0.03, 0.01), compared(0.03, 0.01, first="pi5", device="pi5"))
    assert said(with_devices(audit, same(9), comparisons=rows)).count("litert-int8 by") == 1


def test_two_runtimes_are_distinguished_from_two_devices(audit: Audit) -> None:
    row = same(743, 1, other_format="litert-int8-tflite-runtime", other_device="local", max_abs=0.0213)
    alone = audit.model_copy(update={"same_file": (row,)})
    (sentence,) = device_sentences(Lookup(alone))
    assert "litert-int8-tflite-runtime answers 743 of 900 records differently than litert-int8" in sentence
    assert "(by 0.0213 at most, another top class for 1)" in sentence
    view = devices_view(Lookup(alone))
    assert view is not None
    assert (view.machines, view.queried, view.others) == (None, None, None)
    assert view.compared is not None
    assert view.compared.rows[0].head.detail == "litert-int8-tflite-runtime against litert-int8"


def test_a_row_has_the_second_devices_sign(audit: Audit) -> None:
    """The audit has local less pi4; the row reads `pi4 against this machine`."""
    view = devices_view(Lookup(with_devices(audit, same(9), comparisons=(compared(0.03, 0.01),))))
    assert view is not None
    assert view.compared is not None
    (row,) = view.compared.rows
    assert row.head.detail == "pi4 against this machine"
    texts = [(cell.text, cell.detail) for cell in row.cells]
    assert texts[:3] == [("1.0%", "of 900"), ("0.5", ""), ("0", "")]
    assert texts[3:5] == [("-0.030", "[-0.050, -0.020]"), ("0.01", "")]


@pytest.mark.parametrize(("rows", "words"), [(0, "same answers"), (9, "same scores")])
def test_an_untested_difference_has_no_p(audit: Audit, rows: int, words: str) -> None:
    view = devices_view(Lookup(with_devices(audit, same(rows), comparisons=(compared(0.0, None),))))
    assert view is not None
    assert view.compared is not None
    assert [cell.text for cell in view.compared.rows[0].cells[3:5]] == [words, "-"]


@pytest.mark.parametrize(
    ("device_format", "words"),
    [
        ({}, "the device's own"),
        ({"shadows": "this machine"}, "this machine's, bit-identical"),
        ({"shadows": "this machine", "stood_in_regardless": True}, "this machine's, as configured"),
        ({"shadows": "none"}, "-"),
    ],
)
def test_the_source_of_the_shadows_answers_is_reported_with_the_evidence(
    audit: Audit, device_format: dict[str, Any], words: str
) -> None:
    view = devices_view(Lookup(with_devices(audit, same(7), **device_format)))
    assert view is not None
    assert view.queried is not None
    cells = view.queried.rows[0].cells
    assert cells[3].text == words
    assert ("target: 7 of 900 rows differ" in cells[3].detail) == (words != "-")
    assert (cells[1].text, cells[1].detail, cells[1].tone) == ("int8 sums saturating", "float16", "bad")
    assert (cells[2].text, cells[2].detail) == ("1,028, 256 of them earlier", "2 times")


def test_engines_are_listed_with_their_digest(audit: Audit) -> None:
    engines = ({"file": "a.engine", "sha256": "ab" * 32, "bytes": 9, "precision": "int8"},)
    text = html_text(with_devices(audit, same(7), engines=engines))
    assert f"engines a.engine (int8, SHA-256 {'ab' * 32})" in text


def test_a_servers_fingerprint_may_be_empty(audit: Audit) -> None:
    view = devices_view(Lookup(with_devices(audit, same(7), fingerprint={}, options={})))
    assert view is not None
    assert view.queried is not None
    assert [cell.text for cell in view.queried.rows[0].cells[:2]] == ["unknown", "not probed"]


def test_the_page_and_the_terminal_name_the_device(audit: Audit) -> None:
    there = [f.model_copy(update={"device": "pi4"}) for f in audit.formats if f.id == FORMAT]
    many = with_devices(audit, same(9)).model_copy(update={"formats": (*audit.formats, *there)})
    text = html_text(many)
    assert '<a href="#devices">Devices</a>' in text
    assert "litert-int8 @ pi4" in text
    assert "no board was queried, and nothing was timed" in text
    console = Console(file=StringIO(), width=200)
    console.print(render(many))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert "litert-int8 @ pi4" in out
    assert "litert-int8 answers 9 of 900 records differently on pi4 than on this machine" in out
