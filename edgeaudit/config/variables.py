"""Environment variables in audit.yaml: `${NAME}` and `${NAME:-default}` in any text."""

from __future__ import annotations

import os
import re

from edgeaudit.errors import SpecError

__all__ = ["VARIABLE", "expanded"]

VARIABLE = r"\$\{(\w+)(?::-([^}]*))?\}"
"""A regular expression with two groups: the name, and the default or nothing."""


def expanded(value: object, key: str = "") -> object:
    """The value with variables replaced in every text. Raises `SpecError` that names the key and the variable.

    value: as YAML reads it. key: of the value, for messages.
    """
    if isinstance(value, dict):
        return {name: expanded(entry, f"{key}.{name}" if key else str(name)) for name, entry in value.items()}
    if isinstance(value, list):
        return [expanded(entry, f"{key}[{i}]") for i, entry in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        text = os.environ.get(name) or default
        if text is None:
            raise SpecError(f"{key}: the environment variable {name} is not set")
        return text

    return re.sub(VARIABLE, replacement, value)
