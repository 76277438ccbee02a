"""Canaries: made of the reference pool, planted into half of the training sets, and on no side of the audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeaudit.config.canaries import CanariesSpec
from edgeaudit.config.data import DataSpec
from edgeaudit.errors import SplitError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population, population_content

DATA = DataSpec(members=100, nonmembers=100)


def _population(folder: Path, data: DataSpec = DATA, **canaries: object) -> Population:
    folder.mkdir()
    build_population(data, 0, folder, CanariesSpec.model_validate(canaries) if canaries else None)
    return Population(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Population:
    return _population(tmp_path_factory.mktemp("plain") / "population")


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> Population:
    return _population(tmp_path_factory.mktemp("mislabelled") / "population", records=60, repeats=3)


def _bases(population: Population, plain: Population) -> np.ndarray:
    """The ids of the records with the same values, by canary."""
    raw, known = np.load(population.folder / "x.npy")[population.canaries], np.load(plain.folder / "x.npy")
    found = [np.flatnonzero((known == one).all(axis=(1, 2, 3))) for one in raw]
    assert all(len(one) for one in found)
    return np.array([one[0] for one in found])


def test_the_audited_records_are_those_of_the_audit_without_canaries(
    plain: Population, mislabelled: Population
) -> None:
    np.testing.assert_array_equal(plain.audited, mislabelled.audited)
    assert mislabelled.about["records"] == len(plain.labels)
    assert len(mislabelled.labels) == len(plain.labels) + 60 + 30  # and decoys
    assert not set(mislabelled.canaries.tolist()) & set(mislabelled.queried.tolist())


def test_mislabelled_canaries_are_reference_records_with_another_label(
    plain: Population, mislabelled: Population
) -> None:
    bases = _bases(mislabelled, plain)
    assert set(bases.tolist()) <= set(plain.split.reference.tolist())
    assert not set(bases.tolist()) & set(mislabelled.split.reference.tolist())
    wrong, right = mislabelled.labels[mislabelled.canaries], plain.labels[bases]
    assert (wrong != right).all()
    assert ((wrong >= 0) & (wrong < 10)).all()
    assert len(np.unique((wrong - right) % 10)) == 9  # any other label


def test_a_target_trains_on_half_and_its_shadows_on_as_many_that_nobody_asks_about(mislabelled: Population) -> None:
    canaries = mislabelled.canaries
    for role in ("target", "target-1"):
        planted = mislabelled.planted(role, 0)
        assert len(planted) == 30
        trained = mislabelled.training_ids(role, 0)
        assert len(trained) == 100 + 3 * 30
        assert (np.unique(trained[np.isin(trained, canaries)], return_counts=True)[1] == 3).all()
    assert set(mislabelled.planted("target", 0).tolist()) != set(mislabelled.planted("target-1", 0).tolist())
    for role in ("shadow-0", "shadow-1", "null-target"):
        trained = mislabelled.training_ids(role, 0)
        assert len(trained) == 100 + 3 * 30
        assert not np.isin(trained, canaries).any()
        assert not np.isin(trained, mislabelled.audited).any()


def test_two_shadows_of_an_auditor_in_a_row_split_the_canaries(mislabelled: Population) -> None:
    for first in (0, 2):
        halves = [mislabelled.planted(f"half-{k}", 0) for k in (first, first + 1)]
        np.testing.assert_array_equal(np.sort(np.concatenate(halves)), mislabelled.canaries)
    assert set(mislabelled.planted("half-0", 0).tolist()) != set(mislabelled.planted("half-2", 0).tolist())


def test_a_quantiser_is_not_calibrated_on_canaries(mislabelled: Population) -> None:
    for policy in ("members", "nonmembers", "disjoint"):
        ids = mislabelled.calibration_ids("target", 0, policy, 90)
        assert not np.isin(ids, mislabelled.training_ids("target", 0)[100:]).any()
        assert len(np.unique(ids)) == 90


def test_duplicated_canaries_are_records_as_they_are(plain: Population, tmp_path: Path) -> None:
    population = _population(tmp_path / "p", records=40, kind="duplicated", repeats=5)
    bases = _bases(population, plain)
    np.testing.assert_array_equal(population.labels[population.canaries], plain.labels[bases])


def test_values_of_a_canary_out_of_distribution_are_usual_each_and_not_together(
    plain: Population, tmp_path: Path
) -> None:
    population = _population(tmp_path / "p", records=40, kind="out-of-distribution")
    raw = np.load(population.folder / "x.npy").reshape(len(population.labels), -1)
    made, usual = raw[population.canaries], np.load(plain.folder / "x.npy").reshape(len(plain.labels), -1)
    for column in range(made.shape[1]):
        assert np.isin(made[:, column], usual[:, column]).all()
    nearest = [np.abs(usual.astype(float) - one).mean(axis=1).min() for one in made.astype(float)]
    others = [np.sort(np.abs(usual.astype(float) - one).mean(axis=1))[1] for one in usual[:40].astype(float)]
    assert min(nearest) > np.median(others)


def test_related_records_make_one_canary_and_leave_the_pool(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=rng.integers(0, 3, 600), who=np.arange(600) // 2)
    data = DataSpec.model_validate(
        {"source": "npz", "path": tmp_path / "d.npz", "members": 40, "nonmembers": 40, "groups": "who"}
    )
    population = _population(tmp_path / "p", data, records=40)
    made = np.concatenate([population.canaries, population.planted("shadow-0", 0)])
    groups = population.groups[made]
    assert len(np.unique(groups)) == len(groups) == 60
    assert not np.isin(population.groups[population.queried], groups).any()


def test_too_small_a_pool_is_refused_with_what_fits(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"canaries.records: 600 canaries.*the pool has 1,?59\d: use 5\d\d canaries"):
        _population(tmp_path / "p", records=600)


def test_canaries_are_part_of_what_a_population_depends_on() -> None:
    contents = [population_content(DATA, spec) for spec in (None, CanariesSpec(), CanariesSpec(repeats=2))]
    assert all(one != other for i, one in enumerate(contents) for other in contents[:i])
