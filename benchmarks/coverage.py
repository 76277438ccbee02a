"""Coverage of every interval and error rates of the decision, by simulated audits with known truth.

    python benchmarks/coverage.py coverage.json                 # 1,000 audits a cell
    python benchmarks/coverage.py coverage.json --quick         # 100 audits, fewer cells
    python benchmarks/coverage.py coverage.json --parts figures,groups --repetitions 4000
    python benchmarks/coverage.py coverage.json --repetitions 2000 --page docs/verdict.md   # half an hour of one core

Scores are drawn, never trained: what is measured is the statistics alone, through the functions that an audit calls
(`figures`, `target_figure`, `pipeline_mean`, `auc_difference`, `tpr_difference`, `simultaneous_level`, `decide`).
Prints Markdown tables and writes every cell to the JSON file; a run that is interrupted goes on where it was.

up: share of audits whose interval ends below the truth (a wrong pass if the limit is there), lo: begins above it.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import integrate, special, stats

from edgeaudit.leakage.decision import Bounds, decide
from edgeaudit.leakage.decision_power import records_to_decide
from edgeaudit.leakage.influence import LinearisedFigure, target_figure
from edgeaudit.leakage.intervals import ppv
from edgeaudit.leakage.metrics import FPR_LEVELS, PRIORS, figures
from edgeaudit.leakage.paired import auc_difference, tpr_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray
from edgeaudit.leakage.simultaneous import simultaneous_level
from edgeaudit.leakage.targets import pipeline_mean

SIZES = ((200, 200), (500, 500), (1000, 1000), (2500, 2500), (10000, 10000), (200, 2000), (2000, 200), (1000, 10000))
QUICK_SIZES = ((200, 200), (1000, 1000), (200, 2000), (2000, 200))
BEGIN, END = "<!-- coverage.py begins -->", "<!-- coverage.py ends -->"
"""Where the tables are on a page."""
Row = dict[str, Any]
"""What a cell holds, as it is in the JSON file."""

RESOLVED = {"tpr@fpr=0.001": 1000}
"""Fewest nonmembers for which a metric is simulated."""


@dataclass(frozen=True)
class Law:
    """Scores of one side each, the a-priori threshold, and the population's figures."""

    draw: Callable[[np.random.Generator, int, int], FloatArray]
    threshold: float
    auc: float
    roc: Callable[[float], float]
    rates: tuple[float, float]

    def truth(self) -> dict[str, float]:
        """The population's value of every figure."""
        tpr, fpr = self.rates
        found = {"auc": self.auc, "balanced_accuracy": (1 + tpr - fpr) / 2, "advantage": tpr - fpr}
        found |= {f"tpr@fpr={alpha:g}": self.roc(alpha) for alpha in FPR_LEVELS}
        return found | {f"ppv@prior={prior:g}": ppv(tpr, fpr, prior) or 0.0 for prior in PRIORS}


def normal(d: float) -> Law:
    """Two normal distributions, d apart."""
    return Law(
        lambda rng, member, size: rng.normal(size=size) + d * member,
        d / 2,
        float(special.ndtr(d / math.sqrt(2))),
        lambda alpha: float(stats.norm.sf(stats.norm.isf(alpha) - d)),
        (float(special.ndtr(d / 2)), float(special.ndtr(-d / 2))),
    )


def heavy(shift: float) -> Law:
    """Student's t with two degrees of freedom: tails in which no threshold separates."""
    t = stats.t(2)
    area = integrate.quad(lambda y: t.pdf(y) * t.sf(y - shift), -np.inf, np.inf)[0]
    return Law(
        lambda rng, member, size: rng.standard_t(2, size=size) + shift * member,
        shift / 2,
        area,
        lambda alpha: float(t.sf(t.isf(alpha) - shift)),
        (float(t.cdf(shift / 2)), float(t.sf(shift / 2))),
    )


def few(share: float, at: float) -> Law:
    """A share of the members is found, the others are like nonmembers."""
    norm = stats.norm

    def draw(rng: np.random.Generator, member: int, size: int) -> FloatArray:
        return rng.normal(size=size) + at * member * (rng.random(size) < share)

    return Law(
        draw,
        2.0,
        float((1 - share) / 2 + share * norm.cdf(at / math.sqrt(2))),
        lambda alpha: float((1 - share) * alpha + share * norm.sf(norm.isf(alpha) - at)),
        (float((1 - share) * norm.sf(2) + share * norm.sf(2 - at)), float(norm.sf(2))),
    )


