"""Held-out members: early stopping validates on members that nothing was trained on, and they look like nonmembers."""

from __future__ import annotations

from edgeaudit.controls.base import Control

__all__ = ["NAME", "held_out_members"]

NAME = "held-out members"
_MOST = 0.1
"""Share of the members up to which figures say what they are short of; beyond it low ones are no evidence."""


def held_out_members(held_out: int, members: int) -> Control:
    """Return a warning for a small share, and what keeps budgets from a pass for a larger one.

    held_out: members that nothing was trained on. members: all.
    """
    return Control(
        NAME,
        "warning" if held_out <= _MOST * members else "undecided",
        f"{held_out:,} of {members:,} members were held out to stop the training, and nothing was trained on them: "
        "figures count them as members, so that the records that were trained on leak more than the figures say; lower "
        "model.early_stopping.share",
    )
