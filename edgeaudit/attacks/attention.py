"""A small transformer that predicts membership from one token a class. Imports torch on first use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.membership_network import fit, require_both_kinds, require_torch

if TYPE_CHECKING:
    import torch

__all__ = ["AttentionClassifier"]

_WIDTH, _HEADS, _LAYERS = 16, 4, 2
_STEPS, _RATE = 400, 3e-3
_BLOCK = 1024


@dataclass(frozen=True)
class AttentionClassifier:
    """A fitted membership classifier. mean, scale: float64 [d], which standardise its input."""

    network: torch.nn.Module
    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, tokens: FloatArray, labels: IntArray, members: BoolArray) -> AttentionClassifier:
        """Train the network.

        A linear map to 16 dimensions, two encoder layers of four heads without dropout, and a linear read-out of the
        true class's token. 400 steps of AdamW over batches of 128, rate 3e-3 with a cosine decay, in float64. Rows are
        sorted first, so the result does not depend on their order.

        Args:
            tokens: float64 [rows, classes, d].
            labels: int64 [rows], the class whose token is read.
            members: bool [rows].

        Raises:
            AttackError: there are no rows of members, or none of nonmembers.
            MissingToolchain: torch is not installed.
        """
        require_torch("samia")
        import torch

        require_both_kinds(members)
        inputs = _rounded(tokens)
        mean, deviation = inputs.mean(axis=(0, 1)), inputs.std(axis=(0, 1))
        scale = np.where(deviation > 0, deviation, 1.0)
        order = np.lexsort((*inputs.reshape(len(inputs), -1).T, labels, members))
        rows = torch.from_numpy((inputs[order] - mean) / scale)
        network = _trained(rows, torch.from_numpy(labels[order]), torch.from_numpy(members[order]))
        return cls(network, mean, scale)

    def log_odds(self, tokens: FloatArray, labels: IntArray) -> FloatArray:
        """Return the log odds of membership, float64 [n]; 0 means even odds, with equal weight of both classes.

        Equal rows are evaluated once, so the result does not depend on the order of rows.

        Args:
            tokens: float64 [n, classes, d].
            labels: int64 [n].
        """
        import torch

        inputs = _rounded(tokens)
        flat = np.column_stack((labels, inputs.reshape(len(inputs), -1)))
        distinct, positions = np.unique(flat, axis=0, return_inverse=True)
        with torch.no_grad():
            rows = torch.from_numpy((distinct[:, 1:].reshape(-1, *inputs.shape[1:]) - self.mean) / self.scale)
            classes = torch.from_numpy(distinct[:, 0].astype(np.int64))
            blocks = [slice(start, start + _BLOCK) for start in range(0, len(rows), _BLOCK)]
            odds = torch.cat([_odds(self.network, rows[block], classes[block]) for block in blocks])
        return np.asarray(odds.numpy()[positions.ravel()], dtype=np.float64)


def _rounded(tokens: FloatArray) -> FloatArray:
    """Round to float32 and return float64, so that a softmax that differs in the last bit gives the same rows."""
    return tokens.astype(np.float32).astype(np.float64)


def _network(inputs: int) -> torch.nn.Module:
    from torch import nn

    layer = nn.TransformerEncoderLayer(
        _WIDTH, _HEADS, 2 * _WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(inputs, _WIDTH), encoder, nn.Linear(_WIDTH, 1)).double()


def _odds(network: torch.nn.Module, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    answers: torch.Tensor = network(rows)[..., 0]
    return answers.gather(1, labels[:, None])[:, 0]


def _trained(rows: torch.Tensor, labels: torch.Tensor, members: torch.Tensor) -> torch.nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _network(rows.shape[2])
    return fit(network, lambda batch: _odds(network, rows[batch], labels[batch]), members, _STEPS, _RATE)
