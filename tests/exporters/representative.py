"""Which formats `make test` pushes through which networks; `make test-all` takes every pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from edgeaudit.formats.presets import Format
from edgeaudit.runtimes.registry import find_runtime

Pair = tuple[Format, str]


def features(fmt: Format, network: str) -> frozenset[tuple[str, ...]]:
    """What a pair shows: the format, and its passes, its runtime and its kind of file with this network."""
    return frozenset(
        {
            ("format", fmt.id),
            ("runtime", fmt.runtime, network),
            ("file", find_runtime(fmt.runtime).spec.serves, network),
            *(("pass", use.name, network) for use in fmt.passes),
        }
    )


def representative(formats: Sequence[Format], networks: Sequence[str]) -> list[Pair]:
    """Pairs that together show every feature. Greedy: the pair with most new ones, of the rarest network so far."""
    left = [(fmt, network) for fmt in formats for network in networks]
    unseen = {feature for pair in left for feature in features(*pair)}
    chosen: list[Pair] = []
    used: Counter[str] = Counter()
    while unseen:
        best = max(left, key=lambda pair: (len(features(*pair) & unseen), -used[pair[1]]))
        unseen -= features(*best)
        left.remove(best)
        chosen.append(best)
        used[best[1]] += 1
    return chosen


def cases(formats: Sequence[Format], networks: Sequence[str]) -> list[object]:
    """Parameters (format, network): every pair, those that are not representative marked `matrix`. By network, so that
    a process that takes neighbouring ones trains each network, and makes what formats have in common, once."""
    chosen = representative(formats, networks)
    return [
        pytest.param(
            fmt, network, id=f"{network}-{fmt.id}", marks=() if (fmt, network) in chosen else pytest.mark.matrix
        )
        for network in networks
        for fmt in formats
    ]
