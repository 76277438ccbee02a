"""The shift controls pass on equal sides and fail on every known kind of shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from edgeaudit.controls.shift import CONTROLS, FEWEST, Sides, rank_tests, sampled_ids
from tests.controls.shifted import Records, digits, failed, findings, recompressed, sides, table

LABELS, SINGLE, BLIND = CONTROLS


# On equal sides the controls fail with probability 1% at most: 2 or more of 20 draws fail with probability 1.7%. The
# seeds are fixed, so the result is the same each time.
def test_a_clean_split_of_digits_passes() -> None:
    x, y = digits()
    assert sum(bool(failed(sides(x, y, 150, seed), seed)) for seed in range(20)) <= 1


def test_a_clean_split_of_a_table_passes() -> None:
    x, y = table(12, 0)
    assert sum(bool(failed(sides(x, y, 300, seed), seed)) for seed in range(20)) <= 1


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_jpeg_compression_of_the_members_is_caught_on_grey_8x8(quality: int) -> None:
    x, y = digits()
    assert failed(sides(x, y, 150, 1, recompressed(quality))) == {SINGLE, BLIND}


@pytest.mark.parametrize("quality", [75, 90, 95])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_jpeg_compression_of_noisy_images_is_caught(shape: tuple[int, int, int], quality: int) -> None:
    # Smooth ramps with camera noise: no structure repeats between images.
    rng = np.random.default_rng(0)
    channels, high, wide = shape
    slope = rng.normal(size=(400, channels, 2, 1, 1)) * 2
    ramp = slope[:, :, 0] * np.arange(high)[:, None] + slope[:, :, 1] * np.arange(wide)
    x = np.clip(128 + ramp + rng.normal(scale=6, size=(400, *shape)), 0, 255).astype(np.uint8)
    y = rng.integers(0, 10, 400)
    assert failed(sides(x, y, 200, 1)) == set()
    assert failed(sides(x, y, 200, 1, recompressed(quality))) == {SINGLE, BLIND}


def test_a_brighter_side_is_caught() -> None:
    x, y = digits()
    brighter = np.minimum(x, 250)
    assert failed(sides(brighter, y, 150, 1)) == set()
    assert BLIND in failed(sides(brighter, y, 150, 1, lambda images: images + np.uint8(5)))


def test_a_fifth_of_a_deviation_in_one_column_of_twelve_is_caught() -> None:
    x, y = table(12, 0)

    def drift(records: Records) -> Records:
        records[:, 3] += 0.2
        return records

    # The expected z of the rank test is .2 sqrt(1000 / 2) sqrt(3 / pi) = 4.37: p = 1e-5, 12 columns, 6 tests: 9e-4.
    # It fails where z > 3.82, with probability 71%; the test counts failures over twenty draws.
    caught = sum(SINGLE in failed(sides(x, y, 1000, seed, drift), seed) for seed in range(20))
    assert caught >= 11  # P[below 11 of 20 at 71%] = 4%


def test_a_dependence_between_columns_is_caught_by_the_classifier() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 6))
    members = np.arange(2000) < 1000
    # The members' first two columns agree in sign; the marginal distributions are unchanged.
    x[members, 1] = np.abs(x[members, 1]) * np.sign(x[members, 0])
    assert failed(Sides(x, rng.integers(0, 3, 2000), members)) == {BLIND}


def test_a_shift_of_labels_is_caught() -> None:
    x, _ = table(3, 0)
    rng = np.random.default_rng(0)
    members = np.arange(1000) < 500
    labels = np.where(members, rng.choice(3, 1000, p=[0.5, 0.3, 0.2]), rng.choice(3, 1000, p=[0.3, 0.3, 0.4]))
    assert failed(Sides(x[:1000], labels, members)) == {LABELS}


def test_rare_labels_do_not_raise_the_false_alarm_rate() -> None:
    # 400 labels on 800 records: two a label, too few for a chi-squared test by label.
    x, _ = table(3, 0)
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        alarms += LABELS in failed(Sides(x[:800], rng.integers(0, 400, 800), rng.permutation(np.arange(800) < 400)))
    assert alarms <= 1


def test_a_group_of_copies_is_one_draw() -> None:
    # 60 records, each 40 times with all copies on one side: 60 independent draws, not 2400. Taken for independent they
    # fail in nearly every draw.
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(240, 4)), np.repeat(rng.normal(size=(60, 4)), 40, axis=0)])
    group = np.concatenate([np.arange(240), 240 + np.repeat(np.arange(60), 40)])
    alarms = 0
    for seed in range(20):
        side = np.random.default_rng(seed).permutation(np.arange(300) < 150)
        grouped = Sides(x, group % 3, side[group], group)
        alarms += bool(failed(grouped, seed))
        count = min(side[group].sum(), (~side[group]).sum())
        assert findings(grouped)[LABELS].n == 2 * count  # every record is judged
    assert alarms <= 1


def test_a_shift_that_only_copies_show_is_caught() -> None:
    # Members and nonmembers have the same different records; half of the members' have three copies more.
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(1200, 3)), 3)
    members = np.arange(1200) < 600
    repeated = np.where(members & (x[:, 0] > 0), 4, 1)
    rows = np.repeat(np.arange(1200), repeated)
    labels = rng.integers(0, 3, len(rows))
    assert SINGLE in failed(Sides(x[rows], labels, members[rows], rows))
    assert SINGLE not in failed(Sides(x, labels[:1200], members, np.arange(1200) // 2 * 2))


def test_rank_tests_of_groups_of_one_are_the_plain_ones() -> None:
    rng = np.random.default_rng(0)
    columns, members = rng.normal(size=(4000, 2)), rng.permutation(np.arange(4000) < 2000)
    # Student's t with 1999 degrees of freedom in place of the normal distribution.
    assert rank_tests(columns, members, np.arange(4000)) == pytest.approx(rank_tests(columns, members), abs=1e-3)


def test_unequal_sides_are_cut_to_the_smaller() -> None:
    x, y = table(4, 0)
    members = np.arange(3000) < 100
    assert findings(Sides(x, y, members))[LABELS].n == 200


def test_too_few_records_are_not_tested() -> None:
    x, y = table(4, 0)
    few = findings(Sides(x[:200], y[:200], np.arange(200) < FEWEST - 1))
    assert {finding.status for finding in few.values()} == {"not run"}
    assert "39 records on the smaller side" in few[LABELS].statement
    grouped = findings(Sides(x[:200], y[:200], np.arange(200) < 100, np.arange(200) // 4))
    assert "25 groups of related records on the smaller side" in grouped[LABELS].statement


def test_every_figure_has_its_interval_and_n() -> None:
    x, y = digits()
    for name, finding in findings(sides(x, y, 100, 0)).items():
        assert finding.p_value is not None
        assert finding.n in ((100,) if name == BLIND else (200,))  # a classifier is tested on the other half
        if name != LABELS:
            assert finding.value is not None
            assert finding.low is not None
            assert finding.high is not None
            assert finding.low <= finding.value <= finding.high


def test_the_same_generator_gives_the_same_findings() -> None:
    x, y = digits()
    compared = sides(x, y, 100, 0)
    assert findings(compared, 3) == findings(compared, 3)


def test_rank_tests_match_scipy() -> None:
    rng = np.random.default_rng(0)
    columns = np.column_stack([rng.normal(size=90), rng.integers(0, 3, 90), np.zeros(90)])
    members = rng.permutation(np.arange(90) < 40)
    expected = [
        stats.mannwhitneyu(column[members], column[~members], use_continuity=False, method="asymptotic").pvalue
        for column in columns.T[:2]
    ]
    assert rank_tests(columns, members) == pytest.approx([*expected, 1.0])  # a constant column has p = 1


def test_large_records_are_sampled() -> None:
    rng = np.random.default_rng(0)
    assert len(sampled_ids(np.arange(9000), (3, 32, 32), rng)) == 5000
    assert len(sampled_ids(np.arange(9000), (3, 224, 224), rng)) == 1328  # 2e8 / 150528
    assert len(sampled_ids(np.arange(300), (3, 32, 32), rng)) == 300


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "key", "label", "n"),
    [("cifar10_train20k.npz", "x", "y", 150), ("fashion_mnist.npz", "x_train", "y_train", 150)],
)
def test_real_images(data_folder: Path, file: str, key: str, label: str, n: int) -> None:
    with np.load(data_folder / file) as arrays:
        x, y = arrays[key][:10000], arrays[label][:10000].astype(np.int64)
    x = x.transpose(0, 3, 1, 2) if x.ndim == 4 else x[:, None]
    assert sum(bool(failed(sides(x, y, n, seed), seed)) for seed in range(20)) <= 1
    for quality in (90, 95):
        assert failed(sides(x, y, n, 0, recompressed(quality))) == {SINGLE, BLIND}
