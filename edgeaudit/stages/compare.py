"""measurements of all formats on all devices -> what they say together: differences, means over targets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.devices.transport import LOCAL
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.graph.job import JobContext
from edgeaudit.leakage.comparisons import METRICS, Compared, Scored, compare_family, figure
from edgeaudit.leakage.differing import differing
from edgeaudit.leakage.targets import mean_over_targets
from edgeaudit.population.base import stream
from edgeaudit.stages.measure import SCORES
from edgeaudit.stages.query import RESPONSES

__all__ = ["COMPARISONS", "compare_measurements"]

COMPARISONS = "comparisons.json"
_FEW_METRICS = METRICS[:2]
_PLACE = ("format", "device", "shadow_match")


class _Measured:
    """One measurement: a format's scores against shadows of one kind."""

    def __init__(self, folder: Path, head: Mapping[str, Any], targets: list[str]) -> None:
        self.folder, self.head, self._targets = folder, head, targets

    @cached_property
    def targets(self) -> list[dict[str, Any]]:
        """Arrays of every target, the first one first."""
        return [self._arrays(role) for role in self._targets]

    def _arrays(self, role: str) -> dict[str, Any]:
        name = SCORES if role == self._targets[0] else f"{SCORES}-{role}"
        with np.load(self.folder / f"{name}.npz") as arrays:
            return {key: arrays[key] for key in arrays.files}

    @cached_property
    def series(self) -> list[str]:
        """The `attack/variant` that could be run, in the order of the report."""
        return [key for key in self.targets[0] if "/" in key]

    def scored(self, series: str) -> Scored:
        """Its scores on all targets."""
        return Scored(tuple(t[series] for t in self.targets), tuple(t["members"] for t in self.targets))

    @cached_property
    def measurement(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "measurement.json").read_text(encoding="utf-8"))
        return found


def compare_measurements(context: JobContext) -> Mapping[str, Any]:
    """Write comparisons.json: {across_targets, comparisons, same_file}, lists of rows.

    Formats are compared with one another on each device by itself, and each format between every two devices.
    """
    inputs = context.inputs
    measured = [
        _Measured(context.store.entry(*ref).folder, head, inputs["targets"]) for head, ref in inputs["measures"]
    ]
    by_device: dict[str, list[_Measured]] = {}
    for one in measured:
        by_device.setdefault(one.head["device"], []).append(one)
    references = [m for m in measured if m.head["format"] in REFERENCES.values()]
    headlines, seed = inputs["headlines"], inputs["seed"]
    found = {
        "across_targets": [row for m in measured for row in _across_targets(m)],
        "comparisons": [
            *(row for own in by_device.values() for row in _between_formats(own, references, headlines, seed)),
            *(row for own in by_device.values() for row in _between_pairs(own, headlines, seed)),
            *_between_devices(measured, headlines, seed),
            *(row for own in by_device.values() for row in _between_matches(own, seed)),
            *_between_attacks(measured, headlines, seed),
            *_between_exposures(context, measured),
        ],
        "same_file": list(_same_file(context)),
    }
    (context.draft / COMPARISONS).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    return {name: len(rows) for name, rows in found.items()}


def _across_targets(measured: _Measured) -> Iterator[dict[str, Any]]:
    """Every figure's mean over targets, where there are several."""
    further = measured.measurement["targets"]
    if not further:
        return
    names = ("attack", "variant", "subset", "metric")
    values = [
        {tuple(row[n] for n in names): row["value"] for row in rows}
        for rows in (measured.measurement["leakage"], *further.values())
    ]
    for key in values[0]:
        over = mean_over_targets([v.get(key) for v in values])
        if over.value is not None:
            yield {**measured.head, **dict(zip(names, key, strict=True)), **asdict(over)}


def _row(kind: str, place: Mapping[str, Any], first: str, second: str, metric: str, found: Compared) -> dict[str, Any]:
    """`<metric> of first less that of second`; `asdict` names the two figures after what they are."""
    figures = asdict(found)
    return {
        "kind": kind,
        **place,
        "metric": metric,
        "first": first,
        "second": second,
        "first_value": figures.pop("first"),
        "second_value": figures.pop("second"),
        **figures,
    }


