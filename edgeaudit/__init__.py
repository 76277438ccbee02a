"""edgeaudit: how much each deployment format of a model gives away about its training data.

The command line is the way in (`edgeaudit --help`); docs/architecture.md tells the way of the data.
"""

from edgeaudit.errors import EdgeAuditError

__all__ = ["EdgeAuditError"]
