"""More training of a torch model, in the recipe's own loop: after pruning, or before a quantiser."""

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
    """Train on with the model's own training records, at a tenth of the recipe's learning rate; zeros stay zeros.

    epochs: how many.

    A pruner's masks are gone once its file is written, so they are read from the file: an exact 0.0 in a parameter of
    two or more axes (kernels, matrices; not biases or norms) is a pruned weight. Training does not arrive at exact
    zeros, and a weight that started at zero and was trained is none any more. Their gradient is held at zero, and with
    it momentum, weight decay and Adam's steps leave them where they are. A loop of the user's own that moves them all
    the same (noise on the gradients, a copy of the module) is an error.
    """

    spec = PassSpec(
        name="finetune",
        extra="torch",
        packages=("torch", "safetensors"),
        consumes="torch",
        produces="torch",
        summary="the recipe's own training, continued; pruned weights stay zero",
        trains=True,
        defaults={"epochs": 5},
        typical_seconds=0.1,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        epochs = int(job.params["epochs"])
        if epochs < 1:
            raise ToolchainError(f"the parameter 'epochs' is {epochs}; it is a whole number from 1")
        module = job.torch_module()
        with zeros_kept(module) as zeros:
            job.train_on(module, epochs)
        weights = sum(w.numel() for w in _weights(module).values())
        file = job.save_weights(module.state_dict())
        return PassResult(file, notes={"zeros": zeros, "weights": weights})


@contextmanager
def zeros_kept(module: nn.Module) -> Iterator[int]:
    """Train in the block; the exact zeros of kernels and matrices stay. Gives how many; an error where one moved."""
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
            f"fine-tuning brought {moved} pruned weights back; the training loop must step along the gradients of "
            "the module that it is given"
        )


def _weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that pruning may have put zeros in, shared ones once."""
    return {name: p for name, p in module.named_parameters() if p.ndim >= 2 and p.requires_grad}


def _zeros(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() == 0 for name, parameter in _weights(module).items()}


def _held(zeros: Tensor) -> Callable[[Tensor], Tensor]:
    def hold(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(zeros, 0.0)

    return hold
