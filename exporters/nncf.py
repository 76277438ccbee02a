"""Pruning with Intel's NNCF.

What importing nncf 3.4 does to the process, measured with torch 2.14.1 (tests/exporters/test_nncf.py): nothing to
torch. The operator patches of nncf 2 are gone; hooks live in the wrapped module's own `forward`, inside a
`TorchFunctionMode` that is active only while that module runs. Models trained before and after importing it and
pruning are identical bit for bit. It does change two other things, both undone here:

* `logging.setLoggerClass` is called on import, for every logger made later (`quiet` puts it back);
* it sends usage statistics to Google Analytics, if `openvino_telemetry` is installed (it is a dependency) and
  nobody opted out. What an auditor prunes is nobody's business: `NNCF_CI` and `CI` switch this off.

Its C++ extension serves quantisers only; pruning never compiles it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.plain_weights import require_plain
from edgeaudit.host.quiet import NO_TELEMETRY, quiet

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Prune"]

_SHELLED = "shelled_by_edgeaudit"


class Prune(Pass):
    """Weights of smallest magnitude (each layer's divided by its L2 norm, NNCF's rule) to zero, then fine-tuned.

    ratio: share of the weights of convolutions and linear layers that become zero, over all layers together.
    epochs: of fine-tuning afterwards, with the recipe's training loop; pruned weights stay zero.

    The file has the names and shapes of the original architecture and is as large as before.
    """

    spec = PassSpec(
        name="nncf.prune",
        extra="nncf",
        packages=("nncf", "torch"),
        consumes="torch",
        produces="torch",
        summary="NNCF unstructured global magnitude pruning, with fine-tuning",
        trains=True,
        defaults={"ratio": 0.7, "epochs": 5},
        typical_seconds=0.3,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        ratio, epochs = job.share("ratio"), int(job.params["epochs"])
        module = job.torch_module()
        require_plain(module, "pruning")
        names = list(module.state_dict())
        pruned, masked, example = _prune(_shelled(module), ratio, job.input_shape)
        job.train_on(pruned, epochs)
        _strip(pruned, example)
        state = _bare_state(pruned)
        if list(state) != names:
            raise ToolchainError("the pruned model has other tensors than its source")
        file = job.save_weights(state)
        return PassResult(file, notes=_verified_sparsity([state[name] for name in masked], ratio))


def _nncf() -> Any:
    import nncf
    import nncf.torch

    nncf.set_log_level(40)  # logging.ERROR
    return nncf


def _prune(module: nn.Module, ratio: float, shape: tuple[int, ...]) -> tuple[nn.Module, list[str], Tensor]:
    """The module with masks in its forward, the names of the weights that have one, and the example input."""
    with quiet(NO_TELEMETRY):
        import torch

        nncf = _nncf()
        example = torch.zeros(1, *shape)
        pruned: nn.Module = nncf.prune(
            module, nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL, ratio=ratio, examples_inputs=example
        )
        from nncf.torch.function_hook.pruning.magnitude.algo import get_pruned_modules

        masked = sorted(name.removeprefix(f"{_SHELLED}.") for name in get_pruned_modules(pruned))
    return pruned, masked, example


def _strip(pruned: nn.Module, example: Tensor) -> None:
    """Multiply the masks into the weights, and drop them."""
    with quiet(NO_TELEMETRY):
        nncf = _nncf()
        nncf.strip(pruned.eval(), do_copy=False, strip_format=nncf.StripFormat.IN_PLACE, example_input=example)


def _shelled(module: nn.Module) -> nn.Module:
    """The module, wrapped if it is a Sequential.

    nncf 3.4 gives the outermost module a child that has no forward, and a Sequential calls all its children.
    """
    from torch import nn

    class Shell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(_SHELLED, module)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = module(x)
            return answer

    return Shell() if isinstance(module, nn.Sequential) else module


def _bare_state(pruned: nn.Module) -> dict[str, Tensor]:
    """The state dict under the architecture's own names."""
    return {name.removeprefix(f"{_SHELLED}."): tensor for name, tensor in pruned.state_dict().items()}


def _verified_sparsity(weights: list[Tensor], ratio: float) -> dict[str, float]:
    """Count zeros in the saved weights; raise `ToolchainError` if fine-tuning changed pruned weights."""
    zeros, total = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
    if abs(zeros - ratio * total) > max(2, 0.01 * total):
        raise ToolchainError(
            f"pruning to {ratio:.0%} left {zeros} of {total} weights zero; the fine-tuning loop must change weights "
            "in place and leave the module's forward alone"
        )
    return {"sparsity": zeros / total, "weights": total}
