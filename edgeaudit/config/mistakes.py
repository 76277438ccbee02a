"""Messages about mistakes in audit.yaml that name the key, from pydantic's errors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgeaudit.config.attacks import CmMiaSpec, LabelOnlySpec, LossTrajectorySpec
from edgeaudit.config.budgets import BudgetSpec
from edgeaudit.config.controls import ControlsSpec, QualitySpec
from edgeaudit.config.data import CalibrationSpec, DataSpec, PreprocessingSpec, SideSpec
from edgeaudit.config.devices import DeviceSpec
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.limits import LimitsSpec
from edgeaudit.config.model import ModelSpec
from edgeaudit.config.report import ReportSpec
from edgeaudit.config.target import TargetSpec
from edgeaudit.config.threat import ThreatSpec

__all__ = ["sentences"]

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "model": ModelSpec, "data": DataSpec, "threat": ThreatSpec, "formats": FormatUse, "cm-mia": CmMiaSpec,
    "label-only": LabelOnlySpec, "loss-trajectory": LossTrajectorySpec,
    "budgets": BudgetSpec, "calibration": CalibrationSpec, "controls": ControlsSpec, "target": TargetSpec,
    "preprocessing": PreprocessingSpec, "members": SideSpec, "nonmembers": SideSpec, "reference": SideSpec,
    "quality": QualitySpec, "devices": DeviceSpec, "limits": LimitsSpec, "report": ReportSpec,
}  # fmt: skip


def sentences(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """One sentence per invalid key; pydantic reports a key once for every possible type.

    root: the model of the whole file.
    """
    by_key: dict[str, str] = {}
    for entry in error.errors():
        # Keys are lower-case words; the rest of a location names pydantic's own branches ('lax-or-strict[...]').
        parts = [str(p) for p in entry["loc"] if isinstance(p, int) or _is_key(str(p))]
        key = ".".join(parts)  # none for what is wrong between keys, whose message names them
        if entry["type"] == "too_short" and by_key:
            continue  # the entry that was refused is missed by its list, too
        by_key.setdefault(key, _sentence(key, parts, entry, root))
    return list(by_key.values())


_PLAIN = {
    "dict_type": "must be a mapping of keys",
    "missing": "is missing",
    "model_type": "must be a mapping of keys; remove it to use the defaults",
    "too_short": "must have at least one entry",
    "tuple_type": "must be a list",
}
"""Pydantic's Python terms, and ours for a file of keys and lists."""


def _is_key(part: str) -> bool:
    return not re.search(r"[\[(]|^(int|float|path|constrained-.*|literal.*|function-.*)$", part)


def _sentence(key: str, parts: list[str], error: ErrorDetails, root: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        sections = [_SECTIONS[p] for p in parts[:-1] if p in _SECTIONS]
        fields = (sections[-1] if sections else root).model_fields
        names = [field.alias or name for name, field in fields.items()]
        near = difflib.get_close_matches(parts[-1], names, n=1)
        return f"'{key}' is not a known key; " + (
            f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
        )
    message = _PLAIN.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    value = error.get("input")
    # Do not repeat a token that was written in place of its variable's name.
    is_shown = isinstance(value, (str, int, float, bool)) and parts[-1:] != ["token"] and f"'{value}'" not in message
    named = f"{key}: {message}" if key else message
    return f"{named} (it is {value!r})" if is_shown else named
