"""Whether files may ship by a signed statement: signature, digests, and the budgets of these very files.

Nothing passes by default. A signature is checked before anything it covers is read; a file has to be an audited one,
with its companions; and every status has to be one that is known to pass. Who signs decides what is stated, so the
public key has to come from elsewhere than the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from edgeaudit.attestation.envelope import LARGEST, read_envelope
from edgeaudit.attestation.keys import key_id, public_key
from edgeaudit.attestation.predicate import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    TYPE_PREFIX,
    AuditedArtifact,
    Bound,
    ControlResult,
    Predicate,
    Statement,
)
from edgeaudit.attestation.reading import parsed_json, read_bounded, sha256_of
from edgeaudit.attestation.statement import subjects_of
from edgeaudit.errors import AttestationError
from edgeaudit.report.model import bound_of
from edgeaudit.report.words import judged_figure, listed, place_name, printable

__all__ = ["VERSION", "Checked", "Verification", "verify_evidence"]

VERSION = "1.0"
"""Of `Verification.to_json`. Keys are added within a major version, none is renamed or removed."""

Finding = Literal["passed", "refused", "open"]
"""passed: within every budget. refused: signature, digest or verdict says no. open: inconclusive, or not judged."""

_HELD = frozenset(("holds", "warning", "not run"))
"""Statuses of controls with which a budget can pass."""
_JUDGED = frozenset(("within budget", "budget exceeded", "inconclusive"))
"""Outcomes of an audit, all of whose budgets were judged; each file's own rows decide then."""
_OPENVINO = ".xml"


@dataclass(frozen=True)
class Checked:
    """One file that was given.

    formats: what it was audited as, `format @ device`. budgets: how many rows hold. waived: until when and by whom rows
    among them were accepted that are not within their limits. of_pipeline: how many of them are about files that the
    pipeline makes, rather than about this one.
    """

    file: str
    sha256: str
    finding: Finding
    formats: tuple[str, ...] = ()
    budgets: int = 0
    waived: tuple[str, ...] = ()
    of_pipeline: int = 0


@dataclass(frozen=True)
class Verification:
    """What was found. reasons: a sentence for each thing that keeps it from a pass; empty at exit code 0.

    exit_code: 0 every file is within its budgets, 1 signature, digest or verdict says no, 3 inconclusive, not judged or
    invalid. key: its id. statement: what was signed; null where the signature does not hold.
    """

    exit_code: Literal[0, 1, 3]
    reasons: tuple[str, ...]
    key: str
    files: tuple[Checked, ...] = ()
    statement: Predicate | None = None

    @property
    def line(self) -> str:
        """One line for humans."""
        if self.exit_code or self.statement is None:
            word = "NOT VERIFIED" if self.exit_code == 1 else "UNDECIDED"
            return printable(f"{word} (exit code {self.exit_code}): {'; '.join(self.reasons)}")
        stated = self.statement
        about = listed([f"{one.file} ({', '.join(one.formats)})" for one in self.files])
        count = sum(one.budgets for one in self.files)
        accepted = list(dict.fromkeys(one for file in self.files for one in file.waived))
        waived = f" (waived {listed(accepted)})" if accepted else ""
        pipeline = sum(one.of_pipeline for one in self.files)
        if pipeline:
            waived += f" ({pipeline} of them on the mean of files that the pipeline makes, not on this file)"
        when = ""
        sources = [one for one in (stated.limits, stated.files.policy) if one is not None]
        if sources:
            before = all(one.before_figures for one in sources)
            when = f", limits read {'before' if before else 'after'} figures were known"
        keys = stated.files.replaced
        if keys:
            when += f", audit.yaml with {listed(list(keys))} replaced on the command line"
        return printable(
            f"VERIFIED (exit code 0): {about} within {count} budget check{'' if count == 1 else 's'}{waived} of the "
            f"audit '{stated.name}' of {stated.created}{when}; signed by key {self.key[:16]}"
        )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        stated = self.statement
        return {
            "verify_version": VERSION,
            "verified": self.exit_code == 0,
            "exit_code": self.exit_code,
            "reasons": list(self.reasons),
            "key": self.key,
            "files": [{**asdict(one), "formats": list(one.formats), "waived": list(one.waived)} for one in self.files],
            "statement": None if stated is None else stated.model_dump(mode="json"),
        }


