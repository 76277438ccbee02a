"""What the built-in torch loop minimises, by task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from edgeaudit.recipes.base import Recipe
from edgeaudit.tasks import TaskName

__all__ = ["Loss", "distillation_loss", "loss_of"]

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(answers [n, outputs], the inputs that were answered, their row numbers in the training records) -> scalar."""


def loss_of(recipe: Recipe, targets: torch.Tensor) -> Loss:
    """The loss of the recipe's task against `targets`.

    classification: cross-entropy with int64 [n], classes, or float32 [n, classes], probabilities; of one logit, the
        binary cross-entropy with class 1. multi-label: mean binary cross-entropy with float32 [n, labels].
    regression: mean squared error with float32 [n, values], in deviations of each value over the training records.
    reconstruction: mean squared error with the inputs, as augmentation left them.
    """
    if recipe.task == "reconstruction":
        return lambda answer, inputs, _: functional.mse_loss(answer, inputs.flatten(1))
    if recipe.task == "regression":
        deviation = targets.std(dim=0, unbiased=False)
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        return lambda answer, _, rows: functional.mse_loss(answer / deviation, targets[rows] / deviation)
    smoothing = recipe.training.label_smoothing
    if recipe.task == "multi-label":
        return lambda answer, _, rows: _binary(answer, targets[rows], smoothing)
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)

    def loss(answer: torch.Tensor, _: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        wanted = targets[rows]
        if answer.shape[1] == 1:
            second = wanted[:, 1:] if wanted.ndim == 2 else wanted[:, None].to(answer.dtype)
            return _binary(answer, second, smoothing)
        found: torch.Tensor = criterion(answer, wanted)
        return found

    return loss


def _binary(answer: torch.Tensor, wanted: torch.Tensor, smoothing: float) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(answer, wanted * (1 - smoothing) + smoothing / 2)


def distillation_loss(
    answer: torch.Tensor,
    taught: torch.Tensor,
    hard: torch.Tensor,
    temperature: float,
    alpha: float,
    task: TaskName = "classification",
) -> torch.Tensor:
    """Mean over records of alpha times how far the student is from its teacher, + (1 - alpha) times `hard`.

    Args:
        answer: of the student, [n, outputs].
        taught: of the teacher, [n, outputs]; logits, or values.
        hard: the student's loss on labels or values, a scalar.
        temperature: T.
        alpha: 0 to 1.
        task: of both.

    With classes and labels the distance is T^2 KL(teacher_T || student_T) in nats, of labels the mean over them. A
    model_T is its softmax, or sigmoids, after division of the logits by T. The gradients shrink as 1/T^2, which T^2
    undoes. Values have the mean squared difference. One of teacher and student may have one logit of two classes.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """
    if task in ("regression", "reconstruction"):
        return alpha * functional.mse_loss(answer, taught) + (1 - alpha) * hard
    if task == "multi-label":
        soft, wanted = answer / temperature, torch.sigmoid(taught / temperature)
        entropy = functional.binary_cross_entropy(wanted, wanted)
        apart = functional.binary_cross_entropy_with_logits(soft, wanted) - entropy
    else:
        student, teacher = (_two(logit) / temperature for logit in (answer, taught))
        soft, wanted = (functional.log_softmax(logit, dim=1) for logit in (student, teacher))
        apart = functional.kl_div(soft, wanted, reduction="batchmean", log_target=True)
    return alpha * temperature**2 * apart + (1 - alpha) * hard


def _two(logit: torch.Tensor) -> torch.Tensor:
    return torch.cat((torch.zeros_like(logit), logit), dim=1) if logit.shape[1] == 1 else logit
