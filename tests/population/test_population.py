"""Stored populations: layouts, standardisation, the draws of each model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError, SplitError
from edgeaudit.population.base import NULL, TARGET, Population, numbered
from edgeaudit.population.build import build_population, population_content
from edgeaudit.population.layout import prepare_records
from edgeaudit.population.sources import find_source
from edgeaudit.stages.population import DrawPopulation


def _digits(tmp_path: Path, **settings: object) -> Population:
    spec = DataSpec.model_validate({"members": 100, "nonmembers": 80, **settings})
    build_population(spec, 0, tmp_path)
    return Population(tmp_path)


@pytest.fixture
def digits(tmp_path: Path) -> Population:
    return _digits(tmp_path)


def test_digits_are_complete_and_standardised_on_the_reference_pool(digits: Population) -> None:
    assert digits.about["records"] == 1797
    assert digits.input_shape == (1, 8, 8)
    assert len(digits.queried) == 1797
    reference = digits.take(digits.split.reference)
    assert abs(float(reference.mean())) < 1e-4
    assert abs(float(reference.std()) - 1) < 1e-4
    assert reference.dtype == np.float32


def test_a_shadow_never_trains_on_an_audited_record(digits: Population) -> None:
    audited = np.concatenate([digits.split.members, digits.split.nonmembers])
    for role in ("shadow-0", "shadow-63", "null-target"):
        ids = digits.training_ids(role, 0)
        assert len(np.unique(ids)) == 100
        assert not np.isin(ids, audited).any()
    assert np.array_equal(digits.training_ids("target", 0), digits.split.members)
    assert not np.array_equal(digits.training_ids("shadow-0", 0), digits.training_ids("shadow-1", 0))


def test_disjoint_calibration_is_neither_trained_on_nor_audited(digits: Population) -> None:
    for role in ("target", "shadow-3"):
        ids = digits.calibration_ids(role, 0, "disjoint", 64)
        assert not np.isin(ids, digits.training_ids(role, 0)).any()
        assert np.isin(ids, digits.split.reference).all()


def test_calibration_policies(digits: Population) -> None:
    members = digits.calibration_ids("target", 0, "members", 50)
    assert np.isin(members, digits.split.members).all()
    nonmembers = digits.calibration_ids("target", 0, "nonmembers", 50)
    assert np.isin(nonmembers, digits.split.nonmembers).all()
    shadow = digits.calibration_ids("shadow-0", 0, "members", 50)
    assert np.isin(shadow, digits.training_ids("shadow-0", 0)).all()
    with pytest.raises(SplitError, match=r"20 are missing"):
        digits.calibration_ids("target", 0, "nonmembers", 100)


def test_too_small_a_pool_states_how_many_records_are_missing(tmp_path: Path) -> None:
    population = _digits(tmp_path, members=900, nonmembers=800)
    with pytest.raises(SplitError, match="at least 804 more"):  # the pool has 97; a shadow needs 900, and one to spare
        population.training_ids("shadow-0", 0)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((5, 8, 6), "auto", (5, 1, 8, 6)),
        ((5, 8, 6, 3), "auto", (5, 3, 8, 6)),
        ((5, 3, 8, 6), "auto", (5, 3, 8, 6)),
        ((5, 7), "auto", (5, 7)),
        ((5, 8, 6), "flat", (5, 48)),
        ((5, 8, 6, 2), "HWC", (5, 2, 8, 6)),
    ],
)
def test_layouts(shape: tuple[int, ...], layout: str, expected: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    assert prepare_records(x, 5, layout).x.shape == expected


def test_channels_move_with_their_values() -> None:
    x = np.zeros((1, 2, 2, 3), np.uint8)
    x[..., 2] = 9
    assert prepare_records(x, 1, "auto").x[0, 2].tolist() == [[9, 9], [9, 9]]


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.zeros((3, 2)), 2, "3 records and 2 labels"),
        (np.zeros((0, 2)), 0, "no records"),
        (np.array([[0.0], [np.nan]]), 2, "record 1 contains NaN or infinity"),
        (np.zeros((2, 5, 5, 7)), 2, "data.layout"),
        (np.zeros(3), 3, r"x has shape \(3,\); it needs a first axis of records"),
        (np.array(1.0), 3, r"x has shape \(\)"),
        (np.zeros((3, 0)), 3, "and values in each"),
        (np.zeros((3, 2), complex), 3, "complex128 are not real numbers"),
        (np.array([[0.0], [-1e30]]), 2, r"record 1 has a value of 1e\+30; .* rescale the data"),
    ],
)
def test_unusable_records_are_named(x: np.ndarray, labels: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare_records(x, labels, "auto")


def test_npz_by_array_name_and_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    rng = np.random.default_rng(0)
    np.savez(file, images=rng.integers(0, 255, (60, 4, 4), np.uint8), y=np.arange(60) % 3)
    out = tmp_path / "p"
    out.mkdir()
    spec = DataSpec(source="npz", path=file, options={"x": "images"}, members=10, nonmembers=10)
    build_population(spec, 0, out)
    assert Population(out).input_shape == (1, 4, 4)
    with pytest.raises(DataError, match="no array 'x'; it has: images, y"):
        build_population(spec.model_copy(update={"options": {}}), 0, out)
    whole = file.read_bytes()
    file.write_bytes(whole[:500])
    with pytest.raises(DataError, match=r"is not a complete \.npz file"):
        build_population(spec, 0, out)
    file.write_bytes(whole[:300] + b"\0\0\0" + whole[303:])
    with pytest.raises(DataError, match=r"cannot be read as \.npz \(BadZipFile: Bad CRC-32 for file\); it is damaged"):
        build_population(spec, 0, out)
    file.write_text("x, y")
    with pytest.raises(DataError, match=r"d\.npz is not a complete \.npz file"):
        build_population(spec, 0, out)
    np.save(tmp_path / "d.npy", np.zeros((60, 4)))
    (tmp_path / "d.npy").rename(file)
    with pytest.raises(DataError, match=r"d\.npz is not a complete \.npz file"):
        build_population(spec, 0, out)
    for x, y, name in ((np.float32(3), np.arange(60) % 3, "records"), (np.ones((60, 4)), np.int64(1), "labels")):
        np.savez(file, images=x, y=y)
        with pytest.raises(DataError, match=rf"the {name} are a single value of shape \(\), and need one a record"):
            build_population(spec, 0, out)
    np.savez(file, images=rng.normal(size=(60, 4)), y=np.array(["cat", "dog"] * 30))
    build_population(spec, 0, out)
    assert Population(out).about["class_names"] == ["cat", "dog"]
    assert Population(out).about["notes"] == ["labels were numbered: cat is 0, dog is 1"]
    with pytest.raises(DataError, match="does not exist"):
        build_population(spec.model_copy(update={"path": tmp_path / "none.npz"}), 0, out)


def test_image_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 255, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i:02}.png")
    spec = DataSpec(source="folder", path=tmp_path / "images", members=8, nonmembers=8)
    out = tmp_path / "p"
    out.mkdir()
    build_population(spec, 0, out)
    assert Population(out).input_shape == (3, 6, 6)
    assert Population(out).about["class_names"] == ["cat", "dog"]
    (tmp_path / "images" / "cat" / "bad.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"bad\.png cannot be read as an image"):
        build_population(spec, 0, out)


def test_reject_a_size_that_is_no_number_of_pixels(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for size in ("large", 0, 2.5, True, [3, 4, 5], [8, "tall"], [8]):
        with pytest.raises(DataError, match=r"data\.options: size is .*; it must be a whole number of pixels"):
            find_source("folder", tmp_path / "images", {"size": size}).read()


def test_reject_a_file_as_image_folder(tmp_path: Path) -> None:
    (tmp_path / "d.npz").touch()
    with pytest.raises(DataError, match=r"d\.npz is a file; the source 'folder' needs a folder"):
        find_source("folder", tmp_path / "d.npz", {})


def test_reject_unreadable_torchvision_data_sets(tmp_path: Path) -> None:
    for name, keys, message in (
        ("CIFAR11", {}, "no data set 'CIFAR11'; did you mean 'CIFAR10'?"),
        ("vision", {}, "no data set 'vision'"),  # a module beside the data sets
        ("CIFAR10", {}, "not found or corrupted.*data.options: {download: true}"),
        ("FakeData", {}, "unexpected keyword argument 'root'"),
        ("SVHN", {"split": "tset"}, "cannot be read from .*tset"),
    ):
        with pytest.raises(DataError, match=message):
            find_source(f"torchvision:{name}", tmp_path, keys).read()


def test_a_downloaded_data_set_is_identified_by_its_records(tmp_path: Path) -> None:
    # The folder is empty before and full after, and the records are the same.
    assert find_source("torchvision:CIFAR10", tmp_path, {"download": True}).fingerprint() is None
    assert find_source("torchvision:CIFAR10", tmp_path, {}).fingerprint() is not None


def test_reject_records_of_different_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ragged_source.py").write_text("def load():\n    return [[0.0], [1.0, 2.0]], [0, 1]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match="ragged_source:load: all records must have the same shape"):
        find_source("ragged_source:load", None, {}).read()


def test_a_changed_file_changes_the_population_key(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, x=np.arange(120.0).reshape(60, 2), y=np.arange(60) % 2)
    spec = DataSpec(source="npz", path=file, members=10, nonmembers=10)

    def key(seed: int) -> str:
        content = population_content(spec)
        assert content is not None
        return DrawPopulation(content=content, seed=seed, data=spec).key

    before = key(0)
    assert key(0) == before
    np.savez(file, x=np.arange(120.0).reshape(60, 2) + 1, y=np.arange(60) % 2)
    assert key(0) != before
    assert key(1) != key(0)


def test_the_location_of_a_file_is_not_in_the_population_key(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        file = tmp_path / f"{name}.npz"
        np.savez(file, x=np.arange(120.0).reshape(60, 2), y=np.arange(60) % 2)
        spec = DataSpec(source="npz", path=file, members=10, nonmembers=10)
        content = population_content(spec)
        assert content is not None
        keys.add(DrawPopulation(content=content, seed=0, data=spec).key)
    assert len(keys) == 1


def test_member_lists_from_files(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("0 \n2 # a comment\n\n4\n")
    np.save(tmp_path / "n.npy", np.array([1, 3]))
    out = tmp_path / "p"
    out.mkdir()
    spec = DataSpec(members=tmp_path / "m.txt", nonmembers=tmp_path / "n.npy")
    build_population(spec, 0, out)
    assert Population(out).split.members.tolist() == [0, 2, 4]
    (tmp_path / "m.txt").write_text("0\ntwo\n")
    with pytest.raises(SplitError, match=r"m\.txt, line 2: 'two' is not a record id"):
        build_population(spec, 0, out)


def _idx(path: Path, array: np.ndarray) -> None:
    """The format of the MNIST files: two zero bytes, 8 for uint8, the number of axes, their sizes, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.toolchain
