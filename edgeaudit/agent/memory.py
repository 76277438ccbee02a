"""The last answers by the names of their questions: what is asked again after a lost answer is not computed again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["MOST_ANSWERS", "MOST_BYTES", "Message", "Remembered"]

MOST_ANSWERS = 64
"""That are remembered; the oldest is forgotten first."""

MOST_BYTES = 16 << 20
"""Of them together. A larger answer is given and not remembered."""

Message = tuple[bytes, "int | None"]
"""The body of a response, and the length of its JSON where tensors follow."""


class Remembered:
    """Answers by what decides them: the model, the protocol's `id` of the request, and the request itself.

    So a question with the name of another one does not get the other's answer. One that comes while the same question
    is being answered (its connection was lost meanwhile) waits for that answer. Failures are not remembered.
    """

    def __init__(self, most_answers: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES) -> None:
        self._most_answers = most_answers
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, Message] = OrderedDict()
        self._under_way: set[bytes] = set()
        self._changed = threading.Condition()

    def answer(self, question: tuple[bytes, ...] | None, compute: Callable[[], Message]) -> Message:
        """The answer to a question, computed unless it is known. question: None for one that has no name."""
        if question is None:
            return compute()
        key = _digest(question)
        with self._changed:
            # Look again after each wait: what was under way may have failed, or be too large to remember.
            self._changed.wait_for(lambda: key in self._known or key not in self._under_way)
            if key in self._known:
                return self._known[key]
            self._under_way.add(key)
        try:
            found = compute()
            with self._changed:
                self._keep(key, found)
            return found
        finally:
            with self._changed:
                self._under_way.remove(key)
                self._changed.notify_all()

    def _keep(self, key: bytes, message: Message) -> None:
        size = len(message[0])
        if size > self._most_bytes:
            return
        self._known[key] = message
        self._bytes += size
        while len(self._known) > self._most_answers or self._bytes > self._most_bytes:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest[0])


def _digest(parts: tuple[bytes, ...]) -> bytes:
    """Of the parts with their lengths, so that no two lists of parts have the same bytes."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
