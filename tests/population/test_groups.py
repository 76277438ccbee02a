"""Groups of related records in a stored population: no model is in for one record of a group and out for another."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError, SplitError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population, population_content
from edgeaudit.population.groups import content_groups
from edgeaudit.stages.population import DrawPopulation

ROLES = ("target-1", "target-2", "null-target", "shadow-0", "shadow-1", "half-0", "half-1", "half-2")


def _written(folder: Path, sizes: list[int], **settings: object) -> Population:
    """Records in groups of these sizes, mixed; `person` has the group of each."""
    rng = np.random.default_rng(0)
    person = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    np.savez(folder / "d.npz", x=rng.normal(size=(len(person), 3)), y=np.arange(len(person)) % 3, person=person)
    return _built(folder, **settings)


def _built(folder: Path, **settings: object) -> Population:
    out = folder / "population"
    out.mkdir(exist_ok=True)
    spec = DataSpec.model_validate({"source": "npz", "path": folder / "d.npz", "groups": "person", **settings})
    build_population(spec, 0, out)
    return Population(out)


@pytest.fixture
def persons(tmp_path: Path) -> Population:
    return _written(tmp_path, [6] * 40 + [2] * 60 + [1] * 240, members=120, nonmembers=120)


def test_groups_are_stored_and_counted(persons: Population) -> None:
    audited = persons.groups[persons.audited]
    sizes = np.unique(audited, return_counts=True)[1]
    about = persons.about
    assert (about["groups"], about["largest_group"]) == (len(sizes), sizes.max())
    assert about["grouped_by"] == "'person', and exact copies"
    assert about["largest_group"] == 6
    assert persons.audited_groups is not None
    assert np.array_equal(persons.audited_groups, audited)


def test_records_without_relations_have_no_groups(tmp_path: Path) -> None:
    build_population(DataSpec(members=100, nonmembers=80), 0, tmp_path)
    population = Population(tmp_path)
    assert population.audited_groups is None
    assert (population.about["groups"], population.about["largest_group"]) == (180, 1)
    # The draws of records that are not related are plain permutations.
    rng = np.random.default_rng(0)
    assert len(population.training_ids("half-0", int(rng.integers(9)))) == 100  # as many as the target


@pytest.mark.parametrize("role", ROLES)
def test_no_model_trains_on_a_part_of_a_group(persons: Population, role: str) -> None:
    trained = persons.training_ids(role, 0)
    others = np.setdiff1d(persons.queried, trained)
    assert not np.isin(persons.groups[others], persons.groups[trained]).any()
    assert len(trained) == 120 if not role.startswith("half") else abs(len(trained) - 120) < 6


def test_halves_complete_each_other(persons: Population) -> None:
    both = np.concatenate([persons.training_ids("half-4", 0), persons.training_ids("half-5", 0)])
    assert np.array_equal(np.sort(both), np.sort(persons.audited))


def test_large_groups_are_in_as_many_shadows_as_single_records(persons: Population) -> None:
    pool = persons.split.reference
    sizes = np.unique(persons.groups, return_inverse=True, return_counts=True)
    size = sizes[2][sizes[1]]
    drawn = np.array([np.isin(pool, persons.training_ids(f"shadow-{k}", 0)) for k in range(200)])
    shares = [drawn[:, size[pool] == n].mean() for n in (1, 2, 6)]
    # 120 of the pool's records. A share over 200 shadows has a standard error below .004 for records in 6s (some 20
    # groups: sqrt(.25 / 20 / 200) = .008); four of them are .03.
    assert np.abs(np.array(shares) - 120 / len(pool)).max() < 0.03


def test_calibration_records_are_drawn_in_groups(persons: Population) -> None:
    for policy, role in (("members", "target"), ("nonmembers", "target"), ("disjoint", "shadow-0")):
        seen = persons.calibration_ids(role, 0, policy, 60)
        assert len(seen) == 60
        trained = persons.training_ids(role, 0)
        pool = {
            "members": trained,
            "nonmembers": np.setdiff1d(persons.audited, trained),
            "disjoint": np.setdiff1d(persons.split.reference, trained),
        }[policy]
        parted = np.isin(persons.groups[np.setdiff1d(pool, seen)], persons.groups[seen])
        assert len(np.unique(persons.groups[np.setdiff1d(pool, seen)][parted])) <= 1
        if policy != "members":
            assert not np.isin(persons.groups[seen], persons.groups[trained]).any()


def test_a_pool_of_few_groups_states_what_is_missing(tmp_path: Path) -> None:
    sizes = {"members": 10, "nonmembers": 10, "shadow-records": 50}
    population = _written(tmp_path, [1] * 40 + [100], **sizes)
    assert len(population.split.reference) == 120  # 20 single records, and a group of 100
    with pytest.raises(SplitError, match=r"data\.reference: 50 records .* groups of related records \(30 missing\)"):
        population.training_ids("shadow-0", 0)


def test_further_members_need_whole_groups(tmp_path: Path) -> None:
    population = _written(tmp_path, [4] * 60, members=90, nonmembers=90)  # a side of 90 cuts a group
    try:
        drawn = population.training_ids("target-1", 0)
    except SplitError as error:
        assert "splitting groups of related records" in str(error)  # noqa: PT017  either is right; neither may split
    else:
        assert not np.isin(population.groups[np.setdiff1d(population.audited, drawn)], population.groups[drawn]).any()


def test_groups_from_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_groups.py").write_text(
        "def sign(x):\n    return ['left' if r[0] < -1 else str(i) for i, r in enumerate(x)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    population = _written(tmp_path, [1] * 400, members=60, nonmembers=60, groups="my_groups:sign")
    with np.load(tmp_path / "d.npz") as arrays:
        left = np.flatnonzero(arrays["x"][:, 0] < -1)
    assert len(left) > 40
    assert len(np.unique(population.groups[left])) == 1
    assert len(np.unique(population.groups)) == 400 - len(left) + 1
    spec = DataSpec(source="npz", path=tmp_path / "d.npz", groups="my_groups:sign")
    assert "my_groups" in DrawPopulation(content={}, seed=0, data=spec).code()


def test_sides_with_files_of_their_own_have_a_column_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for side, first in (("m", 0), ("n", 20)):
        np.savez(
            tmp_path / f"{side}.npz", x=rng.normal(size=(60, 2)), y=np.arange(60) % 2, who=first + np.arange(60) // 2
        )
    out = tmp_path / "p"
    out.mkdir()
    sides = {"members": {"path": tmp_path / "m.npz"}, "nonmembers": {"path": tmp_path / "n.npz"}}
    build_population(DataSpec.model_validate({"source": "npz", "groups": "who", **sides}), 0, out)
    population = Population(out)
    # People 20 to 29 are in both files; their 20 records are no nonmembers.
    assert len(population.split.nonmembers) == 40
    assert population.split.moved == 20


def test_another_grouping_is_another_population(tmp_path: Path) -> None:
    _written(tmp_path, [2] * 100, members=20, nonmembers=20)
    keys = set()
    for groups in ("person", "copies", "exact-copies"):
        spec = DataSpec(source="npz", path=tmp_path / "d.npz", members=20, nonmembers=20, groups=groups)
        content = population_content(spec)
        assert content is not None
        keys.add(DrawPopulation(content=content, seed=0, data=spec).key)
    assert len(keys) == 3


def test_what_was_drawn_is_in_the_description(tmp_path: Path) -> None:
    # A source without a fingerprint has its key from this description alone.
    by_person = _written(tmp_path, [2] * 100, members=20, nonmembers=20).about
    by_copies = _built(tmp_path, members=20, nonmembers=20, groups="copies").about
    assert by_person["sha256"] != by_copies["sha256"] or by_person["drawn"] != by_copies["drawn"]
    assert by_person["drawn"] != by_copies["drawn"]


def test_reject_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.groups: .*d\.npz has no array 'patient'; it has: x, y, person"):
        _written(tmp_path, [1] * 100, members=20, nonmembers=20, groups="patient")
    with pytest.raises(DataError, match=r"data\.groups: 'patient' is no column, since the source 'digits' has only"):
        build_population(DataSpec(groups="patient"), 0, tmp_path)


def test_exact_copies_are_found_without_a_copy_of_the_records() -> None:
    x = np.random.default_rng(0).random((4000, 1500), dtype=np.float32)  # 24 MB
    x[17] = x[3999]
    tracemalloc.start()
    groups, duplicates = content_groups(x, np.zeros(4000, np.int64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert duplicates.copies == 1
    assert groups[3999] == 17
    assert peak < x.nbytes / 10