def test_a_torchvision_data_set_by_name(tmp_path: Path) -> None:
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 255, (60, 28, 28), np.uint8)
    for part in ("train", "t10k"):
        _idx(raw / f"{part}-images-idx3-ubyte", images)
        _idx(raw / f"{part}-labels-idx1-ubyte", np.arange(60) % 10)
    out = tmp_path / "p"
    out.mkdir()
    spec = DataSpec(source="torchvision:MNIST", path=tmp_path / "root", members=10, nonmembers=10)
    build_population(spec, 0, out)
    population = Population(out)
    assert population.input_shape == (1, 28, 28)
    # Standardising is undone by the stored mean and deviation: the pixels are those that were written.
    pixels = population.take(np.arange(60)) * population.about["deviation"][0] + population.about["mean"][0]
    assert np.abs(pixels[:, 0] - images).max() < 1e-3
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="cannot be read from"):
        build_population(spec, 0, out)
    with pytest.raises(DataError, match="has no data set 'MNISTT'"):
        build_population(spec.model_copy(update={"source": "torchvision:MNISTT"}), 0, out)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "options", "shape", "classes"),
    [
        ("cifar10_train20k.npz", {}, (3, 32, 32), 10),
        ("fashion_mnist.npz", {"x": "x_train", "y": "y_train"}, (1, 28, 28), 10),
        ("location30.npz", {}, (446,), 30),
        ("letter.npz", {}, (16,), 26),
        ("uci_har_raw_subset.npz", {"x": "x_train", "y": "y_train"}, (1, 128, 9), 6),
    ],
)
def test_real_data_sets(
    data_folder: Path, tmp_path: Path, file: str, options: dict[str, str], shape: tuple[int, ...], classes: int
) -> None:
    spec = DataSpec(source="npz", path=data_folder / file, options=options, members=500, nonmembers=500)
    build_population(spec, 0, tmp_path)
    population = Population(tmp_path)
    assert (population.input_shape, population.n_classes) == (shape, classes)
    reference = population.take(population.split.reference)
    assert np.isfinite(reference).all()