def verify_evidence(
    evidence: Path,
    key: Path,
    artifacts: Sequence[Path],
    *,
    audit: Path | None = None,
    budgets: str | None = None,
    policy: str | None = None,
    today: date | None = None,
) -> Verification:
    """Check signed evidence against the files that are about to ship.

    Args:
        evidence: the envelope.
        key: the public key of whoever is trusted to sign, which does not come with the evidence.
        artifacts: model files; companions are looked for beside them.
        audit: an audit.json that has to be the signed one.
        budgets: SHA-256 of the budgets that have to be the signed ones (`edgeaudit.gate.origin.budgets_sha256`).
        policy: SHA-256 of the policy that has to be the one that was judged.
        today: the day by which waivers end; by default this one, in UTC.

    Raises:
        AttestationError: something cannot be read, or is no evidence that this version knows.
        MissingToolchain: `cryptography` is not installed.
    """
    if not artifacts:
        raise AttestationError("no artifact was named: a signature says nothing about a file that is not compared")
    trusted = public_key(key)
    envelope = read_envelope(read_bounded(evidence, "the evidence", LARGEST), str(evidence))
    name = key_id(trusted)
    if not envelope.is_signed_by(trusted):
        return Verification(1, (f"no signature of {evidence} is by the key in {key}: it was changed or foreign",), name)
    stated = _statement(envelope.payload, f"{evidence}: payload")
    refused, undecided = _files_differ(stated, audit, budgets, policy), _audit_undecided(stated)
    day = (today or datetime.now(UTC).date()).isoformat()
    files = []
    for path in artifacts:
        checked, no, maybe = _check(path, stated, day)
        files.append(checked)
        refused += no
        undecided += maybe
    code: Literal[0, 1, 3] = 1 if refused else 3 if undecided else 0
    return Verification(code, tuple(dict.fromkeys([*refused, *undecided])), name, tuple(files), stated)


def _statement(payload: bytes, what: str) -> Predicate:
    """The predicate of a statement whose signature holds."""
    raw = parsed_json(payload, what)
    if raw.get("_type") != STATEMENT_TYPE:
        raise AttestationError(f"{what}: _type is not {STATEMENT_TYPE}: it is no in-toto statement of version 1")
    kind = raw.get("predicateType")
    if kind != PREDICATE_TYPE:
        shown = str(kind)[:100]
        remedy = "verify it with the edgeaudit that wrote it" if shown.startswith(TYPE_PREFIX) else "name another file"
        raise AttestationError(
            f"{what}: predicateType is '{shown}', and this edgeaudit reads {PREDICATE_TYPE}; {remedy}"
        )
    version = raw["predicate"].get("schema_version") if isinstance(raw.get("predicate"), dict) else None
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise AttestationError(
            f"{what}: schema_version is {str(version)[:20]!r}, and this edgeaudit reads 1.x; verify it with the "
            "edgeaudit that wrote it"
        )
    try:
        # From the text: strict reading takes a list for a tuple there alone.
        statement = Statement.model_validate_json(payload)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise AttestationError(f"{what}: {where}: {first['msg']}; sign the run again") from exc
    _require_whole(statement, what)
    return statement.predicate


def _require_whole(statement: Statement, what: str) -> None:
    """Raise `AttestationError` where what is stated contradicts itself, so that readers could take it differently."""
    stated = statement.predicate
    signed = {subject.digest.sha256 for subject in statement.subject}
    missing = [subject.name for subject in subjects_of(stated) if subject.digest.sha256 not in signed]
    if missing:
        raise AttestationError(f"{what}: {missing[0]} is stated, and not among the subjects; sign the run again")
    places = [(one.format, one.device) for one in stated.artifacts]
    if len(set(places)) < len(places):
        raise AttestationError(f"{what}: a format stands twice among the artifacts; sign the run again")
    for one in stated.artifacts:
        for name in one.companions:
            parts = PurePosixPath(name).parts
            if not parts or parts[0] == "/" or ".." in parts or "\\" in name or "\0" in name:
                raise AttestationError(f"{what}: the companion '{name[:100]}' lies outside of its folder")


def _files_differ(stated: Predicate, audit: Path | None, budgets: str | None, policy: str | None) -> list[str]:
    found = []
    if audit is not None and sha256_of(audit, "the audit") != stated.files.audit_json.sha256:
        found.append(f"{audit} is not the audit.json that was signed")
    if budgets is not None and stated.files.budgets is None:
        found.append("the evidence names no budgets, so that the ones given were not judged")
    elif budgets is not None and stated.files.budgets is not None and budgets != stated.files.budgets.sha256:
        found.append("the budgets given are not those that were judged")
    if policy is not None and stated.files.policy is None:
        found.append("the evidence names no policy, so that the one given was not judged")
    elif policy is not None and stated.files.policy is not None and policy != stated.files.policy.sha256:
        found.append("the policy given is not the one that was judged")
    return found


def _audit_undecided(stated: Predicate) -> list[str]:
    """What is amiss with the audit as a whole, whatever the file."""
    outcome, failed = stated.verdict.outcome, stated.verdict.failed
    found = [
        f"the audit is not valid: the control {_control_name(one)} failed"
        for one in stated.controls
        if one.status == "failed"
    ]
    if outcome == "error" or failed:
        what = f": {listed(list(failed))} could not be audited" if failed else ""
        found.append(
            f"the audit ended in an error{what}, so that budgets may not have been judged; mend it or take it out"
        )
    elif outcome == "not judged":
        found.append("the audit judged nothing: no budget of level error was set")
    elif outcome == "invalid":
        found += [] if found else ["the audit is not valid"]
    elif outcome not in _JUDGED:
        found.append(f"the audit's outcome is '{outcome[:100]}', which this edgeaudit does not know")
    return found


