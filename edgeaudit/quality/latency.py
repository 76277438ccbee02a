"""How long one call of a runtime takes on the machine that this runs on. Device side: numpy and the runtime."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BUSY", "Timed", "order_statistics", "quantile_interval", "summarised", "take_times", "undisturbed"]

BUSY = 0.9
"""The share of CPU time in wall time below which other programs have taken too much of the processor."""

_WARM_UP_CALLS, _WARM_UP_SECONDS = 5, 0.1
_LEAST_CALLS = 20
"""Timed even where they take longer than the time given: below, no 95% interval of a median is worth much."""


@dataclass(frozen=True)
class Timed:
    """Milliseconds a call over `n` calls in a row.

    low, high: 95% interval of the quantile before it, by order statistics, over these calls; None where n calls cannot
    bound it. cpu_share: CPU time over wall time of the timed calls; well below 1 where other programs took the
    processor.
    """

    n: int
    median: float
    median_low: float | None
    median_high: float | None
    p95: float
    p95_low: float | None
    p95_high: float | None
    cpu_share: float


def take_times(
    call: Callable[[], object],
    repetitions: int,
    seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> tuple[list[float], float]:
    """Warm up, then time `call` up to `repetitions` times, but no longer than about `seconds`.

    Args:
        call: what is timed.
        repetitions: calls, at most.
        seconds: after which no more calls are made, once there are 20 (or `repetitions`, where that is less).
        clock: seconds, of the wall.
        cpu_clock: seconds of this process's CPU time, all threads.

    Returns:
        milliseconds of each call, in their order, and the CPU time over the wall time of all of them.
    """
    started, calls = clock(), 0
    while calls < _WARM_UP_CALLS or (clock() - started < _WARM_UP_SECONDS and calls < repetitions):
        call()
        calls += 1
    collects = gc.isenabled()
    gc.disable()  # a collection in the middle of a call is this process's affair and no device's
    try:
        times: list[float] = []
        least = min(repetitions, _LEAST_CALLS)
        begun, cpu_begun = clock(), cpu_clock()
        while len(times) < repetitions and (len(times) < least or clock() - begun < seconds):
            start = clock()
            call()
            times.append((clock() - start) * 1e3)
        wall, cpu = clock() - begun, cpu_clock() - cpu_begun
    finally:
        if collects:
            gc.enable()
    return times, cpu / wall if wall > 0 else 1.0


def summarised(times: Sequence[float], cpu_share: float) -> Timed:
    """Milliseconds of calls (see `take_times`) as quantiles with their intervals. Not for devices: it needs scipy."""
    ordered = sorted(times)
    return Timed(
        len(ordered),
        float(np.quantile(ordered, 0.5)),
        *quantile_interval(ordered, 0.5),
        float(np.quantile(ordered, 0.95)),
        *quantile_interval(ordered, 0.95),
        cpu_share=cpu_share,
    )


def undisturbed(measure: Callable[[], Timed], attempts: int = 3) -> Timed:
    """The first measurement that other programs did not disturb, or the least disturbed of `attempts`."""
    best = measure()
    for _ in range(attempts - 1):
        if best.cpu_share >= BUSY:
            break
        best = max(best, measure(), key=lambda timed: timed.cpu_share)
    return best


def quantile_interval(ordered: Sequence[float], q: float, level: float = 0.95) -> tuple[float | None, float | None]:
    """Interval of the q-quantile by order statistics, free of any distribution, if the values are independent.

    Args:
        ordered: sorted.
        q: of the quantile.
        level: coverage, at least.

    Returns:
        low, high; None for an end that so few values cannot bound.
    """
    low, high = order_statistics(len(ordered), q, level)
    return (None if low is None else ordered[low - 1]), (None if high is None else ordered[high - 1])


def order_statistics(n: int, q: float, level: float = 0.95) -> tuple[int | None, int | None]:
    """The ranks, from 1, of the values between which the q-quantile of n lies; an end misses (1 - level)/2 at most.

    The number of values below the quantile is binomial (n, q): the quantile is at least x_(r) unless fewer than r
    values lie below it. Source: David and Nagaraja, Order Statistics, 7.1.
    """
    from scipy.stats import binom

    tail = (1 - level) / 2
    # Largest r with P[B <= r - 1] <= tail, and smallest s with P[B >= s] <= tail.
    counts = np.arange(n + 1)
    below = int(np.count_nonzero(binom.cdf(counts, n, q) <= tail))
    above = int(np.count_nonzero(binom.sf(counts - 1, n, q) <= tail))
    return below or None, (n - above + 1) if above else None
