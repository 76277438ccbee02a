"""The section `report`: which files an audit is written to."""

from __future__ import annotations

from typing import Annotated

from edgeaudit.config.base import Section, names_of

__all__ = ["ReportSpec"]


class ReportSpec(Section):
    """What is written beside audit.json, which is always written."""

    writers: tuple[Annotated[str, names_of("writer")], ...] = ("html",)
    """Names of report writers: `html`, `text`, or another package's."""
