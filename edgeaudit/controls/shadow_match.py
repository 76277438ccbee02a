"""Shadow-target match: do the shadows answer what they trained on, and other records, as the target does?

Attacks transfer from shadows that match the target. They are weaker with shadows that do not, and with shadows that
have nothing in common with the target they find little even where everything leaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeaudit.controls.base import Control, Status
from edgeaudit.leakage.intervals import clopper_pearson

__all__ = ["Likeness", "Side", "shadow_size", "shadow_target_match"]

NAME = "shadow-target match"
MAX_DIFFERENCE = 0.1
"""Largest difference in accuracy, on members or on nonmembers, at which shadows still match the target."""
MAX_DISTANCE = 0.25
"""Largest distance of the distributions of margins at which they do."""
UNLIKE_DIFFERENCE, UNLIKE_DISTANCE = 0.25, 0.5
"""Beyond these, and beyond chance, calibrated attacks cannot be expected to work: half of all answers are elsewhere."""
_ALARM = 0.001
SIZE = "shadow size"
WARNED_SHARE, LEAST_SHARE = 0.9, 0.5
"""Of the target's records that a shadow trains on: below the first a warning, below the second the verdict is open."""
_NAMED = 4


@dataclass(frozen=True)
class Side:
    """Target and shadows on records that each trained on, or on others.

    n: the target's records. accuracy, shadow_accuracy: in [0, 1], the shadows' averaged. distance: the largest
    difference between the distribution functions of their margins, in [0, 1].
    """

    n: int
    accuracy: float
    shadow_accuracy: float
    distance: float

    @property
    def difference(self) -> float:
        """Of the accuracies."""
        return abs(self.accuracy - self.shadow_accuracy)

    @property
    def least_difference(self) -> float:
        """The smallest difference of accuracies that the target's records allow, at 99.9%."""
        low, high = clopper_pearson(round(self.accuracy * self.n), self.n, 1 - _ALARM)
        return max(low - self.shadow_accuracy, self.shadow_accuracy - high, 0.0)

    @property
    def least_distance(self) -> float:
        """The smallest distance that the target's records allow, at 99.9%.

        Source: Massart, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality" (1990).
        """
        return max(self.distance - math.sqrt(math.log(2 / _ALARM) / (2 * self.n)), 0.0)


@dataclass(frozen=True)
class Likeness:
    """trained: the target on its members, shadows on what they trained on. other: on nonmembers, and on the rest."""

    trained: Side
    other: Side


def shadow_target_match(formats: Mapping[str, Likeness], *, given: bool = False) -> list[Control]:
    """Return one finding a format.

    Undecided where accuracies differ by more than `UNLIKE_DIFFERENCE`, or distributions of margins by more than
    `UNLIKE_DISTANCE`, beyond chance; a warning from `MAX_DIFFERENCE` and `MAX_DISTANCE` on. Losses are a function of
    margins, so their distributions are as far apart.

    given: whether the user has some of the shadows, so that a list of their members may be at fault.
    """
    return [_finding(name, likeness, given=given) for name, likeness in formats.items()]


def shadow_size(members: int, drawn: int | None, given: Sequence[int] = ()) -> list[Control]:
    """Return the finding on shadows that train on fewer records than the target; none where all train on about as many.

    A model of a tenth of the records may be as accurate, and answers otherwise: on Adult, with shadows of 30 records
    for a target of 300, `cm-mia` finds .585 where a plain difference of losses finds .655. Means over shadows hide that
    some of them are small, so each counts.

    members: that the target trained on. drawn: records that each trained shadow draws; None without any, and where all
    train on as many as the target. given: records of each given shadow, in the order of `shadows.models`.
    """
    sizes = {f"shadows.models[{place}]": size for place, size in enumerate(given)}
    small = {name: size for name, size in sizes.items() if size < WARNED_SHARE * members}
    if drawn is not None and drawn < WARNED_SHARE * members:
        small = {"each trained shadow": drawn, **small}
    if not small:
        return []
    status: Status = "warning"
    meaning = "shadows of fewer records make attacks weaker, so figures may be too low but not too high"
    if min(small.values()) < LEAST_SHARE * members:
        status, meaning = (
            "undecided",
            "attacks that learn from shadows so much smaller cannot show that it leaks little",
        )
    named = [f"{name} trained on {size:,}" for name, size in small.items()]
    more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
    remedies = []
    if "each trained shadow" in small:
        remedies.append("set data.shadow-records to the number of members, and data.reference to more than that")
    if len(small) > len(remedies):
        remedies.append("give shadows that trained on as many records as the target, or leave the smaller ones out")
    statement = (
        f"the target trained on {members:,} records, {', '.join(named[:_NAMED])}{more}; {meaning}: "
        f"{'; '.join(remedies)}"
    )
    return [Control(SIZE, status, statement, min(small.values()) / members)]


_LISTS = "; or a list in shadows.members lacks records that its model trained on"


def _finding(name: str, likeness: Likeness, *, given: bool) -> Control:
    trained, other = likeness.trained, likeness.other
    sides = (trained, other)
    distance = max(side.distance for side in sides)
    statement = (
        f"the target's accuracy is {trained.accuracy:.1%} on its members and {other.accuracy:.1%} on nonmembers; its "
        f"shadows' accuracy is {trained.shadow_accuracy:.1%} and {other.shadow_accuracy:.1%}"
    )
    if max(side.least_distance for side in sides) > MAX_DISTANCE:
        statement += f"; the distributions of their margins are {distance:.2f} apart"
    status: Status = "holds"
    advice = ""
    if any(s.least_difference > UNLIKE_DIFFERENCE or s.least_distance > UNLIKE_DISTANCE for s in sides):
        status = "undecided"
        advice = (
            "; attacks calibrated on shadows so unlike the target cannot show that it leaks little: train them as the "
            "target was trained (recipe, epochs, augmentation, records)"
        )
    elif any(s.difference > MAX_DIFFERENCE or s.least_distance > MAX_DISTANCE for s in sides):
        status = "warning"
        advice = (
            "; shadows trained differently make attacks weaker, so figures may be too low but not too high: train them "
            "as the target was trained (recipe, epochs, augmentation, records)"
        )
    return Control(
        NAME,
        status,
        f"{statement}{advice}{_LISTS if given and advice else ''}",
        max(side.difference for side in sides),
        format=name,
        note=f"distributions of margins are at most {distance:.2f} apart",
    )
