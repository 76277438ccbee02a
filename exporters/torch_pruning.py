"""Structured pruning with Torch-Pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023).

Properties of torch-pruning 1.6.1 that are worked around here:

* an example input that is a tensor is first unpacked, `model(*x)`, so that the model gets one record without its
  batch axis, and the batch only if that raises. A network that accepts both (an MLP, a CNN without BatchNorm) would be
  traced with its channels on another axis. A tuple of one tensor is unpacked to the tensor;
* the output layer is pruned like any other, unless it is excluded;
* `in_channel_groups` and two more arguments have a mutable dict as their default, which all pruners of a process share:
  it keeps every pruned module alive. Each pruner gets its own dicts;
* a layer that rounding down to a multiple of `round_to` would remove is silently left unpruned;
* what remains of n channels is `int(n * (1 - ratio))`, and 10 * (1 - 0.9) is slightly less than 1: the layer would stay
  unpruned. The ratio passed is a billionth smaller;
* it knows no recurrent layer but the LSTM, whose pruning fails ("index out of range in self"), and follows operators of
  a GRU step by step ("list index out of range"). An operator that it must not change stands in for each of them, so
  that they and the channels that they read stay whole;
* it prunes channels of nn.MultiheadAttention, but not its `embed_dim` ("was expecting embedding dimension of 32, but
  got 16"). Whatever it is coupled with stays whole;
* the remaining channels of a LayerNorm are taken in the order of a Python set (its `sort()` of a tensor sorts a copy),
  which may differ from their order if few of many remain. Such a model is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.plain_weights import require_plain
from edgeaudit.host.quiet import quiet
from edgeaudit.recipes.base import Recipe, shape_problem

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Structured"]

_PROBES = 4
_ROUNDING = 1e-9


class Structured(Pass):
    """Remove the channels of smallest magnitude, the same share in every layer; then fine-tune.

    ratio: share of the output channels to remove from each convolution and linear layer. Layers that are added to or
        multiplied with each other, and depthwise convolutions, lose the same channels; the classes stay.
    round_to: what remains of a layer is rounded down to a multiple of this, as kernels like it. A layer of which
        nothing would remain stays whole.
    epochs: of fine-tuning afterwards, with the recipe's training loop.

    A channel's magnitude is the sum of the squares of all weights that go with it, in every layer that is coupled,
    divided by the number of those layers ("group L2 norm", p = 2).

    Recurrent and attention layers stay whole, and so do layers whose channels they read or are added to. A model that
    has no other layer but the last is only fine-tuned; the report says so.

    The file has the names of the original architecture and smaller shapes, and the recipe is marked `resized`: whoever
    builds it takes the widths from the file.

    notes: `parameters` and `channels` (output channels of all layers but the last) that remain, and those before.
    """

    spec = PassSpec(
        name="torch-pruning.structured",
        extra="pruning",
        packages=("torch-pruning", "torch"),
        consumes="torch",
        produces="torch",
        summary="Torch-Pruning, whole channels by group magnitude, with fine-tuning",
        trains=True,
        defaults={"ratio": 0.5, "round_to": 4, "epochs": 5},
        typical_seconds=0.3,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        ratio, epochs, round_to = job.share("ratio"), int(job.params["epochs"]), int(job.params["round_to"])
        if round_to < 1:
            raise ToolchainError(f"the parameter 'round_to' is {round_to}; it must be 1 or more")
        recipe, module = replace(job.torch_recipe(), resized=True), job.torch_module()
        names, parameters = list(module.state_dict()), _parameters(module)
        require_plain(module, "pruning")
        with quiet():
            before, after = _prune(module, ratio, round_to, job)
        notes = {"parameters": _parameters(module), "parameters_before": parameters}
        notes |= {"channels": after, "channels_before": before}
        _require_pruned(notes, ratio, round_to)
        records = _probes(job)
        _answer(module, recipe, records)
        _require_trainable(module, recipe)
        job.train_on(module, epochs)
        if list(module.state_dict()) != names:
            raise ToolchainError("the pruned model has other tensors than its source")
        file = job.save_weights(module.state_dict())
        _require_rebuilt(module, recipe, job.workdir / file, records)
        return PassResult(file, notes=notes, recipe=recipe, said=_whole(module, after))


def _whole(module: nn.Module, channels: int) -> tuple[str, ...]:
    """What the report says of layers that were not pruned."""
    from torch import nn

    kept = [*_layers(module, nn.RNNBase | nn.RNNCellBase), *_layers(module, nn.MultiheadAttention)]
    if not kept:
        return ()
    rest = "; no other layer has channels that could be removed" if channels == 0 else ""
    named = ", ".join(f"{type(layer).__name__} '{name}'" for name, layer in kept)
    return (f"channel pruning leaves recurrent and attention layers as they are: {named}{rest}",)


def _layers(module: nn.Module, kind: Any) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kind)]


@contextmanager
def _stood_in(module: nn.Module) -> Iterator[tuple[set[nn.Module], Any]]:
    """Put a layer of one operator in the place of each recurrent one.

    Yields the layers that must stay whole, those of attention among them, and how torch-pruning is told of them.
    """
    from torch import nn
    from torch_pruning.pruner.function import BasePruningFunc

    stand_in = _stand_in_class()
    places: list[tuple[nn.Module, str, nn.Module]] = []
    for name, layer in _layers(module, nn.RNNBase | nn.RNNCellBase):
        above, _, last = name.rpartition(".")
        places.append((module.get_submodule(above), last, layer))
        setattr(module.get_submodule(above), last, stand_in(layer))

    class Opaque(BasePruningFunc):  # type: ignore[misc]  # torch-pruning 1.6 has no types
        def prune_out_channels(self, layer: Any, idxs: Any) -> Any:
            raise ToolchainError(f"channels {idxs} of the recurrent layer {layer} would be removed")

        def prune_in_channels(self, layer: Any, idxs: Any) -> Any:  # not the same function
            raise ToolchainError(f"inputs {idxs} of the recurrent layer {layer} would be removed")

        def get_out_channels(self, layer: Any) -> int:
            return int(layer.weight.shape[0])

        def get_in_channels(self, layer: Any) -> int:
            return int(layer.weight.shape[1])

    try:
        whole = {layer for _, layer in _layers(module, (stand_in, nn.MultiheadAttention))}
        yield whole, ({stand_in: Opaque()} if places else {})
    finally:
        for parent, last, layer in places:
            setattr(parent, last, layer)


def _stand_in_class() -> Any:
    import torch
    from torch import nn

    class StandIn(nn.Module):
        """What is traced instead of a recurrent layer: its inputs and outputs, and one operator between them."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = [layer]  # not a submodule
            directions = 2 if getattr(layer, "bidirectional", False) else 1
            outputs = (getattr(layer, "proj_size", 0) or layer.hidden_size) * directions
            self.weight = nn.Parameter(torch.zeros(outputs, layer.input_size))
            self.states = getattr(layer, "num_layers", 1) * directions

        def forward(self, x: torch.Tensor, _: Any = None) -> Any:
            (layer,) = self.layer
            y = nn.functional.linear(x, self.weight)
            pair = isinstance(layer, nn.LSTM | nn.LSTMCell)
            if isinstance(layer, nn.RNNCellBase):
                return (y, y) if pair else y
            last = y.select(1 if layer.batch_first and x.ndim == 3 else 0, -1)
            state = last[..., : layer.hidden_size].expand(self.states, *last.shape[:-1], -1)
            return y, ((state, state) if pair else state)

    return StandIn


