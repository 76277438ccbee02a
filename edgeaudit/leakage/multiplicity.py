"""Many tests at once: Holm for a family of comparisons, Benjamini-Hochberg and -Yekutieli for claims on records."""

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
    """The p-values as float64 [n], if they are some.

    Raises:
        AttackError: not one dimension, none at all, or one that is not finite or outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise AttackError(f"p-values must be one for each test, and at least one: {values.shape}")
    # A NaN fails every comparison, so it counts as wrong here.
    wrong = int((~((values >= 0) & (values <= 1))).sum())
    if wrong:
        raise AttackError(f"{wrong} of {len(values)} p-values are not between 0 and 1")
    return values


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's adjusted p-values; those at or below a are rejected with a family-wise error rate of at most a.

    The i-th smallest of k is multiplied by k - i + 1, never below the one before it and at most 1. Valid however the
    tests depend on each other, which paired comparisons on the same targets do.

    Args:
        p_values: float [k], of one family that was fixed before the data were seen.

    Returns:
        float64 [k], in the order given.

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
    """Which records are claimed to be members.

    claimed: bool [n]. adjusted: float64 [n], smallest level at which each record would be claimed. level: q, the
    expected share of false claims that is tolerated. method: "bh" or "by".
    """

    claimed: BoolArray
    adjusted: FloatArray
    level: float
    method: ClaimMethod


def claim_records(p_values: FloatArray, level: float, method: ClaimMethod = "by") -> Claims:
    """Records that can be called members while the expected share of false claims (FDR) is at most `level`.

    The p-values of one target's records share its shadows, and those of a conformal test its known nonmembers: one
    odd shadow moves many of them together. "by" holds its level under any dependence and pays a factor
    1 + 1/2 + ... + 1/n for it; "bh" is proved for independence and for positive dependence (PRDS, which conformal
    p-values have: Bates et al. 2023) and is to be reported beside it, not instead. Both hold the level times the
    share of nonmembers, and only if the p-values hold theirs (`edgeaudit.leakage.p_calibration`).

    A rank test among K shadows cannot go below 1/(K+1): with n records nothing is ever claimed by "bh" unless about
    n / (level (K+1)) records share that smallest value.

    Args:
        p_values: float [n], of H0 "the record was not in the training set".
        level: q, in (0, 1).
        method: "bh" or "by".

    Raises:
        AttackError: see `check_p_values`; a level outside (0, 1), an unknown method.

    Examples:
        >>> import numpy as np
        >>> claim_records(np.array([0.001, 0.5, 0.9, 0.8]), level=0.05).claimed.tolist()
        [True, False, False, False]

    Source: Benjamini & Hochberg (JRSS B 1995); Benjamini & Yekutieli (Annals of Statistics 2001); Bates, Candès, Lei,
    Romano & Sesia, "Testing for outliers with conformal p-values" (Annals of Statistics 2023).
    """
    if not 0 < level < 1:
        raise AttackError(f"the level of the claims lies between 0 and 1: {level}")
    if method not in ("bh", "by"):
        raise AttackError(f"claims are made by bh or by: {method}")
    adjusted = np.asarray(
        scipy.stats.false_discovery_control(check_p_values(p_values), method=method), dtype=np.float64
    )
    return Claims(adjusted <= level, adjusted, level, method)


def claim_figures(claims: Claims, members: BoolArray) -> list[Figure]:
    """How the claims fare where memberships are known, each rate with a Clopper-Pearson interval.

    claimed: share of all records that is claimed (the note has the counts). fdp: false discovery proportion, claimed
    nonmembers of all claimed; None where nothing is claimed (its false discovery rate is 0 by convention). recall:
    claimed members of all members. The procedures bound the EXPECTED fdp: one target's may lie above its level, a
    mean over targets may not. The intervals treat records as independent, so they are too narrow for records whose
    p-values move together.

    Args:
        claims: of `claim_records`.
        members: bool [n].

    Raises:
        AttackError: shapes or dtypes do not fit, or one of the two kinds is missing.
    """
    if claims.claimed.shape != members.shape or members.dtype != np.bool_:
        raise AttackError(f"claims {claims.claimed.shape} and bool memberships {members.shape} do not fit")
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
