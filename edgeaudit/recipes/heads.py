"""The end of a torch module: a final sigmoid is taken off, since an audit needs the logit that it was made from.

A format's own `softmax: inside` puts it back into the file, exactly. A user's own training loop sees the module as its
author wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["TakenOff", "as_written", "without_sigmoid"]


class TakenOff(nn.Module):
    """In the place of a final sigmoid, which it is only while `on`."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, or its sigmoid."""
        return torch.sigmoid(x) if self.on else x


def without_sigmoid(module: nn.Module, records: torch.Tensor) -> bool:
    """Take off the `nn.Sigmoid` that the module's answer comes from, in place; returns whether there was one.

    records: some that it takes. The module is asked in eval mode. A sigmoid that is a function (`torch.sigmoid`), or is
    used more than once, is not found.
    """
    answers: dict[str, list[torch.Tensor]] = {}

    def remember(name: str, answer: torch.Tensor) -> None:
        answers.setdefault(name, []).append(answer)

    hooks = [
        child.register_forward_hook(lambda _module, _given, answer, name=name: remember(name, answer))
        for name, child in module.named_modules()
        if isinstance(child, nn.Sigmoid) and name
    ]
    module.eval()
    with torch.no_grad():
        answer = module(records)
    for hook in hooks:
        hook.remove()
    last = [
        name
        for name, given in answers.items()
        if len(given) == 1 and given[0].numel() == answer.numel() and torch.equal(given[0].flatten(), answer.flatten())
    ]
    if len(last) != 1:
        return False
    parent, _, child_name = last[0].rpartition(".")
    setattr(module.get_submodule(parent), child_name, TakenOff())
    return True


@contextmanager
def as_written(module: nn.Module) -> Iterator[None]:
    """The module with its final sigmoid inside the block."""
    heads = [child for child in module.modules() if isinstance(child, TakenOff)]
    for head in heads:
        head.on = True
    try:
        yield
    finally:
        for head in heads:
            head.on = False
