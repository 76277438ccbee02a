"""Jobs planned last, once it is known which formats failed: the other formats are still compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from edgeaudit.attacks.headline import headline_order
from edgeaudit.config.audit import AuditSpec
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.graph.executor import AnyJob
from edgeaudit.pipeline.plan import Plan
from edgeaudit.stages.collude import Collude, ColludeSettings, FormatSet
from edgeaudit.stages.compare import Compare, CompareSettings, TargetQuery
from edgeaudit.stages.measure import Measure, MeasureSettings

__all__ = ["ORIGINALS", "collude_job", "compare_job", "sets_to_hold"]

ORIGINALS = frozenset(REFERENCES.values())
"""The model with which CompLeak compares the others; a set without it uses its first format instead."""


def compare_job(plan: Plan, done: Callable[[AnyJob], bool]) -> Compare | None:
    """The job that compares the successful measurements; None if there are none."""
    measures = [measure for planned in plan.formats for measure in planned.measures.values() if done(measure)]
    if not measures:
        return None
    settings = measures[0].settings
    return Compare(
        population=settings.evidence.population,
        settings=CompareSettings(
            exposure=settings.evidence.exposure,
            targets=tuple(role for role, _ in settings.evidence.targets),
            headlines=_headlines(settings),
            seed=settings.seed,
        ),
        measures=tuple(measures),
        weakened=tuple(
            weaker
            for planned in plan.formats
            if planned.measure in measures
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
    """The sets in audit.yaml's `together`, each in the order of `formats` except for the original, which comes first.

    The order within a set in audit.yaml has no effect.
    """
    ids = [use.id for use in spec.formats]
    original = {use.id for use in spec.formats if use.format in ORIGINALS and use.id == use.format}
    sets = (tuple(ids),) if spec.together == "all" else spec.together
    return tuple(
        tuple(sorted(format_set, key=lambda name: (name not in original, ids.index(name)))) for format_set in sets
    )


def collude_job(spec: AuditSpec, plan: Plan, done: Callable[[AnyJob], bool]) -> Collude | None:
    """The multi-version attack; None if audit.yaml names no set of formats, or no format was measured.

    Failed formats are removed from a set as long as two are left, and its rows say so.
    """
    match = spec.threat.shadow_match[0]
    measures: dict[str, Measure] = {}
    for planned in plan.formats:
        if done(measure := planned.measures[match]):
            measures.setdefault(planned.use.id, measure)  # on the first device that it was queried on
    sets = sets_to_hold(spec)
    if not sets or not measures:
        return None
    needed = {name: measures[name] for format_set in sets for name in format_set if name in measures}
    settings = next(iter(measures.values())).settings
    return Collude(
        settings=ColludeSettings(
            sets=tuple(_left(format_set, measures.keys()) for format_set in sets),
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
    return headline_order(settings.attacks, settings.mode)


def _left(formats: Sequence[str], measured: Collection[str]) -> FormatSet:
    left = tuple(name for name in formats if name in measured)
    lost = ", ".join(name for name in formats if name not in measured)
    note = (f"without {lost}, which failed" if len(left) > 1 else f"not run: {lost} failed") if lost else None
    return FormatSet(tuple(formats), left, note)
