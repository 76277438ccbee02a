"""Answers on transformed records: one query more about every record, put to the target and to every shadow."""

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
    """The shadows' part of a view: shadows, [K, records, classes]. name: as in `View`."""

    name: str
    shadows: _FloatArray

    def is_of(self, kind: str) -> bool:
        """Whether the view is of this kind: flip, shift, noise."""
        return _is_of(self.name, kind)

    def require_fit(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackError` unless the answers are finite and of the `shape` of those on the records as they are."""
        if self.shadows.shape != shape:
            raise AttackError(f"the view '{self.name}' does not fit: shadows {self.shadows.shape} in place of {shape}")
        if not np.isfinite(self.shadows).all():
            raise AttackError(f"the view '{self.name}' has answers that are not finite")

    def take(self, records: _Records) -> ShadowView:
        """The same view of fewer records."""
        return ShadowView(self.name, self.shadows[:, records])

    def play(self, shadow: int, others: _IntArray) -> View:
        """The view with `shadow` as the target and these `others` as shadows."""
        return View(self.name, self.shadows[shadow], self.shadows[others])


@dataclass(frozen=True)
class TargetView:
    """The target's part of a view: target, [records, classes]. name: as in `View`."""

    name: str
    target: _FloatArray

    def require_fit(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackError` unless the answers are finite and of the `shape` of those on the records as they are."""
        if self.target.shape != shape:
            raise AttackError(f"the view '{self.name}' does not fit: target {self.target.shape} in place of {shape}")
        if not np.isfinite(self.target).all():
            raise AttackError(f"the view '{self.name}' has answers that are not finite")

    def take(self, records: _Records) -> TargetView:
        """The same view of fewer records."""
        return TargetView(self.name, self.target[records])


@dataclass(frozen=True)
class View:
    """One query. target: float64 [records, classes]; shadows: [K, records, classes]; at the evidence's exposure.

    name: of the view in `threat.views`; the queries of one view share it.
    """

    name: str
    target: _FloatArray
    shadows: _FloatArray

    @property
    def of_target(self) -> TargetView:
        """What the target answers."""
        return TargetView(self.name, self.target)

    @property
    def of_shadows(self) -> ShadowView:
        """What the shadows answer."""
        return ShadowView(self.name, self.shadows)

    def is_of(self, kind: str) -> bool:
        """Whether the view is of this kind: flip, shift, noise."""
        return _is_of(self.name, kind)

    def take(self, records: _Records) -> View:
        """The same view of fewer records."""
        return View(self.name, self.target[records], self.shadows[:, records])

    def keep(self, shadows: _IntArray) -> View:
        """The view of these shadows, in this order."""
        return View(self.name, self.target, self.shadows[shadows])
