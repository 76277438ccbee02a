"""Section `limits`: limits of one job, beyond which it is stopped and its format fails."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from edgeaudit.config.base import Section

__all__ = ["LimitsSpec"]

_UNITS = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def _as_bytes(value: object) -> object:
    """`4 GiB`, `500 MB` or a number of bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    unit = None if match is None else _UNITS.get(match[2].lower())
    if match is None or unit is None:
        raise ValueError("write a size as 4 GiB, 500 MB, or a number of bytes")
    return round(float(match[1]) * unit)


class LimitsSpec(Section):
    """Limits of one job; a job beyond them is stopped, its format fails and the others continue."""

    job_minutes: float | None = Field(None, gt=0, lt=1e6, alias="job-minutes")
    """Minutes of wall time."""
    job_memory: Annotated[int | None, BeforeValidator(_as_bytes, json_schema_input_type=int | str | None)] = Field(
        None, ge=2**20, alias="job-memory"
    )
    """Resident memory of a worker process and its children, as `4 GiB` or a number of bytes."""
