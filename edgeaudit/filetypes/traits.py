"""How a model file was made, as far as it says so: what a file and its shadows' files should have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Precision", "Traits", "has_integers", "is_integer", "most_of"]

Precision = str
"""float32, float16, bfloat16, int8, uint8, int16, int4, ... as in the dtypes of tensors."""


@dataclass(frozen=True)
class Traits:
    """Properties of a file that decide how its answers differ from the trained model's.

    producer: the toolchain that wrote it, with its version; "" where the file does not say.
    weights: dtype of most of its weights' values, as they are computed with; "" where it has none.
    activations: dtype of the activations between its layers: `float32`, `int8`, `uint8` or `int16` with ranges in the
        file, or `dynamic` where ranges are found at each inference.
    scales: `per channel` or `per tensor`, of integer weights; "" where weights are floats.
    arrangement: how quantised operators are written, such as `QDQ` or `QOperator`; "" where there is one way only.
    head: the last operator: softmax, sigmoid, or other.
    quantised: whether any weight or activation is an integer.
    """

    producer: str
    weights: Precision
    activations: str
    scales: str
    arrangement: str
    head: str
    quantised: bool


def most_of(sizes: Iterable[tuple[Precision, int]]) -> Precision:
    """The precision with the most values, of pairs (precision, number of values); "" of none.

    Examples:
        >>> most_of([("float32", 10), ("int8", 6), ("int8", 5)])
        'int8'
    """
    total: dict[Precision, int] = {}
    for name, count in sizes:
        total[name] = total.get(name, 0) + count
    return max(total, key=lambda name: total[name], default="")


def is_integer(precision: Precision) -> bool:
    """Whether a precision is one of quantised weights.

    Examples:
        >>> is_integer("int4"), is_integer("bfloat16"), is_integer("")
        (True, False, False)
    """
    return precision.startswith(("int", "uint"))


def has_integers(sizes: Iterable[tuple[Precision, int]]) -> bool:
    """Whether any of the pairs (precision, number of values) is of integers."""
    return any(is_integer(name) for name, _ in sizes)
