"""The section `limits`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edgeaudit.config.limits import LimitsSpec


@pytest.mark.parametrize(
    ("given", "size"),
    [("4 GiB", 4 * 2**30), ("500 MB", 500_000_000), ("1.5gib", 3 * 2**29), (2**30, 2**30), ("1073741824", 2**30)],
)
def test_sizes(given: object, size: int) -> None:
    assert LimitsSpec.model_validate({"job-memory": given}).job_memory == size


@pytest.mark.parametrize(
    "wrong",
    [
        {"job-memory": "4 apples"}, {"job-memory": "much"}, {"job-memory": 5}, {"job-memory": -1}, {"job-minutes": 0},
        {"job-minutes": float("inf")}, {"job-minutes": float("nan")}, {"minutes": 3},
    ],
)  # fmt: skip
def test_reject_invalid_limits(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LimitsSpec.model_validate(wrong)
