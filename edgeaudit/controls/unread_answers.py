"""Unread answers: does a file return more than what is audited?

A file that was made elsewhere may have further outputs, such as features or boxes, or values that are no label's score,
such as that of a background class. Who can query the file sees them, and they may tell members apart where the scores
do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeaudit.controls.base import Control

__all__ = ["NAME", "unread_answers"]

NAME = "unread answers"


def unread_answers(formats: Mapping[str, tuple[int, int]]) -> list[Control]:
    """Return a warning for each format whose file returns more than is audited.

    formats: by name, the number of outputs that are not read, and of values of the output that is.
    """
    return [
        Control(
            NAME,
            "warning",
            f"the file also returns {_listed(outputs, values)}, which who queries it sees and no attack here reads: "
            "serve it without them, or export a file that has none",
            float(outputs + values),
            format=name,
        )
        for name, (outputs, values) in formats.items()
        if outputs + values
    ]


def _listed(outputs: int, values: int) -> str:
    parts = []
    if values:
        parts.append(
            f"{values:,} value{'s' if values > 1 else ''} that {'are' if values > 1 else 'is'} no label's score"
        )
    if outputs:
        parts.append(f"{outputs:,} further output{'s' if outputs > 1 else ''}")
    return " and ".join(parts)
