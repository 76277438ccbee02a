"""The section `target`: a file that was made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = ["ALONE", "AS_SHIPPED", "TargetSpec"]


AS_SHIPPED = "as-shipped"
"""The format of a file whose making is not told: no shadow can be made like it."""
ALONE = ("yeom", "gap", "attack-p", "quantile-regression")
"""The attacks that need no shadows."""


class TargetSpec(Section):
    """A file that was made elsewhere, and what is known of it."""

    artifact: Path | Annotated[dict[str, Path], Field(min_length=1)]
    """The file (.tflite, .onnx, .xml, .pte); or format -> file, where several files of one model are audited."""
    softmax: Literal["detect", "inside", "outside"] = "detect"
    """Whether the file answers with probabilities (`inside`); `detect` finds it out from its answers."""
    outputs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] | None = None
    """Position of each label's score among the file's outputs, in the order of the labels; left out, the same order."""
    accuracy: float | None = Field(None, gt=0, le=1)
    """Accuracy on records that it did not train on, as its maker states it; compared with the measured one."""
