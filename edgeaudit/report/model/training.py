"""What early stopping and differential privacy did to the training of the target."""

from __future__ import annotations

from edgeaudit.report.model.base import Model

__all__ = ["EarlyStopped", "PrivacySpent", "TrainingInfo"]


class EarlyStopped(Model):
    """Early stopping of the built-in loop.

    epochs: that were trained. best_epoch: the one whose weights were kept, from 1 on. held_out: training records on
    which the loss was validated and nothing was trained; they are members. held_out_loss: their mean loss then.
    """

    epochs: int
    best_epoch: int
    held_out: int
    held_out_loss: float


class PrivacySpent(Model):
    """Differential privacy of one training, with regard to one training record.

    epsilon: what was spent at `delta`, by the accountant. clip: L2 norm to which the gradient of a record is clipped.
    noise_multiplier: standard deviation of the noise in units of `clip`. sample_rate: probability with which a step
    draws a record.
    """

    epsilon: float
    delta: float
    clip: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    accountant: str


class TrainingInfo(Model):
    """How the first target was trained; null where audit.yaml did not ask for it."""

    early_stopping: EarlyStopped | None = None
    privacy: PrivacySpent | None = None
