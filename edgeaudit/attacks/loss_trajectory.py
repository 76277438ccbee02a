"""Loss trajectory: how the loss on a record falls while a student learns from the model's answers on other records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.membership_network import fit, require_both_kinds, require_torch
from edgeaudit.attacks.signals import target_losses
from edgeaudit.attacks.traces import ShadowTrace

if TYPE_CHECKING:
    import torch

__all__ = ["LossTrajectory"]

_SOFT_ZERO = 1 / 512
_HIDDEN = (64, 32)
_STEPS, _RATE = 400, 3e-3
_BLOCK = 8192


class LossTrajectory(Attack):
    """Score: log odds of membership by a small MLP that reads a record's losses.

    They are log(loss + 1/512) of a student after each epoch, and of the model itself. The MLP learns from the
    trajectories of the shadows' students on reference records, whose membership is known, both kinds weighing the same;
    so its natural threshold is 0. That no student learned from the records that it is scored on is the trace's doing.

    Source: Liu, Zhao, Backes, Zhang, "Membership Inference Attacks by Exploiting Loss Trajectory" (CCS 2022). We
    deviate: the MLP is smaller (hidden layers of 64 and 32, theirs 512, 128 and 32), since one shadow with the training
    set of an edge model gives a few hundred rows, and reads standardised logarithms, theirs losses as they are. A
    member's losses differ from a nonmember's by factors, down to a model's own of .002; on one scale that is not seen.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="loss-trajectory",
        variants=("distilled",),
        summary="MLP on the losses of a student distilled from the model, epoch by epoch, trained on shadows",
        paper="Liu et al., CCS 2022",
        needs=Needs(shadows=1, trace="trajectory"),
        threshold=0.0,
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Network:  # noqa: ARG002
        return _Network.fit(*_with_own(reference).examples(reference.out))


def _with_own(reference: ShadowAnswers) -> ShadowTrace:
    """The trajectories of the shadows' students with the shadows' own losses at the end."""
    found, about = reference.traces["trajectory"], (reference.labels, reference.exposure, reference.floor)
    shadows = {
        number: np.column_stack((losses, reference.task.loss(reference.shadows[number], *about)))
        for number, losses in found.shadows.items()
    }
    return ShadowTrace((found.shape[0], found.shape[1] + 1), shadows)


@dataclass(frozen=True)
class _Network:
    """Tells rows of losses of members from others. mean, scale: float64 [d], which standardise their logarithms."""

    network: torch.nn.Module
    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, losses: FloatArray, members: BoolArray) -> _Network:
        """Learn membership from rows [rows, d], put into an order of their own: that of the rows does not matter."""
        require_torch("loss-trajectory")
        require_both_kinds(members)
        logs = _logarithms(losses)
        mean, deviation = logs.mean(axis=0), logs.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        order = np.lexsort((*logs.T, members))
        return cls(_trained((logs[order] - mean) / scale, members[order]), mean, scale)

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        """Log odds of membership, in float64; equal rows are answered once, so the order of rows does not matter."""
        import torch

        losses = np.column_stack((evidence.traces["trajectory"].target, target_losses(evidence)))
        distinct, place = np.unique(_logarithms(losses), axis=0, return_inverse=True)
        with torch.no_grad():
            rows = torch.from_numpy((distinct - self.mean) / self.scale)
            odds = torch.cat([self.network(rows[i : i + _BLOCK])[:, 0] for i in range(0, len(rows), _BLOCK)])
        return Scores(np.asarray(odds.numpy()[place.ravel()], dtype=np.float64))


def _logarithms(losses: FloatArray) -> FloatArray:
    """Float64, rounded to float32, so that a softmax that differs in the last bit of a double gives the same rows."""
    return np.asarray(np.log(losses + _SOFT_ZERO).astype(np.float32).astype(np.float64), dtype=np.float64)


def _trained(rows: FloatArray, members: BoolArray) -> torch.nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[torch.nn.Module] = []
        width = rows.shape[1]
        for hidden in _HIDDEN:
            layers += [torch.nn.Linear(width, hidden), torch.nn.ReLU()]
            width = hidden
        network = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1)).double()
    inputs = torch.from_numpy(rows)
    return fit(network, lambda batch: network(inputs[batch])[:, 0], torch.from_numpy(members), _STEPS, _RATE)
