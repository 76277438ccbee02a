"""The levels of `threat.weaker` by name: how much of an answer is returned. `edgeaudit.attacks.exposure` derives them.

A level costs no query, since its answers are derived from stored ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeaudit.errors import SpecError

__all__ = ["LEVEL_PATTERN", "Level", "parse_level", "require_levels_fit"]

_NAME = re.compile(r"(probabilities|label|top|rounded)(?:-(\d{1,9}))?")
_MOST_DECIMALS = 6
"""Answers are stored as float32, which has about seven digits."""

LEVEL_PATTERN = rf"^(probabilities|label|top-0*[1-9][0-9]{{0,8}}|rounded-0*[1-{_MOST_DECIMALS}])$"
"""What `parse_level` reads, for the JSON Schema."""


@dataclass(frozen=True)
class Level:
    """One level: the returned part of an answer.

    probabilities: all of them, where the audit's own exposure is logits. top-<k>: the k largest probabilities and
    their classes. rounded-<d>: all probabilities, each rounded to d decimals. label: the class of the largest.
    """

    kind: Literal["probabilities", "top", "rounded", "label"]
    amount: int = 0

    @property
    def name(self) -> str:
        """As audit.yaml and reports write it."""
        return f"{self.kind}-{self.amount}" if self.amount else self.kind


def parse_level(name: str) -> Level:
    """The level that an entry of `threat.weaker` names. Raises `ValueError` that lists the forms."""
    match = _NAME.fullmatch(name)
    if match is not None:
        kind, amount = match[1], int(match[2] or 0)
        counts = kind in {"top", "rounded"}
        if counts == (match[2] is not None) and (not counts or amount > 0):
            if kind == "rounded" and amount > _MOST_DECIMALS:
                raise ValueError(
                    f"'{name}': answers are float32, of which at most {_MOST_DECIMALS} decimals are significant"
                )
            return Level(kind, amount)  # type: ignore[arg-type]
    raise ValueError(
        f"'{name}' is not a weaker exposure; there are top-<classes>, rounded-<decimals> (whole numbers from 1), "
        "label, and probabilities where threat.exposure is logits"
    )


def require_levels_fit(names: Sequence[str], classes: int) -> None:
    """Raise `SpecError` for a level that is impossible with this number of classes."""
    for level in map(parse_level, names):
        if level.kind == "top" and level.amount > classes:
            raise SpecError(
                f"threat.weaker: '{level.name}' returns more classes than there are ({classes}); remove it, or use "
                f"top-{max(1, classes // 2)}"
            )
