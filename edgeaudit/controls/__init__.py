"""Controls: checks of the audit itself. A failed control makes the audit invalid, whatever its figures are."""

from edgeaudit.controls.base import ALARM, Control

__all__ = ["ALARM", "Control"]
