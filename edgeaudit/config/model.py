"""The section `model`: the model under audit and how models like it are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = ["ModelSpec"]


class ModelSpec(Section):
    """The model under audit and how models like it are made (`recipe` and its training settings)."""

    recipe: str = "mlp"
    options: dict[str, Any] = Field(default_factory=dict)
    train: str | None = None
    checkpoint: Path | None = None
    epochs: int = Field(30, ge=1)
    batch: int = Field(64, ge=2)
    lr: float = Field(0.05, gt=0)
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "flip-shift"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"
