"""Multiple testing: Holm for families of comparisons, Benjamini-Hochberg and -Yekutieli for claims on records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.metrics import Figure
from edgeaudit.leakage.roc import BoolArray, FloatArray

__all__ = ["ClaimMethod", "Claims", "check_p_values", "claim_figures", "claim_records", "holm"]

ClaimMethod = Literal["bh", "by"]


def check_p_values(p_values: FloatArray) -> FloatArray:
    """Return valid p-values as float64 [n].

    Raises:
        AttackError: the array is not one-dimensional or is empty, or a value is NaN or outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise AttackError(f"p-values must be a non-empty array of one dimension; the shape is {values.shape}")
    # NaN fails every comparison, so it counts as invalid here.
    invalid = int((~((values >= 0) & (values <= 1))).sum())
    if invalid:
        raise AttackError(f"{invalid} of {len(values)} p-values are not between 0 and 1")
    return values


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values adjusted by Holm's method; rejecting those <= a keeps the family-wise error rate at or below a.

    The i-th smallest of k is multiplied by k - i + 1, made non-decreasing, and capped at 1. It is valid under any
    dependence of the tests, such as that of paired comparisons on the same targets.

    Args:
        p_values: float [k], of one family that was fixed before the data were seen.

    Returns:
        float64 [k], in the order of `p_values`.

    Raises:
        AttackError: see `check_p_values`.

    Examples:
        >>> import numpy as np
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]

    Source: Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 1979).
    """
    values = check_p_values(p_values)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


@dataclass(frozen=True)
class Claims:
    """Records claimed to be members.

    claimed: bool [n]. adjusted: float64 [n], smallest level at which each record would be claimed. level: q, the bound
    on the expected share of false claims. method: "bh" or "by".
    """

    claimed: BoolArray
    adjusted: FloatArray
    level: float
    method: ClaimMethod


def claim_records(p_values: FloatArray, level: float, method: ClaimMethod = "by") -> Claims:
    """Return the records claimed to be members, with an expected share of false claims (FDR) of at most `level`.

    The p-values of one target's records share its shadows, and those of a conformal test its known nonmembers, so one
    unusual shadow changes many of them. "by" holds its level under any dependence, at the cost of a factor
    1 + 1/2 + ... + 1/n. "bh" is proved for independence and for positive dependence (PRDS, which conformal p-values
    have: Bates et al. 2023); report it beside "by", not instead. Both keep the FDR at or below the level times the
    share of nonmembers, provided that the p-values are valid (`edgeaudit.leakage.p_calibration`).

    A rank test among K shadows has p >= 1/(K+1): with n records "bh" claims nothing unless about n / (level (K+1))
    records share that smallest value.

    Args:
        p_values: float [n], of H0 "the record was not in the training set".
        level: q, in (0, 1).
        method: "bh" or "by".

    Raises:
        AttackError: see `check_p_values`; also for a level outside (0, 1) and for an unknown method.

    Examples:
        >>> import numpy as np
        >>> claim_records(np.array([0.001, 0.5, 0.9, 0.8]), level=0.05).claimed.tolist()
        [True, False, False, False]

    Source: Benjamini & Hochberg (JRSS B 1995); Benjamini & Yekutieli (Annals of Statistics 2001); Bates, Candès, Lei,
    Romano & Sesia, "Testing for outliers with conformal p-values" (Annals of Statistics 2023).
    """
    if not 0 < level < 1:
        raise AttackError(f"the level of claims must be between 0 and 1: {level}")
    if method not in ("bh", "by"):
        raise AttackError(f"unknown method of claims '{method}'; it is one of: bh, by")
    adjusted = np.asarray(
        scipy.stats.false_discovery_control(check_p_values(p_values), method=method), dtype=np.float64
    )
    return Claims(adjusted <= level, adjusted, level, method)


def claim_figures(claims: Claims, members: BoolArray) -> list[Figure]:
    """Evaluate claims against the memberships; each rate has a Clopper-Pearson interval.

    claimed: share of all records that are claimed (the note has the counts). fdp: false discovery proportion, the
    claimed nonmembers among all claimed; None where nothing is claimed (the false discovery rate then counts 0).
    recall: share of members that are claimed. The procedures bound the expected fdp: that of one target may exceed the
    level, the mean over targets may not. The intervals treat records as independent, so they are too narrow for records
    with correlated p-values.

    Args:
        claims: from `claim_records`.
        members: bool [n].

    Raises:
        AttackError: shapes or dtypes do not match, or there are no members or no nonmembers.
    """
    if claims.claimed.shape != members.shape or members.dtype != np.bool_:
        raise AttackError(f"claims {claims.claimed.shape} and bool memberships {members.shape} do not match")
    if members.all() or not members.any():
        raise AttackError("figures need at least one member and one nonmember")
    m, total = int(members.sum()), len(members)
    hits, claimed = int((claims.claimed & members).sum()), int(claims.claimed.sum())
    wrong, n = claimed - hits, total - m
    note = f"{claimed} of {total} records claimed; {hits} of {m} members, {wrong} of {n} nonmembers"
    rows = []
    for name, count, trials in (("claimed", claimed, total), ("fdp", wrong, claimed), ("recall", hits, m)):
        metric = f"{name}@{claims.method}={claims.level:g}"
        if trials == 0:
            rows.append(Figure(metric, None, None, None, m, n, 0.0, f"no record is claimed; {note}"))
            continue
        low, high = clopper_pearson(count, trials)
        rows.append(Figure(metric, count / trials, low, high, m, n, wrong / n, note))
    return rows