def _prune(module: nn.Module, ratio: float, round_to: int, job: ExportJob) -> tuple[int, int]:
    """Prune in place; the output channels of all layers but the last before and after."""
    import torch
    import torch_pruning

    with _stood_in(module) as (whole, pruners):
        pruner = torch_pruning.pruner.MagnitudePruner(
            module,
            (torch.zeros(1, *job.input_shape),),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio - _ROUNDING,
            round_to=round_to,
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
            customized_pruners=pruners,
            root_module_types=[torch_pruning.ops.TORCH_CONV, torch_pruning.ops.TORCH_LINEAR],
        )
        layers = set(_prunable(pruner.DG, whole))
        before = _channels(pruner.DG, layers)
        for group in pruner.step(interactive=True):
            if not _answers(pruner.DG, group) and not _touches(group, whole):
                _require_order(group)
                group.prune()
        for layer in module.modules():
            if isinstance(layer, torch.nn.modules.instancenorm._InstanceNorm) and layer.affine:  # noqa: SLF001
                layer.num_features = len(layer.weight)  # which torch-pruning 1.6.1 leaves, and torch compares
        return before, _channels(pruner.DG, layers)


def _require_order(group: Any) -> None:
    """Refuse a group whose pruning would shuffle the channels of a LayerNorm."""
    from torch import nn

    for step, indices in group:
        layer = step.target.module
        if isinstance(layer, nn.LayerNorm):
            kept = list(set(range(layer.normalized_shape[-1])) - set(indices))  # as torch-pruning 1.6.1 takes them
            if kept != sorted(kept):
                raise ToolchainError(
                    f"torch-pruning would put the {len(kept)} channels that a LayerNorm keeps in another order; "
                    "prune a smaller share of the channels, half of them at most"
                )


