"""A policy: limits of leakage, and waivers, that somebody else than the author of audit.yaml owns."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from edgeaudit.config.base import Section, names_of
from edgeaudit.config.budgets import BudgetsInput, BudgetSpec, as_budgets
from edgeaudit.config.mistakes import sentences
from edgeaudit.config.plain_values import require_finite, require_plain
from edgeaudit.config.variables import VARIABLE
from edgeaudit.config.waivers import WaiverSpec, each_waived_once
from edgeaudit.config.yaml_file import bytes_of, mapping_of
from edgeaudit.config.yaml_text import contains_itself, lines_of
from edgeaudit.errors import SpecError

__all__ = ["MOST_DAYS", "PolicySpec", "ReadPolicy", "load_policy", "policy_of"]

MOST_DAYS = 366
"""Days that a waiver may last from when it is read: one that never ends is a limit that was dropped."""


class PolicySpec(Section):
    """The whole of a policy's file."""

    name: str | None = Field(None, min_length=1, max_length=200)
    """Title of the policy in reports; by default the file's name."""
    owner: str | None = Field(None, min_length=1, max_length=200)
    """Who set the limits."""
    budgets: Annotated[
        dict[Annotated[str, names_of("metric")], tuple[BudgetSpec, ...]],
        BeforeValidator(as_budgets, json_schema_input_type=BudgetsInput),
    ]
    """Limits that are judged beside those of audit.yaml, in the same grammar; formats by id, or by preset."""
    waivers: tuple[WaiverSpec, ...] = ()
    """Limits that are not met and are accepted until a day, of this policy and of audit.yaml."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.budgets:
            raise ValueError("budgets: a policy needs one limit or more, such as budgets: recommended")
        each_waived_once(self.waivers)
        return self


@dataclass(frozen=True)
class ReadPolicy:
    """A policy as it was read.

    file: name of its file; None where it was given to the Python interface. sha256: of the file's bytes, or of the
    canonical JSON (sorted keys, no spaces) of what was given. lines: where its budgets begin, see `lines_of`.
    """

    spec: PolicySpec
    file: str | None
    sha256: str
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.spec.name or self.file or "policy"


def load_policy(path: Path, today: dt.date | None = None) -> ReadPolicy:
    """Read a policy's file.

    Args:
        path: of the file.
        today: the day from which waivers may last; by default this one, in UTC.

    Raises:
        SpecError: naming file, key and remedy.
    """
    content = bytes_of(path, "policy", "Name the file that has the policy's budgets")
    raw = mapping_of(content, path, "budgets, waivers, name, owner")
    spec = _spec_of(raw, f"{path}: ", today)
    return ReadPolicy(spec, path.name, hashlib.sha256(content).hexdigest(), lines_of(content.decode("utf-8")))


def policy_of(raw: Mapping[str, object], today: dt.date | None = None) -> ReadPolicy:
    """Return the policy that a mapping with the keys of a policy's file describes. See `load_policy`."""
    if contains_itself(raw):
        raise SpecError("policy: the mapping contains itself; remove that entry")
    spec = _spec_of(raw, "policy: ", today)
    text = json.dumps(spec.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
    return ReadPolicy(spec, None, hashlib.sha256(text.encode()).hexdigest())


def _spec_of(raw: Mapping[str, object], where: str, today: dt.date | None) -> PolicySpec:
    try:
        plain = _with_written_days(raw)
        require_plain(plain)
        _require_no_variables(plain)
        spec = PolicySpec.model_validate(plain)
        require_finite(plain)
        _require_near(spec, today or dt.datetime.now(dt.UTC).date())
    except ValidationError as exc:
        raise SpecError(where + "; ".join(sentences(exc, PolicySpec))) from exc
    except SpecError as exc:
        raise SpecError(f"{where}{exc}") from exc
    return spec


def _with_written_days(raw: Mapping[str, object]) -> dict[str, Any]:
    """The mapping in which `expires` is text: Python code, and YAML's `!!timestamp`, have days of their own."""
    found, waivers = dict(raw), raw.get("waivers")
    if isinstance(waivers, list | tuple):
        found["waivers"] = [_with_written_day(one) for one in waivers]
    return found


def _with_written_day(waiver: object) -> object:
    if not isinstance(waiver, Mapping):
        return waiver
    day = waiver.get("expires")
    return {**waiver, "expires": day.isoformat()} if type(day) is dt.date else waiver


def _require_no_variables(value: object, key: str = "") -> None:
    """Raise `SpecError` for `${NAME}`: a policy that reads variables is set by whoever runs the audit."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            _require_no_variables(one, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            _require_no_variables(one, f"{key}[{place}]")
    elif isinstance(value, str) and (found := re.search(VARIABLE, value)) is not None:
        raise SpecError(
            f"{key}: a policy reads no environment variables, which whoever runs the audit sets; write the value in "
            f"place of {found[0]}"
        )


def _require_near(spec: PolicySpec, today: dt.date) -> None:
    for place, waiver in enumerate(spec.waivers):
        days = (waiver.expires - today).days
        if days > MOST_DAYS:
            latest = today + dt.timedelta(days=MOST_DAYS)
            raise SpecError(
                f"waivers.{place}.expires: {waiver.expires} is {days:,} days ahead, and a waiver lasts {MOST_DAYS} at "
                f"most; write a day up to {latest}, and renew it then"
            )
