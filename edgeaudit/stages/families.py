"""Families of paired comparisons: which scores are compared with which, and which tests count together.

Parts of `compare`, from scores to rows; the tests themselves are in `edgeaudit.leakage`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from edgeaudit.endpoint import LOCAL
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.leakage.comparisons import METRICS, Compared, Scored, compare_family, figure
from edgeaudit.leakage.roc import FloatArray
from edgeaudit.leakage.rows import Comparison, LeakageRow, Place, TargetFigure
from edgeaudit.leakage.series_names import at_common_floor
from edgeaudit.population.base import stream
from edgeaudit.stages.scores import TargetScores

__all__ = ["Measured", "Weakened", "between_devices", "comparisons"]

_FEW_METRICS = METRICS[:2]


@dataclass(frozen=True, eq=False)
class Measured:
    """The scores of one measurement. targets: one entry per target, the first target first.

    leakage: figures of the first target; further: those of each further one.
    """

    place: Place
    targets: tuple[TargetScores, ...]
    leakage: tuple[LeakageRow, ...] = ()
    further: tuple[tuple[TargetFigure, ...], ...] = ()

    @property
    def series(self) -> list[str]:
        """The `attack/variant` that ran, in the order of the report."""
        return self.targets[0].series

    def scored(self, series: str) -> Scored:
        """Scores of a series on all targets."""
        return self._scored(tuple(t.scores[series] for t in self.targets))

    def compared(self, series: str) -> Scored:
        """The same with the probability floor that all formats share, for comparisons between formats."""
        return self._scored(tuple(t.compared(series) for t in self.targets))

    def differs(self, series: str) -> bool:
        """Whether the format's own floor gives other scores."""
        return at_common_floor(series) in self.targets[0].scores

    def _scored(self, scores: tuple[FloatArray, ...]) -> Scored:
        groups = tuple(t.groups for t in self.targets if t.groups is not None)
        return Scored(scores, tuple(t.members for t in self.targets), groups)


@dataclass(frozen=True, eq=False)
class Weakened:
    """One measurement at a weaker level."""

    level: str
    measured: Measured


def comparisons(
    measured: Sequence[Measured], weakened: Sequence[Weakened], headlines: Sequence[str], exposure: str, seed: int
) -> Iterator[Comparison]:
    """Compare formats with one another on each device, and each format between every two devices.

    Args:
        measured: at the audit's own exposure.
        weakened: at weaker ones.
        headlines: `attack/variant`, the most important first.
        exposure: the audit's own.
        seed: of the bootstraps.
    """
    by_device: dict[str, list[Measured]] = {}
    for measurement in measured:
        by_device.setdefault(measurement.place.device, []).append(measurement)
    references = [m for m in measured if m.place.format in REFERENCES.values()]
    for on_device in by_device.values():
        yield from _between_formats(on_device, references, headlines, seed)
    for on_device in by_device.values():
        yield from _between_pairs(on_device, headlines, seed)
    yield from between_devices(measured, headlines, seed)
    for on_device in by_device.values():
        yield from _between_matches(on_device, seed)
    yield from _between_attacks(measured, headlines, seed)
    yield from _between_exposures(measured, weakened, headlines, exposure, seed)


def _headline(measured: Measured, headlines: Sequence[str]) -> str | None:
    return next((name for name in headlines if name in measured.series), None)


def _own(measured: Sequence[Measured]) -> dict[str, Measured]:
    """By format, against the audit's own shadows (the first shadow match)."""
    match = measured[0].place.shadow_match if measured else ""
    return {m.place.format: m for m in measured if m.place.shadow_match == match}


def _elsewhere(measured: Sequence[Measured]) -> tuple[str, ...]:
    """The device's name, unless it is this machine, for separate random streams."""
    return () if measured[0].place.device == LOCAL else (measured[0].place.device,)


def _common(headlines: Sequence[str], measured: Sequence[Measured]) -> str | None:
    """The headline attack that ran on all of them."""
    return next((h for h in headlines if all(h in m.series for m in measured)), None)


