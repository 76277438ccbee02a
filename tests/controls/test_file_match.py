"""What differs between a file of another maker and its shadows' files is said, with what to change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeaudit.controls.file_match import Made, shadow_files_match
from edgeaudit.filetypes.traits import Traits

INT8 = Traits("converter 2", "int8", "int8", "per channel", "", "softmax", quantised=True)


def _statement(target: Made, shadow: Made) -> tuple[str, str]:
    (control,) = shadow_files_match({"litert-int8": (target, shadow)})
    assert (control.name, control.format) == ("shadow files match", "litert-int8")
    return control.status, control.statement


def test_files_alike_hold() -> None:
    status, said = _statement(Made(INT8, inside=True), Made(INT8, inside=True))
    assert status == "holds"
    assert "int8 weights (per channel), int8 activations and the softmax inside; both by converter 2" in said


def test_another_producer_alone_is_said() -> None:
    status, said = _statement(Made(INT8, inside=True), Made(replace(INT8, producer="quantizer 1"), inside=True))
    assert status == "holds"
    assert said.endswith("the file is by converter 2, its shadows' by quantizer 1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": "int4"}, "weights are int8 in the file and int4 in its shadows'"),
        ({"activations": "dynamic"}, "activations are int8 in the file and dynamic in its shadows'"),
        ({"scales": "per tensor"}, "scales of weights are per channel in the file and per tensor in its shadows'"),
        ({"arrangement": "QDQ"}, "quantised operators are none in the file and QDQ in its shadows'"),
    ],
)
def test_other_rounding_is_a_warning(change: dict[str, str], words: str) -> None:
    shadow = Traits(**{**vars(INT8), **change})
    status, said = _statement(Made(INT8, inside=True), Made(shadow, inside=True))
    assert status == "warning"
    assert words in said


def test_a_softmax_of_one_alone_is_a_warning() -> None:
    status, said = _statement(Made(INT8, inside=True), Made(INT8, inside=False))
    assert status == "warning"
    assert "the softmax is inside the file and outside its shadows'" in said
    assert "softmax: inside}" in said


def test_files_that_do_not_say() -> None:
    assert _statement(Made(None, inside=False), Made(None, inside=False))[0] == "holds"
    assert _statement(Made(None, inside=True), Made(None, inside=False))[0] == "warning"
