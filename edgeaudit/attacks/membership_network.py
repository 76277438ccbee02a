"""Training of the networks that learn membership from shadows. Imports torch on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeaudit.attacks.evidence import BoolArray
from edgeaudit.errors import AttackError, MissingToolchain

if TYPE_CHECKING:
    import torch

__all__ = ["fit", "require_both_kinds", "require_torch"]

_BATCH = 128


def require_torch(attack: str) -> None:
    """Raise `MissingToolchain` unless torch can be imported."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingToolchain(f"the attack '{attack}'", "torch", "torch") from None


def require_both_kinds(members: BoolArray) -> None:
    """Raise `AttackError` unless there are rows of members and of nonmembers."""
    if members.all() or not members.any():
        raise AttackError("a membership classifier needs answers of shadows on members and on nonmembers")


def fit(
    network: torch.nn.Module,
    odds: Callable[[torch.Tensor], torch.Tensor],
    members: torch.Tensor,
    steps: int,
    rate: float,
) -> torch.nn.Module:
    """Train in place with AdamW (weight decay .01, cosine decay) over batches of 128, with balanced class weights.

    Args:
        network: the network to train; returned in eval mode.
        odds: row indices of the training set, int64 [batch] -> the network's log odds of membership, [batch].
        members: bool [rows].
        steps: number of batches.
        rate: initial learning rate.
    """
    import torch

    from edgeaudit.optimizers import AdamW, cosine

    optimizer = AdamW(network.parameters(), weight_decay=1e-2)
    generator = torch.Generator().manual_seed(0)
    truth = members.double()
    share = truth.mean()
    weight = torch.where(members, 0.5 / share, 0.5 / (1 - share))
    network.train()
    for step in range(steps):
        batch = torch.randint(len(members), (min(_BATCH, len(members)),), generator=generator)
        optimizer.clear()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds(batch), truth[batch], weight[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(cosine(rate, step, steps))
    return network.eval()
