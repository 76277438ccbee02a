"""The only way to a terminal: what files, servers and toolchains say cannot control it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import typer
from rich import console
from rich.segment import Segment

from edgeaudit.errors import harmless

__all__ = ["Console", "harmless", "print_json"]


class Console(console.Console):
    """rich's, whose texts are `harmless` wherever they come from. Its own colours and cursor movements stay.

    Markup is text, since it may stand in a name: no output of ours is written in it.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, **settings})

    def render(
        self, renderable: console.RenderableType, options: console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def print_json(value: object) -> None:
    """Print JSON for programs, whose own escapes keep what it has from controlling a terminal."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
