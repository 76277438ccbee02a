"""`together` of audit.yaml: the job that attacks formats held together, planned when it is known which failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from edgeaudit.attacks.registry import find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.graph.job import Job, JobRef
from edgeaudit.host.packages import package_versions
from edgeaudit.pipeline.plan import Plan
from edgeaudit.recipes.base import source_digest

__all__ = ["ORIGINALS", "sets_to_hold", "together_job"]

ORIGINALS = frozenset(REFERENCES.values())
"""The model that CompLeak compares the others with; where a set lacks it, the set's first format stands in."""

_CODE = ("edgeaudit.attacks", "edgeaudit.leakage", "edgeaudit.stages.collude", "edgeaudit.stages.evidence")
_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")


def sets_to_hold(spec: AuditSpec) -> tuple[tuple[str, ...], ...]:
    """The sets in audit.yaml's `together`, each in the order of `formats` but for the original, which comes first.

    So the order in which a set names its formats does not matter.
    """
    ids = [use.id for use in spec.formats]
    original = {use.id for use in spec.formats if use.format in ORIGINALS and use.id == use.format}
    sets = (tuple(ids),) if spec.together == "all" else spec.together
    return tuple(tuple(sorted(one, key=lambda name: (name not in original, ids.index(name)))) for one in sets)


def together_job(spec: AuditSpec, plan: Plan, done: Callable[[JobRef], bool]) -> Job | None:
    """The job; None where audit.yaml names no set, or no format could be measured.

    A set goes on without formats that failed, as long as two are left, and its rows say so.
    """
    match = spec.threat.shadow_match[0]
    made: dict[str, JobRef] = {}
    for planned in plan.formats:
        if done(ref := planned.measures[match]):
            made.setdefault(planned.use.id, ref)  # on the first device that it was asked on
    sets = sets_to_hold(spec)
    if not sets or not made:
        return None
    needed = {name: made[name] for one in sets for name in one if name in made}
    first = plan.jobs[next(iter(made.values()))].inputs
    inputs = {
        "measures": [[name, list(ref)] for name, ref in needed.items()],
        "sets": [_left(one, made.keys()) for one in sets],
        "targets": [role for role, _ in first["targets"]],
        "headlines": [f"{name}/{v}" for name in first["attacks"] for v in find_attack(name).spec.headlines],
        **{key: first[key] for key in ("seed", "mode", "device", "shadow_match")},
        "code": source_digest(*_CODE),
        "versions": package_versions("attacks on several formats", _PACKAGES, "torch"),
    }
    return Job("together", inputs, tuple(needed.values()), "attack formats held together")


def _left(formats: Sequence[str], made: Collection[str]) -> dict[str, object]:
    """What a set asked for, what of it was measured, and a note on the rest."""
    left = [name for name in formats if name in made]
    lost = ", ".join(name for name in formats if name not in made)
    note = (f"without {lost}, which failed" if len(left) > 1 else f"not run: {lost} failed") if lost else None
    return {"asked": list(formats), "formats": left, "note": note}
