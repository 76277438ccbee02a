"""Calls as audit.yaml writes them: `name`, `name(value, key=value)`, or a mapping with the name beside its keys."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

__all__ = ["Call", "alike", "parse_call", "rejoined"]

_NAME = re.compile(r"[A-Za-z][\w.-]*")
_CALL = re.compile(rf"\s*({_NAME.pattern})\s*(?:\((.*)\)\s*)?", re.DOTALL)
_BEGUN = re.compile(rf"\s*{_NAME.pattern}\s*\(.*[^)\s]\s*", re.DOTALL)
_KEYED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)
_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""


@dataclass(frozen=True)
class Call:
    """A name, values by position, and values by key. Values are what JSON can hold."""

    name: str
    values: tuple[Any, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """One line that `parse_call` reads back as this call."""
        shown = [*map(_shown, self.values), *(f"{key}={_shown(value)}" for key, value in self.params.items())]
        return f"{self.name}({', '.join(shown)})" if shown else self.name

    def named(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """All values by key; `keys` names those by position. `ValueError` for too many and for one given twice."""
        if len(self.values) > len(keys):
            takes = f"it has {', '.join(keys)}" if keys else "it has none"
            raise ValueError(f"'{self.text()}' gives {len(self.values)} values by position, and {takes}")
        found = dict(zip(keys, self.values, strict=False))
        twice = next((key for key in self.params if key in found), None)
        if twice is not None:
            raise ValueError(f"'{self.text()}' gives '{twice}' by position and by name")
        return {**found, **self.params}


def alike(name: str) -> str:
    """The name with `_` and `-` made one: both are written."""
    return name.replace("_", "-")


def parse_call(value: object, key: str) -> Call:
    """Read a call; what cannot be read raises `ValueError`.

    value: text, or a mapping that has the name under `key` and the values beside it.
    """
    if isinstance(value, Mapping):
        params = {str(name): _plain(given, str(name)) for name, given in value.items() if name != key}
        if not isinstance(value.get(key), str) or not _NAME.fullmatch(value[key]):
            raise ValueError(f"a mapping here needs its name under '{key}', as in {{{key}: name, ...}}")
        return Call(value[key], (), params)
    found = _CALL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not of the form name or name(value, key=value)")
    values: list[Any] = []
    params = {}
    for part in _parts(found[2] or "", found[0].strip()):
        keyed = _KEYED.fullmatch(part)
        if keyed is None and params:
            raise ValueError(f"'{found[0].strip()}': {part.strip()} stands after a value with a name")
        if keyed is None:
            values.append(_scalar(part, found[0].strip()))
            continue
        if keyed[1] in params:
            raise ValueError(f"'{found[0].strip()}' gives '{keyed[1]}' twice")
        params[keyed[1]] = _scalar(keyed[2], keyed[1])
    return Call(found[1], tuple(values), params)


def rejoined(entries: Sequence[object]) -> list[object]:
    """The list that was meant where YAML split calls at their commas.

    In `[nncf.prune(0.7, epochs=3), onnx.export]` YAML sees three texts, the first two of which are `nncf.prune(0.7` and
    `epochs=3)`. From one that opens a bracket and does not end in one, up to the next that does, is one call.
    """
    found: list[object] = []
    rest = list(entries)
    while rest:
        first, *after = rest
        ends = (n for n, entry in enumerate(after) if isinstance(entry, str) and entry.rstrip().endswith(")"))
        if isinstance(first, str) and _BEGUN.fullmatch(first) and (end := next(ends, None)) is not None:
            pieces = [first, *(entry if isinstance(entry, str) else _shown(entry) for entry in after[: end + 1])]
            first, after = ", ".join(pieces), after[end + 1 :]
        found.append(first)
        rest = after
    return found


def _parts(text: str, call: str) -> Iterator[str]:
    """The text between commas that stand in no quotes and no brackets."""
    if not text.strip():
        return
    start, closers, quote, escaped = 0, [], "", False
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and not escaped else quote
            escaped = letter == "\\" and quote == '"' and not escaped
        elif letter in _QUOTES:
            quote = letter
        elif letter in _OPEN:
            closers.append(_CLOSE[_OPEN.index(letter)])
        elif letter in _CLOSE:
            if not closers or closers.pop() != letter:
                raise ValueError(f"'{call}' has a '{letter}' too many")
        elif letter == "," and not closers:
            yield text[start:at]
            start = at + 1
    if quote or closers:
        raise ValueError(f"'{call}' lacks a closing {quote or closers[-1]}")
    yield text[start:]


def _scalar(text: str, what: str) -> Any:
    if not text.strip():
        raise ValueError(f"'{what}' has an empty value; write '' for an empty text")
    try:
        return _plain(yaml.safe_load(text), what)
    except yaml.YAMLError as exc:
        raise ValueError(f"'{what}': {text.strip()} is not a YAML value") from exc


def _plain(value: Any, what: str) -> Any:
    """The value, if JSON has its like: keys of jobs are JSON, which has neither dates nor infinities."""
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _plain(given, what) for name, given in value.items()}
    if isinstance(value, list):
        return [_plain(given, what) for given in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"'{what}' is {value}; a finite number is needed")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"'{what}' is {value!r}, a {type(value).__name__}; put it in quotes if a text is meant")


def _shown(value: Any) -> str:
    """A YAML flow value on one line; texts are in double quotes unless they are words."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_shown(name)}: {_shown(given)}" for name, given in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, str) and _NAME.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    text: str = yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")
