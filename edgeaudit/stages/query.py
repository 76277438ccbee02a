"""artifact + runtime + records -> responses, refused where the artifact does not agree with its trained model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.agreement import agreement, comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import JobContext
from edgeaudit.population import Population
from edgeaudit.runtimes.base import Runtime
from edgeaudit.stages.check_answers import read_check
from edgeaudit.stages.serving import described, opened, told_by

__all__ = ["RESPONSES", "query"]

RESPONSES = "responses.npy"
_BLOCK = 4096
"""Records that are asked about at a time, so that a large population is never in memory as float32 at once."""
_DEVICE_BLOCK = 256
"""The same on a device: what is lost with it is asked about again."""

FloatArray = npt.NDArray[np.float32]


def query(context: JobContext) -> Mapping[str, Any]:
    """Ask the artifact about every record; write float32 [records, classes] in the order of Population.queried.

    A model that is asked on a device in the inputs' `stand_in` way is not asked where this machine was shown to answer
    the same: its answers are then those of the job that asked it here.
    """
    if (facts := _stood_in(context)) is not None:
        return facts
    artifact, population = context.artifact(), context.population()
    with opened(context, context.inputs, artifact) as runtime:
        asker = _Asker(context, runtime)
        agreed, checked = (None, 0) if artifact.manifest.foreign else _agreement(context, artifact, asker, population)
        responses = asker.ask("responses", population.queried, population)
        device = told_by(runtime)
        options = runtime.options
    if not np.isfinite(responses).all():
        bad = int(population.queried[~np.isfinite(responses).all(axis=1)][0])
        what = described(artifact, context.inputs["role"])
        raise ArtifactError(f"{what} answered record {bad} with a value that is not finite")
    np.save(context.draft / RESPONSES, responses)
    return {
        "agreement": agreed,
        "options": options,
        "queries": len(responses) + checked,
        "check_records": checked,
        "device": None if device is None else {**device, "resumed": asker.resumed},
    }


class _Asker:
    """Asks about records in blocks. On a device each block is kept until the job is done, so that none is lost."""

    def __init__(self, context: JobContext, runtime: Runtime) -> None:
        self._runtime = runtime
        remote = "reach" in context.inputs["device"]
        self._step = max(1, (_DEVICE_BLOCK if remote else _BLOCK) // runtime.batch) * runtime.batch
        self._kept = context.store.partial("query", context.key) if remote else None
        self.resumed = 0
        """Records that an earlier try was answered about."""

    def ask(self, name: str, ids: npt.NDArray[np.int64], population: Population) -> FloatArray:
        """float32 [ids, classes]. name: of the question, among those of this job."""
        blocks = [self._block(name, start, ids, population) for start in range(0, len(ids), self._step)]
        return np.concatenate(blocks)

    def _block(self, name: str, start: int, ids: npt.NDArray[np.int64], population: Population) -> FloatArray:
        asked = ids[start : start + self._step]
        if self._kept is None:
            return self._runtime.query(population.take(asked))
        path = self._kept / f"{name}-{self._step}-{start}.npy"
        if path.is_file():
            kept: FloatArray = np.load(path)
            self.resumed += len(kept)
            return kept
        answers = self._runtime.query(population.take(asked))
        _save_whole(path, answers)
        return answers


def _save_whole(path: Path, values: FloatArray) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    with draft.open("wb") as file:
        np.save(file, values)
    draft.replace(path)


def _stood_in(context: JobContext) -> dict[str, Any] | None:
    """The facts of a query that this machine's answers stand in for; None where the device has to be asked."""
    stand_in = context.inputs.get("stand_in")
    if stand_in is None:
        return None
    evidence = context.store.entry(*stand_in["equivalence"]).about["facts"]
    if not (evidence["identical"] or stand_in["whatever"]):
        return None
    native = context.store.entry(*stand_in["native"])
    try:
        os.link(native.folder / RESPONSES, context.draft / RESPONSES)
    except OSError:  # a file system without hard links
        shutil.copyfile(native.folder / RESPONSES, context.draft / RESPONSES)
    return {**native.about["facts"], "queries": 0, "check_records": 0, "stood_in": True}


def _agreement(
    context: JobContext, artifact: Artifact, asker: _Asker, population: Population
) -> tuple[dict[str, Any], int]:
    """How far the answers are from the torch model's, and on how many records; raises where it is too far.

    Without a tolerance it is measured and never too far: what a device answers is what is audited, and that the file
    is right was seen where it was asked on this machine.
    """
    ids, logits = read_check(artifact.folder, artifact.manifest.calibration_policy)
    expected = comparable(logits, softmax_inside=artifact.manifest.softmax_inside)
    answers = asker.ask("check", ids, population)
    if context.inputs["tolerance"] is None:
        return asdict(agreement(expected, answers)), len(ids)
    found = require_agreement(
        expected,
        answers,
        what=described(artifact, context.inputs["role"]),
        tolerance=context.inputs["tolerance"],
        range_tolerance=context.inputs["range_tolerance"],
    )
    return asdict(found), len(ids)
