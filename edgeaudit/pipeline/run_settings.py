"""What two runs were made with and judged by: settings that differ, and limits that were loosened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgeaudit.report.model import Audit, Budget, FormatResult
from edgeaudit.report.model.between_runs import SettingChange
from edgeaudit.report.words import listed, place_name, printable

__all__ = ["Pair", "format_changes", "loosened_limits", "setting_changes"]

Pair = tuple[FormatResult, FormatResult]
"""A format on a device in OLD, and the one with which it is compared in NEW."""

_SECTIONS = (
    "task", "threat", "attacks", "cm-mia", "label-only", "loss-trajectory", "shadows", "seed", "targets", "model",
    "target", "data", "canaries", "controls", "devices",
)  # fmt: skip
"""Of the spec, what figures depend on. Formats are compared one by one, and budgets by their limits."""
_ELSEWHERE = ("task", "threat.mode", "threat.exposure")
"""Keys of the spec that are read from what the audit reports of them."""
_LONGEST = 60
_NOT_RECORDED = "not recorded"
_LEVELS = ("warn", "error")


def setting_changes(old: Audit, new: Audit) -> list[SettingChange]:
    """Return the settings on which figures depend and which differ, those of the attacker first."""
    changes = [*_attacker(old, new), *_records(old, new), *_spec(old, new)]
    first, second = (_budgets(audit) for audit in (old, new))
    found = [*_one("budgets", first, second), *_one("edgeaudit", old.tool.version, new.tool.version)]
    changes += [*found, *_environment(old, new)]
    return sorted(changes, key=lambda change: not change.attacker)


def _attacker(old: Audit, new: Audit) -> Iterator[SettingChange]:
    """Who attacks. The first shadow match alone is judged; formats are compared at the probability floor."""
    yield from _one("task", old.population.task, new.population.task, attacker=True)
    for name in ("mode", "exposure"):
        yield from _one(f"threat.{name}", old.threat.get(name), new.threat.get(name), attacker=True)
    first, second = (_first_match(audit) for audit in (old, new))
    if first is not None and second is not None:
        yield from _one("threat.shadow_match (the first)", first, second, attacker=True)
    name = "probability_floor"
    if name in old.threat and name in new.threat:
        yield from _one("probability floor", old.threat[name], new.threat[name])
    given = "given_shadows"
    yield from _one("given shadows", old.threat.get(given), new.threat.get(given))
    name = "records_per_model"
    yield from _one("records of a shadow", old.threat.get(name), new.threat.get(name))


def _first_match(audit: Audit) -> object:
    matches = audit.threat.get("shadow_match")
    return matches[0] if isinstance(matches, list) and matches else matches


def _records(old: Audit, new: Audit) -> Iterator[SettingChange]:
    """What was drawn, which the settings of the data alone do not say."""
    first, second = old.population, new.population
    yield from _one("data digest", first.sha256[:16], second.sha256[:16])
    for name in ("members", "nonmembers", "reference", "classes", "outputs", "grouped_by"):
        yield from _one(f"records: {name}", getattr(first, name), getattr(second, name))


def _spec(old: Audit, new: Audit) -> Iterator[SettingChange]:
    for section in _SECTIONS:
        first, second = (dict(_flat(audit.spec.get(section), section)) for audit in (old, new))
        for key in dict.fromkeys((*first, *second)):
            if key in _ELSEWHERE:
                continue
            if key in first and key in second:
                yield from _one(key, first[key], second[key])
            elif first.get(key) or second.get(key):  # of a version without this key, or of a section that was not set
                yield from _one(key, first.get(key, _absent(key, first)), second.get(key, _absent(key, second)))


def _absent(key: str, known: Mapping[str, Any]) -> str | None:
    """What stands for a key that a spec lacks: None where a section above it was not set, by this version or any."""
    parts = key.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts)))
    return None if any(name in known and known[name] is None for name in above) else _NOT_RECORDED


def _environment(old: Audit, new: Audit) -> Iterator[SettingChange]:
    first, second = old.environment, new.environment
    for name in ("python", "os", "cpu", "isa"):
        yield from _one(name, getattr(first, name), getattr(second, name))
    for package in sorted({*first.packages, *second.packages}):
        versions = (found.packages.get(package, "not installed") for found in (first, second))
        yield from _one(f"package {package}", *versions)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a mapping's leaves; a list is one."""
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}")
    else:
        yield name, value


