"""Latency of a runtime's call on the machine that this code runs on.

It also runs on devices, so only `summarised` and the quantiles need more than numpy.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BUSY", "Timed", "order_statistics", "quantile_interval", "summarised", "take_times", "undisturbed"]

BUSY = 0.9
"""Ratio of CPU time to wall time below which other programs took too much of the processor."""

_WARM_UP_CALLS, _WARM_UP_SECONDS = 5, 0.1
_LEAST_CALLS = 20
"""Minimum number of timed calls, even beyond the time limit: with fewer, the 95% interval of a median is too wide."""


@dataclass(frozen=True)
class Timed:
    """Milliseconds a call, over `n` consecutive calls.

    *_low, *_high: ends of the quantile's 95% interval by order statistics; None where n calls cannot bound it.
    cpu_share: CPU time over wall time of the timed calls; well below 1 where other programs used the processor.
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
    """Warm up, then time `call` up to `repetitions` times, for about `seconds` at most.

    Args:
        call: the function to time.
        repetitions: maximum number of timed calls.
        seconds: time limit; at least 20 calls (or `repetitions`, if fewer) are timed whatever the limit.
        clock: wall time in seconds.
        cpu_clock: CPU time of this process, all threads, in seconds.

    Returns:
        milliseconds of each call in order, and the CPU time over the wall time of all of them.
    """
    started, calls = clock(), 0
    while calls < _WARM_UP_CALLS or (clock() - started < _WARM_UP_SECONDS and calls < repetitions):
        call()
        calls += 1
    collects = gc.isenabled()
    gc.disable()  # a collection during a call would be a cost of this process, not of the artifact
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
    """Return quantiles of the milliseconds from `take_times`, with intervals. Needs scipy, so not for devices."""
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
    """Measure up to `attempts` times; return the first with a `cpu_share` of at least `BUSY`, else the highest."""
    best = measure()
    for _ in range(attempts - 1):
        if best.cpu_share >= BUSY:
            break
        best = max(best, measure(), key=lambda timed: timed.cpu_share)
    return best


def quantile_interval(ordered: Sequence[float], q: float, level: float = 0.95) -> tuple[float | None, float | None]:
    """Return a distribution-free interval of the q-quantile by order statistics, for independent values.

    Args:
        ordered: the values, sorted.
        q: the quantile, in (0, 1).
        level: minimum coverage.

    Returns:
        low, high; None for an end that too few values cannot bound.
    """
    low, high = order_statistics(len(ordered), q, level)
    return (None if low is None else ordered[low - 1]), (None if high is None else ordered[high - 1])


def order_statistics(n: int, q: float, level: float = 0.95) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the ends of the q-quantile's interval; each end misses with (1 - level)/2 at most.

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
