"""What a file of arrays may ask of memory, and what it may hold."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError, SplitError
from edgeaudit.population.build import population_content
from edgeaudit.population.sources import find_source


def _npz(file: Path, shape: str, dtype: str = "<f8", values: bytes = b"") -> None:
    """An .npz whose array `x` states a shape, whatever values follow."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    y = io.BytesIO()
    np.save(y, np.arange(4) % 2)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values)
        archive.writestr("y.npy", y.getvalue())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(4, 1000000000000)", r"array 'x' of .*d\.npz needs .* GiB, more than half of the memory of this machine"),
        ("(4, 99999999999999999999)", "more than half of the memory"),
        ("(4, 1000)", r"has shape \(4, 1000\), but not as many values"),
    ],
)
def test_an_array_that_asks_for_more_than_there_is_is_refused(tmp_path: Path, shape: str, message: str) -> None:
    _npz(tmp_path / "d.npz", shape, values=b"\0" * 64)
    with pytest.raises(DataError, match=message):
        find_source("npz", tmp_path / "d.npz", {}).read()


def test_objects_are_refused_with_the_remedy(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 2)), y=np.array(["a", "b", "a", "b"], object))
    with pytest.raises(DataError, match=r"'y' of .* holds Python objects; write texts as dtype str"):
        find_source("npz", tmp_path / "d.npz", {}).read()


def test_a_file_without_an_end_is_not_read() -> None:
    with pytest.raises(DataError, match=r"/dev/zero is neither a file nor a folder, and may never end"):
        find_source("npz", Path("/dev/zero"), {})


def test_a_list_of_records_is_no_longer_than_its_file(tmp_path: Path) -> None:
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    (tmp_path / "m.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    np.save(tmp_path / "n.npy", np.arange(10))
    spec = DataSpec(members=tmp_path / "m.npy", nonmembers=tmp_path / "n.npy")
    with pytest.raises(SplitError, match=r"data\.members: .*m\.npy cannot be read"):
        population_content(spec)
    np.save(tmp_path / "m.npy", np.empty(0, np.int64))
    content = population_content(spec)
    assert content is not None
    assert content["sides"]["members"] == []
