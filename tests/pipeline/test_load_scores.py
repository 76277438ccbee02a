"""Scores of a run's folder, as the gate reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeaudit.errors import RunError
from edgeaudit.pipeline.assemble import load_scores
from edgeaudit.stages.scores import TargetScores, save_scores

RECORDS = np.array([7, 3, 12, 5])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    members, partial = np.array([True, True, False, False]), np.array([0.5, np.nan, 0.1, np.nan])
    held = TargetScores(
        members,
        {"yeom/loss": np.arange(4.0), "label-only.boundary": partial},
        {"p_value.cm-mia.t": np.full(4, 0.2), "nominal.cm-mia.t": np.full(4, 0.1)},
        RECORDS,
        np.array([False, True, False, False]),
        {"abnormal:fraction": np.array([True, False, True, False])},
    )
    (tmp_path / "entry").mkdir()
    save_scores(tmp_path / "entry", {"target": held})
    (tmp_path / "scores").mkdir()
    (tmp_path / "entry" / "scores.npz").rename(tmp_path / "scores" / "litert-int8.npz")
    return tmp_path


def test_scores_subsets_and_labels_are_read(run: Path) -> None:
    np.save(run / "labels.npy", np.array([[12, 4], [3, 0], [7, 2], [5, 4]]))  # in another order than the scores
    scores = load_scores(run, "litert-int8")
    assert set(scores.scores) == {"yeom/loss", "label-only/boundary"}
    np.testing.assert_array_equal(scores.scores["label-only/boundary"], [0.5, np.nan, 0.1, np.nan])
    assert set(scores.subsets) == {"abnormal:fraction"}
    assert scores.labels is not None
    np.testing.assert_array_equal(scores.labels, [2, 0, 4, 4])


def test_a_run_without_labels_has_none(run: Path) -> None:
    assert load_scores(run, "litert-int8").labels is None


def test_scores_that_are_not_there_are_named(run: Path) -> None:
    with pytest.raises(RunError, match=r"onnx-fp32\.npz cannot be read"):
        load_scores(run, "onnx-fp32")


def test_scores_that_were_cut_short_or_damaged_are_named(run: Path) -> None:
    path = run / "scores" / "litert-int8.npz"
    whole = path.read_bytes()
    # The file's first array begins after its name; what follows is packed.
    for text in (whole[:200], whole[:60] + bytes(40) + whole[100:], b"", b"not an archive"):
        path.write_bytes(text)
        with pytest.raises(RunError, match=r"litert-int8\.npz cannot be read"):
            load_scores(run, "litert-int8")


def test_ids_of_records_are_kept(run: Path) -> None:
    stored = load_scores(run, "litert-int8")
    assert stored.records is not None
    np.testing.assert_array_equal(stored.records, RECORDS)


def test_arrays_of_different_lengths_are_refused(run: Path) -> None:
    path = run / "scores" / "litert-int8.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays | {"records": RECORDS[:2]})
    with pytest.raises(RunError, match=r"litert-int8\.npz cannot be read \(its arrays have different lengths\)"):
        load_scores(run, "litert-int8")
