"""Whether `calibrated`'s p-values hold on known nonmembers of real networks.

    python benchmarks/p_values.py results.json                  # ten populations: ten minutes of one core
    python benchmarks/p_values.py results.json --audits 25

Populations are of the five data sets in turn, drawn as in `unlike_targets`: records, 32 shadows, two targets. For each
target: the share of its audited nonmembers with p <= .05 and p <= .01. A valid p-value's share has, over draws of the m
calibration records and the n nonmembers, the mean floor(a (m + 1)) / (m + 1) = b and about the variance
b (1 - b) (1/n + 1/(m + 2)), since all nonmembers are ranked among the same m. Targets of a population share m records;
z takes their mean as one draw. Resumable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from many_nets import SETTINGS
from resumable import audits
from unlike_targets import TARGETS, Population, population

from edgeaudit.attacks.calibrated import Calibrated

LEVELS = (0.05, 0.01)
SHADOWS = 8
Row = dict[str, Any]


def run(number: int) -> Row:
    """The population of this number."""
    round_, place = divmod(number, len(SETTINGS))
    name = list(SETTINGS)[place]
    return {"data": name, **shares(population(name, round_, "offline"), SHADOWS)}


def shares(drawn: Population, shadows: int) -> Row:
    """Mean over targets of the share of nonmembers at each level, and how many there are."""
    audited, reference = (drawn.evidence(0, shadows, part) for part in (drawn.audited, drawn.reference))
    fitted = Calibrated.fit(audited.shadow_answers, reference.shadow_answers)
    found: list[list[float]] = []
    for target in range(TARGETS):
        asked, known = (drawn.evidence(target, shadows, part) for part in (drawn.audited, drawn.reference))
        p = fitted.score(asked, known).p_value
        if p is None:
            raise SystemExit("'calibrated' gave no p-values")
        outside = p[~drawn.masks[target, drawn.audited]]
        found.append([float((outside <= level).mean()) for level in LEVELS])
    nonmembers = len(drawn.audited) - int(drawn.masks[0, drawn.audited].sum())
    row = {f"{level:g}": value for level, value in zip(LEVELS, np.mean(found, axis=0), strict=True)}
    return {**row, "n": nonmembers, "m": len(fitted.held)}


def tables(found: Sequence[Row]) -> Iterator[str]:
    """One line a data set, and one over all of them."""
    yield "| data | populations | nonmembers | at .05 | z | at .01 | z |"
    yield "|---" * 7 + "|"
    for name in [*dict.fromkeys(row["data"] for row in found), "all"]:
        rows = [row for row in found if name in {"all", row["data"]}]
        cells = []
        for level in LEVELS:
            expected = [math.floor(level * (row["m"] + 1)) / (row["m"] + 1) for row in rows]
            variances = [
                b * (1 - b) * (1 / row["n"] + 1 / (row["m"] + 2)) for b, row in zip(expected, rows, strict=True)
            ]
            seen = [row[f"{level:g}"] for row in rows]
            z = (sum(seen) - sum(expected)) / math.sqrt(sum(variances))
            cells += [f"{np.mean(seen):.4f}", f"{z:+.1f}"]
        count = sum(int(row["n"]) * TARGETS for row in rows)
        yield f"| {name} | {len(rows)} | {count:,} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print("\n".join(tables(audits(__doc__, 10, run))))
