"""The only way to a terminal: what files, servers and toolchains say cannot control it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from rich import console
from rich.segment import Segment

__all__ = ["Console", "harmless"]

_KEPT = "\n\t"
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of text, so that it reads otherwise than it is."""


def harmless(text: str) -> str:
    r"""Replace by `?` what moves a cursor, colours, sets a title or turns the direction of text.

    Examples:
        >>> harmless("\x1b[2Jwithin\u202e budget\n")
        '?[2Jwithin? budget\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("?" if _is_control(letter) else letter for letter in text)


def _is_control(letter: str) -> bool:
    return letter not in _KEPT and (letter in _TURNS or unicodedata.category(letter) in {"Cc", "Cs"})


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
