"""audit.json -> the bytes of an in-toto statement: what a pipeline needs of it, and nothing of single records.

Not in it: scores, ids of records, notes and errors, which quote toolchains, and what names a folder or a machine.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePath

from edgeaudit.attestation.predicate import (
    PREDICATE_TYPE,
    SCHEMA_VERSION,
    STATEMENT_TYPE,
    AcceptedUntil,
    AuditedArtifact,
    Bound,
    Capability,
    ControlResult,
    Digest,
    Figure,
    Files,
    Judgement,
    Knowledge,
    Limits,
    Named,
    PolicyFile,
    Population,
    Predicate,
    Subject,
    Threat,
    Tool,
)
from edgeaudit.attestation.reading import sha256_of
from edgeaudit.errors import AttestationError, RunError
from edgeaudit.report.model import Audit, Budget, JudgedAttack, LimitsOrigin, PolicyOrigin
from edgeaudit.report.schema import read_audit
from edgeaudit.report.words import place_name

__all__ = ["predicate_of", "statement_bytes", "statement_of_run", "subjects_of"]

_ATLAS = "AML.T0024.000"
"""Infer Training Data Membership, in MITRE ATLAS since version 5 (below Exfiltration via AI Inference API)."""
_GOAL = "membership inference: to tell whether a record was in the training data"
_LONGEST = 200


def statement_of_run(run: Path, audit_yaml: Named | None, responsible: str | None) -> bytes:
    """The statement on a finished run.

    Args:
        run: its folder, of which audit.json alone is read.
        audit_yaml: the file that was given to the run, by its name.
        responsible: who takes responsibility for the audit.

    Raises:
        RunError: audit.json cannot be read, or changed meanwhile. AttestationError: `responsible` is no name.
    """
    path = run / "audit.json"
    audit = read_audit(path)
    digest = sha256_of(path, "the audit")
    if read_audit(path) != audit:
        raise RunError(f"{path} changed while it was read; sign again once it is written")
    return statement_bytes(predicate_of(audit, digest, audit_yaml, _name(responsible)))


def predicate_of(audit: Audit, digest: str, audit_yaml: Named | None, responsible: str | None) -> Predicate:
    """What evidence states of an audit. digest: SHA-256 of audit.json."""
    verdict, threat = audit.verdict, audit.threat
    failed = tuple(place_name(f.id, f.device) for f in audit.formats if f.status == "failed")
    records = threat.get("records_per_model")
    return Predicate(
        schema_version=SCHEMA_VERSION,
        tool=Tool(name=audit.tool.name, version=audit.tool.version),
        name=audit.name,
        created=audit.created,
        responsible=responsible,
        files=Files(
            audit_json=Digest(sha256=digest),
            audit_yaml=audit_yaml,
            budgets=None if verdict.limits is None else Digest(sha256=verdict.limits.sha256),
            policy=None if verdict.policy is None else _policy(verdict.policy),
            replaced=audit.replaced,
        ),
        threat=Threat(
            atlas=_ATLAS,
            goal=_GOAL,
            capability=Capability(
                access="query", exposure=str(threat.get("exposure")), views=_texts(threat.get("views"))
            ),
            knowledge=Knowledge(
                mode=str(threat.get("mode")),
                shadows=int(threat.get("shadows") or 0),
                shadow_match=_texts(threat.get("shadow_match")),
                records_per_model=records if isinstance(records, int) else None,
            ),
        ),
        population=Population(members=audit.population.members, nonmembers=audit.population.nonmembers),
        limits=None if verdict.limits is None else _limits(verdict.limits),
        artifacts=tuple(
            AuditedArtifact(
                format=f.id,
                device=f.device,
                file=PurePath(f.artifact.file).name,
                sha256=f.artifact.sha256,
                companions=f.artifact.companions,
            )
            for f in audit.formats
            if f.artifact is not None
        ),
        budgets=tuple(_bound(budget) for budget in verdict.budgets),
        controls=tuple(
            ControlResult(
                name=c.name,
                format=c.format,
                status=c.status,
                value=c.value,
                low=c.low,
                high=c.high,
                p_value=c.p_value,
                n=c.n,
            )
            for c in audit.controls
        ),
        verdict=Judgement(outcome=verdict.outcome, exit_code=verdict.exit_code, failed=failed),
    )


def subjects_of(predicate: Predicate) -> tuple[Subject, ...]:
    """Everything that has a digest: audited files with their companions, audit.json, audit.yaml, budgets, policy."""
    files = predicate.files
    found = [("audit.json", files.audit_json.sha256)]
    found += [] if files.audit_yaml is None else [(files.audit_yaml.name, files.audit_yaml.sha256)]
    found += [] if files.budgets is None else [("budgets", files.budgets.sha256)]
    found += [] if files.policy is None else [("policy", files.policy.sha256)]
    for one in predicate.artifacts:
        place = f"{one.format}/{one.device}"
        found += [(f"{place}/{name}", digest) for name, digest in [(one.file, one.sha256), *one.companions.items()]]
    return tuple(Subject(name=name, digest=Digest(sha256=digest)) for name, digest in found)


def statement_bytes(predicate: Predicate) -> bytes:
    """The statement as JSON with sorted keys, without spaces: the same predicate gives the same bytes."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [subject.model_dump(mode="json") for subject in subjects_of(predicate)],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate.model_dump(mode="json"),
    }
    text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _limits(origin: LimitsOrigin) -> Limits:
    return Limits(
        file=None if origin.file is None else PurePath(origin.file).name,
        read=origin.read,
        before_figures=not origin.measured,
        changed_by_command_line=origin.changed,
    )


def _policy(origin: PolicyOrigin) -> PolicyFile:
    return PolicyFile(name=origin.name, owner=origin.owner, sha256=origin.sha256, before_figures=not origin.measured)


def _bound(budget: Budget) -> Bound:
    names = dict.fromkeys(one.attack for one in budget.attacks)
    return Bound(
        metric=budget.metric,
        limit=budget.limit,
        level=budget.level,
        scope=budget.scope,
        format=budget.format,
        device=budget.device,
        subset=budget.subset,
        verdict=budget.verdict,
        decided_by=Figure(
            attack=budget.decided_by or budget.attack, value=budget.value, low=budget.low, high=budget.high
        ),
        attacks=tuple(names),
        worst_outside=None if budget.worst_outside is None else _figure(budget.worst_outside),
        reason=budget.reason,
        policy=budget.policy,
        waived_by=tuple(
            AcceptedUntil(owner=one.owner, reason=one.reason, expires=one.expires) for one in budget.waived_by
        ),
    )


def _figure(one: JudgedAttack) -> Figure:
    return Figure(attack=one.name, value=one.value, low=one.low, high=one.high)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else () if value is None else (str(value),)


def _name(responsible: str | None) -> str | None:
    if responsible is None:
        return None
    name = responsible.strip()
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise AttestationError(f"responsible: must be a name of 1 to {_LONGEST} printable characters in one line")
    return name
