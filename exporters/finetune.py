"""Fine-tuning of a torch model in the recipe's training loop: after pruning, or before quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Finetune", "zeros_kept"]


class Finetune(Pass):
    """Continue training on the model's own training records at a tenth of the learning rate; zeros stay zeros.

    epochs: number of epochs.

    A pruner's masks are not stored in its file, so they are derived from it: an exact 0.0 in a parameter of two or more
    axes (kernels and matrices, not biases or norms) is a pruned weight. Training does not produce exact zeros, and a
    weight that was initialised with zero and trained is no longer zero. Pruned weights get a zero gradient, so that
    momentum, weight decay and Adam's steps do not change them. A user's training loop that changes them nevertheless
    (noise on the gradients, a copy of the module) is an error.
    """

    spec = PassSpec(
        name="finetune",
        extra="torch",
        packages=("torch", "safetensors"),
        consumes="torch",
        produces="torch",
        summary="the recipe's training, continued; pruned weights stay zero",
        trains=True,
        defaults={"epochs": 5},
        typical_seconds=0.1,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        epochs = int(job.params["epochs"])
        if epochs < 1:
            raise ToolchainError(f"the parameter 'epochs' is {epochs}; it must be an integer from 1")
        module = job.torch_module()
        with zeros_kept(module) as zeros:
            job.train_on(module, epochs)
        weights = sum(w.numel() for w in _weights(module).values())
        file = job.save_weights(module.state_dict())
        return PassResult(file, notes={"zeros": zeros, "weights": weights})


@contextmanager
def zeros_kept(module: nn.Module) -> Iterator[int]:
    """Keep the exact zeros of kernels and matrices while the block trains; yields their number.

    Error if one changed.
    """
    zeros = _zeros(module)
    holds = [
        parameter.register_hook(_held(zeros[name]))  # type: ignore[no-untyped-call]  # torch 2.14
        for name, parameter in _weights(module).items()
    ]
    yield sum(int(z.sum()) for z in zeros.values())
    for hold in holds:
        hold.remove()
    moved = sum(int((w[zeros[name]] != 0).sum()) for name, w in _weights(module).items())
    if moved:
        raise ToolchainError(
            f"fine-tuning changed {moved} pruned weights; the training loop must use the gradients of "
            "the module that it is given"
        )


def _weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that pruning may have set to zero, shared ones once."""
    return {name: p for name, p in module.named_parameters() if p.ndim >= 2 and p.requires_grad}


def _zeros(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() == 0 for name, parameter in _weights(module).items()}


def _held(zeros: Tensor) -> Callable[[Tensor], Tensor]:
    def hold(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(zeros, 0.0)

    return hold
