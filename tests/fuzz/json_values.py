"""JSON that another program may send: a valid message with other values, fields and depths."""

from __future__ import annotations

import copy
import random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, 1e308, -0.0, "", "x", "x" * 3000, "\x1b[2J", "a\nz",
    "\u202e", "\ud800", "../../etc/passwd", "NaN", [], [[]], {}, [{}], {"": None}, [1] * 300, [None],
    {"a": {"b": {"c": []}}}, float("nan"), float("inf"), "FP32",
    "BYTES", [2, 2], [-1, 2], [2**40, 2**40], [1] * 40, {"binary_data_size": -1},
    {"binary_data_size": 2**62}, {"shared_memory_region": "x"}, [["x"]], [{"name": 1}], [{"name": "x"}] * 3,
)  # fmt: skip


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value within a message."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in pairs for place in ((*above, key), *places(one, (*above, key)))]


def mutated(message: Any, rng: random.Random) -> Any:
    """A copy with none to three changes; sometimes another value altogether."""
    if rng.random() < 0.03:
        return copy.deepcopy(rng.choice(HOSTILE))
    message = copy.deepcopy(message)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        found = places(message)
        if not found:
            break
        *above, last = rng.choice(found)
        holder = message
        for key in above:
            holder = holder[key]
        kind = rng.randrange(5)
        if kind == 0:
            del holder[last]
        elif kind == 1:
            holder[last] = [holder[last]]
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(("", "more", "name", "parameters", "data"))] = copy.deepcopy(rng.choice(HOSTILE))
        else:
            holder[last] = copy.deepcopy(rng.choice(HOSTILE))
    return message
