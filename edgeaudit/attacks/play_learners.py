"""Learners of membership from plays: trees, and two smooth ones, a small network and a quadratic logistic regression.

All give log odds for members and nonmembers that are equally frequent, whatever their share among the rows. Rows are
rounded to float32, so that the last bits of an answer do not change what is learned.

With few rows, as of four shadows, trees and a regression on products learn more noise than signal where little leaks.
So how far they go is chosen by what they say of records that they did not learn from.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.calibrated_features import COLUMNS, RISING
from edgeaudit.attacks.evidence import BoolArray, FloatArray
from edgeaudit.attacks.membership_network import require_both_kinds
from edgeaudit.attacks.plays import rounded

if TYPE_CHECKING:
    import torch

__all__ = ["Learner", "Network", "Quadratic", "Rows", "Trees", "smooth_learners"]

Rows = npt.NDArray[np.float32]
AnyRows = npt.NDArray[np.floating[Any]]

_SEEDS = 2
_WIDTH = 32
_EPOCHS = 5
_LEAST_STEPS = 300
_BATCH = 256
_RATE = 3e-3
_DECAY = 0.01
_NETWORK_CLIP = 5.0
_QUADRATIC_CLIP = 4.0
_INVERSE_PENALTIES = (0.0003, 0.003, 0.03, 0.5)
_ITERATIONS = 150
_ROUNDS = (15, 30, 60, 120, 250)
_MANY_ROWS = 50_000
"""Rows beyond which the choice of a setting changes nothing that could be measured, and takes long."""


class Learner(Protocol):
    """A learner, fitted to rows of plays."""

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray, half: BoolArray | None = None) -> Self:
        """Fit to rows [n, d] and whether the model that plays trained on each record, bool [n].

        half: bool [n], the half of the records that a row is of. With it, and no more than 50,000 rows, settings are
            those with the least log loss on the other half; without it, those of many rows.

        Raises:
            AttackError: no row is of a member, or none of a nonmember.
        """
        ...

    def log_odds(self, rows: AnyRows) -> FloatArray:
        """Return log odds of membership, float64 [n]."""
        ...


def smooth_learners() -> tuple[type[Learner], ...]:
    """Return `Network` and `Quadratic`; `Quadratic` alone where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return (Quadratic,)
    return (Network, Quadratic)


@dataclass(frozen=True)
class Standardised:
    """Columns minus their mean over their deviation, clipped.

    centre, scale: float64 [d].
    """

    centre: FloatArray
    scale: FloatArray
    clip: float

    @classmethod
    def fit(cls, rows: AnyRows, clip: float) -> Standardised:
        """rows: [n, d]."""
        rows = rounded(rows)
        centre, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        # A constant column's deviation is a rounding error, not 0.
        constant = scale <= 1e-6 * np.maximum(1.0, np.abs(rows).max(axis=0))
        return cls(centre, np.where(constant, 1.0, scale), clip)

    def __call__(self, rows: AnyRows) -> Rows:
        """Return float32 [n, d]. Rows are rounded first, as those of plays are."""
        return np.clip((rounded(rows) - self.centre) / self.scale, -self.clip, self.clip).astype(np.float32)


def _prior(members: BoolArray) -> float:
    require_both_kinds(members)
    return math.log(members.sum() / (~members).sum())


def _is_chosen(members: BoolArray, half: BoolArray | None) -> bool:
    """Return whether settings can be chosen by halves, and should be."""
    return (
        half is not None
        and len(members) <= _MANY_ROWS
        and all(0 < members[part].sum() < part.sum() for part in (half, ~half))
    )


def _log_loss(odds: FloatArray, members: BoolArray) -> float:
    """Return the mean log loss of log odds, of rows as they are."""
    return float(np.logaddexp(0, np.where(members, -odds, odds)).mean())


@dataclass(frozen=True)
class Quadratic:
    """Logistic regression on columns, their squares and products; at most 150 rounds of L-BFGS.

    C is .5, or .0003, .003, .03 or .5 as `half` decides.
    """

    inputs: Standardised
    model: Any
    prior: float

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray, half: BoolArray | None = None) -> Self:
        """See `Learner`."""
        prior, inputs = _prior(members), Standardised.fit(rows, _QUADRATIC_CLIP)
        x = _squares(inputs(rows))
        penalty = _INVERSE_PENALTIES[-1]
        if half is not None and _is_chosen(members, half):
            losses = [0.0] * len(_INVERSE_PENALTIES)
            for part in (half, ~half):
                for place, one in enumerate(_INVERSE_PENALTIES):
                    odds = _regression(x[part], members[part], one).decision_function(x[~part])
                    losses[place] += _log_loss(odds, members[~part])
            penalty = _INVERSE_PENALTIES[int(np.argmin(losses))]
        return cls(inputs, _regression(x, members, penalty), prior)

    def log_odds(self, rows: AnyRows) -> FloatArray:
        """See `Learner`."""
        return np.asarray(self.model.decision_function(_squares(self.inputs(rows))) - self.prior, dtype=np.float64)


