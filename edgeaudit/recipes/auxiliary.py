"""What a torch module answers while it trains: logits, or logits and those of auxiliary heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from edgeaudit.errors import TrainingError

__all__ = ["logits_and_auxiliary"]


def logits_and_auxiliary(answer: object) -> tuple[torch.Tensor, ...]:
    """The logits first, then those of auxiliary heads, each [n, classes].

    answer: a tensor; a tuple, list or named tuple of them, the logits first, as GoogLeNet and Inception have it in
        torchvision; or a mapping, such as `{"out": ..., "aux": ...}`, in its order. None stands for a head that is off.

    Raises `TrainingError` where it holds anything else, or heads do not have the logits' shape.
    """
    found = tuple(_tensors(answer))
    if not found or any(one.shape != found[0].shape for one in found):
        told = ", ".join(str(tuple(one.shape)) for one in found) or type(answer).__name__
        raise TrainingError(
            f"the model answers {told} while it trains; expected logits [n, classes], alone or followed by those of "
            "auxiliary heads in the same shape. Train another one by a loop of your own (model.train)"
        )
    return found


def _tensors(answer: object) -> Iterator[torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        yield answer
    elif isinstance(answer, Mapping):
        for one in answer.values():
            yield from _tensors(one)
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        for one in answer:
            yield from _tensors(one)
    elif answer is not None:
        raise TrainingError(
            f"the model answers a {type(answer).__name__} while it trains; expected logits, or a tuple of logits and "
            "those of auxiliary heads"
        )
