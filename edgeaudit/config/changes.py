"""Keys of audit.yaml that a command line replaces: `threat.shadows=16`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import SpecError

__all__ = ["with_changes"]


def with_changes(raw: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return a copy of an audit.yaml's content in which keys are replaced, or added.

    changes: `section.key=value`, where the value is YAML. A section that is missing is made; a value in whose place a
    section would have to be is refused.

    Raises:
        SpecError: a change is not of this form; the message has it.

    Examples:
        >>> with_changes({"threat": {"shadows": 4}}, ["threat.shadows=16", "formats=[onnx-int8-static]"])
        {'threat': {'shadows': 16}, 'formats': ['onnx-int8-static']}
    """
    found = copy.deepcopy(dict(raw))
    for change in changes:
        name, equals, text = change.partition("=")
        keys = name.split(".")
        if not equals or not all(keys):
            raise SpecError(f"'{change}' is no change of an audit: write KEY=VALUE, such as threat.shadows=16")
        try:
            value = read_yaml(text)
        except yaml.YAMLError as exc:
            raise SpecError(f"the value of '{change}' is not YAML: {' '.join(str(exc).split())}") from exc
        section = found
        for depth, key in enumerate(keys[:-1], 1):
            inner = section.setdefault(key, {})
            if not isinstance(inner, dict):
                where = ".".join(keys[:depth])
                raise SpecError(f"'{change}': {where} is no section here; set {where} as a whole, as {where}={{...}}")
            section = inner
        section[keys[-1]] = value
    return found
