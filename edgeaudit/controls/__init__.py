"""Controls: checks of the audit itself. A failed one makes it invalid; with an undecided one no budget can pass."""

from edgeaudit.controls.base import ALARM, Control

__all__ = ["ALARM", "Control"]
