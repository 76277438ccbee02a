"""Damaged .npz and .npy files are records, or one sentence that quotes none of them."""

from __future__ import annotations

import io
import random
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import EdgeAuditError
from edgeaudit.population.build import population_content
from edgeaudit.population.sources import find_source
from tests.fuzz.damage import SECRET, count, damages, require_one_sentence

SLOWEST = 5.0


def _archive(compressed: bool) -> bytes:
    """Records whose bytes, and whose labels' texts, repeat a secret."""
    x = np.frombuffer(SECRET * 16, np.uint8).reshape(16, -1)
    y = np.array([SECRET.decode(), "other"] * 8)
    written = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(written, x=x, y=y)
    return written.getvalue()


def _read(path: Path) -> None:
    begun = time.process_time()
    try:
        raw = find_source("npz", path, {}).read()
    except EdgeAuditError as exc:
        require_one_sentence(exc, path)
    else:
        assert np.ndim(raw.y) == 0 or len(raw.y) >= 0  # a single value is refused with the population
    assert time.process_time() - begun < SLOWEST


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_archive_is_read_or_refused(tmp_path: Path, compressed: bool) -> None:
    whole = _archive(compressed)
    path = tmp_path / "d.npz"
    path.write_bytes(whole)
    assert find_source("npz", path, {}).read().y[0] == SECRET.decode()
    for content in damages(whole, 1 + compressed, count(75, 4000)):
        path.write_bytes(content)
        _read(path)


def _header(rng: random.Random) -> bytes:
    """A header of .npy that says what it likes."""
    sizes = (
        "4000000000",
        "1000000000000",
        "99999999999999999999",
        "-1",
        "4",
        "0",
        "True",
        "1.5",
        "None",
        "'4'",
        "(4,)",
    )
    kinds = (
        "<f8",
        "|O",
        "|V0",
        "<U4000000000",
        "<U0",
        "|S1",
        "<M8[s]",
        ">i4",
        "<f16",
        "<c16",
        "x",
        "",
        "|b1",
        "<f8,<f8",
        "V4",
    )
    shape = f"({', '.join(rng.choice(sizes) for _ in range(rng.choice((0, 1, 2, 2, 3, 40))))},)".replace("(,)", "()")
    descr = rng.choice((repr(rng.choice(kinds)), repr([("a", "<f8"), ("b", "|O")]), "1", "None", "'<f8'"))
    text = rng.choice((
        f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}",
        f"{{'descr': {descr}, 'shape': {shape}, }}",
        f"{{'descr': {descr}, 'fortran_order': 3, 'shape': {shape}, 'more': 1}}",
        "[" * rng.choice((3, 5000)), "{'descr': ", "__import__('os')", "\x1b[2J", "{1: 2}", "'a' * 10**9", "1" * 9000,
    ))  # fmt: skip
    encoded = text.encode()
    encoded += b" " * (-(len(encoded) + 11) % 64) + b"\n"
    version = rng.choice(((1, 0), (2, 0), (3, 0), (1, 0), (9, 9)))
    stated = rng.choice((len(encoded), len(encoded), len(encoded), 0, 65_535, 2**31))
    size = struct.pack("<H", min(stated, 65_535)) if version == (1, 0) else struct.pack("<I", stated)
    return b"\x93NUMPY" + bytes(version) + size + encoded + SECRET * rng.choice((0, 1, 50))


def test_headers_that_state_anything_are_refused(tmp_path: Path) -> None:
    rng = random.Random(7)  # noqa: S311  no secret
    labels = io.BytesIO()
    np.save(labels, np.arange(4) % 2)
    for _ in range(count(80, 2000)):
        with zipfile.ZipFile(
            tmp_path / "d.npz", "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        ) as archive:
            archive.writestr("x.npy", _header(rng))
            archive.writestr("y.npy", labels.getvalue())
        _read(tmp_path / "d.npz")


def test_lists_of_records_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(8)  # noqa: S311  no secret
    np.save(tmp_path / "n.npy", np.arange(10))
    whole = (tmp_path / "n.npy").read_bytes()
    others = (
        b"PK\x03\x04" + bytes(40),
        b"\x80\x04K\x01.",
        _archive(compressed=False),
        b"",
        SECRET * 10_000,
        b"\xff" * 99,
    )
    for k, content in enumerate((*others, *damages(whole, 3, count(40, 1000)))):
        (tmp_path / "m.npy").write_bytes(content if k % 3 else _header(rng))
        (tmp_path / "m.txt").write_bytes(content)
        for name in ("m.npy", "m.txt"):
            spec = DataSpec(members=tmp_path / name, nonmembers=tmp_path / "n.npy")
            try:
                population_content(spec)
            except EdgeAuditError as exc:
                require_one_sentence(exc, content[:200])
