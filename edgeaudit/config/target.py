"""The section `target`: a foreign model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from edgeaudit.config.base import Section

__all__ = ["ALONE", "AS_SHIPPED", "Accuracy", "StatedAccuracy", "TargetSpec", "stated_accuracy"]


AS_SHIPPED = "as-shipped"
"""The format of a file of unknown origin, for which no shadows can be created."""
ALONE = ("yeom", "gap", "attack-p", "quantile-regression")
"""The attacks that need no shadows."""


def _no_percentage(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= 100:
        raise ValueError(f"{value:g} looks like a percentage: write {value / 100:g}")
    return value


Accuracy = Annotated[float, Field(gt=0, le=1), BeforeValidator(_no_percentage)]
"""A share of records in (0, 1]."""


class StatedAccuracy(Section):
    """A model's accuracies as its maker states them."""

    train: Accuracy | None = None
    """On the records that it trained on."""
    test: Accuracy | None = None
    """On other records."""


def stated_accuracy(value: float | StatedAccuracy | None) -> StatedAccuracy:
    """A stated accuracy by side; a number is that on other records."""
    return value if isinstance(value, StatedAccuracy) else StatedAccuracy(test=value)


class TargetSpec(Section):
    """A foreign model file and its declared properties."""

    artifact: Path | Annotated[dict[str, Path], Field(min_length=1)]
    """The file (.tflite, .onnx, .xml, .pte); or format -> file to audit several files of one model."""
    output: str | None = Field(None, min_length=1)
    """Name of the output with the scores, of a file with several; by default the only one with a score per label."""
    softmax: Literal["detect", "inside", "outside", "sigmoid"] = "detect"
    """Whether the file returns probabilities (`inside`, or `sigmoid`: one per label); `detect` derives it."""
    outputs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] | None = None
    """Index of each label's score among the file's outputs; by default the outputs are in the order of the labels."""
    accuracy: Accuracy | StatedAccuracy | None = None
    """Stated accuracy on records that it did not train on, or `{train: , test: }`; compared with the measured ones."""

    @property
    def stated(self) -> StatedAccuracy:
        """`accuracy`, by side."""
        return stated_accuracy(self.accuracy)
