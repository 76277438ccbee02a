"""A small transformer that learns membership from one token a class; torch, imported where it is used."""

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
    """A network that tells rows of members from others. mean, scale: float64 [d], which standardise its input."""

    network: torch.nn.Module
    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, tokens: FloatArray, labels: IntArray, members: BoolArray) -> AttentionClassifier:
        """Learn membership.

        A linear map to 16 dimensions, two encoder layers of four heads without dropout, a linear read-out of the true
        class's token. 400 steps of AdamW over batches of 128, rate 3e-3 with a cosine decay, in float64 on one thread
        of control. Rows are put into an order of their own, so the order in which they are given does not matter.

        Args:
            tokens: [rows, classes, d].
            labels: int64 [rows], whose token is read.
            members: bool [rows].

        Raises:
            AttackError: rows of one kind are missing.
            MissingToolchain: torch is not installed.
        """
        require_torch("samia")
        import torch

        require_both_kinds(members)
        known = _rounded(tokens)
        mean, deviation = known.mean(axis=(0, 1)), known.std(axis=(0, 1))
        scale = np.where(deviation > 0, deviation, 1.0)
        order = np.lexsort((*known.reshape(len(known), -1).T, labels, members))
        rows = torch.from_numpy((known[order] - mean) / scale)
        network = _trained(rows, torch.from_numpy(labels[order]), torch.from_numpy(members[order]))
        return cls(network, mean, scale)

    def log_odds(self, tokens: FloatArray, labels: IntArray) -> FloatArray:
        """Log odds of membership, float64 [n]; 0 is even odds, both kinds weighing the same.

        Equal rows are answered once, so the order of rows does not matter.

        Args:
            tokens: [n, classes, d].
            labels: int64 [n].
        """
        import torch

        unknown = _rounded(tokens)
        flat = np.column_stack((labels, unknown.reshape(len(unknown), -1)))
        distinct, place = np.unique(flat, axis=0, return_inverse=True)
        with torch.no_grad():
            new = torch.from_numpy((distinct[:, 1:].reshape(-1, *unknown.shape[1:]) - self.mean) / self.scale)
            read = torch.from_numpy(distinct[:, 0].astype(np.int64))
            blocks = [slice(start, start + _BLOCK) for start in range(0, len(new), _BLOCK)]
            odds = torch.cat([_odds(self.network, new[block], read[block]) for block in blocks])
        return np.asarray(odds.numpy()[place.ravel()], dtype=np.float64)


def _rounded(tokens: FloatArray) -> FloatArray:
    """To float32, so that a softmax that differs in the last bit of a double gives the same rows; float64."""
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
