"""Files of others, read with bounds: evidence, keys, artifacts. JSON is taken in one reading only."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgeaudit.errors import AttestationError

__all__ = ["opened_file", "parsed_json", "read_bounded", "sha256_of"]

_BLOCK = 1 << 20


@contextmanager
def opened_file(path: Path, what: str, *, links: bool = True) -> Iterator[IO[bytes]]:
    """A regular file, open for reading.

    Args:
        path: the file.
        what: what it is, for messages.
        links: whether a link may stand for it; what a link leads to can be another file in the next moment.

    Raises:
        AttestationError: it is missing, no regular file (a pipe could be waited for without end), or a link.
    """
    # Without O_NONBLOCK a pipe waits for a writer before it can be seen to be one.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    if not links and path.is_symlink():
        raise AttestationError(f"{path}: {what} is a link, which may lead elsewhere later; name the file itself")
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as exc:  # a name with a null byte is a ValueError
        reason = exc.strerror if isinstance(exc, OSError) else "its name has a null byte"
        raise AttestationError(f"{path}: {what} cannot be read: {reason}") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AttestationError(f"{path}: {what} is no regular file; name the file itself")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_bounded(path: Path, what: str, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises `AttestationError`."""
    with opened_file(path, what) as file:
        try:
            content = file.read(most + 1)
        except OSError as exc:
            raise AttestationError(f"{path}: {what} cannot be read: {exc.strerror}") from exc
    if len(content) > most:
        raise AttestationError(f"{path}: {what} has more than {most:,} bytes, which no such file has; name another")
    return content


def sha256_of(path: Path, what: str, *, links: bool = True) -> str:
    """SHA-256 of a file, in hex. Raises `AttestationError`; arguments as of `opened_file`."""
    digest = hashlib.sha256()
    with opened_file(path, what, links=links) as file:
        try:
            while block := file.read(_BLOCK):
                digest.update(block)
        except OSError as exc:
            raise AttestationError(f"{path}: {what} cannot be read: {exc.strerror}") from exc
    return digest.hexdigest()


def parsed_json(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises `AttestationError` for what two readers may read differently: a key that stands twice in an object, numbers
    that JSON does not have, text that is not UTF-8.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_refused)
    except _TwiceError as exc:
        raise AttestationError(f"{what}: the key '{exc}' stands twice in one object; it was tampered with") from exc
    except RecursionError as exc:
        raise AttestationError(f"{what} is nested too deeply") from exc
    except ValueError as exc:  # not UTF-8, not JSON, NaN, an integer of thousands of digits
        raise AttestationError(f"{what} is not JSON: it was damaged, or is another file") from exc
    if not isinstance(value, dict):
        raise AttestationError(f"{what} is no JSON object: it is another file")
    return value


class _TwiceError(Exception):
    pass


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key[:100])
        found[key] = value
    return found


def _refused(name: str) -> Any:
    raise ValueError(name)
