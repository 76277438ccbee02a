"""Target accuracy: has the target learned anything of these records?

A checkpoint or a file whose answers are no better than chance is refused, since it is not the model that was meant. A
model that edgeaudit's own loop trained is what the recipe asks for, and is audited; but a model that learned nothing
cannot leak, and a pass would say nothing about one that did.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeaudit.controls.base import Control

__all__ = ["NAME", "target_accuracy"]

NAME = "target accuracy"


def target_accuracy(at_chance: Mapping[str, bool]) -> list[Control]:
    """Return one finding a format: undecided where the target's answers are no better than chance.

    at_chance: by format, as `edgeaudit.stages.target_check` found it.
    """
    return [
        Control(
            NAME,
            "undecided",
            "the target's answers are no better than chance, so that it has nothing to leak: train it for longer "
            "(model.epochs) or on more records (data.members)",
            format=name,
        )
        if by_chance
        else Control(NAME, "holds", "the target's answers are better than chance", format=name)
        for name, by_chance in at_chance.items()
    ]
