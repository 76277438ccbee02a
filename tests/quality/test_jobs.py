"""The inspect and latency stages, on real files in their runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import Context, Job
from edgeaudit.graph.store import Store
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.inspect import Inspect
from edgeaudit.stages.latency import BatchTime, Latency
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from tests.filetypes.samples import IMAGES, sparse_module
from tests.runtimes.served import converted

pytestmark = pytest.mark.toolchain


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Job[StoredArtifact]):
    """Stands for the job whose result is the artifact."""

    kind: ClassVar[str] = "compress"
    result: ClassVar[type[StoredArtifact]] = StoredArtifact

    def run(self, context: Context) -> StoredArtifact:
        raise NotImplementedError


class Images:
    """A population of `IMAGES`."""

    queried = np.arange(len(IMAGES))

    @staticmethod
    def take(ids: Any) -> Any:
        return IMAGES[ids]


@dataclass(frozen=True)
class Prepared(Context):
    """A context in which the artifact is already stored and the population is `IMAGES`."""

    artifact: Artifact | None = None

    def read(self, job: Job[Any]) -> Any:
        return Images() if isinstance(job, DrawPopulation) else StoredArtifact(self.artifact)  # type: ignore[arg-type]


def prepared(folder: Path, artifact: Artifact) -> Prepared:
    return Prepared(Store(folder / "store"), folder, artifact=artifact)


def timed(
    folder: Path, passes: list[str], runtime: str, batch: int = 64, fixed_batch: int | None = None
) -> tuple[BatchTime, ...]:
    population = DrawPopulation(content={}, seed=0, data=DataSpec(source="digits"))
    query = Query(
        population=population, source=Source(), role="target", runtime=runtime, options=Settings({"batch": batch}),
        tolerance=None, range_tolerance=None, versions={}, machine={},
    )  # fmt: skip
    job = Latency(
        population=population, query=query, machine={}, batches=(1, 32), fixed_batch=fixed_batch, repetitions=30
    )
    timings = job.run(prepared(folder, converted(folder, passes, sparse_module, IMAGES)))
    assert timings.threads == 1
    return timings.batches


@pytest.mark.parametrize(
    ("passes", "runtime"),
    [
        (["onnx.export", "ort.static-int8"], "onnxruntime"),
        (["litert.export", "aeq.static-int8"], "litert"),
        (["openvino.export"], "openvino"),
        (["executorch.export"], "executorch"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_every_runtime_is_timed_by_its_native_call(tmp_path: Path, passes: list[str], runtime: str) -> None:
    single, batched = timed(tmp_path, passes, runtime)
    assert (single.batch, batched.batch) == (1, 32)
    assert single.timed is not None
    assert single.timed.n == 30
    assert single.timed.median_low is not None
    assert single.timed.median_high is not None
    assert 0 < single.timed.median_low <= single.timed.median <= single.timed.median_high
    assert single.timed.median <= single.timed.p95
    # LiteRT cannot resize a flatten; the other runtimes take batches of 32.
    assert batched.note == ("the file takes 1 at a time" if runtime == "litert" else None)


def test_a_batch_size_that_the_format_does_not_take_gives_a_note(tmp_path: Path) -> None:
    single, batched = timed(tmp_path, ["onnx.export"], "onnxruntime", batch=1, fixed_batch=1)
    assert single.note is None
    assert batched == BatchTime(32, None, "the format takes 1 at a time")


def test_the_native_call_and_a_query_give_the_same_answers(tmp_path: Path) -> None:
    artifact = converted(tmp_path, ["litert.export", "aeq.static-int8"], sparse_module, IMAGES)
    runtime = find_runtime("litert")(artifact, {"batch": 1})
    codes = np.asarray(runtime.native_call(IMAGES[:1])())
    assert codes.dtype == np.int8
    output = artifact.manifest.output
    assert output.scale is not None
    real = (codes.astype(np.float32) - np.float32(output.zero_point or 0)) * np.float32(output.scale)
    assert np.array_equal(real, runtime.query(IMAGES[:1]))
    with pytest.raises(ArtifactError, match="opened for batches of 1 records, not 2"):
        runtime.native_call(IMAGES[:2])


def test_inspection_reports_bytes_and_zeros_and_notes_an_unreadable_file(tmp_path: Path) -> None:
    artifact = converted(tmp_path, ["onnx.export"], sparse_module, IMAGES)
    job = Inspect(source=Source(), filetype="onnx", compressor="1")
    inspection = job.run(prepared(tmp_path, artifact))
    assert (inspection.weights, inspection.zeros, inspection.note) == (123, 45, None)
    assert inspection.compressed_bytes > 0
    artifact.path.write_bytes(b"\xff" * 64)
    broken = job.run(prepared(tmp_path, artifact))
    assert (broken.weights, broken.zeros) == (None, None)
    assert broken.note is not None
    assert broken.note.startswith(f"cannot read {artifact.path} as ONNX")
    assert broken.compressed_bytes < 64


def test_the_key_of_an_inspection_covers_the_reader_of_its_file_type_only() -> None:
    modules = Inspect(source=Source(), filetype="onnx", compressor="1").closure().modules
    assert "edgeaudit.filetypes.onnx" in modules
    assert "edgeaudit.filetypes.tflite" not in modules
