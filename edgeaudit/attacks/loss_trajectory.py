"""Loss trajectory: how the loss on a record falls while a student learns from the model's answers on other records."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, BoolArray, Evidence, FloatArray, Needs, Scores
from edgeaudit.attacks.kept_models import kept
from edgeaudit.attacks.membership_network import fit, require_both_kinds, require_torch
from edgeaudit.attacks.signals import target_losses, true_class_loss
from edgeaudit.attacks.traces import Trace

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

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        known, members = _with_own(reference).examples(reference.out)
        asked = np.column_stack((evidence.traces["trajectory"].target, target_losses(evidence)))
        return Scores(_log_odds(known, members, asked))


def _with_own(reference: Evidence) -> Trace:
    """The trajectories of the shadows' students with the shadows' own losses at the end."""
    found = reference.traces["trajectory"]
    shadows = {}
    for number, losses in found.shadows.items():
        own = true_class_loss(reference.shadows[number], reference.labels, reference.exposure, reference.floor)
        shadows[number] = np.column_stack((losses, own))
    return Trace(np.column_stack((found.target, target_losses(reference))), shadows, found.queries)


def _log_odds(known: FloatArray, members: BoolArray, asked: FloatArray) -> FloatArray:
    """Learn membership from `known` [rows, d] and give the log odds of `asked` [n, d], float64 [n].

    In float64. Rows are put into an order of their own and equal rows are answered once, so neither the order of rows
    nor that of `asked` matters.
    """
    require_torch("loss-trajectory")
    import torch

    require_both_kinds(members)
    # Rounded first, so that a softmax that differs in the last bit of a double gives the same rows.
    logs, new = (np.log(losses + _SOFT_ZERO).astype(np.float32).astype(np.float64) for losses in (known, asked))
    mean, deviation = logs.mean(axis=0), logs.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    order = np.lexsort((*logs.T, members))
    rows, truth = (logs[order] - mean) / scale, members[order]
    network: torch.nn.Module = kept("loss trajectory", (rows, truth), lambda: _trained(rows, truth))
    distinct, place = np.unique(new, axis=0, return_inverse=True)
    with torch.no_grad():
        told = torch.from_numpy((distinct - mean) / scale)
        odds = torch.cat([network(told[i : i + _BLOCK])[:, 0] for i in range(0, len(told), _BLOCK)])
    return np.asarray(odds.numpy()[place.ravel()], dtype=np.float64)


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
