"""A response cache keyed by request, so that a retry after a lost response is not computed again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["MOST_ANSWERS", "MOST_BYTES", "Message", "ResponseCache"]

MOST_ANSWERS = 64
"""Number of cached responses; the oldest is evicted first."""

MOST_BYTES = 16 << 20
"""Total size of cached responses. A larger response is not cached."""

Message = tuple[bytes, "int | None"]
"""The body of a response, and the length of its JSON if tensors follow."""


class ResponseCache:
    """Responses by the model, the protocol's request `id` and the request itself.

    Different requests with the same `id` therefore do not share a response. A repeated request that arrives while the
    first is being computed (its connection was lost) waits for that response. Failures are not cached.
    """

    def __init__(self, most_answers: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES) -> None:
        self._most_answers = most_answers
        self._most_bytes = most_bytes
        self._bytes = 0
        self._cached: OrderedDict[bytes, Message] = OrderedDict()
        self._computing: set[bytes] = set()
        self._changed = threading.Condition()

    def answer(self, request: tuple[bytes, ...] | None, compute: Callable[[], Message]) -> Message:
        """The response to a request, computed unless it is cached. request: None for one without an `id`."""
        if request is None:
            return compute()
        key = _digest(request)
        with self._changed:
            # Check again after each wait: the computation may have failed, or the response be too large to cache.
            self._changed.wait_for(lambda: key in self._cached or key not in self._computing)
            if key in self._cached:
                return self._cached[key]
            self._computing.add(key)
        try:
            message = compute()
            with self._changed:
                self._keep(key, message)
            return message
        finally:
            with self._changed:
                self._computing.remove(key)
                self._changed.notify_all()

    def _keep(self, key: bytes, message: Message) -> None:
        size = len(message[0])
        if size > self._most_bytes:
            return
        self._cached[key] = message
        self._bytes += size
        while len(self._cached) > self._most_answers or self._bytes > self._most_bytes:
            _, oldest = self._cached.popitem(last=False)
            self._bytes -= len(oldest[0])


def _digest(parts: tuple[bytes, ...]) -> bytes:
    """Hash of the parts with their lengths, so that different lists of parts cannot have the same bytes."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
