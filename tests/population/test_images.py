"""Folders of images as people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.population.raw import Raw
from edgeaudit.population.sources import find_source


def _save(file: Path, pixels: npt.NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _pixels(seed: int, size: tuple[int, int] = (6, 5)) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def _plain(root: Path, count: int = 3) -> None:
    for c, name in enumerate(("cat", "dog")):
        for i in range(count):
            _save(root / name / f"{i}.png", _pixels(10 * c + i))


def _read(root: Path, **options: Any) -> Raw:
    return find_source("folder", root, options).read()


def test_hidden_entries_are_no_classes_and_no_images(tmp_path: Path) -> None:
    _plain(tmp_path)
    _save(tmp_path / ".ipynb_checkpoints" / "0-checkpoint.png", _pixels(99))
    (tmp_path / "cat" / "._0.png").write_bytes(b"a resource fork")
    (tmp_path / "cat" / ".cache").mkdir()
    _save(tmp_path / "cat" / ".cache" / "0.png", _pixels(98))
    before = find_source("folder", tmp_path, {}).fingerprint()
    assert _read(tmp_path).names == ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png")
    (tmp_path / ".DS_Store").write_bytes(b"opened in a window")
    assert find_source("folder", tmp_path, {}).fingerprint() == before


def test_images_at_any_depth_below_a_class_are_read_and_others_are_said(tmp_path: Path) -> None:
    _plain(tmp_path)
    _save(tmp_path / "dog" / "big" / "old" / "9.tif", _pixels(30))
    _save(tmp_path / "dog" / "big" / "8.PPM", _pixels(31))
    (tmp_path / "dog" / "notes.txt").write_text("a text", encoding="utf-8")
    found = _read(tmp_path)
    assert found.names[3:] == ("dog/0.png", "dog/1.png", "dog/2.png", "dog/big/8.PPM", "dog/big/old/9.tif")
    assert found.columns["folder"].tolist() == [".", ".", ".", ".", ".", ".", "big", "big/old"]
    assert found.y.tolist() == ["cat"] * 3 + ["dog"] * 5
    assert found.notes == ("1 files that are no images were passed over: dog/notes.txt",)


def test_train_and_test_folders_are_one_pool(tmp_path: Path) -> None:
    _plain(tmp_path / "train")
    _plain(tmp_path / "test", 1)
    found = _read(tmp_path)
    assert found.y.tolist() == ["cat", "dog", "cat", "cat", "cat", "dog", "dog", "dog"]
    assert found.columns["split"].tolist() == ["test"] * 2 + ["train"] * 6
    assert "test and train were read as one pool" in found.notes[0]
    assert f"data.members: {{path: {tmp_path.name}/train}}" in found.notes[0]


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    for name in ("train", "test"):
        _save(tmp_path / name / "0.png", _pixels(1))
    assert _read(tmp_path).y.tolist() == ["test", "train"]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images_of_16_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    kept = np.array([[0, 255, 256], [65535, 7000, 9000]], np.uint16)
    for name in ("cat", "dog"):
        _save(tmp_path / name / f"0.{suffix}", kept)
    found = _read(tmp_path)
    assert isinstance(found.x, np.ndarray)
    assert found.x.dtype == np.uint16
    assert np.array_equal(found.x[1], kept)
    larger = _read(tmp_path, size=[4, 6]).x
    assert isinstance(larger, np.ndarray)
    assert larger.shape == (2, 4, 6)
    assert larger.dtype == np.uint16
    assert larger.max() > 20_000


def test_images_of_two_depths_are_refused_by_name(tmp_path: Path) -> None:
    _save(tmp_path / "cat" / "0.png", _pixels(1))
    _save(tmp_path / "dog" / "0.png", np.zeros((6, 5), np.uint16))
    with pytest.raises(DataError, match=r"cat/0\.png has 8 bits a value, and .*dog/0\.png has 16 bits"):
        _read(tmp_path)


def test_a_size_is_height_and_width(tmp_path: Path) -> None:
    _plain(tmp_path)
    _save(tmp_path / "dog" / "9.png", _pixels(9, (9, 9)))
    with pytest.raises(DataError, match=r"cat/0\.png has 6 x 5 pixels .*dog/9\.png 9 x 9; set .*\[height, width\]"):
        _read(tmp_path)
    for size, shape in ((8, (8, 8)), ([12, 20], (12, 20)), ("8", (8, 8)), (8.0, (8, 8))):
        x = _read(tmp_path, size=size).x
        assert isinstance(x, np.ndarray)
        assert x.shape == (7, *shape, 3)


def test_unknown_options_are_refused_by_name(tmp_path: Path) -> None:
    _plain(tmp_path)
    with pytest.raises(
        DataError, match=r"source 'folder' has no option 'sise'. Did you mean 'size'\? .* takes size, exclude"
    ):
        _read(tmp_path, sise=16)
    with pytest.raises(DataError, match=r"source 'digits' has no option 'classes'. Of options it takes none"):
        find_source("digits", None, {"classes": 3})


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    _plain(tmp_path)
    (tmp_path / "eel").mkdir()
    with pytest.raises(DataError, match="eel is a class without images"):
        _read(tmp_path)


def test_an_image_that_asks_for_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _plain(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"cat/0\.png cannot be read as an image: .*decompression bomb"):
        _read(tmp_path)


def test_a_side_may_lack_a_class_and_may_not_have_one_more(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for side, names in (("train", ("cat", "dog", "eel")), ("test", ("cat", "eel"))):
        for name in names:
            for i in range(20):
                _save(tmp_path / side / name / f"{i}.png", rng.integers(0, 255, (4, 4, 3), np.uint8))
    spec = DataSpec.model_validate(
        {
            "source": "folder",
            "members": {"path": tmp_path / "train", "records": 10},
            "nonmembers": {"path": tmp_path / "test", "records": 10},
        }
    )
    out = tmp_path / "p"
    out.mkdir()
    build_population(spec, 0, out)
    population = Population(out)
    assert population.about["class_names"] == ["cat", "dog", "eel"]
    assert population.labels[60:].tolist() == [0] * 20 + [2] * 20
    assert population.names[60] == "cat/0.png"
    _save(tmp_path / "test" / "ant" / "0.png", rng.integers(0, 255, (4, 4, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"data\.nonmembers: its classes differ from those of members, which has no 'ant'"
    ):
        build_population(spec, 0, out)
    named = spec.model_copy(update={"classes": ("cat", "dog", "eel", "ant")})
    build_population(named, 0, out)
    assert Population(out).labels[60] == 3
