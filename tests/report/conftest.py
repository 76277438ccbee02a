"""One sample audit for all tests of the report."""

from __future__ import annotations

import pytest

from edgeaudit.report.html import html_text
from edgeaudit.report.model import Audit
from tests.report import sample


@pytest.fixture(scope="session")
def audit() -> Audit:
    return sample.audit()


@pytest.fixture(scope="session")
def page(audit: Audit) -> str:
    return html_text(audit)
