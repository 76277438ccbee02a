"""Frozen dataclasses as JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgeaudit.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["read_json", "write_json"]

T = TypeVar("T")


def write_json(path: Path, value: DataclassInstance) -> None:
    """Write a dataclass of plain values, nested dataclasses and tuples. Raises `ValueError` for NaN or infinity."""
    path.write_text(json.dumps(asdict(value), allow_nan=False), encoding="utf-8")


def read_json(path: Path, kind: type[T]) -> T:
    """Read what `write_json` wrote. Raises `StoreError` if the file is damaged or of another version."""
    try:
        read: T = TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as exc:
        reason = _first(exc) if isinstance(exc, ValidationError) else exc
        raise StoreError(
            f"{path} cannot be read as {kind.__name__}: {reason}; delete its folder and run again"
        ) from exc
    return read


def _first(exc: ValidationError) -> str:
    """The first validation error and its location."""
    error = exc.errors()[0]
    return ": ".join(part for part in (".".join(map(str, error["loc"])), error["msg"]) if part)
