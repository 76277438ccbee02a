"""Every name that audit.yaml can use, for its JSON Schema: those of edgeaudit and of installed plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata, resources

from edgeaudit.attacks.registry import ALL, attack_names, find_attack
from edgeaudit.config.attacks import WITH_SECTIONS
from edgeaudit.config.json_schema import SCHEMA_FILE, JsonSchema, Term, Vocabulary, schema_text
from edgeaudit.config.target import AS_SHIPPED
from edgeaudit.devices.profiles import profile_names
from edgeaudit.devices.transport import LOCAL
from edgeaudit.exporters import PassSpec, find_pass, pass_specs
from edgeaudit.formats.presets import FORMATS
from edgeaudit.gate.judge import METRICS, SUBSETS
from edgeaudit.runtimes.registry import find_runtime, runtime_specs

__all__ = ["RECIPES", "SOURCES", "audit_schema_text", "vocabulary"]

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
"""Built-in architectures; their modules import torch or TensorFlow."""

SOURCES: Mapping[str, str] = {
    "digits": "scikit-learn's handwritten digits, which need no download",
    "npz": "arrays of an .npz file",
    "folder": "images in one sub-folder for each class",
}

_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


def audit_schema_text() -> str:
    """The JSON Schema of audit.yaml with the names of installed plugins."""
    if any(group.startswith("edgeaudit.") for group in metadata.entry_points().groups):
        return schema_text(vocabulary(plugins=True))
    return resources.files("edgeaudit.config").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


def vocabulary(*, plugins: bool) -> Vocabulary:
    """The names. plugins: whether those of other packages are among them. No toolchain is imported."""
    attacks = [_attack(name) for name in attack_names() if plugins or _is_own(find_attack(name))]
    profiles = profile_names() if plugins else _own_profiles()
    return {
        "format": [*(Term(form.id, form.summary) for form in FORMATS.values()), Term(AS_SHIPPED, _SHIPPED)],
        "pass": [_pass(spec) for spec in pass_specs() if plugins or _is_own(type(find_pass(spec.name)))],
        "runtime": [
            Term(spec.name, spec.summary, {name: _option(name, value) for name, value in spec.defaults.items()})
            for spec in runtime_specs()
            if plugins or _is_own(find_runtime(spec.name))
        ],
        "attack": [*attacks, Term(ALL, "every attack")],
        "attack-name": [Term(term.name, term.summary) for term in attacks],
        "recipe": _terms(RECIPES),
        "source": _terms(SOURCES),
        "profile": _terms(dict.fromkeys(profiles, "")),
        "device": _terms(dict.fromkeys((LOCAL, *profiles), "")),
        "metric": _terms(dict.fromkeys(METRICS, "")),
        "subset": _terms(dict.fromkeys(SUBSETS, "")),
    }


_SHIPPED = "a file of target.artifact about whose making nothing is known"


def _terms(names: Mapping[str, str]) -> list[Term]:
    return [Term(name, summary) for name, summary in names.items()]


def _is_own(plugin: type) -> bool:
    return plugin.__module__.startswith("edgeaudit.")


def _own_profiles() -> Iterable[str]:
    files = resources.files("edgeaudit.device_profiles").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _attack(name: str) -> Term:
    spec = find_attack(name).spec
    defaults = {} if name in WITH_SECTIONS else spec.defaults
    return Term(name, spec.summary, {key: {"default": value} for key, value in defaults.items()})


def _pass(spec: PassSpec) -> Term:
    return Term(spec.name, spec.summary, {name: _parameter(spec, name) for name in spec.defaults})


def _parameter(spec: PassSpec, name: str) -> JsonSchema:
    """What `Pass.parameters` accepts: a value of the default's type, which is one of the choices if there are any."""
    default = spec.defaults[name]
    schema: JsonSchema = {} if default is None else {"default": default}
    if type(default) in _TYPES:
        schema["type"] = _TYPES[type(default)]
    if name in spec.choices:
        schema["enum"] = list(spec.choices[name])
    return schema


def _option(name: str, default: object) -> JsonSchema:
    """A runtime checks its options when it opens a file; all have a batch size."""
    return {"default": default} | ({"type": "integer", "minimum": 1} if name == "batch" else {})
