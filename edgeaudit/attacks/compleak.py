"""CompLeak: multi-version attacks, with classifiers on the answers of one, two or more versions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.membership_network import fit, require_torch
from edgeaudit.attacks.versions import FloatRows, ShadowVersion, TargetVersion, require_one_model
from edgeaudit.errors import AttackError

if TYPE_CHECKING:
    import torch

__all__ = ["LEAST_EXAMPLES", "Classifier", "Pair", "Stack"]

LEAST_EXAMPLES = 50
"""Minimum number of (shadow, record) pairs of members, and of nonmembers, to train on."""

_TREES, _LEAF = 100, 30
_SOFT_ZERO = 1 / 512
_BRANCH, _HEAD = (128, 64), (256, 128, 64)
_STEPS, _RATE = 600, 3e-3


@dataclass(frozen=True)
class Classifier:
    """CompLeak NR (one version) and SR (two): a random forest on confidence vectors and the label.

    Each version's probabilities and the one-hot label are sorted by the first version's probabilities, ascending. So
    the identity of classes does not matter, and a class has the same column in all versions. SR's first version is the
    original model. Score: the forest's probability of membership, with equal weight of members and nonmembers.

    Source: Li et al., "CompLeak: Deep Learning Model Compression Exacerbates Privacy Leakage" (arXiv 2507.16872, USENIX
    Security 2026) and the authors' code, which calls these features CompLeakSR2. docs/attacks/compleak.md has the
    deviations.
    """

    model: Any

    @classmethod
    def fit(cls, shadows: Sequence[ShadowVersion], seed: int, rows: BoolArray | None = None) -> Classifier:
        """Fit to the shadows' rows, or to the subset selected by `rows`, bool [rows].

        Raises:
            AttackError: versions of different models, or too few rows of members or nonmembers.
        """
        require_one_model(shadows)
        picked = np.ones(len(shadows[0].row_members), dtype=np.bool_) if rows is None else rows
        members = shadows[0].row_members[picked]
        require_examples(members)
        features = _features([version.row_answers[picked] for version in shadows], shadows[0].row_labels[picked])
        return cls(_forest(features, members, seed))

    def score(self, target: Sequence[TargetVersion]) -> FloatArray:
        """Return the probability of membership, float64 [n]; versions in the order of `fit`."""
        return self.of_answers([version.answers for version in target], target[0].labels)

    def of_answers(self, answers: Sequence[FloatRows], labels: IntArray) -> FloatArray:
        """Return the probability of membership, float64 [n], from each version's answers [n, classes] and labels."""
        probability = self.model.predict_proba(_features(answers, labels))[:, 1]
        return np.asarray(probability, dtype=np.float64)


@dataclass(frozen=True)
class Pair:
    """Two SR classifiers of the original and another version, each fitted to one half of the known records."""

    halves: tuple[Classifier, Classifier]

    @classmethod
    def fit(cls, original: ShadowVersion, other: ShadowVersion, seed: int) -> Pair:
        """Fit to the shadows' rows. Raises `AttackError` as `Classifier.fit` does."""
        versions = (original, other)
        require_one_model(versions)
        first, second = (Classifier.fit(versions, seed, original.row_halves == half) for half in (0, 1))
        return cls((first, second))

    def of_unseen_rows(self, original: ShadowVersion, other: ShadowVersion) -> FloatArray:
        """Return the rows' probability of membership, float64 [rows], each by the classifier of the other half."""
        probability = np.empty(len(original.row_halves))
        for half, classifier in enumerate(self.halves):
            unseen = original.row_halves != half
            answers = [version.row_answers[unseen] for version in (original, other)]
            probability[unseen] = classifier.of_answers(answers, original.row_labels[unseen])
        return probability

    def score(self, original: TargetVersion, other: TargetVersion) -> FloatArray:
        """Return the two classifiers' mean probability of membership, float64 [n]."""
        scores = [classifier.score((original, other)) for classifier in self.halves]
        return np.asarray(np.mean(scores, axis=0), dtype=np.float64)


def require_examples(members: BoolArray) -> None:
    """Raise `AttackError` unless there are enough rows of members and of nonmembers to train on."""
    inside = int(members.sum())
    if min(inside, len(members) - inside) < LEAST_EXAMPLES:
        raise AttackError(
            f"CompLeak needs {LEAST_EXAMPLES} or more shadows' answers on records they trained on and as many on other "
            f"records; there are {inside} and {len(members) - inside}"
        )