def test_an_auditors_shadows_train_on_as_many_records_as_the_target_each_equally_often(digits: Population) -> None:
    halves = [digits.training_ids(f"half-{k}", 0) for k in range(9)]
    inside = np.array([np.isin(digits.audited, ids) for ids in halves])
    assert inside.sum(axis=1).tolist() == [len(digits.split.members)] * 9 == [100] * 9
    for count in range(1, 10):
        times = inside[:count].sum(axis=0)
        assert times.max() - times.min() <= 1
    assert (inside.sum(axis=0) == 5).all()  # 9 x 100 = 5 x 180
    assert not any(np.array_equal(inside[0], other) for other in inside[1:])


def test_of_equal_sides_two_shadows_of_an_auditor_share_no_record(tmp_path: Path) -> None:
    build_population(DataSpec(members=90, nonmembers=90, reference=100, shadow_records=20), 0, tmp_path)
    population = Population(tmp_path)
    first, second = (population.training_ids(f"half-{k}", 0) for k in range(2))
    assert np.array_equal(np.sort(np.concatenate((first, second))), np.sort(population.audited))
    assert len(first) == len(second) == 90
    assert len(population.training_ids("shadow-0", 0)) == 20


def test_calibration_records_of_an_auditors_shadow(digits: Population) -> None:
    halves = [digits.training_ids("half-0", 0)]
    disjoint = digits.calibration_ids("half-0", 0, "disjoint", 64)
    assert np.isin(disjoint, digits.split.reference).all()
    outside = digits.calibration_ids("half-0", 0, "nonmembers", 64)
    assert not np.isin(outside, halves[0]).any()
    assert np.isin(outside, digits.audited).all()


