"""Views: their names, the records they show, and the range that noise keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.config.audit import load_spec
from edgeaudit.config.data import DataSpec
from edgeaudit.config.views import parse_view, require_views_fit
from edgeaudit.errors import SpecError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.population.views import InputRange, input_range, shown

LOW, HIGH, STEP = (np.full((1, 1), value, np.float32) for value in (-100, 100, 0.5))
WIDE = InputRange(LOW, HIGH, STEP, whole=False)


@pytest.mark.parametrize(
    ("given", "name", "queries"),
    [
        ("flip", "flip", 1),
        ("shift", "shift-1", 4),
        ("shift-2", "shift-2", 4),
        ("noise", "noise-1", 1),
        ("noise-3x5", "noise-3x5", 5),
    ],
)
def test_names_and_queries(given: str, name: str, queries: int) -> None:
    view = parse_view(given)
    assert (view.name, view.queries) == (name, queries)
    assert parse_view(view.name) == view


@pytest.mark.parametrize("given", ["flop", "flip-1", "shift-0", "shift-1x2", "noise-0", "noise-1x0", "noise-1.5", ""])
def test_reject_unknown_names(tmp_path: Path, given: str) -> None:
    (tmp_path / "audit.yaml").write_text(f"threat:\n  views: ['{given}']\n")
    with pytest.raises(SpecError, match=r"threat\.views: .* is not a view; there are flip, shift-<pixels>"):
        load_spec(tmp_path / "audit.yaml")


def test_reject_views_that_records_cannot_have() -> None:
    with pytest.raises(SpecError, match=r"'flip' moves pixels, and these records are flat \(30 values each\)"):
        require_views_fit(["noise-1", "flip"], (30,))
    with pytest.raises(SpecError, match=r"'shift-8' moves images of 8 by 9 pixels out of sight"):
        require_views_fit(["shift-8"], (1, 8, 9))
    require_views_fit(["flip", "shift-7", "noise-1"], (1, 8, 9))
    require_views_fit(["noise-1"], (30,))


def test_a_flip_mirrors_left_and_right_and_a_shift_lets_zeros_in() -> None:
    image = np.array([[[[1, 2, 3], [4, 5, 6]]]], np.float32)
    assert shown(parse_view("flip"), 0, image, WIDE, 0, 0).tolist() == [[[[3, 2, 1], [6, 5, 4]]]]
    # Left, right, up, down.
    expected = [[[2, 3, 0], [5, 6, 0]], [[0, 1, 2], [0, 4, 5]], [[4, 5, 6], [0, 0, 0]], [[0, 0, 0], [1, 2, 3]]]
    for copy, moved in enumerate(expected):
        assert shown(parse_view("shift-1"), copy, image, WIDE, 0, 0)[0, 0].tolist() == moved


def test_noise_has_the_named_deviation_and_follows_from_the_seed() -> None:
    records = np.zeros((400, 50), np.float32)
    noisy = shown(parse_view("noise-3x2"), 0, records, WIDE, 7, 0)
    # 3 steps of 0.5; the standard error of a deviation from 20,000 draws is 1.5 / sqrt(40000) = .0075.
    assert abs(noisy.std() - 1.5) < 4 * 0.0075
    assert abs(noisy.mean()) < 4 * 1.5 / np.sqrt(20_000)
    again = shown(parse_view("noise-3x2"), 0, records, WIDE, 7, 0)
    np.testing.assert_array_equal(again, noisy)
    for copy, seed, block in ((1, 7, 0), (0, 8, 0), (0, 7, 1)):
        assert (shown(parse_view("noise-3x2"), copy, records, WIDE, seed, block) != noisy).mean() > 0.99


def _population(folder: Path, x: np.ndarray[Any, Any], *, standardise: bool = True) -> Population:
    np.savez(folder / "data.npz", x=x, y=np.arange(len(x)) % 2)
    spec = DataSpec(source="npz", path=folder / "data.npz", members=20, nonmembers=20, standardise=standardise)
    (folder / "population").mkdir()
    build_population(spec, 0, folder / "population")
    return Population(folder / "population")


def test_bytes_stay_on_whole_steps_between_0_and_255(tmp_path: Path) -> None:
    x = np.random.default_rng(0).choice(np.array([0, 3, 128, 255], np.uint8), (80, 6, 6))
    population = _population(tmp_path, x)
    limits, ids = input_range(population), population.queried
    noisy = shown(parse_view("noise-2"), 0, population.take(ids), limits, 0, 0)
    mean, deviation = population.about["mean"][0], population.about["deviation"][0]
    raw = noisy * deviation + mean
    np.testing.assert_allclose(raw, np.round(raw), atol=1e-3)
    assert (raw.min(), raw.max()) == (pytest.approx(0, abs=1e-3), pytest.approx(255, abs=1e-3))
    moved = np.abs(raw - np.asarray(x[ids][:, None], float))
    # A byte in the middle stays where |N(0, 2)| < .5: in 2 Phi(.25) - 1 = 19.7% of cases.
    inside = x[ids][:, None] == 128
    assert abs((moved[inside] < 0.5).mean() - 0.197) < 0.08
    assert moved.max() < 2 * 6


def test_other_data_has_the_range_of_the_reference_pool(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, [1, 10, 0], (80, 3)).astype(np.float32)
    population = _population(tmp_path, x, standardise=False)
    limits, pool = input_range(population), x[population.split.reference]
    assert not limits.whole
    np.testing.assert_allclose(limits.high, pool.max(axis=0, keepdims=True))
    np.testing.assert_allclose(limits.step * 255, np.ptp(pool, axis=0)[None], rtol=1e-5)
    noisy = shown(parse_view("noise-1"), 0, x, limits, 0, 0)
    # A constant column stays constant; a record beyond the pool's range is not pulled in.
    assert (noisy[:, 2] == 0).all()
    assert (noisy <= np.maximum(x, limits.high)).all()
