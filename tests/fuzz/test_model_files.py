"""Damaged model files: examined, or one sentence. 40 of each type here, 2,000 by `make fuzz`, in one worker each."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import JobCrashed
from edgeaudit.graph.executor import raise_errors
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.population.build import population_content
from edgeaudit.runtimes.registry import default_runtime
from edgeaudit.stages.population import DrawPopulation
from tests.filetypes.samples import sample
from tests.fuzz.damage import count, damaged, damages, require_sentence
from tests.fuzz.file_jobs import InspectMany, OpenMany
from tests.graph.jobs import Log, graph

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]
_BATCH = 100


def tried(executor: LocalProcesses, make: Callable[..., OpenMany], folder: Path, names: list[str]) -> dict[str, Any]:
    """What each file said: ["", ""] where it was opened, else who raised and what, which is one sentence."""
    said: dict[str, Any] = {}
    for start in range(0, len(names), _BATCH):
        batch = tuple(names[start : start + _BATCH])
        progress, begin = executor.store.root / f"progress-{start}.json", 0
        while True:
            job = make(folder=folder, names=batch, progress=progress, from_here=begin)
            result = executor.run(graph(job), Log())
            if (error := result.errors.get(job.ref)) is None:
                said |= json.loads(executor.store.read(job).words)
                break
            # It ended its worker twice, or took its time.
            assert isinstance(error, JobCrashed), error
            message = str(error)
            assert "\n" not in message, message
            # Tensors of any size can be stated; the worker is stopped at its bound.
            assert any(words in message for words in ("took longer", "took more than", "exited with")), message
            begin += 1
            assert begin < len(batch)
    for name, (kind, message) in said.items():
        if kind == "ours":
            require_sentence(message, name)
        assert kind in ("", "ours", "crash"), (name, message)
    assert set(said) == set(names)
    return said


def records(store: Store, executor: LocalProcesses, folder: Path) -> DrawPopulation:
    """Forty images of 6 x 6 that a line through their means tells apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.normal(size=(40, 6, 6)).astype(np.float32) + labels[:, None, None]
    np.savez(folder / "records.npz", x=images, y=labels)
    spec = DataSpec.model_validate(
        {"source": "npz", "path": folder / "records.npz", "members": 16, "nonmembers": 16, "preprocessing": "raw"}
    )
    content = population_content(spec)
    assert content is not None
    drawn = DrawPopulation(content=content, seed=0, data=spec)
    raise_errors(executor.run(graph(drawn), Log()))
    assert store.read(drawn).input_shape == (1, 6, 6)
    return drawn


@pytest.mark.parametrize("kind", ["onnx", "openvino", "tflite", "executorch"])
def test_a_damaged_model_file_is_examined_or_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "damaged").mkdir()
    made = sample(kind, tmp_path / "whole")
    content = made.path.read_bytes()
    beside = [(name, (made.path.parent / name).read_bytes()) for name in made.companions]
    names = []
    for k, changed in enumerate([content, *damages(content, 11, count(40, 2000))]):
        rng = random.Random(k)  # noqa: S311  no secret
        name = f"f{k}{made.path.suffix}"
        in_weights = bool(beside) and k % 4 == 1
        (tmp_path / "damaged" / name).write_bytes(content if in_weights else changed)
        for _, weights in beside:
            (tmp_path / "damaged" / f"f{k}.bin").write_bytes(damaged(weights, rng) if in_weights else weights)
        names.append(name)
    runtime = default_runtime(kind).spec.name
    store = Store(tmp_path / "store")
    with LocalProcesses(store, 1) as executor:
        drawn = records(store, executor, tmp_path)

        def make(**more: Any) -> InspectMany:
            return InspectMany(population=drawn, filetype=kind, runtime=runtime, **more)

        said = tried(executor, make, tmp_path / "damaged", names)
    assert said["f0" + made.path.suffix] == ["", ""]
    kinds = Counter(kind for kind, _ in said.values())
    assert kinds["ours"] > len(names) // 10, kinds  # the damage is no toy
