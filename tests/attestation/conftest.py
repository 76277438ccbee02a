"""A desk with keys for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attestation.cases import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("EDGEAUDIT_SIGNING_KEY", raising=False)
    return Desk(tmp_path)
