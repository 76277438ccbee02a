from __future__ import annotations

import numpy as np

from edgeaudit.attacks.plays import Side, canonical, evenly, most_opposite, most_records, subsets


def _phi(k: int = 8, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(k, n)), rng.random((k, n)) < 0.5


def test_the_order_does_not_depend_on_rows_or_columns() -> None:
    phi, _ = _phi()
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(8), rng.permutation(200)
    np.testing.assert_array_equal(columns[canonical(phi[rows][:, columns])], canonical(phi))


def test_a_side_has_its_models_first_once_each() -> None:
    phi, kept = _phi()
    side = Side.of(phi, kept, seed=0)
    for record in range(200):
        own = side.order[: side.count[record], record]
        assert sorted(own) == list(np.flatnonzero(kept[:, record]))


def test_a_side_depends_on_the_record_alone() -> None:
    # Other records, in another order, and models in another order: the same models in the same places.
    phi, kept = _phi()
    rng = np.random.default_rng(2)
    models, records = rng.permutation(8), rng.permutation(200)[:50]
    whole, part = Side.of(phi, kept, 0), Side.of(phi[models][:, records], kept[models][:, records], 0)
    for place in range(8):
        there = place < part.count
        np.testing.assert_array_equal(models[part.at(place)[there]], whole.at(place)[records[there]])


def test_places_are_drawn_evenly_and_anew_by_seed() -> None:
    # 6 models: the first place has each in a sixth of 6,000 records, with a standard error of .005.
    phi = np.random.default_rng(3).normal(size=(6, 6000))
    first, second = (Side.of(phi, np.ones((6, 6000), dtype=np.bool_), seed).at(0) for seed in (0, 1))
    rank = np.argsort(np.argsort(phi, axis=0), axis=0)
    for chosen in (first, second):
        places = rank[chosen, np.arange(6000)]
        assert np.abs(np.bincount(places, minlength=6) / 6000 - 1 / 6).max() < 4 * 0.005
    assert (first == second).mean() < 0.25


def test_subsets_have_a_size_and_use_all_models() -> None:
    phi, out = _phi(k=12)
    masks = list(subsets(phi, out, 3))
    assert len(masks) == 8
    count = out.sum(axis=0)
    for mask in masks:
        assert not (mask & ~out).any()
        np.testing.assert_array_equal(mask.sum(axis=0), np.minimum(count, 3))
    used = np.sum(masks, axis=0)
    assert (used[out] > 0).all()


def test_few_models_are_one_subset() -> None:
    phi, out = _phi(k=4)
    (mask,) = subsets(phi, out, 4)
    np.testing.assert_array_equal(mask, out)


def test_plays_are_bounded() -> None:
    assert most_records(25) * 25 == 250_000
    assert most_records(1_000_000) == 1


def test_the_most_opposite_shadow_is_the_complement_in_any_order() -> None:
    rng = np.random.default_rng(0)
    halves = rng.random((3, 40)) < 0.5
    out = np.concatenate((halves, ~halves))
    assert [most_opposite(out, shadow, np.arange(6)) for shadow in range(6)] == [3, 4, 5, 0, 1, 2]
    # Without complements the first of equally different ones in the given order.
    alike = np.array([[True, False], [False, False], [True, True]])
    assert most_opposite(alike, 0, np.array([2, 1, 0])) == 2
    assert most_opposite(alike, 0, np.array([0, 1, 2])) == 1


def test_the_number_of_shadows_left_does_not_tell_the_label() -> None:
    # 4 shadows: of records that one trained on a quarter of the plays are members', of those that two did, half.
    rng = np.random.default_rng(0)
    left = np.repeat([2, 1], 4000)
    trained = np.concatenate((np.arange(4000) % 4 == 0, np.arange(4000) % 2 == 0))
    keys = rng.normal(size=(2, 8000))
    kept = evenly(left, trained, (keys[0], keys[1]))
    shares = [trained[kept][left[kept] == number].mean() for number in (1, 2)]
    np.testing.assert_allclose(shares, 0.375, atol=0.001)
    assert len(kept) > 0.7 * len(left)
    # Which rows are kept depends on what they are, not on where.
    order = rng.permutation(8000)
    again = evenly(left[order], trained[order], (keys[0][order], keys[1][order]))
    np.testing.assert_array_equal(np.sort(order[again]), kept)
    # They are spread over the whole distribution.
    for number in (1, 2):
        some, whole = (keys[0][rows[(left[rows] == number) & trained[rows]]] for rows in (kept, np.arange(8000)))
        np.testing.assert_allclose(np.quantile(some, [0.1, 0.5, 0.9]), np.quantile(whole, [0.1, 0.5, 0.9]), atol=0.02)


def test_all_rows_are_kept_where_numbers_are_the_same() -> None:
    trained = np.arange(100) % 3 == 0
    kept = evenly(np.full(100, 3), trained, (np.zeros(100),))
    np.testing.assert_array_equal(kept, np.arange(100))
