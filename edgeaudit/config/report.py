"""The section `report`: which files an audit is written to."""

from __future__ import annotations

from edgeaudit.config.base import Section

__all__ = ["ReportSpec"]


class ReportSpec(Section):
    """What is written beside audit.json, which is always written."""

    writers: tuple[str, ...] = ("html",)
    """Names of report writers: `html`, `text`, or another package's."""
