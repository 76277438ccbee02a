"""Single records that can be claimed to be members, and the family of tests behind the claims."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClaimedRecord", "RecordClaims"]


@dataclass(frozen=True)
class ClaimedRecord:
    """A record that is claimed to be a member, at the level of `RecordClaims`.

    p_value: combined over formats. q_value, q_by: the smallest level at which the record would be claimed, by
    Benjamini-Hochberg and by Benjamini-Yekutieli. stability: share of two random halves of the shadows with which it
    would be claimed too; null with fewer than 8 shadows. member: the truth, which no claim used. calibrated: the
    target's quantiser was calibrated on it, which can expose a record that the training never used. name: of its file;
    null if it has none.
    """

    record: int
    label: int
    p_value: float
    q_value: float
    q_by: float
    stability: float | None
    member: bool
    calibrated: bool
    name: str | None = None


@dataclass(frozen=True)
class RecordClaims:
    """One family of tests, of all audited records by all formats, and what it claims of the first target.

    level: bound on the expected share of false claims, by Benjamini-Hochberg, which assumes that the combined p-values
    are independent or positively dependent. claimed: how many records; false_claims: the nonmembers among them;
    claimed_by: how many by Benjamini-Yekutieli, which assumes nothing. records: how many were tested. deployments:
    formats (on devices) whose p-values are valid, and tests: `attack/variant` of each. smallest_q: of any record; null
    without valid p-values. half_shadows: number of shadows in the smaller half behind `ClaimedRecord.stability`. note:
    how p-values were combined, or why there are none.
    """

    level: float
    records: int
    deployments: tuple[str, ...]
    tests: tuple[str, ...]
    claimed: int
    false_claims: int
    claimed_by: int
    smallest_q: float | None
    half_shadows: int | None
    note: str
