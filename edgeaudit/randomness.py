"""Random generators, derived from a seed and a purpose."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *names: object) -> np.random.Generator:
    """A generator for one purpose, named by `names`; its draws do not depend on which other generators exist.

    Examples:
        >>> stream(0, "split").integers(1000, size=3).tolist()
        [267, 526, 233]
        >>> stream(0, "bootstrap", "onnx-int8").integers(1000, size=3).tolist()
        [472, 441, 776]
    """
    words = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
