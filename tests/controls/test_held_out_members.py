"""Members that early stopping held out."""

from __future__ import annotations

import pytest

from edgeaudit.controls.held_out_members import held_out_members


@pytest.mark.parametrize(
    ("held_out", "members", "status"),
    [(1, 300, "warning"), (30, 300, "warning"), (31, 300, "undecided"), (150, 300, "undecided")],
)
def test_a_larger_share_keeps_budgets_from_a_pass(held_out: int, members: int, status: str) -> None:
    found = held_out_members(held_out, members)
    assert found.status == status
    assert f"{held_out:,} of {members:,} members were held out" in found.statement
