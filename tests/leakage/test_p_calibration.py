from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.p_calibration import CalibrationRow, calibration, calibration_over_targets, conformal_band


def by_level(rows: list[CalibrationRow]) -> dict[float, CalibrationRow]:
    return {row.nominal: row for row in rows}


def test_rows_by_hand() -> None:
    # 1000 p-values k/1000: exactly a share a of them is at or below a.
    rows = by_level(calibration(np.arange(1, 1001) / 1000))
    assert list(rows) == [0.001, 0.01, 0.02, 0.05, 0.10]
    for a, count in ((0.001, 1), (0.01, 10), (0.05, 50)):
        row = rows[a]
        assert (row.count, row.n, row.observed, row.attainable, row.targets) == (count, 1000, a, a, 1)
        assert (row.low, row.high) == clopper_pearson(count, 1000)
        assert row.status == "calibrated"
    assert "too narrow" in str(rows[0.05].note)
    # 1 of 1000 has an upper bound of .00556: a rate 5.6 times as high is not excluded.
    assert "the interval reaches 5.6 times the nominal rate" in str(rows[0.001].note)


def test_uniform_p_values_are_calibrated() -> None:
    # 500 sets: Clopper-Pearson misses at most 5% (standard error .0097).
    rng = np.random.default_rng(0)
    rows = [calibration(rng.random(2000), [0.05])[0] for _ in range(500)]
    assert np.mean([row.status == "calibrated" for row in rows]) > 0.95 - 4 * 0.0097


def test_anti_conservative_p_values_are_found() -> None:
    # The pilot's moderated t: .129 observed at .05.
    rng = np.random.default_rng(1)
    p_values = rng.random(5000) ** (np.log(0.129) / np.log(0.05)) ** -1
    row = calibration(p_values, [0.05])[0]
    assert row.observed == pytest.approx(0.129, abs=4 * 0.0047)
    assert row.status == "anti-conservative"
    assert str(row.note).startswith("at least 2.")
    # Five alarms where half of one is expected are evidence too: 5 of 500 is above .0032.
    few = calibration(np.repeat([1e-4, 0.5], [5, 495]), [0.001])[0]
    assert few.status == "anti-conservative"


def test_ranks_are_conservative_by_their_ties() -> None:
    # K = 30: p is a multiple of 1/31; up to .05 there is 1/31 = .0323 alone.
    rng = np.random.default_rng(2)
    p_values = rng.integers(1, 32, 20_000) / 31
    rows = by_level(calibration(p_values, smallest=1 / 31))
    assert rows[0.05].status == "conservative"
    assert rows[0.05].attainable == 1 / 31
    assert "ties: 0.0323 is the largest p-value up to it" in str(rows[0.05].note)
    assert rows[0.10].attainable == 3 / 31
    # 1/31 is above .02: no verdict can be given there at all.
    for a in (0.001, 0.01, 0.02):
        assert (rows[a].status, rows[a].attainable, rows[a].count) == ("not resolvable", None, 0)
        assert "the smallest p-value is 0.0323" in str(rows[a].note)


def test_conservative_beyond_ties() -> None:
    rng = np.random.default_rng(3)
    row = calibration(np.sqrt(rng.random(20_000)), [0.05], smallest=0.0)[0]
    assert row.status == "conservative"
    assert "more than ties explain" in str(row.note)
    # No alarm at all among 20,000, of a test that could have given one.
    none = calibration(np.full(20_000, 0.9), [0.05], smallest=0.001)[0]
    assert (none.status, none.attainable) == ("conservative", None)


def test_conservative_at_the_level_and_anti_conservative_at_its_tie() -> None:
    # 4% have p = .02, and nothing else is below .05.
    row = calibration(np.repeat([0.02, 0.5], [800, 19_200]), [0.05])[0]
    assert row.status == "conservative"
    assert "anti-conservative there" in str(row.note)


def test_too_few_records_are_not_resolvable() -> None:
    row = calibration(np.linspace(0, 1, 500), [0.001])[0]
    assert row.status == "not resolvable"
    assert "0.5 false positives are expected among 500 nonmembers" in str(row.note)


def test_targets_by_hand() -> None:
    # Rates .04 .06 .08 of 100 records each: mean .06, SE .02 / sqrt 3, t(2) 4.3027: .0103 to .1097.
    targets = [np.repeat([0.01, 0.5], [count, 100 - count]) for count in (4, 6, 8)]
    row = calibration_over_targets(targets, [0.05])[0]
    assert (row.observed, row.low, row.high) == pytest.approx((0.06, 0.01032, 0.10968), abs=1e-5)
    assert (row.count, row.n, row.targets, row.status) == (18, 300, 3, "calibrated")
    wide = calibration_over_targets([targets[0], np.full(50, 0.5)], [0.05])[0]
    assert (wide.low, wide.n) == (0.0, 150)


def test_equal_rates_fall_back_to_records() -> None:
    row = calibration_over_targets([np.full(100, 0.5)] * 3, [0.05], smallest=0.001)[0]
    assert (row.observed, (row.low, row.high)) == (0.0, clopper_pearson(0, 300))
    assert "all 3 targets have the same rate" in str(row.note)


