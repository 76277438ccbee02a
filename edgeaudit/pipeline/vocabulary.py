"""Every name that audit.yaml can use, from edgeaudit and installed plugins, for its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import metadata, resources
from typing import Any, TypeVar

from edgeaudit.attacks.registry import ALL, ATTACKS, find_attack
from edgeaudit.config.attacks import WITH_SECTIONS
from edgeaudit.config.json_schema import SCHEMA_FILE, JsonSchema, Term, Vocabulary, policy_schema, schema_text
from edgeaudit.config.target import AS_SHIPPED
from edgeaudit.devices.profiles import profile_names
from edgeaudit.endpoint import LOCAL
from edgeaudit.exporters import PassSpec
from edgeaudit.exporters.registry import PASSES
from edgeaudit.formats.presets import FORMATS
from edgeaudit.gate.requirements import METRICS, SUBSETS
from edgeaudit.population.registry import SOURCES
from edgeaudit.recipes.registry import ARCHITECTURES
from edgeaudit.registry import Registry
from edgeaudit.report.registry import WRITERS
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.registry import RUNTIMES

__all__ = ["RECIPES", "audit_schema_text", "policy_schema_text", "vocabulary"]

SpecT = TypeVar("SpecT")

RECIPES: Mapping[str, str] = {
    "mlp": "fully connected",
    "cnn": "three convolutions with BatchNorm",
    "resnet8": "ResNet-8 of MLPerf Tiny (image classification)",
    "ds-cnn": "depthwise-separable CNN of MLPerf Tiny (keyword spotting)",
    "mobilenet-v2": "MobileNetV2 blocks for small images",
    "keras:mlp": "fully connected, in Keras",
    "keras:cnn": "three convolutions with BatchNorm, in Keras",
    "keras:resnet8": "ResNet-8 of MLPerf Tiny, in Keras",
    "keras:checkpoint": "the architecture of model.checkpoint, a .keras file",
}
"""Edgeaudit's architectures; their specs are not read, since their modules import torch or TensorFlow."""

_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


def audit_schema_text() -> str:
    """The JSON Schema of audit.yaml with the names of installed plugins."""
    if any(group.startswith("edgeaudit.") for group in metadata.entry_points().groups):
        return schema_text(vocabulary(plugins=True))
    return resources.files("edgeaudit.config").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


def policy_schema_text() -> str:
    """The JSON Schema of a policy's file with the names of installed plugins."""
    return json.dumps(policy_schema(vocabulary(plugins=True)), indent=1, ensure_ascii=False) + "\n"


def vocabulary(*, plugins: bool) -> Vocabulary:
    """The names. plugins: whether to include those of other packages. No toolchain is imported."""
    attacks = [_attack(name) for name in _names(ATTACKS, plugins=plugins)]
    profiles = profile_names() if plugins else _own_profiles()
    return {
        "format": [*(Term(form.id, form.summary) for form in FORMATS.values()), Term(AS_SHIPPED, _SHIPPED)],
        "pass": [_pass(PASSES.find(name).spec) for name in sorted(_names(PASSES, plugins=plugins))],
        "runtime": [_runtime(RUNTIMES.find(name).spec) for name in sorted(_names(RUNTIMES, plugins=plugins))],
        "attack": [*attacks, Term(ALL, "every attack")],
        "attack-name": [Term(term.name, term.summary) for term in attacks],
        "recipe": _terms(
            {**RECIPES, **{name: "" for name in _names(ARCHITECTURES, plugins=plugins) if name not in RECIPES}}
        ),
        "source": [Term(s.name, s.summary) for s in _specs(SOURCES, plugins=plugins) if not s.takes_name],
        "profile": _terms(dict.fromkeys(profiles, "")),
        "device": _terms(dict.fromkeys((LOCAL, *profiles), "")),
        "metric": _terms(dict.fromkeys(METRICS, "")),
        "subset": _terms(dict.fromkeys(SUBSETS, "")),
        "writer": [Term(spec.name, spec.summary) for spec in _specs(WRITERS, plugins=plugins)],
    }


_SHIPPED = "a file of target.artifact about whose making nothing is known"


def _terms(names: Mapping[str, str]) -> list[Term]:
    return [Term(name, summary) for name, summary in names.items()]


def _names(registry: Registry[Any, Any], *, plugins: bool) -> tuple[str, ...]:
    return registry.names() if plugins else tuple(registry.own)


def _specs(registry: Registry[Any, SpecT], *, plugins: bool) -> list[SpecT]:
    return [registry.find(name).spec for name in _names(registry, plugins=plugins)]


def _own_profiles() -> Iterable[str]:
    files = resources.files("edgeaudit.device_profiles").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _attack(name: str) -> Term:
    spec = find_attack(name).spec
    defaults = {} if name in WITH_SECTIONS else spec.defaults
    return Term(name, spec.summary, {key: {"default": value} for key, value in defaults.items()})


def _runtime(spec: RuntimeSpec) -> Term:
    return Term(spec.name, spec.summary, {name: _option(name, value) for name, value in spec.defaults.items()})


def _pass(spec: PassSpec) -> Term:
    return Term(spec.name, spec.summary, {name: _parameter(spec, name) for name in spec.defaults})


def _parameter(spec: PassSpec, name: str) -> JsonSchema:
    """What `Pass.parameters` accepts: a value of the default's type, and one of the choices if there are any."""
    default = spec.defaults[name]
    schema: JsonSchema = {} if default is None else {"default": default}
    if type(default) in _TYPES:
        schema["type"] = _TYPES[type(default)]
    if name in spec.choices:
        schema["enum"] = list(spec.choices[name])
    return schema


def _option(name: str, default: object) -> JsonSchema:
    """The schema of an option; runtimes check options when they open a file, and all have a batch size."""
    return {"default": default} | ({"type": "integer", "minimum": 1} if name == "batch" else {})
