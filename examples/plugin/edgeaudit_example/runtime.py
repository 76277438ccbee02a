"""A runtime: serves the files that `npz.export` writes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.runtimes.base import Runtime, RuntimeSpec


class Numpy(Runtime):
    """Matrix products and ReLU; `batch` is an option of every runtime."""

    spec = RuntimeSpec("numpy", "", ("numpy",), serves="npz", summary="products in numpy", defaults={"batch": 64})

    def _open(self) -> None:
        with np.load(self.artifact.path) as arrays:
            self._layers = [(arrays[f"w{n}"], arrays[f"b{n}"]) for n in range(len(arrays.files) // 2)]

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        x = block.reshape(len(block), -1)
        for n, (weight, bias) in enumerate(self._layers):
            x = (np.maximum(x, 0) if n else x) @ weight.T + bias
        return x
