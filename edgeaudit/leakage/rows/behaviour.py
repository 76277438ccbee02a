"""How one format's models answer the records that they trained on, and others: what the controls compare."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Behaviour", "Gap", "Gaps"]


@dataclass(frozen=True)
class Gap:
    """A mean over the records that a model trained on, minus the mean over records that it did not train on.

    variance: of `value`, over draws of the records with the model fixed.
    """

    value: float
    variance: float


@dataclass(frozen=True)
class Gaps:
    """One model's gaps, each larger the better it knows what it trained on.

    accuracy: of the share of right answers. loss: in nats, with the sign turned, so that a lower loss on what the model
    trained on is a positive gap. margin: in nats.
    """

    accuracy: Gap
    loss: Gap
    margin: Gap


@dataclass(frozen=True)
class Behaviour:
    """The first target of one format, and its shadows, each on what it trained on itself and on other records.

    p_accuracy, p_loss: one-sided p-values, by ranks, that the target is right more often on its members, and has lower
    losses on them, than on nonmembers. trained_distance, other_distance: the largest difference between the
    distribution functions of the target's margins and of its shadows', on what each trained on and on the rest; None
    without shadows. at_chance: the target's answers are no better than chance (accuracy, loss and mean recall).
    unlisted: of each given shadow, the last of all, the gap between the target's members and nonmembers that its list
    does not have; None where it has nearly all. alike: pairs of a given shadow and another model that answer every
    record alike; 0 is the target, then come the shadows from 1.
    """

    target: Gaps
    shadows: tuple[Gaps, ...]
    p_accuracy: float
    p_loss: float
    trained_distance: float | None = None
    other_distance: float | None = None
    at_chance: bool = False
    unlisted: tuple[Gaps | None, ...] = ()
    alike: tuple[tuple[int, int], ...] = ()
