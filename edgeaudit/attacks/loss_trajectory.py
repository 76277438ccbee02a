"""Loss trajectory: the losses on a record of a student that is distilled from the model on other records, by epoch."""

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
    """Score: log odds of membership by a small MLP on a record's losses.

    Its inputs are log(loss + 1/512) of the student after each epoch, and of the model itself. The MLP is trained on the
    trajectories of the shadows' students on reference records, whose membership is known, with equal weight of members
    and nonmembers; so its natural threshold is 0. The code that takes the trace ensures that no student is distilled on
    records that it scores.

    Source: Liu, Zhao, Backes, Zhang, "Membership Inference Attacks by Exploiting Loss Trajectory" (CCS 2022).
    Deviations: the MLP is smaller (hidden layers of 64 and 32, theirs 512, 128 and 32), because one shadow with the
    training set of an edge model gives only a few hundred rows. It reads standardised logarithms, theirs plain losses:
    losses of members and nonmembers differ by factors, down to .002 for the model itself, which a linear scale hides.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="loss-trajectory",
        variants=("distilled",),
        summary="MLP on the losses of a student distilled from the model, epoch by epoch, trained on shadows",
        paper="Liu et al., CCS 2022",
        needs=Needs(shadows=1, classes=True, trace="trajectory"),
        threshold=0.0,
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Network:  # noqa: ARG002
        return _Network.fit(*_with_shadow_losses(reference).examples(reference.out))


def _with_shadow_losses(reference: ShadowAnswers) -> ShadowTrace:
    """Return the trajectories of the shadows' students, with the shadows' own losses as the last column."""
    trace, details = reference.traces["trajectory"], (reference.labels, reference.exposure, reference.floor)
    shadows = {
        index: np.column_stack((losses, reference.task.loss(reference.shadows[index], *details)))
        for index, losses in trace.shadows.items()
    }
    return ShadowTrace((trace.shape[0], trace.shape[1] + 1), shadows)


@dataclass(frozen=True)
class _Network:
    """A fitted MLP on rows of losses. mean, scale: float64 [d], which standardise their logarithms."""

    network: torch.nn.Module
    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, losses: FloatArray, members: BoolArray) -> _Network:
        """Train on losses [rows, d] and members [rows]; rows are sorted first, so their order does not matter."""
        require_torch("loss-trajectory")
        require_both_kinds(members)
        logs = _logarithms(losses)
        mean, deviation = logs.mean(axis=0), logs.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        order = np.lexsort((*logs.T, members))
        return cls(_trained((logs[order] - mean) / scale, members[order]), mean, scale)

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        """Return the log odds of membership; equal rows are evaluated once, so the order of rows does not matter."""
        import torch

        losses = np.column_stack((evidence.traces["trajectory"].target, target_losses(evidence)))
        distinct, positions = np.unique(_logarithms(losses), axis=0, return_inverse=True)
        with torch.no_grad():
            rows = torch.from_numpy((distinct - self.mean) / self.scale)
            odds = torch.cat([self.network(rows[i : i + _BLOCK])[:, 0] for i in range(0, len(rows), _BLOCK)])
        return Scores(np.asarray(odds.numpy()[positions.ravel()], dtype=np.float64))


def _logarithms(losses: FloatArray) -> FloatArray:
    """Return float64 rounded to float32, so that a softmax that differs in the last bit gives the same rows."""
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
