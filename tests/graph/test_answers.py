"""What the main process makes of a worker's bytes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from edgeaudit.errors import (
    ArtifactError,
    DeviceLost,
    EdgeAuditError,
    JobCrashed,
    MissingToolchain,
    OutdatedEntry,
    SeveralErrors,
    SpecError,
)
from edgeaudit.graph.answers import outcome_of, written
from edgeaudit.graph.job import Outcome, Ref

REF = Ref("train", "0" * 40)


class Own(ArtifactError):
    """A plugin's."""


class Trap:
    """Pickled, it touches a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "error",
    [
        None,
        ArtifactError("x.onnx is damaged"),
        JobCrashed("it crashed", 1),
        MissingToolchain("reading TFLite files", "ai-edge-litert", "litert"),
        OutdatedEntry("train", "1", "/a.py", "/store/train"),
        DeviceLost("the board is gone", 3.0),
        SeveralErrors([SpecError("one"), SpecError("two")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_outcomes_and_our_errors_arrive_as_they_are(error: EdgeAuditError | None) -> None:
    read = outcome_of(written(Outcome(REF, 1.5, error, 7)))
    assert (read.ref, read.seconds, read.rss) == (REF, 1.5, 7)
    assert type(read.error) is type(error)
    assert str(read.error) == str(error)
    assert {k: v for k, v in vars(read.error or object).items() if k in ("retries", "after", "file")} == {
        k: v for k, v in vars(error or object).items() if k in ("retries", "after", "file")
    }


def test_an_error_of_a_plugins_own_class_arrives_with_its_name() -> None:
    read = outcome_of(written(Outcome(REF, 0.0, Own("wrong"))))
    assert type(read.error) is EdgeAuditError
    assert str(read.error) == "Own: wrong"


def test_nothing_else_is_made_or_called(tmp_path: Path) -> None:
    path = tmp_path / "touched"
    for bad in (Trap(path), Outcome(REF, 0.0, Trap(path)), Outcome(REF, Trap(path))):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not an answer of a worker"):
            outcome_of(pickle.dumps(bad))
    assert not path.exists()
    pickle.loads(pickle.dumps(Trap(path)))  # noqa: S301  the trap works
    assert path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x80", b"garbage", pickle.dumps(REF), pickle.dumps({"ref": REF}), pickle.dumps(Outcome(("a", "b"), 0.0)),  # type: ignore[arg-type]
        pickle.dumps(Outcome(REF, "long")), pickle.dumps(Outcome(REF, 0.0, "an error")),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer of a worker"):
        outcome_of(content)
