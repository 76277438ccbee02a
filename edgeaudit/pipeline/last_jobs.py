"""Jobs that are planned last, when it is known which formats failed: the others are compared all the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from edgeaudit.attacks.registry import find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.graph.executor import AnyJob
from edgeaudit.pipeline.plan import Plan
from edgeaudit.stages.collude import Collude, ColludeSettings, FormatSet
from edgeaudit.stages.compare import Compare, CompareSettings, TargetQuery
from edgeaudit.stages.measure import Measure, MeasureSettings

__all__ = ["ORIGINALS", "collude_job", "compare_job", "sets_to_hold"]

ORIGINALS = frozenset(REFERENCES.values())
"""The model that CompLeak compares the others with; where a set lacks it, the set's first format stands in."""


def compare_job(plan: Plan, done: Callable[[AnyJob], bool]) -> Compare | None:
    """The job that compares the measurements that could be made; None where there is none."""
    made = [measure for planned in plan.formats for measure in planned.measures.values() if done(measure)]
    if not made:
        return None
    settings = made[0].settings
    return Compare(
        settings=CompareSettings(
            exposure=settings.evidence.exposure,
            targets=tuple(role for role, _ in settings.evidence.targets),
            headlines=_headlines(settings),
            seed=settings.seed,
        ),
        measures=tuple(made),
        weakened=tuple(
            weaker
            for planned in plan.formats
            if planned.measure in made
            for weaker in planned.exposures.values()
            if done(weaker)
        ),
        answers=tuple(
            TargetQuery(planned.use.id, planned.device, planned.target_query)
            for planned in plan.formats
            if done(planned.target_query)
        ),
    )


def sets_to_hold(spec: AuditSpec) -> tuple[tuple[str, ...], ...]:
    """The sets in audit.yaml's `together`, each in the order of `formats` but for the original, which comes first.

    So the order in which a set names its formats does not matter.
    """
    ids = [use.id for use in spec.formats]
    original = {use.id for use in spec.formats if use.format in ORIGINALS and use.id == use.format}
    sets = (tuple(ids),) if spec.together == "all" else spec.together
    return tuple(tuple(sorted(one, key=lambda name: (name not in original, ids.index(name)))) for one in sets)


def collude_job(spec: AuditSpec, plan: Plan, done: Callable[[AnyJob], bool]) -> Collude | None:
    """The multi-version attack; None where audit.yaml names no set of formats, or no format could be measured.

    A set goes on without formats that failed, as long as two are left, and its rows say so.
    """
    match = spec.threat.shadow_match[0]
    made: dict[str, Measure] = {}
    for planned in plan.formats:
        if done(measure := planned.measures[match]):
            made.setdefault(planned.use.id, measure)  # on the first device that it was queried on
    sets = sets_to_hold(spec)
    if not sets or not made:
        return None
    needed = {name: made[name] for one in sets for name in one if name in made}
    settings = next(iter(made.values())).settings
    return Collude(
        settings=ColludeSettings(
            sets=tuple(_left(one, made.keys()) for one in sets),
            targets=tuple(role for role, _ in settings.evidence.targets),
            headlines=_headlines(settings),
            seed=settings.seed,
            mode=settings.mode,
            device=settings.place.device,
            shadow_match=settings.place.shadow_match,
        ),
        measures=tuple(needed.items()),
    )


def _headlines(settings: MeasureSettings) -> tuple[str, ...]:
    return tuple(f"{name}/{variant}" for name in settings.attacks for variant in find_attack(name).spec.headlines)


def _left(formats: Sequence[str], made: Collection[str]) -> FormatSet:
    left = tuple(name for name in formats if name in made)
    lost = ", ".join(name for name in formats if name not in made)
    note = (f"without {lost}, which failed" if len(left) > 1 else f"not run: {lost} failed") if lost else None
    return FormatSet(tuple(formats), left, note)