def discrete(members: FloatArray, nonmembers: FloatArray, threshold: float) -> Law:
    """Scores 0, 1, 2 ... with these probabilities on either side; the ROC curve is straight across each of them."""
    tpr, fpr = (np.concatenate(([0.0], np.cumsum(side[::-1]))) for side in (members, nonmembers))
    above = [float(side[math.ceil(threshold) :].sum()) for side in (members, nonmembers)]

    def draw(rng: np.random.Generator, member: int, size: int) -> FloatArray:
        edges = np.cumsum(members if member else nonmembers)
        return np.searchsorted(edges[:-1], rng.random(size), side="right").astype(np.float64)

    return Law(
        draw, threshold, float(np.trapezoid(tpr, fpr)), lambda a: float(np.interp(a, fpr, tpr)), (above[0], above[1])
    )


def capped(d: float, tied: float) -> Law:
    """Normal scores of which the largest are one value, `tied` of the nonmembers (a saturated output)."""
    norm = stats.norm
    cap = float(norm.isf(tied))
    top = float(norm.sf(cap - d))
    below = integrate.quad(lambda y: norm.pdf(y) * norm.sf(y - d), -np.inf, cap)[0]
    return Law(
        lambda rng, member, size: np.minimum(rng.normal(size=size) + d * member, cap),
        0.0,
        below + tied * top / 2,
        lambda alpha: alpha / tied * top,
        (float(norm.sf(-d)), 0.5),
    )


def ranks(d: float, shadows: int) -> Law:
    """The rank of a normal score among those of the shadows."""
    norm = stats.norm

    def chance(k: int, shift: float) -> float:
        return integrate.quad(
            lambda x: stats.binom.pmf(k, shadows, norm.cdf(x)) * norm.pdf(x - shift), -9, 9 + shift, limit=200
        )[0]

    of_members, of_nonmembers = (np.array([chance(k, s) for k in range(shadows + 1)]) for s in (d, 0.0))
    return discrete(of_members / of_members.sum(), of_nonmembers / of_nonmembers.sum(), 0.75 * shadows)


LAWS: dict[str, Callable[[], Law]] = {
    **{f"normal, d = {d:g}": partial(normal, d) for d in (0.0, 0.5, 1.0, 2.0, 3.0)},
    "t with 2 df": partial(heavy, 1.5),
    "5% at +4": partial(few, 0.05, 4.0),
    "5% at +20": partial(few, 0.05, 20.0),
    "0/1, rates .9 and .7": partial(discrete, np.array([0.1, 0.9]), np.array([0.3, 0.7]), 0.5),
    "0/1, rates .3 and .005": partial(discrete, np.array([0.7, 0.3]), np.array([0.995, 0.005]), 0.5),
    "40% tied at the top": partial(capped, 1.0, 0.4),
    "rank among 20": partial(ranks, 1.0, 20),
}
QUICK_LAWS = ("normal, d = 0", "normal, d = 1", "normal, d = 3", "5% at +4", "0/1, rates .9 and .7", "rank among 20")


