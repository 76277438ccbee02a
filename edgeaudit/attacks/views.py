"""Views: answers of the target and of every shadow on transformed records, one further query a record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError

__all__ = ["ShadowView", "TargetView", "View"]

_FloatArray = npt.NDArray[np.float64]
_IntArray = npt.NDArray[np.int64]
_Records = npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice


def _is_of(name: str, kind: str) -> bool:
    return name.partition("-")[0] == kind


@dataclass(frozen=True)
class ShadowView:
    """The shadows' part of a view. shadows: float64 [K, records, classes]. name: as in `View`."""

    name: str
    shadows: _FloatArray

    def is_of(self, kind: str) -> bool:
        """Return whether the view is of this kind: flip, shift or noise."""
        return _is_of(self.name, kind)

    def require_fit(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackError` unless the answers are finite and have the `shape` of those on the original records."""
        if self.shadows.shape != shape:
            raise AttackError(f"the view '{self.name}': shadows must have shape {shape}, not {self.shadows.shape}")
        if not np.isfinite(self.shadows).all():
            raise AttackError(f"answers of the view '{self.name}' contain NaN or infinity; fix or drop these records")

    def take(self, records: _Records) -> ShadowView:
        """Return the view of these records only."""
        return ShadowView(self.name, self.shadows[:, records])

    def play(self, shadow: int, others: _IntArray) -> View:
        """Return the view with `shadow` as the target and these `others` as shadows."""
        return View(self.name, self.shadows[shadow], self.shadows[others])


@dataclass(frozen=True)
class TargetView:
    """The target's part of a view. target: float64 [records, classes]. name: as in `View`."""

    name: str
    target: _FloatArray

    def require_fit(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackError` unless the answers are finite and have the `shape` of those on the original records."""
        if self.target.shape != shape:
            raise AttackError(f"the view '{self.name}': target must have shape {shape}, not {self.target.shape}")
        if not np.isfinite(self.target).all():
            raise AttackError(f"answers of the view '{self.name}' contain NaN or infinity; fix or drop these records")

    def take(self, records: _Records) -> TargetView:
        """Return the view of these records only."""
        return TargetView(self.name, self.target[records])


@dataclass(frozen=True)
class View:
    """Answers to one query a record, at the evidence's exposure.

    name: of the view in `threat.views`; all queries of that view share it.
    target: float64 [records, classes]. shadows: float64 [K, records, classes].
    """

    name: str
    target: _FloatArray
    shadows: _FloatArray

    @property
    def of_target(self) -> TargetView:
        """The target's part."""
        return TargetView(self.name, self.target)

    @property
    def of_shadows(self) -> ShadowView:
        """The shadows' part."""
        return ShadowView(self.name, self.shadows)

    def is_of(self, kind: str) -> bool:
        """Return whether the view is of this kind: flip, shift or noise."""
        return _is_of(self.name, kind)

    def take(self, records: _Records) -> View:
        """Return the view of these records only."""
        return View(self.name, self.target[records], self.shadows[:, records])

    def keep(self, shadows: _IntArray) -> View:
        """Return the view with these shadows only, in this order."""
        return View(self.name, self.target, self.shadows[shadows])