def test_records_that_share_their_shadows_need_the_interval_over_targets() -> None:
    # Each target shifts all of its statistics by a common sd of .5: a valid test on average over targets. z is normal
    # with variance 1.25, which p takes into account. 8 targets of 200 records, 300 audits.
    rng = np.random.default_rng(4)
    pooled, over = [], []
    for _ in range(300):
        z = rng.normal(size=(8, 200)) + 0.5 * rng.normal(size=(8, 1))
        p_values = stats.norm.sf(z / np.sqrt(1.25))
        pooled.append(calibration(p_values.ravel(), [0.1])[0])
        over.append(calibration_over_targets(list(p_values), [0.1])[0])
    covered, covered_over = (np.mean([row.low <= 0.1 <= row.high for row in rows]) for rows in (pooled, over))
    # A t interval of 8 skewed rates: .95 less some percent; that over records is far from it.
    assert covered < 0.7
    assert covered_over > 0.85


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(AttackError, match="at least one target"):
        calibration_over_targets([])
    with pytest.raises(AttackError, match="nominal levels"):
        calibration(np.array([0.5]), [0.0])
    with pytest.raises(AttackError, match="not between 0 and 1"):
        calibration(np.array([0.5, np.nan]))


def test_band_by_hand() -> None:
    # m = 19, a = .1: k = 2, so the rate is Beta(2, 18), and of n = 1 nonmembers one is accused with probability .1.
    assert conformal_band([1], [19], 0.1) == (0.0, 1.0)
    # m = 1, a = .5: k = 1, Beta(1, 1) is uniform, so each count of 0 to 9 has probability .1: with 95%, all of them.
    assert conformal_band([9], [1], 0.5) == (0.0, 1.0)
    # With 99 nonmembers each count has .01: the 2.5% quantile is 2, the 97.5% quantile 97.
    assert conformal_band([99], [1], 0.5) == pytest.approx((2 / 99, 97 / 99))
    # A level below 1/(m + 1) accuses nobody.
    assert conformal_band([1000], [99], 0.009) == (0.0, 0.0)
    # 20 times .05 is 1, whatever floats say.
    assert conformal_band([1000], [19], 0.05)[1] > 0.1


def test_band_of_many_nonmembers_is_that_of_the_rate() -> None:
    # n >> m: Beta(k, m + 1 - k) itself. m = 999, a = .05: sd sqrt(.05 .95 / 1001) = .0069.
    low, high = conformal_band([10**6], [999], 0.05)
    assert (low, high) == pytest.approx((stats.beta.ppf(0.025, 50, 950), stats.beta.ppf(0.975, 50, 950)), abs=1e-4)


def test_valid_conformal_tests_lie_in_the_band() -> None:
    # 800 draws of 400 z's and 400 nonmembers: standard error of the coverage .0077. Clopper-Pearson leaves out the z's:
    # its interval has half the variance that the rate has, so it misses about 1 - P(|N| < 1.96 / sqrt 2) = 17%.
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(800):
        z, x = rng.random(400), rng.random(400)
        p_values = (1 + (z >= x[:, None]).sum(axis=1)) / 401
        rows.append(calibration(p_values, [0.05], known=400)[0])
    held = np.mean([row.status == "calibrated" for row in rows])
    assert 0.95 - 4 * 0.0077 < held < 0.95 + 4 * 0.0077
    assert np.mean([row.low <= 0.05 <= row.high for row in rows]) < 0.90


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_the_band_over_targets_holds_what_they_share(correlation: float) -> None:
    # Six targets with the same z's and records; at correlation 1 they all have the same rate.
    rng = np.random.default_rng(6)
    own, shared = np.sqrt(1 - correlation), np.sqrt(correlation)
    held, narrow = [], []
    for _ in range(200):
        z, x = rng.normal(size=(2, 300))
        p_values = []
        for _ in range(6):
            ours = np.sort(shared * z + own * rng.normal(size=300))
            asked = shared * x + own * rng.normal(size=300)
            p_values.append((301 - np.searchsorted(ours, asked)) / 301)
        row = calibration_over_targets(p_values, [0.05], known=[300] * 6)[0]
        held.append(row.status == "calibrated")
        assert row.band_low is not None
        assert row.band_high is not None
        narrow.append((row.band_high - row.band_low) / np.ptp(conformal_band([300], [300], 0.05)))
    assert np.mean(held) > 0.95 - 3 * 0.0154
    # What targets do not share, their mean averages out.
    assert np.mean(narrow) == pytest.approx(1.0) if correlation == 1 else np.mean(narrow) < 0.95


def test_conformal_rows_are_judged_by_the_band() -> None:
    def row(count: int) -> CalibrationRow:
        return calibration(np.repeat([0.05, 0.5], [count, 1000 - count]), [0.05], known=999)[0]

    # scipy's own quantile: an independent way to the same number.
    high = stats.betabinom.ppf(0.975, 1000, 50, 950)
    assert row(int(high)).status == "calibrated"
    assert row(int(high)).low > 0.05
    above = row(int(high) + 1)
    assert (above.status, above.known) == ("anti-conservative", 999)
    assert "the upper end of the band of a valid conformal test" in str(above.note)
    few = calibration(np.full(1000, 0.5), [0.001], known=99)[0]
    assert (few.status, few.band_high) == ("not resolvable", 0.0)


def test_notes_explain_ties_of_conformal_p_values() -> None:
    tied = calibration(np.repeat([0.031, 0.5], [31, 969]), [0.05, 0.02], known=999)
    assert [r.status for r in tied] == ["conservative", "conservative"]
    assert "ties: 0.031 is the largest p-value up to it, and the rate agrees with it" in str(tied[0].note)
    assert "ties: 0.031 is the smallest observed p-value" in str(tied[1].note)
    loose = calibration(np.sqrt(np.arange(1, 2001) / 2000), [0.05], known=999)[0]
    assert (loose.status, "more than ties explain" in str(loose.note)) == ("conservative", True)
    with pytest.raises(AttackError, match="1 or more known nonmembers for each of 2"):
        calibration_over_targets([np.array([0.5])] * 2, known=[5])
