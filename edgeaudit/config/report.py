"""The section `report`: the reports to write."""

from __future__ import annotations

from typing import Annotated

from edgeaudit.config.base import Section, names_of

__all__ = ["ReportSpec"]


class ReportSpec(Section):
    """Reports written in addition to audit.json."""

    writers: tuple[Annotated[str, names_of("writer")], ...] = ("html",)
    """Names of report writers: `html`, `text`, or another package's."""