def test_every_target_has_its_own_members(digits: Population) -> None:
    drawn = [digits.training_ids(role, 0) for role in numbered(TARGET, 6)]
    assert np.array_equal(drawn[0], digits.split.members)
    for i, ids in enumerate(drawn):
        assert len(np.unique(ids)) == len(digits.split.members)
        assert np.isin(ids, digits.audited).all()
        # Two draws of half the records share half of them, give or take.
        shares = [np.isin(ids, other).mean() for other in drawn[:i]]
        assert all(0.3 < share < 0.7 for share in shares)
    assert np.array_equal(drawn[3], digits.training_ids("target-3", 0))
    assert not np.array_equal(drawn[3], digits.training_ids("target-3", 1))
    outside = digits.calibration_ids("target-3", 0, "nonmembers", 64)
    assert np.isin(outside, digits.audited).all()
    assert not np.isin(outside, drawn[3]).any()


def test_copies_stay_on_one_side_in_every_draw(tmp_path: Path) -> None:
    x = np.repeat(np.arange(60, dtype=np.float32)[:, None], 2, axis=0)
    np.savez(tmp_path / "d.npz", x=np.hstack([x, x]), y=np.arange(120) // 2 % 2)
    spec = DataSpec(source="npz", path=tmp_path / "d.npz", members=40, nonmembers=40)
    build_population(spec, 0, tmp_path)
    population = Population(tmp_path)
    for role in numbered(TARGET, 8):
        ids = population.training_ids(role, 0)
        assert set(ids // 2 * 2) | set(ids // 2 * 2 + 1) == set(ids)


def test_null_targets_train_on_nothing_that_is_audited(digits: Population) -> None:
    first, second = (digits.training_ids(role, 0) for role in numbered(NULL, 2))
    assert not np.isin(np.concatenate([first, second]), digits.audited).any()
    assert not np.array_equal(first, second)
