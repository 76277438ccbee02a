"""Seeded damage to files, how much of it is tried, and what may come of it."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator

from edgeaudit.errors import EdgeAuditError

LARGE = int(os.environ.get("EDGEAUDIT_FUZZ", "0"))
"""Of `make fuzz`: 10,000. Each fuzzer states how many of its own that is."""

SECRET = b"PRIVATE-RECORD-VALUE"
"""Stands for values of records; no message may quote it."""

_BYTES = re.compile(r"""(?<![\w\\'"])b['"]""")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def count(small: int, large: int) -> int:
    """How many to try: small in the suite, large at EDGEAUDIT_FUZZ=10000."""
    return max(small, large * LARGE // 10_000)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to three of: bits flipped, the end cut off, a part repeated, zeroed, removed, or replaced by a number."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(_WAYS)(content, rng)
    return content


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _near_the_start(content: bytes, rng: random.Random) -> bytes:
    """Heads decide most of what a reader does."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        if changed:
            changed[rng.randrange(min(len(changed), 256))] = rng.randrange(256)
    return bytes(changed)


def _near_the_end(content: bytes, rng: random.Random) -> bytes:
    """Archives have their table of contents there."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        if changed:
            changed[-1 - rng.randrange(min(len(changed), 200))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _part(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 4, 8, 64, 1024)))


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    start, end = _part(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _removed(content: bytes, rng: random.Random) -> bytes:
    start, end = _part(content, rng)
    return content[:start] + content[end:]


def _repeated(content: bytes, rng: random.Random) -> bytes:
    start, end = _part(content, rng)
    return content[:start] + content[start:end] * rng.choice((2, 3, 50)) + content[end:]


def _numbers(content: bytes, rng: random.Random) -> bytes:
    size = rng.choice((2, 4, 8))
    value = rng.choice((b"\xff" * size, b"\x00" * (size - 1) + b"\x80", b"\xff" * (size - 1) + b"\x7f", b"\x00" * size))
    start = rng.randrange(len(content) + 1)
    return content[:start] + value + content[start + size :]


_WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flipped, _flipped, _near_the_start, _near_the_end, _cut, _zeroed, _removed, _repeated, _numbers,
)  # fmt: skip


def damages(content: bytes, seed: int, number: int) -> Iterator[bytes]:
    """`number` damaged copies; the same ones for a seed."""
    for k in range(number):
        yield damaged(content, random.Random(f"{seed}-{k}"))  # noqa: S311  no secret


def require_one_sentence(error: BaseException, about: object) -> None:
    """Fail unless an error is one of ours, printable, of bearable length, and quotes no record."""
    assert isinstance(error, EdgeAuditError), (about, type(error).__name__, str(error)[:500])
    require_sentence(str(error), about)


def require_sentence(message: str, about: object) -> None:
    """The same for the text of an error."""
    assert message.strip(), about
    assert len(message) < 4100, (about, message)
    assert "Traceback" not in message, (about, message)
    assert "\n" not in message, (about, message)
    assert not _CONTROL.search(message), (about, message)
    assert SECRET.decode() not in message, (about, message)
    assert not _BYTES.search(message), (about, message)
