"""A toolchain's error: the operator or line that is the cause, and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeaudit.exporters.explaining import explained


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.std() > 0.5:
            x = x / x.std()
        return x


def _raised(message: str, *, cause: str | None = None) -> BaseException:
    error = RuntimeError(message)
    error.__cause__ = ValueError(cause or "")
    return error


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "Exporting the operator 'aten::vdot' to ONNX opset version 17 is not supported. Please feel free to ...",
            "RuntimeError: ONNX opset 17 has no counterpart of aten::vdot; write that layer with other operators",
        ),
        (
            "Check 'is_conversion_successful' failed\nSummary:\n-- No conversion rule found for operations: aten::vdot",
            "RuntimeError: OpenVINO has no counterpart of aten::vdot; ",
        ),
        ("a line that says little\nand another one", "RuntimeError: a line that says little"),
    ],
)
def test_the_cause_is_named(message: str, sentence: str) -> None:
    assert explained(_raised(message)).startswith(sentence)
    if "counterpart" in sentence:
        assert "counterpart" in explained(_raised("conversion failed", cause=message))


def test_the_line_of_the_users_model_is_shown() -> None:
    with pytest.raises(Exception) as error:  # noqa: PT011  torch's own class, which differs between versions
        torch.export.export(Branching(), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    told = explained(error.value)
    assert "branches on values of the records" in told
    assert "(test_explaining.py, line" in told
    assert "if x.std() > 0.5:" in told
