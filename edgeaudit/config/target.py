"""The section `target`: a foreign model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = ["ALONE", "AS_SHIPPED", "StatedAccuracy", "TargetSpec", "stated_accuracy"]


AS_SHIPPED = "as-shipped"
"""The format of a file of unknown origin, for which no shadows can be created."""
ALONE = ("yeom", "gap", "attack-p", "quantile-regression")
"""The attacks that need no shadows."""


class StatedAccuracy(Section):
    """A model's accuracies as its maker states them."""

    train: float | None = Field(None, gt=0, le=1)
    """On the records that it trained on."""
    test: float | None = Field(None, gt=0, le=1)
    """On other records."""


def stated_accuracy(value: float | StatedAccuracy | None) -> StatedAccuracy:
    """A stated accuracy by side; a number is that on other records."""
    return value if isinstance(value, StatedAccuracy) else StatedAccuracy(test=value)


class TargetSpec(Section):
    """A foreign model file and its declared properties."""

    artifact: Path | Annotated[dict[str, Path], Field(min_length=1)]
    """The file (.tflite, .onnx, .xml, .pte); or format -> file to audit several files of one model."""
    softmax: Literal["detect", "inside", "outside"] = "detect"
    """Whether the file returns probabilities (`inside`); `detect` derives it from the answers."""
    outputs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] | None = None
    """Index of each label's score among the file's outputs; by default the outputs are in the order of the labels."""
    accuracy: Annotated[float, Field(gt=0, le=1)] | StatedAccuracy | None = None
    """Stated accuracy on records that it did not train on, or `{train: , test: }`; compared with the measured ones."""

    @property
    def stated(self) -> StatedAccuracy:
        """`accuracy`, by side."""
        return stated_accuracy(self.accuracy)
