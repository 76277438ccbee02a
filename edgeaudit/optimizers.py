"""SGD and AdamW as torch computes them, fused, and learning rates; without `torch.optim.Optimizer`.

The step of any `torch.optim.Optimizer` imports torch._dynamo (torch 2.14): 900 modules, which cost every worker process
two CPU seconds, more than a small network trains. And on a small network its hooks and its loop over tensors take
longer than the gradient: a step of 64-64-10 with batches of 64 takes .31 ms there and .04 ms here, beside .28 ms for
the gradient. So this calls what `Optimizer.step` calls in the end, with `fused=True`; weights differ from the unfused
ones by rounding. `tests/test_optimizers.py` holds both against each other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

__all__ = ["AdamW", "Nesterov", "Optimizer", "cosine", "one_cycle"]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_RISING, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25e4
_SLOWEST, _FASTEST = 0.85, 0.95


class Optimizer(ABC):
    """Changes parameters by their gradients. Parameters without a gradient are left as they are."""

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        self._parameters = [one for one in parameters if one.requires_grad]

    def clear(self) -> None:
        """Forget the gradients."""
        for one in self._parameters:
            one.grad = None

    @abstractmethod
    def step(self, rate: float) -> None:
        """Change the parameters, with this learning rate."""

    def _with_gradients(self, *states: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """The parameters that have a gradient, their gradients, and their states; sparse gradients are made dense."""
        gradients = {at: one.grad for at, one in enumerate(self._parameters) if one.grad is not None}
        dense = [one.to_dense() if one.is_sparse else one for one in gradients.values()]
        first, *others = ([every[at] for at in gradients] for every in (self._parameters, *states))
        return [first, dense, *others]


class Nesterov(Optimizer):
    """Stochastic gradient descent with Nesterov momentum, as torch.optim.SGD.

    momentum: 0 for none. weight_decay: added to the gradient as this multiple of the parameter.

    Source: Sutskever, Martens, Dahl & Hinton, "On the importance of initialization and momentum in deep learning" (ICML
    2013).
    """

    def __init__(self, parameters: Iterable[torch.Tensor], momentum: float, weight_decay: float) -> None:
        super().__init__(parameters)
        self._buffers = [torch.zeros_like(one) for one in self._parameters]
        self._momentum, self._weight_decay = momentum, weight_decay

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """See `Optimizer`."""
        parameters, gradients, buffers = self._with_gradients(self._buffers)
        if not parameters:
            return
        sgd(
            parameters,
            gradients,
            [*buffers],
            foreach=False,
            fused=True,
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=rate,
            dampening=0.0,
            nesterov=self._momentum > 0,
            maximize=False,
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay, as torch.optim.AdamW with betas of .9 and .999.

    Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019).
    """

    def __init__(self, parameters: Iterable[torch.Tensor], weight_decay: float) -> None:
        super().__init__(parameters)
        self._means, self._squares = ([torch.zeros_like(one) for one in self._parameters] for _ in range(2))
        self._counts = [torch.zeros(()) for _ in self._parameters]
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(self, rate: float, momentum: float = _BETAS[0]) -> None:
        """See `Optimizer`. momentum: the first beta."""
        parameters, gradients, means, squares, counts = self._with_gradients(self._means, self._squares, self._counts)
        if not parameters:
            return
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            counts,
            foreach=False,
            fused=True,
            amsgrad=False,
            beta1=momentum,
            beta2=_BETAS[1],
            lr=rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )


def cosine(rate: float, step: int, steps: int) -> float:
    """Return the rate at a step from 0, which falls to 0 at `steps` on half a cosine.

    Source: Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (ICLR 2017), equation 5.
    """
    return rate * (1 + math.cos(math.pi * step / max(1, steps))) / 2


def one_cycle(rate: float, step: int, steps: int) -> tuple[float, float]:
    """Return rate and momentum at a step from 0 of `steps`, as torch.optim.lr_scheduler.OneCycleLR.

    The rate rises from a 25th of `rate` for 30% of the steps and falls to a 250,000th of it; the momentum falls from
    .95 to .85 and rises again, all on half cosines.

    Source: Smith & Topin, "Super-Convergence" (2018).
    """
    top = _RISING * steps - 1
    if step <= top:
        share, ends, momenta = step / top, (_FIRST, 1.0), (_FASTEST, _SLOWEST)
    else:
        share, ends, momenta = (step - top) / (steps - 1 - top), (1.0, _LAST), (_SLOWEST, _FASTEST)
    moved = (1 + math.cos(math.pi * share)) / 2
    low, high = (pair[1] + (pair[0] - pair[1]) * moved for pair in (ends, momenta))
    return rate * low, high
