"""Jobs: one file for each arrow of the data's way, and the graph node they share."""

from edgeaudit.jobs.base import Job, Outcome
from edgeaudit.jobs.run import execute

__all__ = ["Job", "Outcome", "execute"]
