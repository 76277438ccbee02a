"""Messages about mistakes in audit.yaml, or a policy, that name the key, from pydantic's errors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgeaudit.config.attacks import CmMiaSpec, LabelOnlySpec, LossTrajectorySpec
from edgeaudit.config.base import PlainNumbers
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
from edgeaudit.config.waivers import WaiverSpec

__all__ = ["sentences"]

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "model": ModelSpec, "data": DataSpec, "threat": ThreatSpec, "formats": FormatUse, "cm-mia": CmMiaSpec,
    "label-only": LabelOnlySpec, "loss-trajectory": LossTrajectorySpec,
    "budgets": BudgetSpec, "calibration": CalibrationSpec, "controls": ControlsSpec, "target": TargetSpec,
    "preprocessing": PreprocessingSpec, "members": SideSpec, "nonmembers": SideSpec, "reference": SideSpec,
    "quality": QualitySpec, "devices": DeviceSpec, "limits": LimitsSpec, "report": ReportSpec, "waivers": WaiverSpec,
}  # fmt: skip


def sentences(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """One sentence per invalid key, of the first ten; pydantic reports a key once for every possible type.

    root: the model of the whole file.
    """
    by_key: dict[str, str] = {}
    for entry in error.errors():
        # Keys are lower-case words; the rest of a location names pydantic's own branches ('lax-or-strict[...]').
        branches = _names_of_sections()
        *above, last = entry["loc"] or ("",)
        parts = [str(p) for p in above if isinstance(p, int) or (p not in branches and _is_key(str(p)))]
        # An unknown key may be anything, such as b[dgets.
        unknown = entry["type"] == "extra_forbidden"
        if unknown or isinstance(last, int) or (last not in branches and _is_key(last)):
            parts.append(str(last))
        key = ".".join(parts)  # none for what is wrong between keys, whose message names them
        if entry["type"] == "too_short" and by_key:
            continue  # the entry that was refused is missed by its list, too
        by_key.setdefault(key, _sentence(key, parts, entry, root))
    found = list(by_key.values())
    return found if len(found) <= _MOST else [*found[:_MOST], f"and {len(found) - _MOST} more mistakes"]


_TOP = {name: _SECTIONS[name] for name in ("model", "data", "threat", "target", "controls", "quality", "limits")}
"""Sections of the file whose keys a user may have put elsewhere."""


def _sections_of(root: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    return [(name, section) for name, section in _TOP.items() if name in root.model_fields]


def _keys(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


_PLAIN = {
    "dict_type": "must be a mapping of keys",
    "missing": "is missing",
    "model_type": "must be a mapping of keys; remove it to use the defaults",
    "too_short": "must have at least one entry",
    "tuple_type": "must be a list",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has a character that no name may have, or begins with one; it must match {pattern}",
    "literal_error": "must be {expected}",
}
"""Pydantic's Python terms, and ours for a file of keys and lists."""


_SIDES = frozenset({"members", "nonmembers", "reference"})
_NO_NUMBER = frozenset({"int_type", "int_parsing", "int_from_float"})
_SIDE = "must be a number of records, a file with their ids, or {{path: ...}} with records of their own"
_MOST = 10
_SHOWN = 100
"""Characters of a value in a message."""


@cache
def _names_of_sections() -> frozenset[str]:
    """Names of our own classes, by which pydantic tells the possible types of a key apart."""
    found, queue = set(), [PlainNumbers]
    while queue:
        kinds = queue.pop().__subclasses__()
        found |= {kind.__name__ for kind in kinds}
        queue += kinds
    return frozenset(found)


def _is_key(part: str) -> bool:
    return not re.search(r"[\[(]|^(int|float|path|constrained-.*|literal.*|function-.*)$", part)


def _readable(error: ErrorDetails) -> dict[str, str]:
    """What pydantic says of an error, its numbers as people write them."""
    return {
        name: f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in error.get("ctx", {}).items()
    }


def _sentence(key: str, parts: list[str], error: ErrorDetails, root: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        sections = [_SECTIONS[p] for p in parts[:-1] if p in _SECTIONS]
        names = _keys(sections[-1] if sections else root)
        near = difflib.get_close_matches(parts[-1], names, n=1)
        elsewhere = [f"{name}.{parts[-1]}" for name, section in _sections_of(root) if parts[-1] in _keys(section)]
        meant = near[0] if near else elsewhere[0] if elsewhere else None
        return f"'{key}' is not a known key; " + (f"did you mean '{meant}'?" if meant else f"known: {', '.join(names)}")
    plain = _SIDE if parts[-1:] and parts[-1] in _SIDES and error["type"] in _NO_NUMBER else _PLAIN.get(error["type"])
    message = str(error["msg"]).removeprefix("Value error, ") if plain is None else plain.format(**_readable(error))
    value = error.get("input")
    # Do not repeat a token that was written in place of its variable's name.
    is_shown = isinstance(value, (str, int, float, bool)) and parts[-1:] != ["token"] and f"'{value}'" not in message
    named = f"{key}: {message}" if key else message
    shown = repr(value)
    return f"{named} (it is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'})" if is_shown else named
