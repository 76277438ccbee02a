"""The views of `threat.views` by name: how else a record is shown to a model. `edgeaudit.population.views` makes them.

A view is one or more queries a record.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeaudit.errors import SpecError

__all__ = ["DIRECTIONS", "VIEW_PATTERN", "Transform", "parse_view", "require_views_fit"]

_NAME = re.compile(r"(flip|shift|noise)(?:-(\d+)(?:x(\d+))?)?")
VIEW_PATTERN = r"^(flip|shift(-0*[1-9][0-9]*)?|noise(-0*[1-9][0-9]*(x0*[1-9][0-9]*)?)?)$"
"""What `parse_view` reads, for the JSON Schema."""

DIRECTIONS = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""Of a shift's queries: (down, right)."""


@dataclass(frozen=True)
class Transform:
    """One view.

    flip: mirrored left to right; one query. shift-<px>: moved by so many pixels to the left, the right, up and down,
    zeros (the mean) moving in as in `augment: flip-shift`; four queries. noise-<k>x<m>: Gaussian noise with a
    deviation of k input steps on every value, m draws; m queries. Noisy values stay within the input's range, and on
    uint8 data they are whole steps, so they are records that a sensor could have made.
    """

    kind: Literal["flip", "shift", "noise"]
    amount: int = 1
    draws: int = 1

    @property
    def name(self) -> str:
        """As audit.yaml and reports write it."""
        if self.kind == "flip":
            return "flip"
        return f"{self.kind}-{self.amount}" + (f"x{self.draws}" if self.draws > 1 else "")

    @property
    def queries(self) -> int:
        """Queries a record."""
        return {"flip": 1, "shift": len(DIRECTIONS), "noise": self.draws}[self.kind]


def parse_view(name: str) -> Transform:
    """The view that an entry of `threat.views` names. Raises `ValueError` that lists the forms."""
    match = _NAME.fullmatch(name)
    if match is not None:
        kind, amount, draws = match[1], match[2], match[3]
        fits = not (kind == "flip" and amount) and not (kind != "noise" and draws)
        if fits and int(amount or 1) > 0 and int(draws or 1) > 0:
            return Transform(kind, int(amount or 1), int(draws or 1))  # type: ignore[arg-type]
    raise ValueError(
        f"'{name}' is not a view; there are flip, shift-<pixels>, noise-<input steps> and noise-<input steps>x<draws> "
        "(whole numbers from 1)"
    )


def require_views_fit(names: Sequence[str], input_shape: tuple[int, ...]) -> None:
    """Raise `SpecError` for a view that these records cannot have."""
    for view in map(parse_view, names):
        if view.kind == "noise":
            continue
        if len(input_shape) != 3:
            raise SpecError(
                f"threat.views: '{view.name}' moves pixels, and these records are flat ({input_shape[0]} values each); "
                "leave it out, or use noise-1"
            )
        if view.kind == "shift" and view.amount >= min(input_shape[1:]):
            raise SpecError(
                f"threat.views: '{view.name}' moves images of {input_shape[1]} by {input_shape[2]} pixels out of "
                "sight; shift them by fewer"
            )
