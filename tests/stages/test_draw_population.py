"""The job that reads the records: it stores them under the key of the files that it read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.population.build import population_content
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest
from edgeaudit.stages.population import DrawPopulation


def _planned(spec: DataSpec) -> DrawPopulation:
    content = population_content(spec)
    assert content is not None
    return DrawPopulation(content=content, seed=0, data=spec)


def _images(folder: Path, seed: int, count: int = 30) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).save(folder / f"{i:02}.png")


def test_a_file_that_changes_between_planning_and_reading_is_refused(tmp_path: Path) -> None:
    file, store = tmp_path / "d.npz", Store(tmp_path / "store")
    rng = np.random.default_rng(0)
    np.savez(file, x=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    spec = DataSpec(source="npz", path=file, members=10, nonmembers=10)
    job = _planned(spec)
    np.savez(file, x=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    error = execute(job, store).error
    assert isinstance(error, DataError)
    assert "changed while the audit ran; run it again" in str(error)
    assert not store.has(*job.ref)
    again = _planned(spec)
    assert again.key != job.key
    assert execute(again, store).error is None


def test_a_list_of_members_that_changes_before_it_is_read_is_refused(tmp_path: Path) -> None:
    for name, ids in (("m.txt", range(10)), ("n.txt", range(10, 20))):
        (tmp_path / name).write_text("\n".join(map(str, ids)), encoding="utf-8")
    spec = DataSpec(members=tmp_path / "m.txt", nonmembers=tmp_path / "n.txt")
    job = _planned(spec)
    (tmp_path / "m.txt").write_text("30\n31\n32\n", encoding="utf-8")
    assert "changed while the audit ran" in str(execute(job, Store(tmp_path / "store")).error)


def test_an_image_behind_a_linked_folder_is_part_of_the_key(tmp_path: Path) -> None:
    _images(tmp_path / "images" / "cat", 1)
    _images(tmp_path / "elsewhere", 2)
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere")
    spec = DataSpec(source="folder", path=tmp_path / "images", members=10, nonmembers=10)
    before, store = _planned(spec), Store(tmp_path / "store")
    assert execute(before, store).error is None
    _images(tmp_path / "elsewhere", 3, count=1)
    assert _planned(spec).key != before.key


@pytest.mark.parametrize("linked", ["variables", "assets"])
def test_a_file_behind_a_linked_folder_is_part_of_a_checkpoint(tmp_path: Path, linked: str) -> None:
    model, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    model.mkdir()
    elsewhere.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    (elsewhere / "weights").write_bytes(b"1")
    (model / linked).symlink_to(elsewhere)
    before = checkpoint_digest(model)
    (elsewhere / "weights").write_bytes(b"2")
    assert checkpoint_digest(model) != before