def _answers(graph: Any, group: Any) -> bool:
    """Whether channels of `group` are the model's outputs: those of an operator that no other one reads."""
    return any(not step.target.outputs and graph.is_out_channel_pruning_fn(step.handler) for step, _ in group)


def _touches(group: Any, layers: set[nn.Module]) -> bool:
    """Whether channels of `group` are read or made by one of the layers."""
    return any(step.target.module in layers for step, _ in group)


def _prunable(graph: Any, whole: set[nn.Module]) -> Iterator[nn.Module]:
    """The layers whose output channels may be removed; not those that go with one of `whole`."""
    from torch import nn

    for group in graph.get_all_groups():
        if not _answers(graph, group) and not _touches(group, whole):
            for step, _ in group:
                layer = step.target.module
                weighted = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
                if isinstance(layer, weighted) and graph.is_out_channel_pruning_fn(step.handler):
                    yield layer


def _channels(graph: Any, layers: set[nn.Module]) -> int:
    return sum(int(graph.get_out_channels(layer)) for layer in layers)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _require_pruned(notes: dict[str, int], ratio: float, round_to: int) -> None:
    """Check the pruned share: layers too narrow for `round_to` stay unpruned, so the format's ratio could be wrong."""
    left, channels = notes["channels"], notes["channels_before"]
    if left > channels * (1 - ratio / 2):
        raise ToolchainError(
            f"pruning {ratio:.0%} of the channels left {left} of {channels}: where what remains is rounded to "
            f"multiples of {round_to}, layers of fewer than {round_to / (1 - ratio):.0f} channels stay whole. "
            "Give the model wider layers, or lower 'round_to'"
        )


def _probes(job: ExportJob) -> Tensor:
    """A few records, [n, *input_shape]: the model's own, since noise need not be something that it takes (ids)."""
    import torch

    if job.training_records is not None:
        return torch.from_numpy(job.training_records()[0][:_PROBES])
    return torch.randn(_PROBES, *job.input_shape, generator=torch.Generator().manual_seed(0))


def _answer(module: nn.Module, recipe: Recipe, records: Tensor) -> Tensor:
    """The module's outputs for a few records, [n, classes]; an error if pruning broke it."""
    import torch

    try:
        with torch.no_grad():
            answer: Tensor = module.eval()(records)
    except (RuntimeError, ValueError, AssertionError, IndexError) as exc:
        raise ToolchainError(
            f"{recipe.name} cannot be pruned by channels, it fails at the pruned widths: {str(exc).splitlines()[0]}. "
            "Its forward must take the numbers of channels from its tensors"
        ) from exc
    if shape_problem((2, *answer.shape[1:]), recipe) is not None:
        raise ToolchainError(
            f"{recipe.name} cannot be pruned by channels: pruned, it returns shape {tuple(answer.shape)} for "
            f"{len(records)} records. Its forward must take the numbers of channels from its tensors"
        )
    return answer


def _require_trainable(module: nn.Module, recipe: Recipe) -> None:
    """Check that the module still computes what it does in training mode alone: pruning follows its answers."""
    import copy

    import torch

    records = torch.zeros(_PROBES, *recipe.input_shape)
    try:
        with torch.no_grad():
            copy.deepcopy(module).train()(records)
    except RuntimeError as exc:
        raise ToolchainError(
            f"{recipe.name} cannot be pruned by channels, it fails in training mode at the pruned widths: "
            f"{str(exc).splitlines()[0]}. Pruning misses layers that the answers do not pass, such as auxiliary "
            "heads; build the model without them (model.options)"
        ) from exc


def _require_rebuilt(module: nn.Module, recipe: Recipe, file: Path, records: Tensor) -> None:
    """Check that later steps rebuild the pruned module from the file."""
    from edgeaudit.recipes.base import module_from_manifest

    rebuilt = module_from_manifest(recipe.to_dict(), file)
    if not _answer(module, recipe, records).equal(_answer(rebuilt, recipe, records)):
        raise ToolchainError(
            f"{recipe.name} cannot be pruned by channels: rebuilt at the pruned widths, its outputs differ. "
            "All that it computes with must be in its parameters, its buffers and the options of its recipe"
        )
