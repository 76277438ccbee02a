"""Entries of a list that are a name, or a mapping of that name to its parameters: passes, runtimes and attacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, JsonValue, PlainSerializer, PlainValidator

from edgeaudit.config.base import names_of
from edgeaudit.config.yaml_text import flow_yaml

__all__ = ["AttackEntry", "AttackItem", "Params", "PassEntry", "PassItem", "RuntimeEntry", "RuntimeItem", "entry_value"]


def _json(value: object, key: str) -> JsonValue:
    """The value, if JSON can represent it: it becomes part of a job's key, which is JSON without infinities."""
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise ValueError(f"'{key}' has a key that is not a string; put it in quotes")
        return {str(name): _json(entry, f"{key}.{name}") for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry, key) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"'{key}' is {value}; a finite number is needed")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"'{key}' is {value!r}, a {type(value).__name__}; put it in quotes if a string is meant")


def _as_params(value: object) -> object:
    return {key: _json(entry, str(key)) for key, entry in value.items()} if isinstance(value, Mapping) else value


Params: TypeAlias = Annotated[Mapping[str, JsonValue], BeforeValidator(_as_params)]
"""Parameters by name; the values are what JSON can hold."""


@dataclass(frozen=True)
class PassEntry:
    """A pass: its name, and the parameters that differ from its defaults."""

    name: str
    params: Params = field(default_factory=dict)


@dataclass(frozen=True)
class RuntimeEntry:
    """A runtime: its name, and the options that differ from its defaults."""

    name: str
    options: Params = field(default_factory=dict)


@dataclass(frozen=True)
class AttackEntry:
    """An attack: its name, and the settings that differ from its defaults."""

    name: str
    settings: Params = field(default_factory=dict)


@dataclass(frozen=True)
class _Words:
    """Terms for an entry and its values in messages. `example`: an entry with values in audit.yaml."""

    entry: str
    values: str
    example: str


_LENGTH = 60
"""Of a value in a message, at most."""

_PASS = _Words("pass", "parameters", "{nncf.prune: {ratio: 0.7}}")
_RUNTIME = _Words("runtime", "options", "{onnxruntime: {batch: 1}}")
_ATTACK = _Words("attack", "settings", "{some-attack: {power: 2}}")


def entry_value(name: str, values: Params) -> str | dict[str, dict[str, JsonValue]]:
    """The entry as YAML: only the name if there are no values."""
    return {name: dict(values)} if values else name


def _as_pass(value: object) -> PassEntry:
    return value if isinstance(value, PassEntry) else PassEntry(*_read(value, _PASS))


def _as_runtime(value: object) -> RuntimeEntry:
    return value if isinstance(value, RuntimeEntry) else RuntimeEntry(*_read(value, _RUNTIME))


def _as_attack(value: object) -> AttackEntry:
    return value if isinstance(value, AttackEntry) else AttackEntry(*_read(value, _ATTACK))


def _read(value: object, words: _Words) -> tuple[str, dict[str, JsonValue]]:
    """Name and values of an entry. Raises `ValueError` that shows how one is written."""
    if isinstance(value, str):
        return _named(value, words), {}
    if not isinstance(value, Mapping):
        message = f"{_a(words)} is a name, or a mapping of the name to its {words.values}, as in {words.example}"
        raise ValueError(message)  # noqa: TRY004  pydantic collects ValueErrors alone
    if len(value) != 1:
        raise ValueError(_not_one_key(value, words))
    ((name, values),) = value.items()
    name = _named(name, words)
    if values is None:
        return name, {}
    if not isinstance(values, Mapping):
        message = f"the {words.values} of '{name}' are a mapping of names to values, as in {words.example}"
        raise ValueError(f"{message}; got {_short(values)}")  # noqa: TRY004  as above
    return name, {_key(key, name, words): _json(entry, f"{name}.{key}") for key, entry in values.items()}


def _a(words: _Words) -> str:
    return f"{'an' if words.entry[0] in 'aeiou' else 'a'} {words.entry}"


def _named(name: object, words: _Words) -> str:
    if not isinstance(name, str):
        raise ValueError(f"the name of {_a(words)} must be a string; got {_short(name)}")  # noqa: TRY004  as above
    if not name.strip():
        raise ValueError(f"the name of {_a(words)} is empty")
    return name


def _key(key: object, name: str, words: _Words) -> str:
    if not isinstance(key, str):
        message = f"the {words.values} of '{name}' must have names that are strings; got {_short(key)}"
        raise ValueError(message)  # noqa: TRY004  as above
    return key


def _not_one_key(value: Mapping[Any, object], words: _Words) -> str:
    """Raise for two entries in one mapping, or values beside the name instead of below it (a missing indent)."""
    if not value:
        return f"{_a(words)} is a name, or a mapping of the name to its {words.values}; this mapping is empty"
    first, *others = value
    message = f"{_a(words)} is a mapping of one key, its name, and this one has {', '.join(map(_short, value))}"
    if value[first] is None and any(value[key] is not None for key in others) and isinstance(first, str):
        meant = flow_yaml({first: {str(key): value[key] for key in others}})
        return f"{message}; indent the {words.values} below the name, as in {meant}"
    return f"{message}; write each {words.entry} as a separate entry, as in {words.example}"


def _short(value: object) -> str:
    """The value in a message, cut to a length that can be read."""
    text = flow_yaml(value)
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3]}..."


PassItem = Annotated[
    PassEntry,
    PlainValidator(_as_pass),
    PlainSerializer(lambda entry: entry_value(entry.name, entry.params)),
    names_of("pass"),
]
RuntimeItem = Annotated[
    RuntimeEntry,
    PlainValidator(_as_runtime),
    PlainSerializer(lambda entry: entry_value(entry.name, entry.options)),
    names_of("runtime"),
]
AttackItem = Annotated[
    AttackEntry,
    PlainValidator(_as_attack),
    PlainSerializer(lambda entry: entry_value(entry.name, entry.settings)),
    names_of("attack"),
]
"""How a section declares such an entry: read from YAML, and written back as the same YAML."""