def _one(name: str, old: Any, new: Any, *, attacker: bool = False) -> Iterator[SettingChange]:
    first, second = _text(old), _text(new)
    if first != second:
        yield SettingChange(name=name, old=_short(first), new=_short(second), attacker=attacker)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value)
    return printable(json.dumps(value, default=str, ensure_ascii=False).replace('"', ""))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def format_changes(old: FormatResult, new: FormatResult) -> tuple[str, ...]:
    """Return what differs between two formats: passes with their settings and versions, and the runtime."""
    alike = old.artifact is not None and new.artifact is not None and old.artifact.sha256 == new.artifact.sha256
    same = ["same file"] if alike else []
    first, second = (dict(_made(one)) for one in (old, new))
    keys = dict.fromkeys((*first, *second))
    changes = (change for key in keys for change in _one(key, first.get(key), second.get(key)))
    return (*same, *(f"{change.name}: {change.old} -> {change.new}" for change in changes))


def _made(result: FormatResult) -> Iterator[tuple[str, Any]]:
    yield "passes", ", ".join(step.name for step in result.passes)
    for step in result.passes:
        yield from _flat(step.params, step.name)
        yield from ((f"{step.name}, {package}", version) for package, version in step.versions.items())
    if result.runtime is not None:
        yield "runtime", f"{result.runtime.name} {result.runtime.version}"
        yield from _flat(result.runtime.options, "runtime")


def _budgets(audit: Audit) -> str:
    limits = (f"{b.metric} {b.limit}{' (warn)' if b.level == 'warn' else ''}" for b in audit.verdict.budgets)
    return ", ".join(dict.fromkeys(limits)) or "none"


def loosened_limits(old: Audit, new: Audit, pairs: Iterable[Pair]) -> tuple[str, ...]:
    """Return a sentence for each limit of OLD that NEW does not hold the same format to.

    A limit is kept if NEW has one of the same figure, no higher and of no lower level, over all of its attacks.
    """
    places: dict[str, list[str]] = {}
    for first, second in pairs:
        before = [b for b in old.verdict.budgets if _is_of(b, first)]
        after = [b for b in new.verdict.budgets if _is_of(b, second)]
        for budget in before:
            said = _loosened(budget, [b for b in after if _same_figure(budget, b, first, second)])
            if said is not None:
                places.setdefault(said, []).append(printable(place_name(second.id, second.device)))
    return tuple(f"{said}: {listed(list(dict.fromkeys(names)))}" for said, names in places.items())


def _is_of(budget: Budget, result: FormatResult) -> bool:
    return budget.format == result.id and budget.device in (None, result.device)


def _same_figure(first: Budget, second: Budget, old: FormatResult, new: FormatResult) -> bool:
    """Whether two budgets limit the same figure, or its increase over the same format."""
    against = [_against(budget) for budget in (first, second)]
    same = against[0] == against[1] or against == [old.id, new.id]
    return same and (first.metric, first.subset, first.scope) == (second.metric, second.subset, second.scope)


def _against(budget: Budget) -> str | None:
    """The format over which an increase is limited; None for a limit of the figure itself."""
    over, plus, _ = budget.limit.removeprefix("<= ").rpartition(" + ")
    return over if plus else None


def _loosened(budget: Budget, candidates: Sequence[Budget]) -> str | None:
    what = f"{budget.metric} {budget.limit} (level {budget.level})"
    if not candidates:
        return f"{what} is gone"
    bound = budget.bound
    if bound is None:
        return None
    within = [b for b in candidates if b.bound is not None and b.bound <= bound]
    if not within:
        lowest = min(candidates, key=lambda b: float("inf") if b.bound is None else b.bound)
        return f"{what} is now {lowest.limit}"
    level = _LEVELS.index(budget.level)
    strict = [b for b in within if _LEVELS.index(b.level) >= level]
    if not strict:
        return f"{what} is a warning now"
    lacking = [_attacks(budget) - _attacks(b) for b in strict]
    if all(lacking):
        fewest = min((sorted(names) for names in lacking), key=len)
        return f"{what} is no longer judged on {listed(fewest)}"
    return None


def _attacks(budget: Budget) -> set[str]:
    return {one.attack.partition("/")[0] for one in budget.attacks if not one.beside}
