"""Claims about single records by the p-values of several formats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.multiplicity import check_p_values
from edgeaudit.leakage.roc import FloatArray

__all__ = ["combined_p_values"]


def combined_p_values(p_values: Sequence[FloatArray]) -> FloatArray:
    """Return one p-value a record, float64 [n], of H0 "the record was in no training set", from one for each format.

    With several formats it is e times their geometric mean, at most 1, which is a p-value under any dependence of the
    formats. The formats of one model nearly agree, and then it costs a factor of e, where the smallest times the number
    of formats (Bonferroni) costs that number; the smallest alone is no p-value. With one format it is that format's.

    Args:
        p_values: float [n] for each format, of the same records.

    Raises:
        AttackError: no format, different lengths, or see `check_p_values`.

    Examples:
        >>> import numpy as np
        >>> combined_p_values([np.array([0.01, 0.9]), np.array([0.04, 0.9])]).round(4).tolist()
        [0.0544, 1.0]

    Source: Vovk & Wang, "Combining p-values via averaging" (Biometrika 2020), proposition 4.
    """
    checked = [check_p_values(values) for values in p_values]
    if len({len(values) for values in checked}) != 1:
        raise AttackError(
            f"p-values of formats must be of the same records; there are {[len(v) for v in checked]} of them"
        )
    if len(checked) == 1:
        return checked[0]
    with np.errstate(divide="ignore"):
        mean = np.exp(np.mean(np.log(checked), axis=0))
    return np.asarray(np.minimum(math.e * mean, 1.0), dtype=np.float64)
