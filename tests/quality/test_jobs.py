"""The jobs that look into an artifact and time it, on real files in their runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.graph.job import JobContext
from edgeaudit.graph.store import Store
from edgeaudit.host.fingerprint import local_fingerprint
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.inspect import inspect_artifact
from edgeaudit.stages.latency import latency
from tests.filetypes.samples import IMAGES, sparse_module
from tests.runtimes.served import converted

pytestmark = pytest.mark.toolchain


class Context(JobContext):
    """A job on an artifact in a folder of its own, asked about `IMAGES` with a runtime."""

    def population(self) -> Any:
        class Images:
            queried = np.arange(len(IMAGES))

            @staticmethod
            def take(ids: Any) -> Any:
                return IMAGES[ids]

        return Images()


def stored(store: Store, passes: list[str], runtime: str, options: dict[str, Any]) -> Path:
    """An artifact and the query that asked it, as the store has them."""
    folder = store.root / "compress" / "a"
    folder.mkdir(parents=True)
    artifact = converted(folder, passes, sparse_module, IMAGES)
    (artifact.folder / "entry.json").write_text("{}")
    (store.root / "query" / "q").mkdir(parents=True)
    source = [str(artifact.folder.parent.relative_to(store.root)), artifact.folder.name]
    told = {"source": source, "runtime": runtime, "options": options, "device": local_fingerprint()}
    about = {"inputs": told, "facts": {}}
    store.finish(store.root / "query" / "q", about)
    return artifact.folder


def timed(tmp_path: Path, passes: list[str], runtime: str, **more: Any) -> list[dict[str, Any]]:
    store = Store(tmp_path)
    options = more.pop("options", {})
    stored(store, passes, runtime, options)
    inputs = {"query": ["query", "q"], "population": "p", "batches": [1, 32], "fixed_batch": None, "repetitions": 30}
    found = latency(Context(inputs | more, store, tmp_path))
    assert found["threads"] == 1
    rows: list[dict[str, Any]] = found["batches"]
    return rows


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
def test_every_runtime_is_timed_by_its_own_call(tmp_path: Path, passes: list[str], runtime: str) -> None:
    rows = timed(tmp_path, passes, runtime)
    assert rows[0]["batch"] == 1
    assert rows[0]["n"] == 30
    assert 0 < rows[0]["median_low"] <= rows[0]["median"] <= rows[0]["median_high"]
    assert rows[0]["median"] <= rows[0]["p95"]
    assert rows[1]["batch"] == 32
    # LiteRT cannot resize a flatten; the others take 32, and answer more slowly than one.
    assert (rows[1]["note"] is None) == (runtime != "litert")
    if runtime == "litert":
        assert rows[1]["note"] == "the file takes 1 at a time"


def test_a_batch_that_the_format_does_not_take_says_so(tmp_path: Path) -> None:
    rows = timed(tmp_path, ["onnx.export"], "onnxruntime", options={"batch": 1}, fixed_batch=1)
    assert rows[0]["note"] is None
    assert rows[1] == {"batch": 32, "note": "the format takes 1 at a time"}


def test_the_native_call_answers_what_a_query_answers(tmp_path: Path) -> None:
    artifact = converted(tmp_path, ["litert.export", "aeq.static-int8"], sparse_module, IMAGES)
    runtime = find_runtime("litert")(artifact, {"batch": 1})
    codes = np.asarray(runtime.native_call(IMAGES[:1])())
    assert codes.dtype == np.int8
    output = artifact.manifest.output
    assert output.scale is not None
    real = (codes.astype(np.float32) - np.float32(output.zero_point or 0)) * np.float32(output.scale)
    assert np.array_equal(real, runtime.query(IMAGES[:1]))
    with pytest.raises(ArtifactError, match="opened for 1 records at a time, and 2 were given"):
        runtime.native_call(IMAGES[:2])


def test_inspection_reports_bytes_and_zeros_and_survives_what_it_cannot_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = stored(store, ["onnx.export"], "onnxruntime", {})
    source = [str(folder.parent.relative_to(tmp_path)), folder.name]
    found = inspect_artifact(Context({"source": source}, store, tmp_path))
    assert (found["weights"], found["zeros"], found["note"]) == (123, 45, None)
    assert found["compressed_bytes"] > 0
    (folder / "model.onnx").write_bytes(b"\xff" * 64)
    broken = inspect_artifact(Context({"source": source}, store, tmp_path))
    assert (broken["weights"], broken["zeros"]) == (None, None)
    assert broken["note"].startswith("cannot read ")
    assert broken["compressed_bytes"] < 64
