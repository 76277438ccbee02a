"""Does this machine answer like a device, bit for bit? Where it does, it may stand in for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DeviceError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import JobContext
from edgeaudit.leakage.differing import Differing, differing
from edgeaudit.stages.query import RESPONSES
from edgeaudit.stages.serving import opened

__all__ = ["compare_places"]


def compare_places(context: JobContext) -> Mapping[str, Any]:
    """Compare the first target's answers here and on the device, and a shadow's where one can be brought there.

    The target was asked about every record in both places. A shadow has other weights, and with them other sums that
    may overflow or round otherwise, so one is asked about some records, evenly spaced, in both places, too.
    """
    inputs = context.inputs
    here, there = (np.load(context.store.entry(*inputs[key]).folder / RESPONSES) for key in ("native", "device_query"))
    found: dict[str, Differing] = {"target": differing(here, there)}
    if inputs["shadow"] is not None:
        found[inputs["shadow"]["role"]] = _probe(context, inputs["shadow"])
    identical = all(one.rows == 0 for one in found.values())
    if not identical and inputs["needs_identity"]:
        one = found["target"]
        raise DeviceError(
            f"devices.{context.hints['asking']['pace']['device']}: it answers {one.rows:,} of {one.records:,} records "
            f"otherwise than this machine (by {one.max_abs:.3g} at most, another top class for {one.top1:,}), and a "
            "server cannot be given shadows; `shadows: native` lets this machine's answers stand for theirs anyway"
        )
    return {"identical": identical, "compared": {name: asdict(one) for name, one in found.items()}}


def _probe(context: JobContext, shadow: Mapping[str, Any]) -> Differing:
    population = context.population()
    artifact = Artifact.load(context.store.entry(*shadow["source"]).folder)
    count = min(shadow["records"], len(population.queried))
    ids = population.queried[np.unique(np.linspace(0, len(population.queried) - 1, count).astype(np.int64))]
    answers: list[npt.NDArray[np.float32]] = []
    for place in ("native", "device"):
        with opened(context, shadow[place], artifact) as runtime:
            answers.append(runtime.query(population.take(ids)))
    return differing(answers[0], answers[1])
