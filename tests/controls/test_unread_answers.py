"""What a file returns beside the scores that are audited is warned of."""

from __future__ import annotations

import pytest

from edgeaudit.controls.unread_answers import unread_answers


@pytest.mark.parametrize(
    ("outputs", "values", "words"),
    [
        (1, 0, "the file also returns 1 further output,"),
        (2, 0, "2 further outputs,"),
        (0, 1, "1 value that is no label's score,"),
        (3, 990, "990 values that are no label's score and 3 further outputs,"),
    ],
)
def test_a_file_that_returns_more_is_named(outputs: int, values: int, words: str) -> None:
    (found,) = unread_answers({"f": (outputs, values), "g": (0, 0)})
    assert (found.format, found.status) == ("f", "warning")
    assert words in found.statement


def test_files_that_return_what_is_audited_need_no_word() -> None:
    assert unread_answers({"f": (0, 0)}) == []
