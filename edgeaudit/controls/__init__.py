"""Controls: checks of the audit itself. A failed control makes the audit invalid, whatever its figures are."""

from edgeaudit.controls.base import ALARM, Finding

__all__ = ["ALARM", "Finding"]
