"""The section `report`: the reports to write, and what they show of single records."""

from __future__ import annotations

from typing import Annotated, Literal

from edgeaudit.config.base import Section, names_of

__all__ = ["RecordsShown", "ReportSpec"]

RecordsShown = Literal["none", "ids", "names", "thumbnails"]


class ReportSpec(Section):
    """Reports written in addition to audit.json."""

    writers: tuple[Annotated[str, names_of("writer")], ...] = ("html",)
    """Names of report writers: `html`, `text`, or another package's."""
    records: RecordsShown = "names"
    """What is listed of claimed and exposed records: `none`, `ids`, `names` as well, or small images, too."""
