"""Records that can be claimed to be members, by the p-values of all formats together: a part of `measure`, `compare`.

A format has p-values of each record (the first test that is valid there), and of each record by two halves of the
shadows. All formats are of one model, so a record is one hypothesis, and all records are one family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Attack
from edgeaudit.leakage.multiplicity import claim_records
from edgeaudit.leakage.record_claims import combined_p_values
from edgeaudit.leakage.rows import ClaimedRecord, PCalibration, RecordClaims
from edgeaudit.randomness import stream
from edgeaudit.stages.evidence import Case

__all__ = ["LEAST_SHADOWS", "RecordTests", "claim_test", "claimed_records", "half_p_values", "shadow_halves"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST_SHADOWS = 8
"""Shadows below which there is no stability: a half has fewer than four."""
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class RecordTests:
    """One format's tests of the audited records. All arrays are [n]; the same records in every format.

    where: the format, and its device unless it is this machine. test: `attack/variant`. halves: p-values by each half
    of the shadows; empty where there are none. half_shadows: number of shadows in the smaller half.
    """

    where: str
    test: str
    p_value: FloatArray
    halves: tuple[FloatArray, ...]
    half_shadows: int | None
    records: IntArray
    labels: IntArray
    members: BoolArray
    calibrated: BoolArray


def claim_test(headlines: Sequence[str], calibration: Sequence[PCalibration]) -> str | None:
    """The first headline whose p-values are valid and hold in this format, as `attack/variant`; None if none does."""
    holds = {f"{row.attack}/{row.variant}" for row in calibration if row.is_p_value}
    return next((name for name in headlines if name in holds), None)


def shadow_halves(shadows: int, seed: int) -> tuple[IntArray, IntArray]:
    """Positions of two random halves of the shadows, ascending.

    Consecutive shadows stay together: in auditor mode they train on complementary records, so that each record has OUT
    shadows in both halves. The last of an odd number is in neither.
    """
    pairs = stream(seed, "shadow halves").permutation(shadows // 2)
    cut = len(pairs) // 2
    first, second = (np.sort(np.concatenate((2 * part, 2 * part + 1))) for part in (pairs[:cut], pairs[cut:]))
    return first, second


def half_p_values(case: Case, attack: Attack, variant: str, seed: int) -> tuple[FloatArray, ...]:
    """P-values of the audited records by each half of the shadows, fitted anew.

    None where there are too few shadows, and for a test that uses none.
    """
    k = len(case.audited.shadows) if attack.spec.needs_of(variant).shadows else 0
    found: list[FloatArray] = []
    for half in shadow_halves(k, seed) if k >= LEAST_SHADOWS else ():
        audited, reference = case.audited.keep(half), case.reference.keep(half)
        if attack.inapplicable(audited, reference, variant) is not None:
            return ()
        p_value = attack.score(audited, variant, reference).p_value
        if p_value is None:
            return ()
        found.append(p_value)
    return tuple(found)


def claimed_records(records: int, tested: Sequence[RecordTests]) -> tuple[RecordClaims, tuple[ClaimedRecord, ...]]:
    """Claim records as members by the p-values of all formats.

    Args:
        records: number of audited records.
        tested: the formats with valid p-values; with halves of the shadows only where every one has them.

    Returns:
        The family and, sorted by q-value and stability, the claimed records; none where none can be claimed at 5%.
    """
    if not tested:
        note = "no test of this audit has p-values that are valid here, so no record can be claimed"
        return RecordClaims(_LEVEL, records, (), (), 0, 0, 0, None, None, note), ()
    p_value = combined_p_values([one.p_value for one in tested])
    claims, by = (claim_records(p_value, _LEVEL, method) for method in ("bh", "by"))
    stability = _stability(tested)
    first = tested[0]
    rows = tuple(
        ClaimedRecord(
            int(first.records[i]),
            int(first.labels[i]),
            float(p_value[i]),
            float(claims.adjusted[i]),
            float(by.adjusted[i]),
            None if stability is None else float(stability[i]),
            bool(first.members[i]),
            any(bool(one.calibrated[i]) for one in tested),
        )
        for i in _ordered(claims.claimed, p_value, stability)
    )
    note = (
        "p-values of one format"
        if len(tested) == 1
        else f"p-values of {len(tested)} formats, combined as e times their geometric mean (valid under any dependence)"
    )
    family = RecordClaims(
        _LEVEL,
        len(p_value),
        tuple(one.where for one in tested),
        tuple(one.test for one in tested),
        len(rows),
        sum(not row.member for row in rows),
        int(by.claimed.sum()),
        float(claims.adjusted.min()),
        None if stability is None else min(one.half_shadows or 0 for one in tested),
        note,
    )
    return family, rows


def _ordered(claimed: BoolArray, p_value: FloatArray, stability: FloatArray | None) -> Iterator[int]:
    """The smallest p-value first; of equal ones, of which conformal p-values have many, the most stable."""
    chosen = np.flatnonzero(claimed)
    unstable = np.zeros(len(chosen)) if stability is None else -stability[chosen]
    return iter(chosen[np.lexsort((unstable, p_value[chosen]))].tolist())


def _stability(tested: Sequence[RecordTests]) -> FloatArray | None:
    """Share of the halves with which each record is claimed, [n]; None unless every format has them."""
    if not all(one.halves for one in tested):
        return None
    by_half = zip(*(one.halves for one in tested), strict=True)
    return np.asarray(
        np.mean([claim_records(combined_p_values(p), _LEVEL, "bh").claimed for p in by_half], axis=0), dtype=np.float64
    )
