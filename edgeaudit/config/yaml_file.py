"""Files of keys that people write, audit.yaml and policies: bounded, UTF-8, one mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import SpecError

__all__ = ["bytes_of", "mapping_of"]

_LARGEST_FILE = 2_000_000


def bytes_of(path: Path, kind: str, remedy: str) -> bytes:
    """Return the content of a file.

    Args:
        path: of the file.
        kind: what such a file is called.
        remedy: the sentence for a file that cannot be read.

    Raises:
        SpecError: the file cannot be read, or is larger than any such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as exc:
        raise SpecError(f"{path}: {exc.strerror}. {remedy}") from exc
    except ValueError as exc:  # a null byte in the path
        raise SpecError(f"{path}: no file can have this name. {remedy}") from exc
    if len(content) > _LARGEST_FILE:
        raise SpecError(f"{path} has more than {_LARGEST_FILE // 10**6} MB, which no {kind} has; name another")
    return content


def mapping_of(content: bytes, path: Path, keys: str) -> dict[str, Any]:
    """Return the mapping that a file's content is.

    Args:
        content: of the file.
        path: of the file, for messages.
        keys: those that a user would expect, for messages.

    Raises:
        SpecError: the content is no UTF-8, no YAML or no mapping.
    """
    try:
        raw = read_yaml(content.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise SpecError(f"{path} is not UTF-8 text: {exc.reason} at byte {exc.start}") from exc
    except yaml.YAMLError as exc:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(raw, dict):
        raise SpecError(f"{path} must be a mapping of keys ({keys}); got {type(raw).__name__}")
    return raw