class Count:
    """Audits of one cell: for each metric how many gave an interval, and how many of those missed on either side."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, float]] = {}

    def add(self, metric: str, low: float | None, high: float | None, truth: float) -> None:
        """Count one interval. An end within 1e-9 of the truth covers it."""
        row = self._found.setdefault(metric, {"audits": 0, "intervals": 0, "up": 0, "lo": 0, "width": 0.0})
        row["audits"] += 1
        if low is None or high is None:
            return
        row["intervals"] += 1
        row["up"] += high < truth - 1e-9
        row["lo"] += low > truth + 1e-9
        row["width"] += high - low

    def rates(self) -> dict[str, dict[str, float]]:
        """For each metric the shares, and the mean width."""
        return {
            metric: {
                "audits": row["audits"],
                "intervals": row["intervals"],
                **({k: row[k] / row["intervals"] for k in ("up", "lo", "width")} if row["intervals"] else {}),
            }
            for metric, row in self._found.items()
        }


def cell_figures(rng: np.random.Generator, repetitions: int, law: str, m: int, n: int) -> Row:
    """Intervals of one file, independent records."""
    what, count = LAWS[law](), Count()
    truth, members = what.truth(), np.arange(m + n) < m
    for _ in range(repetitions):
        scores = np.concatenate((what.draw(rng, 1, m), what.draw(rng, 0, n)))
        for row in figures(scores, members, what.threshold):
            if n >= RESOLVED.get(row.metric, 0):
                count.add(row.metric, row.low, row.high, truth[row.metric])
    return {"rates": count.rates()}


GROUPS: dict[str, tuple[Callable[[np.random.Generator], int], float]] = {
    "pairs of copies, 20% of the records": (lambda rng: 2 if rng.random() < 0.11 else 1, 1.0),
    "near copies, 60%, correlation .8": (lambda rng: int(rng.integers(2, 5)) if rng.random() < 0.35 else 1, 0.8),
    "large groups, mean 7.7, correlation .9": (lambda rng: min(int(rng.geometric(1 / 7.7)), 40), 0.9),
    "users of 20 records, correlation .3": (lambda _: 20, 0.3),
}


def cell_groups(rng: np.random.Generator, repetitions: int, kind: str, m: int, d: float) -> Row:
    """Intervals of one file, records in groups; m of either side."""
    size, correlation = GROUPS[kind]
    truth, count, members = normal(d).truth(), Count(), np.arange(2 * m) < m
    for _ in range(repetitions):
        parts, groups, first = [], [], 0
        for shift in (d, 0.0):
            sizes: list[int] = []
            while sum(sizes) < m:
                sizes.append(size(rng))
            of = np.repeat(np.arange(len(sizes)), sizes)[:m]
            common = rng.normal(size=len(sizes))[of]
            parts.append(math.sqrt(correlation) * common + math.sqrt(1 - correlation) * rng.normal(size=m) + shift)
            groups.append(of + first)
            first += len(sizes)
        for row in figures(np.concatenate(parts), members, d / 2, groups=np.concatenate(groups)):
            if m >= RESOLVED.get(row.metric, 0):
                count.add(row.metric, row.low, row.high, truth[row.metric])
    return {"rates": count.rates()}


def cell_pipeline(
    rng: np.random.Generator, repetitions: int, targets: int, spread: float, m: int, split: str, d: float
) -> Row:
    """Intervals of a pipeline: m members and m nonmembers; targets differ by `spread` standard errors."""
    # A standard error of the AUC, in units of d.
    sd = spread * math.sqrt(1 / 6 / m) / stats.norm.pdf(0) * math.sqrt(2)
    law, count, ids = normal(d), Count(), np.arange(2 * m)
    draws = d + sd * stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    truth = {
        "auc": float(special.ndtr(draws / math.sqrt(2)).mean()),
        "tpr@fpr=0.01": float(stats.norm.sf(stats.norm.isf(0.01) - draws).mean()),
        "balanced_accuracy": float((special.ndtr(draws - d / 2) + special.ndtr(d / 2)).mean() / 2),
    }
    for _ in range(repetitions):
        common, members = rng.normal(size=2 * m), rng.permutation(2 * m) < m
        found: dict[str, list[LinearisedFigure | None]] = {metric: [] for metric in truth}
        for _ in range(targets):
            if split == "redrawn":
                members = rng.permutation(2 * m) < m
            scores = 0.7 * common + math.sqrt(0.51) * rng.normal(size=2 * m) + (d + sd * rng.normal()) * members
            for metric, rows in found.items():
                rows.append(target_figure(scores, members, metric, ids, law.threshold))
        for metric, rows in found.items():
            mean = pipeline_mean(rows)
            count.add(metric, mean.low, mean.high, truth[metric])
    return {"rates": count.rates()}


def cell_differences(
    rng: np.random.Generator, repetitions: int, m: int, n: int, d: float, other: float, rho: float
) -> Row:
    """Intervals of paired differences of two normal scores with correlation `rho`."""
    count, members = Count(), np.arange(m + n) < m
    first, second = normal(d).truth(), normal(other).truth()
    for _ in range(repetitions):
        common = rng.normal(size=m + n)
        a, b = (math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.normal(size=m + n) + s * members for s in (d, other))
        area = auc_difference(a, b, members)
        count.add("auc", area.low, area.high, first["auc"] - second["auc"])
        for alpha in (0.01, 0.001):
            metric = f"tpr@fpr={alpha:g}"
            if n >= RESOLVED.get(metric, 0):
                change = tpr_difference(a, b, members, alpha, rng, resamples=400)
                count.add(metric, change.low, change.high, first[metric] - second[metric])
    return {"rates": count.rates()}


JUDGED = ("auc", "tpr@fpr=0.01", "balanced_accuracy")


def cell_decisions(rng: np.random.Generator, repetitions: int, attacks: int, rho: float, shifts: str, m: int) -> Row:
    """Decisions over correlated attacks with the limit at the worst attack's true value, m of either side.

    shifts: "all" attacks are at the limit, or "one" is and the others hardly leak.
    """
    at = 1.0
    d = [at] + [at if shifts == "all" else 0.2] * (attacks - 1)
    limits = {metric: value for metric, value in normal(at).truth().items() if metric in JUDGED}
    truth = {metric: {"pass": 0, "fail": 0, "inconclusive": 0} for metric in JUDGED}
    for _ in range(repetitions):
        for metric, bounds in _attacks(rng, d, rho, m, at / 2, limits).items():
            truth[metric][decide(limits[metric], bounds).outcome] += 1
    return {"outcomes": {metric: {k: v / repetitions for k, v in row.items()} for metric, row in truth.items()}}


def cell_plans(rng: np.random.Generator, repetitions: int, metric: str, limit: float, attacks: int, rho: float) -> Row:
    """Decisions over attacks that know nothing, with the records that are planned for a pass."""
    sizes = records_to_decide(metric, limit, attacks=attacks)
    if sizes is None:
        raise SystemExit(f"{metric} at {limit} with {attacks} attacks cannot be planned")
    found = {"pass": 0, "fail": 0, "inconclusive": 0}
    for _ in range(repetitions):
        bounds = _attacks(rng, [0.0] * attacks, rho, sizes[0], 0.0, {metric: limit})[metric]
        found[decide(limit, bounds).outcome] += 1
    return {"records": sizes[0], "outcomes": {metric: {k: v / repetitions for k, v in found.items()}}}


def _attacks(
    rng: np.random.Generator, d: list[float], rho: float, m: int, threshold: float, limits: Mapping[str, float]
) -> dict[str, dict[str, Bounds]]:
    """Bounds of every attack, by metric; as the gate computes them, corrected only where an end is beyond its limit."""
    members, units = np.arange(2 * m) < m, np.arange(2 * m)
    common = rng.normal(size=2 * m)
    drawn = [math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.normal(size=2 * m) + shift * members for shift in d]
    rows = [{row.metric: row for row in figures(scores, members, threshold)} for scores in drawn]
    found: dict[str, dict[str, Bounds]] = {}
    for metric, limit in limits.items():
        lows = [row[metric].low for row in rows]
        if len(d) > 1 and any(low is not None and low > limit for low in lows):
            shares = [target_figure(scores, members, metric, units, threshold) for scores in drawn]
            level = simultaneous_level(shares, len(d))
            lows = [
                low if low is None or low <= limit else min(low, _low(metric, scores, members, threshold, level))
                for low, scores in zip(lows, drawn, strict=True)
            ]
        found[metric] = {
            str(i): Bounds(row[metric].value, row[metric].low, row[metric].high, low, row[metric].note)
            for i, (row, low) in enumerate(zip(rows, lows, strict=True))
        }
    return found


def _low(metric: str, scores: FloatArray, members: BoolArray, threshold: float, level: float) -> float:
    low = next(row.low for row in figures(scores, members, threshold, level=level) if row.metric == metric)
    return -math.inf if low is None else low


CELLS: dict[str, Callable[..., Row]] = {
    "figures": cell_figures,
    "groups": cell_groups,
    "pipeline": cell_pipeline,
    "differences": cell_differences,
    "decisions": cell_decisions,
    "plans": cell_plans,
}


@dataclass(frozen=True)
class Cell:
    """A cell of one part; its name seeds its draws, so that it does not depend on the other cells."""

    part: str
    arguments: Row
    repetitions: int

    @property
    def name(self) -> str:
        """The key in the JSON file."""
        return f"{self.part}: " + ", ".join(f"{k}={v}" for k, v in self.arguments.items())


def cells(repetitions: int, *, quick: bool) -> Iterator[Cell]:
    """All cells; expensive ones get fewer repetitions."""
    for part, arguments, cheaper in (
        *_of_figures(quick=quick),
        *_of_groups(quick=quick),
        *_of_pipelines(quick=quick),
        *_of_differences(quick=quick),
        *_of_decisions(quick=quick),
    ):
        yield Cell(part, arguments, max(1, repetitions // cheaper))


Plan = Iterator[tuple[str, Row, int]]
"""Part, arguments, and by what the repetitions are divided."""


def _of_figures(*, quick: bool) -> Plan:
    for m, n in QUICK_SIZES if quick else SIZES:
        for law in QUICK_LAWS if quick else LAWS:
            yield "figures", {"law": law, "m": m, "n": n}, 1 if max(m, n) < 10_000 else 2


def _of_groups(*, quick: bool) -> Plan:
    for kind in GROUPS:
        for m in (1000,) if quick else (500, 1000):
            yield "groups", {"kind": kind, "m": m, "d": 1.0}, 1


def _of_pipelines(*, quick: bool) -> Plan:
    spreads = ((0.0, "same"), (1.0, "redrawn"), (1.0, "same"), (3.0, "same"))
    laws = ((1.0, 500), (0.0, 500), (1.0, 200), (1.0, 1000))
    for targets in (1, 4, 16) if quick else (1, 4, 8, 16):
        for spread, split in spreads[:2] if quick else spreads:
            for d, m in laws[:1] if quick else laws[1:]:
                yield "pipeline", {"targets": targets, "spread": spread, "m": m, "split": split, "d": d}, 1


def _of_differences(*, quick: bool) -> Plan:
    pairs = ((1.0, 1.0, 0.9), (1.0, 0.5, 0.7), (0.0, 0.0, 0.3))
    for m, n in ((1000, 1000),) if quick else ((200, 200), (1000, 1000), (1000, 5000)):
        for d, other, rho in pairs[:1] if quick else pairs:
            yield "differences", {"m": m, "n": n, "d": d, "other": other, "rho": rho}, 2


def _of_decisions(*, quick: bool) -> Plan:
    scenarios = (("all", 0.7), ("all", 0.3), ("all", 0.95), ("one", 0.7))
    plans = (("auc", 0.58), ("balanced_accuracy", 0.56), ("tpr@fpr=0.01", 0.04))
    for attacks in (1, 5) if quick else (1, 5, 10, 25):
        for shifts, rho in scenarios[:1] if quick or attacks == 1 else scenarios:
            yield "decisions", {"attacks": attacks, "rho": rho, "shifts": shifts, "m": 500}, 1 if attacks < 25 else 2
        for metric, limit in plans[:1] if quick else plans:
            yield "plans", {"metric": metric, "limit": limit, "attacks": attacks, "rho": 0.7}, 2 if attacks < 10 else 5


def run(cell: Cell, seed: int) -> Row:
    """Simulate one cell, in a worker process."""
    started = time.process_time()
    rng = np.random.default_rng([seed, zlib.crc32(cell.name.encode())])
    found = CELLS[cell.part](rng, cell.repetitions, **cell.arguments)
    return {**asdict(cell), "seed": seed, **found, "cpu_seconds": round(time.process_time() - started, 2)}


def simulate(wanted: list[Cell], out: Path, seed: int, workers: int) -> dict[str, Row]:
    """Run what `out` does not have yet, and return all cells."""
    done: dict[str, Row] = json.loads(out.read_text()) if out.exists() else {}
    missing = [
        cell
        for cell in wanted
        if (old := done.get(cell.name)) is None or (old["repetitions"], old["seed"]) != (cell.repetitions, seed)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending = {pool.submit(run, cell, seed): cell for cell in missing}
        for number, future in enumerate(as_completed(pending), 1):
            done[pending[future].name] = future.result()
            draft = out.with_suffix(".tmp")
            draft.write_text(json.dumps(done, indent=1))
            draft.replace(out)
            print(f"\r{number} of {len(missing)} cells", end="", file=sys.stderr, flush=True)
    if missing:
        print(file=sys.stderr)
    return {cell.name: done[cell.name] for cell in wanted}


def tables(found: Mapping[str, Row]) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    yield from _intervals(found)
    yield from _weak(found)
    yield from _decisions(found)


def page(found: Mapping[str, Row]) -> Iterator[str]:
    """Yield the lines for a page: intervals by part, and decisions by number of attacks, the worst cell of each."""
    yield from _intervals(found)
    weak = sum(1 for _ in _weak_rows(found))
    every = sum(1 for _ in _rates(found))
    audits = sorted({row["audits"] for _, _, row in _rates(found)})
    errors = [math.sqrt(0.025 * 0.975 / count) for count in (audits[-1], audits[0])]
    yield (
        f"\nOf {every} cells {weak} cover less than 94%, or have an end above 3%. An end that misses in 2.5% of "
        f"audits is measured with a standard error of {errors[0]:.2%} to {errors[1]:.2%}, so that 7 to 15% of such "
        "ends are measured above 3%."
    )
    yield "\n| attacks | metric | cells | pass, limit just below | fail, limit just above | inconclusive |"
    yield "|---|---|---|---|---|---|"
    cells_of: dict[tuple[int, str], list[Row]] = {}
    for name, cell in found.items():
        match = re.match(r"decisions: attacks=(\d+),", name)
        for metric, row in cell.get("outcomes", {}).items() if match else ():
            cells_of.setdefault((int(match[1]), metric), []).append(row)  # type: ignore[index]
    for (attacks, metric), each in sorted(cells_of.items()):
        worst = [max(row[kind] for row in each) for kind in ("pass", "fail", "inconclusive")]
        yield f"| {attacks} | {metric} | {len(each)} | {worst[0]:.3f} | {worst[1]:.3f} | {worst[2]:.3f} |"


def _intervals(found: Mapping[str, Row]) -> Iterator[str]:
    yield "| intervals | cells | cover min / median | up max | lo max | without interval |"
    yield "|---|---|---|---|---|---|"
    rows: dict[tuple[str, str], list[tuple[str, Row]]] = {}
    for name, cell in found.items():
        for metric, row in cell.get("rates", {}).items():
            rows.setdefault((cell["part"], metric), []).append((name, row))
    for (part, metric), each in rows.items():
        some = [row for _, row in each if row["intervals"]]
        none = 1 - sum(row["intervals"] for _, row in each) / sum(row["audits"] for _, row in each)
        if not some:
            continue
        cover = [1 - row["up"] - row["lo"] for row in some]
        yield (
            f"| {part}, {metric} | {len(some)} | {min(cover):.3f} / {np.median(cover):.3f} "
            f"| {max(row['up'] for row in some):.3f} | {max(row['lo'] for row in some):.3f} | {none:.1%} |"
        )


def _rates(found: Mapping[str, Row]) -> Iterator[tuple[str, str, Row]]:
    """Yield cell, metric and rates where there are intervals."""
    for name, cell in found.items():
        yield from ((name, metric, row) for metric, row in cell.get("rates", {}).items() if row["intervals"])


def _weak_rows(found: Mapping[str, Row]) -> Iterator[tuple[str, str, Row]]:
    for name, metric, row in _rates(found):
        if 1 - row["up"] - row["lo"] < 0.94 or max(row["up"], row["lo"]) > 0.03:
            yield name, metric, row


def _weak(found: Mapping[str, Row]) -> Iterator[str]:
    yield "\n| cells below 94%, or with an end above 3% | metric | cover | up | lo | audits |"
    yield "|---|---|---|---|---|---|"
    for name, metric, row in _weak_rows(found):
        rates = f"{1 - row['up'] - row['lo']:.3f} | {row['up']:.3f} | {row['lo']:.3f}"
        yield f"| {name} | {metric} | {rates} | {row['intervals']} |"


def _decisions(found: Mapping[str, Row]) -> Iterator[str]:
    yield "\n| decisions | metric | pass | fail | inconclusive |"
    yield "|---|---|---|---|---|"
    for name, cell in found.items():
        what = name + (f", {cell['records']} records a side" if "records" in cell else "")
        for metric, row in cell.get("outcomes", {}).items():
            yield f"| {what} | {metric} | {row['pass']:.3f} | {row['fail']:.3f} | {row['inconclusive']:.3f} |"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON file of the cells; a run continues what it has")
    parser.add_argument("--repetitions", type=int, help="audits a cell (default: 1000; quick: 100)")
    parser.add_argument("--quick", action="store_true", help="fewer cells and audits")
    parser.add_argument("--parts", default=",".join(CELLS), help=f"of {', '.join(CELLS)} (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="Markdown page whose tables to write, as docs/verdict.md")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := set(parts) - set(CELLS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    repetitions = arguments.repetitions or (100 if arguments.quick else 1000)
    wanted = [cell for cell in cells(repetitions, quick=arguments.quick) if cell.part in parts]
    found = simulate(wanted, arguments.out, arguments.seed, arguments.workers)
    print("\n".join(tables(found)))
    if arguments.page is not None:
        before, _, rest = arguments.page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        text = "\n".join(page(found))
        arguments.page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(f"\n{sum(cell['cpu_seconds'] for cell in found.values()) / 60:.1f} CPU minutes")


if __name__ == "__main__":
    main()