def _regression(x: Rows, members: BoolArray, penalty: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=penalty, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        # Few rounds are meant: columns are nearly collinear, and the odds settle long before the weights.
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        return model.fit(x, members)


def _squares(x: Rows) -> Rows:
    first, second = np.triu_indices(x.shape[1])
    return np.concatenate((x, x[:, first] * x[:, second]), axis=1)


@dataclass(frozen=True)
class Network:
    """Networks d-32-32-1 with SiLU, trained with AdamW over one cycle of rates for 5 epochs; mean of two seeds."""

    inputs: Standardised
    layers: tuple[torch.Tensor, ...]
    prior: float

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray, half: BoolArray | None = None) -> Self:  # noqa: ARG003
        """See `Learner`; nothing is chosen. Both seeds see the same batches, and train side by side."""
        import torch

        from edgeaudit.optimizers import AdamW, one_cycle

        prior, inputs = _prior(members), Standardised.fit(rows, _NETWORK_CLIP)
        x, y = torch.from_numpy(inputs(rows)), torch.from_numpy(members.astype(np.float32))
        generator = torch.Generator().manual_seed(0)
        layers = _initial(x.shape[1], generator)
        batch = min(_BATCH, len(x))
        epochs = max(_EPOCHS, math.ceil(_LEAST_STEPS * batch / len(x)))
        steps = epochs * (len(x) // batch)
        optimizer, step = AdamW(layers, _DECAY), 0
        for _ in range(epochs):
            order = torch.randperm(len(x), generator=generator)
            for first in range(0, len(x) - batch + 1, batch):
                taken = order[first : first + batch]
                odds = _forward(layers, x[taken])
                optimizer.clear()
                # The sum over seeds: each has the gradient that it would have alone.
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    odds, y[taken].expand_as(odds), reduction="sum"
                )
                (loss / batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step(*one_cycle(_RATE, step, steps))
                step += 1
        # In doubles: what is scored with a record must not change its score.
        return cls(inputs, tuple(layer.detach().double() for layer in layers), prior)

    def log_odds(self, rows: AnyRows) -> FloatArray:
        """See `Learner`; the mean over the seeds."""
        import torch

        with torch.no_grad():
            odds = _forward(self.layers, torch.from_numpy(self.inputs(rows)).double()).mean(dim=0)
        return np.asarray(odds.numpy() - self.prior, dtype=np.float64)


def _initial(columns: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Weights and biases of all seeds, uniform as in torch.nn.Linear."""
    import torch

    layers = []
    for inputs, outputs in ((columns, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, 1)):
        bound = 1 / math.sqrt(inputs)
        for shape in ((_SEEDS, inputs, outputs), (_SEEDS, 1, outputs)):
            values = (2 * torch.rand(shape, generator=generator) - 1) * bound
            layers.append(values.requires_grad_())
    return layers


def _forward(layers: tuple[torch.Tensor, ...] | list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return the log odds of every seed, [seeds, n]."""
    import torch

    hidden = x.expand(_SEEDS, *x.shape)
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        hidden = torch.nn.functional.silu(torch.baddbmm(bias, hidden, weight))
    return torch.baddbmm(layers[-1], hidden, layers[-2])[..., 0]


@dataclass(frozen=True)
class Trees:
    """scikit-learn's histogram gradient boosting on `calibrated_features`, monotone in `RISING`.

    250 rounds, or 15 to 250 as `half` decides, rate .06, 12 leaves, L2 5. Leaves hold 80 or more rows; below 3,200 rows
    a fortieth of the rows, but at least 10. Sample weights would correct the share of members, too, but with them
    scikit-learn 1.9 computes bin edges by weighted percentiles, one sort for each of 255 edges, which took 80% of the
    time. Nothing is random except the choice of 200,000 rows for the bin edges where there are more.
    """

    model: Any
    prior: float

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray, half: BoolArray | None = None) -> Self:
        """See `Learner`."""
        prior, x = _prior(members), rounded(rows)
        rounds = _ROUNDS[-1]
        if half is not None and _is_chosen(members, half):
            losses = np.zeros(_ROUNDS[-1])
            for part in (half, ~half):
                after_each = _boosted(x[part], members[part], rounds).staged_decision_function(x[~part])
                losses += [_log_loss(np.ravel(odds), members[~part]) for odds in after_each]
            rounds = min(_ROUNDS, key=lambda count: float(losses[count - 1]))
        return cls(_boosted(x, members, rounds), prior)

    def log_odds(self, rows: AnyRows) -> FloatArray:
        """See `Learner`."""
        return np.asarray(self.model.decision_function(rounded(rows)) - self.prior, dtype=np.float64)


def _boosted(x: Rows, members: BoolArray, rounds: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=rounds,
        max_leaf_nodes=12,
        min_samples_leaf=min(80, max(10, len(x) // 40)),
        l2_regularization=5.0,
        monotonic_cst=[int(column in RISING) for column in COLUMNS],
        early_stopping=False,
        random_state=0,
    )
    return model.fit(x, members)
