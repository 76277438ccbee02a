"""What `--data` of `edgeaudit inspect` may name, and the section `data` that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgeaudit.errors import DataError
from edgeaudit.pipeline.inspect_data import given_data


def _npz(path: Path, **arrays: int) -> Path:
    np.savez(path, **{name: np.zeros(size) for name, size in arrays.items()})  # type: ignore[arg-type]
    return path


def test_two_files(tmp_path: Path) -> None:
    given = given_data([_npz(tmp_path / "a.npz", x=8, y=8), _npz(tmp_path / "b.npz", x=8, y=8)])
    assert given.sides_known
    assert given.data == {
        "source": "npz",
        "members": {"path": str(tmp_path / "a.npz")},
        "nonmembers": {"path": str(tmp_path / "b.npz")},
    }


@pytest.mark.parametrize(("records", "labels"), [("images", "labels"), ("X", "Y"), ("data", "target")])
def test_arrays_by_other_usual_names(tmp_path: Path, records: str, labels: str) -> None:
    paths = [_npz(tmp_path / name, **{records: 8, labels: 8}) for name in ("a.npz", "b.npz")]
    assert given_data(paths).data["members"]["options"] == {"x": records, "y": labels}


@pytest.mark.parametrize(
    "names", [("x_train", "y_train", "x_test", "y_test"), ("train_x", "train_y", "val_x", "val_y")]
)
def test_one_file_with_both_sides(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = _npz(tmp_path / "all.npz", **dict.fromkeys(names, 8))
    given = given_data([path])
    assert given.sides_known
    assert given.data["members"] == {"path": str(path), "options": {"x": names[0], "y": names[1]}}
    assert given.data["nonmembers"] == {"path": str(path), "options": {"x": names[2], "y": names[3]}}


def test_records_of_which_no_side_is_known(tmp_path: Path) -> None:
    given = given_data([_npz(tmp_path / "all.npz", x=9, y=9)])
    assert not given.sides_known
    assert (given.data["members"], given.data["nonmembers"]) == (4, 4)


def test_a_folder_with_train_and_test(tmp_path: Path) -> None:
    for side in ("train", "val"):
        (tmp_path / side / "cat").mkdir(parents=True)
    given = given_data([tmp_path])
    assert given.sides_known
    assert given.data["source"] == "folder"
    assert given.data["nonmembers"] == {"path": str(tmp_path / "val")}


def test_images_of_one_folder_are_counted_as_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat" / ".thumbs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for file in (
        "photos/cat/a.png",
        "photos/cat/b.tif",
        "elsewhere/c.ppm",
        "elsewhere/d.JPG",
        "photos/cat/.thumbs/a.png",
    ):
        (tmp_path / file).touch()
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere")
    given = given_data([tmp_path / "photos"])
    assert (given.data["members"], given.data["nonmembers"]) == (2, 2)


def test_an_audit_yaml_has_any_source(tmp_path: Path) -> None:
    data: dict[str, Any] = {"source": "my_module:records", "members": "in.txt", "nonmembers": "out.txt"}
    spec = {"data": {**data, "preprocessing": "raw"}, "target": {"artifact": "m.onnx"}}
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    given = given_data([tmp_path / "audit.yaml"])
    assert given.sides_known
    assert given.data["source"] == "my_module:records"
    assert given.data["members"] == str(tmp_path / "in.txt")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["none.npz"], "none.npz does not exist"),
        (["a.txt"], "how to read a.txt is not known"),
        (["a.npz", "a.npz", "a.npz"], "give one or two"),
        (["odd.npz", "odd.npz"], "has the arrays p, q; of which are the records"),
        (["one.npz"], "has 1 records; four are needed"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "a.txt").touch()
    _npz(tmp_path / "a.npz", x=8, y=8)
    _npz(tmp_path / "odd.npz", p=8, q=8)
    _npz(tmp_path / "one.npz", x=1, y=1)
    with pytest.raises(DataError, match=message):
        given_data([tmp_path / name for name in names])