def _headline(measured: _Measured, headlines: list[str]) -> str | None:
    return next((name for name in headlines if name in measured.series), None)


def _own(measured: list[_Measured]) -> dict[str, _Measured]:
    """By format, against the audit's own shadows: those that it names first."""
    match = measured[0].head["shadow_match"] if measured else ""
    return {m.head["format"]: m for m in measured if m.head["shadow_match"] == match}


def _elsewhere(measured: list[_Measured]) -> tuple[str, ...]:
    """The device's name, where it is another than this machine, for streams of random numbers of its own."""
    return () if measured[0].head["device"] == LOCAL else (measured[0].head["device"],)


def _common(headlines: list[str], own: Mapping[str, _Measured]) -> str | None:
    """The headline attack that could be run on all formats."""
    return next((h for h in headlines if all(h in m.series for m in own.values())), None)


def _between_formats(
    measured: list[_Measured], trained: list[_Measured], headlines: list[str], seed: int
) -> Iterator[dict[str, Any]]:
    """Each format against the reference, by the headline attack with the audit's own shadows.

    The reference is the trained model, which is asked on this machine alone; without it, the device's first format.
    """
    own = {**_own(trained), **_own(measured)}
    references = (own[name] for name in REFERENCES.values() if name in own)
    reference = next(references, None) or next(iter(own.values()), None)
    name = _common(headlines, own)
    if reference is None or len(own) < 2 or name is None:
        return
    base = reference.head["format"]
    here = measured[0].head["device"]
    pairs = {
        f: (m.scored(name), reference.scored(name)) for f, m in own.items() if f != base and m.head["device"] == here
    }
    where = _elsewhere(measured)
    rows = compare_family(pairs, METRICS, lambda f, metric: stream(seed, "formats", *where, f, base, metric))
    for (format_id, metric), found in rows.items():
        place = {key: own[format_id].head[key] for key in ("device", "shadow_match")}
        yield _row("format", {"format": format_id, **place, "series": name}, format_id, base, metric, found)


