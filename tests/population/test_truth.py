"""What a source's labels are for each task, and how a population keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.population.sources import find_source
from edgeaudit.tasks import TaskName

Array = npt.NDArray[Any]
N = 200
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6)).astype(np.float32)
VALUES = RNG.normal(size=(N, 2))
LABELS = (RNG.random((N, 3)) < 0.4).astype(np.uint8)


def images() -> Array:
    """Records alone, as a function of the user's may return them for reconstruction."""
    return X


def _file(folder: Path, **arrays: Array) -> Path:
    np.savez(folder / "data.npz", x=X, **arrays)  # type: ignore[arg-type]
    return folder / "data.npz"


def _drawn(folder: Path, task: TaskName, **arrays: Array) -> Population:
    spec = DataSpec(source="npz", path=_file(folder, **arrays), members=50, nonmembers=50)
    (folder / "population").mkdir()
    build_population(spec, 0, folder / "population", task=task)
    return Population(folder / "population")


def test_values_are_the_truth_of_regression(tmp_path: Path) -> None:
    drawn = _drawn(tmp_path, "regression", y=VALUES)
    assert (drawn.task.name, drawn.outputs, drawn.n_classes) == ("regression", 2, 1)
    ids = drawn.split.members
    np.testing.assert_array_equal(drawn.truth(ids), VALUES[ids].astype(np.float32))
    np.testing.assert_allclose(drawn.truth_scale.deviation, VALUES[drawn.split.reference].std(axis=0), rtol=1e-5)


def test_one_value_may_be_a_plain_list(tmp_path: Path) -> None:
    assert _drawn(tmp_path, "regression", y=VALUES[:, 0]).truth(np.array([3])).shape == (1, 1)


def test_rows_of_labels_are_the_truth_of_several(tmp_path: Path) -> None:
    drawn = _drawn(tmp_path, "multi-label", y=LABELS)
    assert drawn.outputs == 3
    np.testing.assert_array_equal(drawn.truth(np.arange(5)), LABELS[:5])


def test_a_record_is_its_own_truth_as_models_see_it(tmp_path: Path) -> None:
    drawn = _drawn(tmp_path, "reconstruction")
    ids = drawn.split.nonmembers
    np.testing.assert_array_equal(drawn.truth(ids), drawn.take(ids))
    assert (drawn.outputs, drawn.n_classes) == (6, 1)


def test_classes_stay_what_they_were(tmp_path: Path) -> None:
    drawn = _drawn(tmp_path, "classification", y=LABELS[:, 0].astype(np.int64))
    np.testing.assert_array_equal(drawn.truth(np.arange(9)), LABELS[:9, 0])
    assert drawn.truth(np.arange(9)).dtype == np.int64
    assert drawn.outputs == 2


def test_values_change_the_digest_of_the_records(tmp_path: Path) -> None:
    digests = []
    for name, values in (("a", VALUES), ("b", VALUES + 1)):
        (tmp_path / name).mkdir()
        digests.append(_drawn(tmp_path / name, "regression", y=values).about["sha256"])
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("task", "y", "words"),
    [
        ("multi-label", VALUES, "0 or 1 for each label"),
        ("multi-label", LABELS[:, 0], "a row of labels"),
        ("regression", np.array(["a"] * N), "needs numbers"),
        ("regression", np.where(np.arange(N) == 7, np.nan, 0.0), "record 7"),
        ("regression", np.zeros((N, 2, 2)), "of shape"),
    ],
)
def test_other_labels_are_refused_with_the_remedy(
    tmp_path: Path,
    task: TaskName,
    y: Array,
    words: str,
) -> None:
    with pytest.raises(DataError, match=words):
        _drawn(tmp_path, task, y=y)


def test_a_function_may_return_records_alone_for_reconstruction() -> None:
    raw = find_source(f"{__name__}:images", None, {}, task="reconstruction").read()
    assert not raw.y.any()
    with pytest.raises(DataError, match="must return"):
        find_source(f"{__name__}:images", None, {}).read()
