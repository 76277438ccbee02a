"""The section `model`: the model under audit and how such models are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgeaudit.config.base import Section, names_of
from edgeaudit.config.entries import Params
from edgeaudit.config.target import Accuracy, StatedAccuracy, stated_accuracy

__all__ = ["ModelSpec"]


class ModelSpec(Section):
    """The model under audit and how such models are trained."""

    recipe: Annotated[str, names_of("recipe")] = "mlp"
    """Architecture: built-in, `torchvision:<name>`, `timm:<name>`, or your `module:function`; `keras:`, `sklearn:`."""
    options: Params = Field(default_factory=dict)
    """Arguments of the architecture, such as `hidden` or `width`."""
    train: str | None = None
    """`module:function` called as `f(module, x, y, *, seed, epochs)`; by default the built-in training loop."""
    checkpoint: Path | None = None
    """A trained target: a state_dict, .safetensors, .keras or .h5 file, or a SavedModel."""
    accuracy: Accuracy | StatedAccuracy | None = None
    """Stated accuracy of the target on nonmembers, or `{train: , test: }`; compared with the measured ones."""
    epochs: int = Field(30, ge=1, le=1_000_000)
    """Epochs of training."""
    batch: int = Field(64, ge=2, le=1_000_000)
    """Records in a training step."""
    lr: float = Field(0.05, gt=0)
    """Learning rate at the start; it follows one cosine to 0."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the built-in loop."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(5e-4, ge=0)
    """Weight decay."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Label smoothing."""
    auxiliary_weight: float = Field(0.3, ge=0)
    """Weight of the loss of each auxiliary head, of models that answer with several while they train."""
    augment: Literal["none", "flip-shift"] = "none"
    """`flip-shift` mirrors half of the images and shifts all by up to 4 pixels."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of training; bfloat16 is faster on CPUs that have it."""

    @property
    def stated(self) -> StatedAccuracy:
        """`accuracy`, by side."""
        return stated_accuracy(self.accuracy)
