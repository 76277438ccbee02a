"""Controls: checks of the audit itself. One that fails makes it invalid, whatever its figures say."""

from edgeaudit.controls.base import ALARM, Finding

__all__ = ["ALARM", "Finding"]