def _between_devices(measured: list[_Measured], headlines: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """One format on every two devices, by the headline attack with the audit's own shadows: one family for a metric.

    Where every record has the same score on both there is nothing to test. Pairs with the same scores as another pair,
    such as of a third device that answers like the second, are that same test; they count once in the family.
    """
    match = measured[0].head["shadow_match"] if measured else ""
    own = [m for m in measured if m.head["shadow_match"] == match]
    name = next((h for h in headlines if all(h in m.series for m in own)), None)
    if name is None:
        return
    scored = {json.dumps([m.head["format"], m.head["device"]]): (m.head, m.scored(name)) for m in own}
    contents = {place: _content(scores) for place, (_, scores) in scored.items()}
    pairs = [(a, b) for a, b in combinations(scored, 2) if scored[a][0]["format"] == scored[b][0]["format"]]
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
            found = rows[key, metric] if key in distinct else _same(own_scores, metric)
            place = {part: here[part] for part in ("format", "device", "shadow_match")}
            yield _row("device", {**place, "series": name}, here["device"], there["device"], metric, found)


def _content(scored: Scored) -> str:
    digest = hashlib.sha256()
    for scores in scored.scores:
        digest.update(np.ascontiguousarray(scores).tobytes())
    return digest.hexdigest()


def _same(scored: Scored, metric: str) -> Compared:
    """Two series of which every score is the same."""
    values = [figure(scores, members, metric) for scores, members in zip(scored.scores, scored.members, strict=True)]
    known = [value for value in values if value is not None]
    mean = float(np.mean(known)) if len(known) == len(values) else None
    zero = None if mean is None else 0.0
    return Compared(mean, mean, zero, zero, zero, None, len(values), note="every score is the same on both")


def _same_file(context: JobContext) -> Iterator[dict[str, Any]]:
    """The first target's file where it was asked twice: one format on two devices, two runtimes on one device."""
    for (a, first), (b, second) in combinations(context.inputs["answers"], 2):
        unlike = [key for key in ("format", "device") if a[key] != b[key]]
        if a["artifact"] == b["artifact"] and first != second and len(unlike) == 1:
            here, there = (np.load(context.store.entry(*ref).folder / RESPONSES) for ref in (first, second))
            places = {"format": a["format"], "device": a["device"]}
            yield {
                **places, "other_format": b["format"], "other_device": b["device"], **asdict(differing(here, there)),
            }  # fmt: skip


def _between_pairs(measured: list[_Measured], headlines: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """Every two formats that ship, by the AUC of the headline attack: one family. What dominates what rests on it."""
    own = {f: m for f, m in _own(measured).items() if f not in REFERENCES.values()}
    name = _common(headlines, own)
    if name is None:
        return
    pairs = {json.dumps([a, b]): (own[a].scored(name), own[b].scored(name)) for a, b in combinations(own, 2)}
    rows = compare_family(
        pairs, METRICS[:1], lambda pair, metric: stream(seed, "pairs", *_elsewhere(measured), pair, metric)
    )
    for (pair, metric), found in rows.items():
        first, second = json.loads(pair)
        place = {key: own[first].head[key] for key in ("device", "shadow_match")}
        yield _row("format pair", {"format": first, **place, "series": name}, first, second, metric, found)


def _between_matches(measured: list[_Measured], seed: int) -> Iterator[dict[str, Any]]:
    """Shadows made like the target against uncompressed ones, for every attack; one family an attack."""
    pairs: dict[str, dict[str, tuple[Scored, Scored]]] = {}
    places = {(m.head["format"], m.head["shadow_match"]): m for m in measured}
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
        for (format_id, metric), found in rows.items():
            place = {"format": format_id, "device": places[format_id, "matched"].head["device"]}
            yield _row("shadow match", {**place, "shadow_match": "-", "series": name}, "matched", "fp32", metric, found)


def _between_attacks(measured: list[_Measured], headlines: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """The headline attack against every other on the same format; one family a format."""
    for m in measured:
        name = _headline(m, headlines)
        if name is None:
            continue
        pairs = {other: (m.scored(name), m.scored(other)) for other in m.series if other != name}
        rows = compare_family(
            pairs,
            _FEW_METRICS,
            lambda o, metric, m=m, name=name: stream(seed, "attacks", *m.head.values(), name, o, metric),  # type: ignore[misc]
        )
        for (other, metric), found in rows.items():
            yield _row("attack", {**m.head, "series": name}, name, other, metric, found)


def _between_exposures(context: JobContext, measured: list[_Measured]) -> Iterator[dict[str, Any]]:
    """Each weaker level against the audit's own exposure, by the headline attack; one family a format.

    Where the headline attack can make nothing of a level, the first that can stands in for it: that is what the level
    leaves an attacker with, and the note says so.
    """
    inputs = context.inputs
    headlines, full = inputs["headlines"], inputs["exposure"]
    weaker: dict[tuple[str, ...], list[tuple[str, _Measured]]] = {}
    for head, ref in inputs["exposures"]:
        one = _Measured(context.store.entry(*ref).folder, head, inputs["targets"])
        weaker.setdefault(tuple(head[part] for part in _PLACE), []).append((head["level"], one))
    own = [m for m in measured if tuple(m.head[part] for part in _PLACE) in weaker]
    # What can be run on every format is the report's headline, so formats are told of by one attack where that can be.
    common = next((h for h in headlines if all(h in m.series for m in own)), None)
    for m in own:
        name = common or _headline(m, headlines)
        levels = weaker[tuple(m.head[part] for part in _PLACE)]
        if name is None:
            continue
        reads = {level: name if name in one.series else _headline(one, headlines) for level, one in levels}
        pairs = {
            level: (one.scored(read), m.scored(name)) for level, one in levels if (read := reads[level]) is not None
        }
        rows = compare_family(
            pairs,
            _FEW_METRICS,
            lambda level, metric, m=m: stream(inputs["seed"], "exposures", *m.head.values(), level, metric),  # type: ignore[misc]
        )
        for (level, metric), row in rows.items():
            made = _row("exposure", {**m.head, "series": reads[level]}, level, full, metric, row)
            if reads[level] != name:
                stands_in = f"{reads[level]} reads {level}, {name} reads {full}".replace("/", " ")
                made["note"] = "; ".join(part for part in (stands_in, row.note) if part)
            yield made
