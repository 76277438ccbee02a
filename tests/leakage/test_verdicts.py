from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.verdicts import verdict_figures

MEMBERS = np.arange(100) < 40


def test_by_hand() -> None:
    # 40 members, 8 accused; 60 nonmembers, 2 accused.
    accused = np.zeros(100, dtype=np.bool_)
    accused[:8] = accused[98:] = True
    rows = {row.metric: row for row in verdict_figures(accused, MEMBERS, "0.05")}
    expected = {
        "coverage@0.05": (10, 100),
        "ppv@0.05": (8, 10),
        "recall@0.05": (8, 40),
        "fpr@0.05": (2, 60),
        # Right: 8 members and the 58 nonmembers that abstention leaves.
        "forced_accuracy@0.05": (66, 100),
    }
    assert list(rows) == list(expected)
    for name, (count, trials) in expected.items():
        assert rows[name].value == count / trials
        assert (rows[name].low, rows[name].high) == clopper_pearson(count, trials)
        assert rows[name].realised_fpr == 2 / 60
        assert (rows[name].n_members, rows[name].n_nonmembers) == (40, 60)


def test_ppv_is_none_where_no_record_is_called_a_member() -> None:
    rows = {row.metric: row for row in verdict_figures(np.zeros(100, dtype=np.bool_), MEMBERS, "0.01")}
    assert rows["ppv@0.01"].value is None
    assert rows["ppv@0.01"].note == "no record is called a member at cutoff 0.01"
    assert rows["coverage@0.01"].value == 0.0
    # All called nonmember: 60% right for free.
    assert rows["forced_accuracy@0.01"].value == 0.6


def test_mismatched_arrays_are_rejected() -> None:
    with pytest.raises(AttackError, match="must be bool"):
        verdict_figures(np.zeros(99, dtype=np.bool_), MEMBERS, "0.05")
    with pytest.raises(AttackError, match="must be bool"):
        verdict_figures(np.zeros(100), MEMBERS, "0.05")  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="at least one member"):
        verdict_figures(np.zeros(100, dtype=np.bool_), np.ones(100, dtype=np.bool_), "0.05")
