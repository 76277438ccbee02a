"""The JSON Schema of audit.yaml, and of a policy: generated from the sections, and from names that the rest defines.

It is a draft-07 schema, which the YAML servers of editors read. It does not contain rules that depend on several keys
or on the model; `edgeaudit plan` checks these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.base import NAMES, Names
from edgeaudit.config.entries import entry_value
from edgeaudit.config.policy import PolicySpec
from edgeaudit.config.variables import VARIABLE

__all__ = [
    "SCHEMA_FILE",
    "SCHEMA_ID",
    "JsonSchema",
    "Term",
    "Vocabulary",
    "json_schema",
    "policy_schema",
    "schema_text",
]

SCHEMA_FILE = "audit.schema.json"
SCHEMA_ID = "urn:edgeaudit:audit.yaml"
_DRAFT = "http://json-schema.org/draft-07/schema#"

JsonSchema: TypeAlias = dict[str, Any]
"""A JSON Schema, as `json.loads` reads it."""

_SCALARS = ("integer", "number", "boolean")
_SHAPES: Mapping[Names, str] = {
    "recipe": "^[^:]+:.+$",
    "source": "^[^:]+:.+$",
    "profile": r"\.ya?ml$",
    "device": r"\.ya?ml$",
    "subset": r"^class:([0-9]+|\*)$",
}
"""Open kinds, which also accept strings of this form, such as `module:function`."""
_ENTRIES: tuple[Names, ...] = ("pass", "runtime", "attack")
"""Kinds whose names can be keys of their parameters."""


@dataclass(frozen=True)
class Term:
    """A name that audit.yaml can use. parameters: name -> schema of the value, where an entry can give any."""

    name: str
    summary: str = ""
    parameters: Mapping[str, JsonSchema] = field(default_factory=dict)


Vocabulary: TypeAlias = Mapping[Names, Sequence[Term]]
"""Every kind of names, each in the order of its listing."""


def json_schema(vocabulary: Vocabulary) -> JsonSchema:
    """The schema of audit.yaml with these names."""
    root = _plain(AuditSpec.model_json_schema(ref_template="#/definitions/{model}"))
    properties, definitions = root.pop("properties"), root.pop("$defs")
    properties["formats"]["default"] = [use.format for use in _default("formats")]
    properties["attacks"]["default"] = [entry_value(e.name, e.settings) for e in _default("attack_entries")]
    _name_metrics(properties["budgets"], definitions, vocabulary)
    definitions = {name: _with_variables(section) for name, section in definitions.items()}
    kinds: list[Names] = [kind for kind in get_args(Names) if kind != "metric"]  # whose names are keys
    definitions |= {kind: _definition(kind, vocabulary[kind]) for kind in kinds}
    return {
        "$schema": _DRAFT,
        "$id": SCHEMA_ID,
        "title": "edgeaudit audit.yaml",
        **root,
        "properties": _with_variables(properties),
        "definitions": {name: definitions[name] for name in sorted(definitions)},
    }


def policy_schema(vocabulary: Vocabulary) -> JsonSchema:
    """The schema of a policy's file with these names."""
    root = _plain(PolicySpec.model_json_schema(ref_template="#/definitions/{model}"))
    properties, definitions = root.pop("properties"), root.pop("$defs")
    _name_metrics(properties["budgets"], definitions, vocabulary)
    referred = set(re.findall(r'"#/definitions/([^"]+)"', json.dumps([properties, definitions])))
    kinds: list[Names] = [kind for kind in get_args(Names) if kind in referred]
    definitions |= {kind: _definition(kind, vocabulary[kind]) for kind in kinds}
    return {
        "$schema": _DRAFT,
        "$id": "urn:edgeaudit:policy",
        "title": "edgeaudit policy",
        **root,
        "properties": properties,
        "definitions": {name: definitions[name] for name in sorted(definitions)},
    }


def _name_metrics(budgets: JsonSchema, definitions: JsonSchema, vocabulary: Vocabulary) -> None:
    """Let the keys of `budgets` be the metrics, and `preset`."""
    presets, by_metric = budgets.pop("anyOf")
    definitions["budget"] = by_metric["additionalProperties"]
    metrics = {term.name: {"$ref": "#/definitions/budget"} for term in vocabulary["metric"]}
    by_metric |= {"additionalProperties": False, "properties": {"preset": presets, **metrics}}
    budgets["anyOf"] = [presets, by_metric]


def schema_text(vocabulary: Vocabulary) -> str:
    """The schema as the text of audit.schema.json."""
    return json.dumps(json_schema(vocabulary), indent=1, ensure_ascii=False) + "\n"


def _default(name: Literal["formats", "attack_entries"]) -> Any:
    return AuditSpec.model_fields[name].default


def _plain(schema: Any) -> Any:
    """Pydantic's schema in draft-07, without titles and defaults that say nothing, and with references for names."""
    if isinstance(schema, list):
        return [_plain(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if not _is_noise(key, value)}
    if NAMES in plain:
        plain["$ref"] = f"#/definitions/{plain.pop(NAMES)}"
    if "prefixItems" in plain:
        plain["items"] = plain.pop("prefixItems")
    if "patternProperties" in plain:
        plain["additionalProperties"] = False
    return plain


def _is_noise(key: str, value: object) -> bool:
    """Remove titles derived from keys, empty or section defaults, and formats unknown to validators."""
    return (
        (key == "title" and isinstance(value, str))
        or (key == "default" and (value is None or isinstance(value, dict)))
        or (key, value) == ("format", "path")
    )


def _with_variables(schema: Any) -> Any:
    """The schema in which an environment variable can stand for a number or a truth value."""
    if isinstance(schema, list):
        return [_with_variables(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    wider = {key: value if key in {"default", "enum"} else _with_variables(value) for key, value in schema.items()}
    if schema.get("type") in _SCALARS:
        wider |= {"type": [schema["type"], "string"], "pattern": VARIABLE}
    return wider


def _definition(kind: Names, terms: Sequence[Term]) -> JsonSchema:
    names: JsonSchema = {"type": "string", "enum": [term.name for term in terms]}
    if any(term.summary for term in terms):
        names["enumDescriptions"] = [term.summary for term in terms]  # shown by editors, ignored by validators
    choices = [names]
    if kind in _SHAPES:
        choices.append({"type": "string", "pattern": _SHAPES[kind]})
    if kind in _ENTRIES and (properties := {term.name: _entry(term) for term in terms if term.parameters}):
        choices.append(
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": properties,
            }
        )
    return {"anyOf": choices} if len(choices) > 1 else names


def _entry(term: Term) -> JsonSchema:
    return {
        "description": term.summary,
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": dict(term.parameters),
    }
