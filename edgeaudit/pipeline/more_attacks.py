"""More attacks on the answers of a finished run: no model is trained, exported or queried."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from edgeaudit.attacks.registry import ALL, ATTACKS
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.threat import ThreatSpec
from edgeaudit.errors import RunError, SpecError
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.audit import Prepared
from edgeaudit.pipeline.measure_jobs import TRACED

__all__ = ["require_answers", "with_more_attacks"]

_READS = frozenset({"measure", "canaries", "control", "weaken", "inspect", "latency"})
"""Stages that read what the store has and query no model about a record."""


def with_more_attacks(spec: AuditSpec, attacks: Iterable[str], weaker: Iterable[str]) -> AuditSpec:
    """The audit of a finished run with more attacks and weaker exposures.

    Its own attacks stay: its figures are not to be lost, and its budgets are judged on them.

    Raises:
        AttackError: there is no such attack. SpecError: a weaker exposure is unknown or does not fit.
    """
    added = tuple(attacks)
    for name in added:
        if name != ALL:
            ATTACKS.find(name)
    # `all` comes first, since it has an order of its own.
    names = sorted(dict.fromkeys((*spec.attacks, *added)), key=lambda name: name != ALL)
    return spec.with_attacks(names).model_copy(update={"threat": _weakened(spec.threat, weaker)})


def _weakened(threat: ThreatSpec, weaker: Iterable[str]) -> ThreatSpec:
    levels = list(dict.fromkeys((*threat.weaker, *weaker)))
    try:
        return ThreatSpec.model_validate(threat.model_dump() | {"weaker": levels})
    except ValidationError as exc:
        reasons = "; ".join(str(error["msg"]).removeprefix("Value error, ") for error in exc.errors())
        raise SpecError(f"weaker: {reasons}") from exc


def require_answers(prepared: Prepared, store: Store, run: Path) -> None:
    """Raise `RunError` where the store lacks models or answers that the attacks read. run: its folder, for messages."""
    todo = prepared.todo(store)
    missing = [job.label for job in todo if job.kind not in _READS]
    if not missing:
        return
    traces = {job.kind for job in todo} & set(TRACED)
    if {job.kind for job in todo} <= {*_READS, *traces}:
        names = ", ".join(name for kind, name in TRACED.items() if kind in traces)
        raise RunError(
            f"{names} needs more than the answers of {run} ({len(missing)} jobs: {missing[0]}, ...): name it under "
            "attacks in audit.yaml and run the audit again, which does no more than that"
        )
    raise RunError(
        f"the store {store.root} lacks {len(missing)} of this run's models and answers ({missing[0]}, ...): "
        "name its store with --store, or run the audit again, since its data, code or toolchains changed"
    )
