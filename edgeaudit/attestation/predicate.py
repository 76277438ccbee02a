"""What evidence states, as typed JSON: the predicate of the in-toto statement, with a version of its own.

Texts are strings rather than enumerations where evidence is read, so that a status which this version does not know can
be named; it never passes. Unknown keys are ignored, as in-toto has it: no key that is added later may turn a refusal
into a pass.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "PREDICATE_TYPE", "SCHEMA_VERSION", "STATEMENT_TYPE", "TYPE_PREFIX", "AcceptedUntil", "AuditedArtifact", "Bound",
    "Capability", "ControlResult", "Digest", "Figure", "Files", "Judgement", "Knowledge", "Limits", "Named",
    "PolicyFile", "Population", "Predicate", "Statement", "Subject", "Threat", "Tool",
]  # fmt: skip

SCHEMA_VERSION: Final = "1.0"
"""Of the predicate. Keys are added within a major version, none is renamed or removed."""
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
TYPE_PREFIX: Final = "urn:edgeaudit:leakage-audit:v"
PREDICATE_TYPE: Final = f"{TYPE_PREFIX}1"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Digest(_Part):
    """A DigestSet of in-toto; other algorithms in it are not read."""

    sha256: Sha256


class Subject(_Part):
    """What the statement is about: a file, or the budgets. `name` tells subjects apart and is no path."""

    name: str
    digest: Digest


class Tool(_Part):
    """What made the audit."""

    name: str
    version: str


class Named(_Part):
    """A file without its folder."""

    name: str
    sha256: Sha256


class Files(_Part):
    """What the figures and limits are in.

    audit_yaml: the file that was given to the run; null where the run had none, or did not record its digest. budgets:
    of `spec.budgets` as canonical JSON; null without budgets. policy: null where none was judged. replaced: keys of
    audit.yaml whose values are not the file's, but those of a command line.
    """

    audit_json: Digest
    audit_yaml: Named | None
    budgets: Digest | None
    policy: PolicyFile | None = None
    replaced: tuple[str, ...] = ()


class Capability(_Part):
    """What an attacker can do: read answers to queries of his own, at this granularity."""

    access: Literal["query"]
    exposure: str
    views: tuple[str, ...]


class Knowledge(_Part):
    """What an attacker knows.

    mode: `adversary`, whose shadows never saw an audited record, or `auditor`, the worst case. shadows: models that he
    trains. shadow_match: whether they go through the format's passes. records_per_model: that each trains on.
    """

    mode: str
    shadows: int
    shadow_match: tuple[str, ...]
    records_per_model: int | None


class Threat(_Part):
    """The threat, in the vocabulary of NIST AI 100-2, with its number in MITRE ATLAS."""

    atlas: str
    goal: str
    capability: Capability
    knowledge: Knowledge


class Population(_Part):
    """How many records were audited on each side."""

    members: int
    nonmembers: int


class PolicyFile(_Part):
    """The policy that was judged beside the audit's own budgets. name: its title. before_figures: as in `Limits`."""

    name: str
    owner: str | None
    sha256: Sha256
    before_figures: bool


class Limits(_Part):
    """Who set the limits: a file's name, when it was read (UTC), whether that was before any figure was known."""

    file: str | None
    read: str
    before_figures: bool
    changed_by_command_line: bool


class AuditedArtifact(_Part):
    """A file that was audited, as a format on a device. companions: files that ship beside it -> SHA-256."""

    format: str
    device: str
    file: str
    sha256: Sha256
    companions: dict[str, Sha256]


class Figure(_Part):
    """An attack's figure with its 95% interval."""

    attack: str
    value: float | None
    low: float | None
    high: float | None


class AcceptedUntil(_Part):
    """A waiver of a budget's row. owner: who answers for it. expires: its last day, in UTC, as YYYY-MM-DD."""

    owner: str
    reason: str
    expires: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Bound(_Part):
    """One budget, judged on one format. device null: on all devices.

    decided_by: the figure on which `verdict` rests. attacks: whose figures were judged. worst_outside: the largest
    figure of the audit that the budget leaves out. reason: why the limit is what it is. policy: title of the policy
    that set it; null: the audit's own. waived_by: waivers for which the row passes although `verdict` does not, until
    they end.
    """

    metric: str
    limit: str
    level: str
    scope: str
    format: str
    device: str | None
    subset: str
    verdict: str
    decided_by: Figure
    attacks: tuple[str, ...]
    worst_outside: Figure | None
    reason: str | None
    policy: str | None = None
    waived_by: tuple[AcceptedUntil, ...] = ()


class ControlResult(_Part):
    """A check of the audit itself. format null: of the whole audit."""

    name: str
    format: str | None
    status: str
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int | None


class Judgement(_Part):
    """The outcome for all formats together. failed: formats, as `format @ device`, that could not be audited."""

    outcome: str
    exit_code: int
    failed: tuple[str, ...]


class Predicate(_Part):
    """What was measured and judged. responsible: who takes responsibility, as whoever signed says."""

    schema_version: str
    tool: Tool
    name: str
    created: str
    responsible: str | None
    files: Files
    threat: Threat
    population: Population
    limits: Limits | None
    artifacts: tuple[AuditedArtifact, ...]
    budgets: tuple[Bound, ...]
    controls: tuple[ControlResult, ...]
    verdict: Judgement


class Statement(_Part):
    """An in-toto Statement v1. Its fourth key, `_type`, is checked before."""

    subject: tuple[Subject, ...]
    predicateType: str  # noqa: N815  in-toto's name
    predicate: Predicate