def _check(path: Path, stated: Predicate, day: str) -> tuple[Checked, list[str], list[str]]:
    """The finding on a file, with sentences on why it is refused and on what is open."""
    digest = sha256_of(path, "the artifact", links=False)
    entries = [one for one in stated.artifacts if one.sha256 == digest]
    if not entries:
        owner = next((one for one in stated.artifacts if digest in one.companions.values()), None)
        why = "is no file that was audited" if owner is None else f"ships beside {owner.file}, which has to be named"
        return Checked(path.name, digest, "refused"), [f"{path} {why} (SHA-256 {digest})"], []
    entries, changed = _with_companions(path, entries)
    if not entries:
        return Checked(path.name, digest, "refused"), [f"{listed(changed)}, beside {path}, was changed"], []
    places = tuple(place_name(one.format, one.device) for one in entries)
    refused: list[str] = []
    undecided: list[str] = []
    waived: list[Bound] = []
    passed = of_pipeline = 0
    for one in entries:
        rows = [row for row in stated.budgets if row.format == one.format and row.device in (None, one.device)]
        # A level that is not known counts as an error; warnings decide nothing.
        binding = [row for row in rows if row.level != "warn"]
        held = [row for row in binding if row.verdict == "pass" or _is_waived(row, day)]
        passed += len(held)
        waived += [row for row in held if row.verdict != "pass"]
        of_pipeline += sum(row.scope == "pipeline" for row in held)
        kept = [row for row in binding if row not in held]
        refused += [_sentence(path, one, row) for row in kept if row.verdict == "fail" or row.waived_by]
        undecided += [_sentence(path, one, row) for row in kept if row.verdict != "fail" and not row.waived_by]
        if not binding:
            undecided.append(f"{path} was not judged as {place_name(one.format, one.device)}: no budget of level error")
    undecided += [
        f"{path}: the control {_control_name(one)} is {one.status[:100]}"
        for one in stated.controls
        if one.status not in _HELD and one.status != "failed" and _concerns(one, places, stated)
    ]
    finding: Finding = "refused" if refused else "open" if undecided else "passed"
    accepted = tuple(dict.fromkeys(f"until {one.expires} by {one.owner}" for row in waived for one in row.waived_by))
    return Checked(path.name, digest, finding, places, passed, accepted, of_pipeline), refused, undecided


def _is_waived(row: Bound, day: str) -> bool:
    """Whether a row is accepted on a day, the last one of a waiver included. Only verdicts that are known can be."""
    return (
        row.verdict in ("fail", "inconclusive")
        and bool(row.waived_by)
        and all(day <= one.expires for one in row.waived_by)
    )


def _with_companions(path: Path, entries: Sequence[AuditedArtifact]) -> tuple[list[AuditedArtifact], list[str]]:
    """The entries whose companions are as they lie beside the file; where there are none, the changed companions.

    The same file with other weights beside it is another model, so each entry is one file with its companions.
    """
    beside = [{_companion(path, one, name): sha for name, sha in one.companions.items()} for one in entries]
    if any(set(one) != set(beside[0]) for one in beside):
        raise AttestationError(f"{path} was audited with weights of several names beside it; audit them apart")
    found = {file: sha256_of(file, "the weights beside it", links=False) for file in beside[0]}
    same = [entry for entry, one in zip(entries, beside, strict=True) if one == found]
    changed = [file.name for file in found if all(one[file] != found[file] for one in beside)]
    return same, changed or [file.name for file in found]


def _companion(path: Path, entry: AuditedArtifact, name: str) -> Path:
    """Where a runtime looks for a companion. Raises `AttestationError` for a place outside of the file's folder."""
    if PurePosixPath(entry.file).suffix == _OPENVINO:  # weights are found by the name of the .xml, also a new one
        return path.with_suffix(PurePosixPath(name).suffix)
    file, folder = path.parent / name, path.parent.resolve()
    if not file.parent.resolve().is_relative_to(folder):
        raise AttestationError(f"{file}: a link leads out of the folder of {path.name}; put the file itself there")
    return file


def _concerns(control: ControlResult, places: Iterable[str], stated: Predicate) -> bool:
    """Whether a control is of one of these formats. One of a format that is not listed is of the whole audit."""
    known = {place_name(one.format, one.device) for one in stated.artifacts}
    return control.format not in known or control.format in places


def _control_name(control: ControlResult) -> str:
    return control.name if control.format is None else f"{control.name} ({control.format})"


def _sentence(path: Path, entry: AuditedArtifact, row: Bound) -> str:
    known = {"fail": "is exceeded", "inconclusive": "is undecided"}
    verb = known.get(row.verdict, f"is '{row.verdict[:100]}', which does not pass")
    of = row.decided_by
    subset = "" if row.subset == "all" else f" on {row.subset}"
    figure = f"{of.attack} {judged_figure(of.value, of.low, of.high, bound_of(row.limit))}"
    if row.waived_by and row.verdict in known:
        first = min(row.waived_by, key=lambda one: one.expires)
        figure += f"; the waiver of {first.owner} ended on {first.expires}"
    return (
        f"{path} ({place_name(entry.format, entry.device)}): budget {row.metric} {row.limit}{subset} {verb}: {figure}"
    )