def _features(answers: Sequence[FloatRows], labels: IntArray) -> FloatRows:
    """Return the features, float32 [n, (versions + 1) classes]. Equal probabilities keep the order of classes."""
    order = np.argsort(answers[0], axis=1, kind="stable")
    true = (np.arange(answers[0].shape[1]) == labels[:, None]).astype(np.float32)
    return np.concatenate([np.take_along_axis(columns, order, axis=1) for columns in (*answers, true)], axis=1)


def _forest(features: FloatRows, members: BoolArray, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=_TREES, min_samples_leaf=_LEAF, class_weight="balanced", random_state=seed, n_jobs=1
    )
    return forest.fit(features, members)


@dataclass(frozen=True)
class Stack:
    """CompLeak MR: a network on the output of an SR classifier of each further version, and on that version's loss.

    The first version is the original model, or a substitute where the attacker does not have it. The SR classifiers are
    trained on one half of the known records and applied to the other half; the network is trained on these outputs. For
    the target, the mean of the two halves is used. Score: the network's log odds, with equal weight of members and
    nonmembers.

    Source: as for `Classifier`; the authors' notebook CompLeakMR.
    """

    pairs: tuple[Pair, ...]
    mean: FloatArray
    scale: FloatArray
    network: Any

    @classmethod
    def fit(cls, shadows: Sequence[ShadowVersion], seed: int, pairs: Sequence[Pair] | None = None) -> Stack:
        """Fit to the shadows' rows.

        Args:
            shadows: two or more versions, the original model first.
            seed: of the forests and the network.
            pairs: of the first and each further version, where they are already fitted.

        Raises:
            AttackError: versions of different models, fewer than two versions, or too few rows of members or
                nonmembers.
        """
        if len(shadows) < 2:
            raise AttackError("CompLeak MR needs two or more versions of the model")
        require_torch("CompLeak MR")
        require_one_model(shadows)
        first, others = shadows[0], shadows[1:]
        fitted = [Pair.fit(first, other, seed) for other in others] if pairs is None else pairs
        columns = [pair.of_unseen_rows(first, other) for pair, other in zip(fitted, others, strict=True)]
        rows = _inputs(columns, [other.row_margins for other in others])
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        network = _train((rows - mean) / scale, first.row_members, seed)
        return cls(tuple(fitted), mean, scale, network)

    def score(self, target: Sequence[TargetVersion]) -> FloatArray:
        """Return the log odds of membership, float64 [n]; versions in the order of `fit`."""
        import torch

        first, others = target[0], target[1:]
        columns = [pair.score(first, other) for pair, other in zip(self.pairs, others, strict=True)]
        rows = _inputs(columns, [other.margins for other in others])
        with torch.no_grad():
            odds = self.network(torch.from_numpy((rows - self.mean) / self.scale))
        return np.asarray(odds.numpy(), dtype=np.float64)


def _inputs(columns: Sequence[FloatArray], margins: Sequence[FloatArray]) -> FloatArray:
    """Return each classifier's output and the log of each version's loss, float64 [n, 2 (versions - 1)].

    A loss is softplus(-margin). Its logarithm is used, since the losses of members and nonmembers differ by factors.
    """
    losses = [np.log(np.logaddexp(0.0, -phi) + _SOFT_ZERO) for phi in margins]
    return np.column_stack((*columns, *losses)).astype(np.float32).astype(np.float64)


def _train(rows: FloatArray, members: BoolArray, seed: int) -> torch.nn.Module:
    import torch

    versions = rows.shape[1] // 2

    def chain(width: int, sizes: Sequence[int], last: int) -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        for size in sizes:
            layers += [torch.nn.Linear(width, size), torch.nn.ReLU()]
            width = size
        return torch.nn.Sequential(*layers, torch.nn.Linear(width, last))

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifiers = chain(versions, _BRANCH[:1], _BRANCH[1])
            self.losses = chain(versions, _BRANCH[:1], _BRANCH[1])
            self.head = chain(2 * _BRANCH[1], _HEAD, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            branches = (self.classifiers(inputs[:, :versions]), self.losses(inputs[:, versions:]))
            odds: torch.Tensor = self.head(torch.cat(branches, dim=1))[:, 0]
            return odds

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network().double()
    inputs = torch.from_numpy(rows)
    return fit(network, lambda batch: network(inputs[batch]), torch.from_numpy(members), _STEPS, _RATE)
