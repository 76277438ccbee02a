"""A file type: what can be read from the files that `npz.export` writes without running them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeaudit.filetypes.base import FileType, FileTypeSpec, WeightTensor, stored_zero


class Npz(FileType):
    """Its arrays are its weights; what such a file does not state, `unreadable` says."""

    spec = FileTypeSpec(
        "npz", "NumPy", (".npz",), "", ("numpy",),
        unreadable=dict.fromkeys(("contract", "softmax", "operators", "traits"), "an .npz states its arrays alone"),
    )  # fmt: skip

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        with np.load(path) as arrays:
            yield from (WeightTensor(name, array, stored_zero(array)) for name, array in arrays.items())