def _between_formats(
    measured: Sequence[Measured], trained: Sequence[Measured], headlines: Sequence[str], seed: int
) -> Iterator[Comparison]:
    """Each format against the reference, by the headline attack with the audit's own shadows.

    The reference is the trained model, which is queried on this machine alone, or else the device's first format.
    """
    by_format = {**_own(trained), **_own(measured)}
    references = (by_format[name] for name in REFERENCES.values() if name in by_format)
    reference = next(references, None) or next(iter(by_format.values()), None)
    name = _common(headlines, list(by_format.values()))
    if reference is None or len(by_format) < 2 or name is None:
        return
    base = reference.place.format
    here = measured[0].place.device
    pairs = {
        f: (m.compared(name), reference.compared(name))
        for f, m in by_format.items()
        if f != base and m.place.device == here
    }
    where = _elsewhere(measured)
    rows = compare_family(pairs, METRICS, lambda f, metric: stream(seed, "formats", *where, f, base, metric))
    for (format_id, metric), row in rows.items():
        both = by_format[format_id], reference
        own = _own_figures(both, name, metric) if any(m.differs(name) for m in both) else None
        noted = replace(row, note="; ".join(part for part in (row.note, own) if part) or None)
        yield Comparison.of("format", both[0].place, name, (format_id, base), metric, noted)


def _own_figures(both: tuple[Measured, Measured], series: str, metric: str) -> str:
    """Both figures at the formats' own probability floors, for the note on a comparison at the common one."""
    texts = [_text(_mean(m.scored(series), metric)) for m in both]
    return f"compared at one probability floor; at its own floor each has {texts[0]} and {texts[1]}"


def _text(value: float | None) -> str:
    return "no value" if value is None else f"{value:.4f}"


def _mean(scored: Scored, metric: str) -> float | None:
    """A figure's mean over targets; None where one has none."""
    values = [figure(scores, members, metric) for scores, members in zip(scored.scores, scored.members, strict=True)]
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if len(numbers) == len(values) else None


def between_devices(measured: Sequence[Measured], headlines: Sequence[str], seed: int) -> Iterator[Comparison]:
    """One format on every two devices, by the headline attack with the audit's own shadows: one family for a metric.

    If every record has the same score on both there is nothing to test. Pairs with the same scores as another pair,
    such as for a third device with the answers of the second, are the same test; they count once in the family.
    """
    match = measured[0].place.shadow_match if measured else ""
    matching = [m for m in measured if m.place.shadow_match == match]
    name = _common(headlines, matching)
    if name is None:
        return
    scored = {json.dumps([m.place.format, m.place.device]): (m.place, m.scored(name)) for m in matching}
    contents = {place: _content(scores) for place, (_, scores) in scored.items()}
    pairs = [(a, b) for a, b in combinations(scored, 2) if scored[a][0].format == scored[b][0].format]
    first: dict[tuple[str, str], str] = {}
    distinct: dict[str, tuple[Scored, Scored]] = {}
    for a, b in pairs:
        key = first.setdefault((contents[a], contents[b]), json.dumps([a, b]))
        if contents[a] != contents[b]:
            distinct.setdefault(key, (scored[a][1], scored[b][1]))
    rows = compare_family(distinct, METRICS, lambda pair, metric: stream(seed, "devices", pair, metric))
    for metric in METRICS:
        for a, b in pairs:
            (here, own_scores), (there, _) = scored[a], scored[b]
            key = first[contents[a], contents[b]]
            row = rows[key, metric] if key in distinct else _same(own_scores, metric)
            yield Comparison.of("device", here, name, (here.device, there.device), metric, row)


def _content(scored: Scored) -> str:
    digest = hashlib.sha256()
    for scores in scored.scores:
        digest.update(np.ascontiguousarray(scores).tobytes())
    return digest.hexdigest()


def _same(scored: Scored, metric: str) -> Compared:
    """The row of two series with identical scores."""
    mean = _mean(scored, metric)
    zero = None if mean is None else 0.0
    return Compared(mean, mean, zero, zero, zero, None, len(scored.scores), note="all scores are identical on both")


