"""The section `model`: the model under audit and how such models are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeaudit.config.base import Section, names_of
from edgeaudit.config.entries import Params
from edgeaudit.config.target import Accuracy, StatedAccuracy, stated_accuracy

__all__ = ["EarlyStoppingSpec", "ModelSpec", "PrivacySpec"]


class EarlyStoppingSpec(Section):
    """Early stopping of the built-in loop, on training records that it holds out."""

    patience: int = Field(5, ge=1, le=1_000_000)
    """Epochs without a lower loss on the held-out records after which training stops."""
    share: float = Field(0.1, gt=0, le=0.5)
    """Share of the training records that are held out; they stay members, that were validated on alone."""


class PrivacySpec(Section):
    """Differentially private training of the built-in loop, by Opacus."""

    epsilon: float = Field(gt=0)
    """Bound of the privacy loss at `delta`; the noise is chosen to spend no more."""
    delta: float = Field(1e-5, gt=0, lt=1)
    """Probability with which the bound may not hold; below 1 / training records."""
    clip: float = Field(1.0, gt=0)
    """L2 norm to which the gradient of each record is clipped."""


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
    early_stopping: EarlyStoppingSpec | None = None
    """Stop where the loss on held-out training records no longer falls, and keep the best epoch; by default not."""
    privacy: PrivacySpec | None = None
    """Train with DP-SGD, target and shadows alike; by default without."""

    @model_validator(mode="after")
    def _loop_can(self) -> ModelSpec:
        for key in ("early_stopping", "privacy"):
            if getattr(self, key) is not None and self.train is not None:
                raise ValueError(
                    f"{key} is done by the built-in training loop, and 'train' names a loop of your own: remove one of "
                    "them, or do it in your loop"
                )
        if self.privacy is None:
            return self
        if self.early_stopping is not None:
            raise ValueError(
                "privacy: the epoch that early_stopping keeps is chosen by training records, which the privacy loss "
                "does not count; remove one of them"
            )
        if self.precision != "float32":
            raise ValueError(
                f"privacy: gradients of single records are computed in float32; remove 'precision: {self.precision}'"
            )
        return self

    @property
    def stated(self) -> StatedAccuracy:
        """`accuracy`, by side."""
        return stated_accuracy(self.accuracy)
