"""population -> controls: what can be said against an audit before any model is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeaudit.controls.duplicates import copies, near_copies
from edgeaudit.controls.shift import Sides, sampled_ids, shift
from edgeaudit.graph.job import JobContext
from edgeaudit.population import Population, stream

__all__ = ["CONTROLS_FILE", "control"]

CONTROLS_FILE = "controls.json"

_QUERIES = 2000
"""Nonmembers whose nearest member is looked for, at most."""


def control(context: JobContext) -> Mapping[str, Any]:
    """Compare members with nonmembers as records; write the findings."""
    population, seed = context.population(), context.inputs["seed"]
    findings = [*shift(_sides(population, seed), stream(seed, "control", "shift")), *_duplicates(population, seed)]
    text = json.dumps([asdict(finding) for finding in findings], allow_nan=False)
    (context.draft / CONTROLS_FILE).write_text(text, encoding="utf-8")
    return {"failed": [finding.name for finding in findings if finding.status == "failed"]}


def _records(population: Population) -> Any:
    """Records in the source's scale and dtype, where traces of a codec are; read through a memory map."""
    return np.load(population.folder / "x.npy", mmap_mode="r")


def _sides(population: Population, seed: int) -> Sides:
    rng = stream(seed, "control", "records")
    split = population.split
    members, nonmembers = (sampled_ids(side, population.input_shape, rng) for side in (split.members, split.nonmembers))
    ids = np.concatenate([members, nonmembers])
    records = np.asarray(_records(population)[ids])
    if records.dtype == np.float16:
        records = records.astype(np.float32)
    return Sides(records, population.labels[ids], np.arange(len(ids)) < len(members))


def _duplicates(population: Population, seed: int) -> list[Any]:
    split, records = population.split, _records(population)
    few = split.nonmembers
    if len(few) > _QUERIES:
        few = np.sort(stream(seed, "control", "near duplicates").choice(few, _QUERIES, replace=False))
    return [
        copies(records[split.members], records[split.nonmembers], population.about),
        near_copies(population.take(split.members), population.take(few)),
    ]
