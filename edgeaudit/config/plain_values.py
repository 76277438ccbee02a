"""Bounds on what a mapping with the keys of audit.yaml may hold, whoever wrote it: checked before anything reads it."""

from __future__ import annotations

import datetime as dt
import math
import unicodedata
from collections.abc import Iterator, Mapping

from edgeaudit.errors import SpecError

__all__ = ["MOST_TEXT", "MOST_VALUES", "require_finite", "require_plain"]

MOST_VALUES = 100_000
"""Values in a mapping, lists in lists counted through. Anchors and aliases make billions of a few lines."""
MOST_TEXT = 4_096
"""Characters of a text: the longest path of a file system."""
MOST_OF_A_KEY = 100
"""Characters of a key."""
_LARGEST = 2**63 - 1
_FOREIGN = {
    dt.datetime: "a date", dt.date: "a date", dt.time: "a time", set: "a set", frozenset: "a set",
    bytes: "bytes", bytearray: "bytes", complex: "a complex number",
}  # fmt: skip
_ALLOWED = "\t\n\r"


def require_plain(value: object) -> None:
    """Raise `SpecError`, by key, for more values than `MOST_VALUES`, and for values that no key of audit.yaml takes.

    Those are dates, sets and bytes, which YAML has, whole numbers beyond 64 bits, texts longer than `MOST_TEXT`, and
    control characters and lone surrogates in a text or a key. Other objects, which Python code may pass, are let be.
    """
    for count, (key, one) in enumerate(_values(value)):
        if count >= MOST_VALUES:
            raise SpecError(
                f"there are more than {MOST_VALUES:,} values, where aliases (*name) count each time. Write long lists "
                "of records into files"
            )
        if (fault := _fault(one)) is not None:
            raise SpecError(f"{key}: {fault}")
        if isinstance(one, Mapping):
            long = next((name for name in one if isinstance(name, str) and len(name) > MOST_OF_A_KEY), None)
            if long is not None:
                within = f"{key}: a key" if key else "a key"
                raise SpecError(f"{within} has {MOST_OF_A_KEY} characters at most; {long[:20]!r}... has {len(long):,}")


def require_finite(value: object) -> None:
    """Raise `SpecError` that names the key of a number that is infinite or not a number."""
    for key, one in _values(value):
        if isinstance(one, float) and not math.isfinite(one):
            raise SpecError(f"{key} is {one}; a finite number is needed")


def _values(value: object) -> Iterator[tuple[str, object]]:
    """Every value, with its key; of a mapping its keys, too."""
    queue: list[tuple[str, object]] = [("", value)]
    while queue:
        key, one = queue.pop()
        yield key, one
        if isinstance(one, Mapping):
            for name, part in one.items():
                yield key or "a key", name
                queue.append((f"{key}.{_shown(name)}" if key else _shown(name), part))
        elif isinstance(one, list | tuple):
            queue += [(f"{key}[{place}]", part) for place, part in enumerate(one)]


def _shown(name: object) -> str:
    text = str(name) if not isinstance(name, int) or abs(name) <= _LARGEST else "a number"
    return text if len(text) <= 80 and text.isprintable() else ascii(text[:40])


def _fault(value: object) -> str | None:
    kind = _FOREIGN.get(type(value))
    if kind is not None:
        return f"{kind} is no value of audit.yaml; write it as text, in quotes"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a whole number has 64 bits at most"
    if not isinstance(value, str):
        return None
    if len(value) > MOST_TEXT:
        return f"a text has {MOST_TEXT:,} characters at most; this has {len(value):,}"
    bad = next(
        (letter for letter in value if unicodedata.category(letter) in {"Cc", "Cs"} and letter not in _ALLOWED), ""
    )
    return f"the text has a control character ({bad!a}); remove it" if bad else None
