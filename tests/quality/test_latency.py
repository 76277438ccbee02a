"""Latency: which calls are timed, which figures are reported, and the coverage of the intervals."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgeaudit.quality.latency import Timed, order_statistics, quantile_interval, summarised, take_times, undisturbed


class Clock:
    """A clock that each call advances by the call's duration."""

    def __init__(self, takes: Callable[[int], float]) -> None:
        self.now, self.calls, self._takes = 0.0, 0, takes

    def __call__(self) -> float:
        return self.now

    def call(self) -> None:
        self.now += self._takes(self.calls)
        self.calls += 1


def timed(call: Callable[[], object], repetitions: int, seconds: float, **clocks: Callable[[], float]) -> Timed:
    return summarised(*take_times(call, repetitions, seconds, **clocks))


def test_median_and_p95_are_of_the_calls_after_the_warm_up() -> None:
    # Warm-up: 5 calls of .05 s; .1 s have passed after 2, but at least 5 are made. Then 1, 2, ..., 100 ms.
    clock = Clock(lambda n: 0.05 if n < 5 else (n - 4) / 1e3)
    timings = timed(clock.call, 100, 1000.0, clock=clock, cpu_clock=lambda: clock.now / 2)
    assert clock.calls == 105
    assert timings.n == 100
    # The median of 1..100 is 50.5; 95% of the way from 1 to 100 is 95.05.
    assert timings.median == pytest.approx(50.5)
    assert timings.p95 == pytest.approx(95.05)
    # The textbook 95% interval of the median of 100 values: the 40th and the 61st.
    assert (timings.median_low, timings.median_high) == pytest.approx((40, 61))
    assert timings.cpu_share == pytest.approx(0.5)
    assert gc.isenabled()


def test_slow_calls_stop_at_the_time_limit_but_not_before_twenty() -> None:
    clock = Clock(lambda _: 0.1)
    timings = timed(clock.call, 200, 0.4, clock=clock, cpu_clock=clock)
    assert timings.n == 20
    assert timings.median == pytest.approx(100)
    # .95**20 = .36 > .025: twenty calls have no upper end of a 95th percentile.
    assert timings.p95_high is None
    assert timed(clock.call, 200, 2.95, clock=clock, cpu_clock=clock).n == 30


def test_the_garbage_collector_is_enabled_again_after_a_failing_call() -> None:
    answers: Iterator[int] = iter(range(8))
    with pytest.raises(StopIteration):
        timed(lambda: next(answers), 200, 1.0)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("n", "q", "expected"),
    [
        # Binomial(10, .5): P[B <= 1] = 11/1024 = .011, P[B <= 2] = 56/1024 = .055: the 2nd and, by symmetry, the 9th.
        (10, 0.5, (2, 9)),
        # Five values: P[B = 0] = 1/32 = .031 > .025, so not even all of them.
        (5, 0.5, (None, None)),
        (6, 0.5, (1, 6)),  # 1/64 = .016
        # P[B = n] = .95**n <= .025 from n = 72 on.
        (71, 0.95, (63, None)),
        (72, 0.95, (64, 72)),
    ],
)
def test_ranks_by_hand(n: int, q: float, expected: tuple[int | None, int | None]) -> None:
    assert order_statistics(n, q) == expected


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_intervals_cover_the_quantile(q: float) -> None:
    rng = np.random.default_rng(5)
    true = -np.log(1 - q)  # of the exponential distribution
    missed = {"below": 0, "above": 0}
    for _ in range(2000):
        low, high = quantile_interval(np.sort(rng.exponential(size=200)).tolist(), q)
        assert low is not None
        assert high is not None
        missed["below"] += high < true
        missed["above"] += low > true
    # At most .025 a side: 50 of 2,000, plus three standard deviations of 7; and not far fewer.
    assert all(15 <= count <= 71 for count in missed.values())


def with_cpu_share(cpu_share: float) -> Timed:
    return Timed(20, 1.0, None, None, 1.0, None, None, cpu_share)


@pytest.mark.parametrize(
    ("shares", "expected", "attempts"),
    [([0.95, 0.99], 0.95, 1), ([0.3, 0.92, 0.99], 0.92, 2), ([0.3, 0.6, 0.5, 0.99], 0.6, 3)],
)
def test_a_disturbed_measurement_is_repeated_twice_at_most(shares: list[float], expected: float, attempts: int) -> None:
    left = [with_cpu_share(share) for share in shares]
    assert undisturbed(lambda: left.pop(0)).cpu_share == expected
    assert len(shares) - len(left) == attempts
