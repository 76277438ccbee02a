"""What a worker says of a job, as bytes from which only outcomes and our errors are made.

A worker that opens a file of others may have been taken over by it, and pickles of an unknown maker run any code.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import replace

from edgeaudit import errors
from edgeaudit.errors import EdgeAuditError
from edgeaudit.graph.job import Outcome, Ref

__all__ = ["LARGEST", "outcome_of", "written"]

LARGEST = 2**24
"""Bytes of an answer; messages have some thousand letters."""
_KNOWN: dict[tuple[str, str], type] = {
    (kind.__module__, kind.__name__): kind
    for kind in (
        Outcome,
        Ref,
        *(one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, EdgeAuditError)),
    )
}
_FIELDS = {"ref": Ref, "seconds": float | int, "error": EdgeAuditError | None, "rss": int}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        """Return a class that answers are made of."""
        if (kind := _KNOWN.get((module, name))) is None:
            raise pickle.UnpicklingError(f"an answer has no {module}.{name}")
        return kind


def written(outcome: Outcome) -> bytes:
    """Bytes that `outcome_of` reads. An error of a plugin's own class becomes an `EdgeAuditError`.

    Examples:
        >>> outcome_of(written(Outcome(Ref("train", "0"), 1.5))).seconds
        1.5
    """
    try:
        content = pickle.dumps(outcome)
        outcome_of(content)
    except Exception:  # noqa: BLE001  whatever a plugin's error raises
        error = outcome.error
        words = f"{type(error).__name__}: {error}"
        return pickle.dumps(replace(outcome, error=EdgeAuditError(words)))
    return content


def outcome_of(content: bytes) -> Outcome:
    """Read an answer. Raises `ValueError` where it is none."""
    try:
        outcome: object = _Reader(io.BytesIO(content)).load()
    except Exception as exc:  # a damaged pickle raises anything
        raise ValueError(f"not an answer of a worker: {type(exc).__name__}: {exc}") from exc
    if not isinstance(outcome, Outcome) or not all(
        isinstance(value, _FIELDS[name]) for name, value in vars(outcome).items()
    ):
        raise ValueError("not an answer of a worker")
    return outcome
