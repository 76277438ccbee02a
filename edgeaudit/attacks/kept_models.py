"""Classifiers that learned from shadows alone serve every target of these shadows, so they are trained once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["forget", "kept"]

# A model of 250 trees takes 1 MB.
_MOST = 8
_models: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()


def kept(name: str, arrays: Iterable[npt.NDArray[Any]], make: Callable[[], Any]) -> Any:
    """What `make` returns, made once for the same content; the last 8 are kept in this process.

    Training is deterministic, so what is kept is, to the bit, what would be made again.

    Args:
        name: what is made, with every setting that is not an array.
        arrays: all that `make` reads; a digest of their bytes, shapes and dtypes is the key.
        make: trains.
    """
    digest = hashlib.sha256(name.encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    key = digest.hexdigest()
    with _lock:
        if key in _models:
            _models.move_to_end(key)
            return _models[key]
    made = make()
    with _lock:
        _models[key] = made
        while len(_models) > _MOST:
            _models.popitem(last=False)
    return made


def forget() -> None:
    """Drop what is kept."""
    with _lock:
        _models.clear()