def _between_pairs(measured: Sequence[Measured], headlines: Sequence[str], seed: int) -> Iterator[Comparison]:
    """Every two formats that ship, by the AUC of the headline attack: one family, used for Pareto dominance."""
    shipped = {f: m for f, m in _own(measured).items() if f not in REFERENCES.values()}
    name = _common(headlines, list(shipped.values()))
    if name is None:
        return
    pairs = {
        json.dumps([a, b]): (shipped[a].compared(name), shipped[b].compared(name)) for a, b in combinations(shipped, 2)
    }
    rows = compare_family(
        pairs, METRICS[:1], lambda pair, metric: stream(seed, "pairs", *_elsewhere(measured), pair, metric)
    )
    for (pair, metric), row in rows.items():
        first, second = json.loads(pair)
        yield Comparison.of("format pair", shipped[first].place, name, (first, second), metric, row)


def _between_matches(measured: Sequence[Measured], seed: int) -> Iterator[Comparison]:
    """Shadows compressed like the target against uncompressed ones, for every attack; one family per attack."""
    pairs: dict[str, dict[str, tuple[Scored, Scored]]] = {}
    places = {(m.place.format, m.place.shadow_match): m for m in measured}
    for (format_id, match), matched in places.items():
        other = places.get((format_id, "fp32"))
        if match != "matched" or other is None or format_id in REFERENCES.values():
            continue
        for name in matched.series:
            if name in other.series:
                pairs.setdefault(name, {})[format_id] = (matched.scored(name), other.scored(name))
    for name, family in pairs.items():
        where = _elsewhere(measured)
        rows = compare_family(
            family,
            _FEW_METRICS,
            lambda f, metric, name=name, where=where: stream(seed, "match", *where, f, name, metric),  # type: ignore[misc]
        )
        for (format_id, metric), row in rows.items():
            place = replace(places[format_id, "matched"].place, shadow_match="-")
            yield Comparison.of("shadow match", place, name, ("matched", "fp32"), metric, row)


def _between_attacks(measured: Sequence[Measured], headlines: Sequence[str], seed: int) -> Iterator[Comparison]:
    """The headline attack against every other on the same format; one family per format."""
    for m in measured:
        name = _headline(m, headlines)
        if name is None:
            continue
        pairs = {other: (m.scored(name), m.scored(other)) for other in m.series if other != name}
        rows = compare_family(
            pairs,
            _FEW_METRICS,
            lambda o, metric, m=m, name=name: stream(seed, "attacks", *_parts(m.place), name, o, metric),  # type: ignore[misc]
        )
        for (other, metric), row in rows.items():
            yield Comparison.of("attack", m.place, name, (name, other), metric, row)


def _parts(place: Place) -> tuple[str, str, str]:
    """Names of a stream of random numbers."""
    return place.format, place.device, place.shadow_match


def _between_exposures(
    measured: Sequence[Measured], weakened: Sequence[Weakened], headlines: Sequence[str], exposure: str, seed: int
) -> Iterator[Comparison]:
    """Each weaker level against the audit's own exposure, by the headline attack; one family per format.

    If the headline attack cannot use a level, the first attack that can stands in for it, since that is what an
    attacker would use; the note says so.
    """
    weaker: dict[Place, dict[str, Measured]] = {}
    for weakening in weakened:
        weaker.setdefault(weakening.measured.place, {})[weakening.level] = weakening.measured
    audited = [m for m in measured if m.place in weaker]
    # The report's headline is one attack that runs on all formats, if there is one.
    common = _common(headlines, audited)
    for m in audited:
        name = common or _headline(m, headlines)
        if name is None:
            continue
        levels = weaker[m.place]
        reads = {
            level: name if name in weakening.series else _headline(weakening, headlines)
            for level, weakening in levels.items()
        }
        pairs = {
            level: (levels[level].scored(read), m.scored(name)) for level, read in reads.items() if read is not None
        }
        rows = compare_family(
            pairs,
            _FEW_METRICS,
            lambda level, metric, m=m: stream(seed, "exposures", *_parts(m.place), level, metric),  # type: ignore[misc]
        )
        for (level, metric), figures in rows.items():
            read = reads[level] or name
            row = Comparison.of("exposure", m.place, read, (level, exposure), metric, figures)
            if read != name:
                stands_in = f"{read} reads {level}, {name} reads {exposure}".replace("/", " ")
                row = replace(row, note="; ".join(part for part in (stands_in, row.note) if part))
            yield row
