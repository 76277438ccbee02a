"""Related records: variances and effective sample sizes where records come in groups (copies, one user's records).

Records of a group are drawn together, so they are one draw of the population and not several. Groups of one record give
the ordinary formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray

__all__ = ["FEWEST", "Side", "sides", "too_few_groups"]

FEWEST = 20
"""Groups a side below which no interval is given; simulated down to about 25."""


@dataclass(frozen=True)
class Side:
    """The records of one side in groups. groups: int64 [records], 0 to count - 1."""

    groups: IntArray

    @cached_property
    def sizes(self) -> IntArray:
        """Records of each group, int64 [count]."""
        return np.bincount(self.groups).astype(np.int64)

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def single(self) -> bool:
        """Whether every group is one record."""
        return self.count == len(self.groups)

    @property
    def equivalent(self) -> float:
        """Return (sum of sizes)^2 / sum of squared sizes: independent records that know as much if groups agree."""
        return float(len(self.groups) ** 2 / (self.sizes.astype(np.float64) ** 2).sum())

    def variance_of_mean(self, values: FloatArray) -> float:
        """Return the variance of the mean of `values`, float64 [records]; NaN with a single group.

        G/(G-1) times the sum over groups of (sum of deviations / records)^2: for groups of one the usual variance / n.

        Source: Obuchowski, "Nonparametric analysis of clustered ROC curve data" (Biometrics 1997).
        """
        if self.count < 2:
            return float("nan")
        return float(self.count / (self.count - 1) * self._squares(values).sum())

    def variance_of_variance(self, values: FloatArray) -> float:
        """Return the estimated variance of `variance_of_mean`, which is a sum over groups, too."""
        return float(self.count * self._squares(values).var())

    def _squares(self, values: FloatArray) -> FloatArray:
        """Return each group's squared share in the deviation of the mean, float64 [count]."""
        deviations = values - values.mean()
        sums = np.bincount(self.groups, weights=deviations, minlength=self.count)
        return np.asarray((sums / len(values)) ** 2, dtype=np.float64)

    def effective_size(self, indicator: FloatArray) -> float:
        """Return the number of independent records that know the rate of `indicator` as well, in (0, records].

        Records divided by the design effect, the clustered over the binomial variance, which is taken as at least 1.
        Where the indicator is constant its variance says nothing, and the size is `equivalent`.

        Args:
            indicator: float64 [records], in [0, 1].

        Source: Rao & Scott (Biometrics 1992); Korn & Graubard (Survey Methodology 1998).
        """
        n = len(self.groups)
        if self.single:
            return float(n)
        rate = float(indicator.mean())
        binomial = rate * (1 - rate) / n
        if binomial <= 0 or self.count < 2:
            return self.equivalent
        return n / max(1.0, self.variance_of_mean(indicator) / binomial)


def sides(members: BoolArray, groups: npt.NDArray[np.int64] | None) -> tuple[Side, Side]:
    """Return the groups of the members and of the nonmembers, each in the order of the records.

    Args:
        members: bool [n].
        groups: int64 [n], the group of each record; None: every record is its own. A group with records on both sides
            counts as one group on each, which is conservative: what its members add to a figure its nonmembers take
            away.

    Raises:
        AttackError: `groups` is not one integer a record.
    """
    if groups is None:
        groups = np.arange(len(members), dtype=np.int64)
    if groups.shape != members.shape or not np.issubdtype(groups.dtype, np.integer):
        raise AttackError(
            f"groups {groups.shape} ({groups.dtype}) must be one integer for each of {len(members)} records"
        )
    inside, outside = (np.unique(groups[side], return_inverse=True)[1] for side in (members, ~members))
    return Side(inside.astype(np.int64)), Side(outside.astype(np.int64))


def too_few_groups(both: tuple[Side, Side]) -> str | None:
    """Return why related records allow no interval, or None."""
    inside, outside = both
    if (inside.single and outside.single) or min(inside.count, outside.count) >= FEWEST:
        return None
    return (
        f"not resolvable: {inside.count} groups of related members and {outside.count} of nonmembers; {FEWEST} of each "
        "are needed"
    )
