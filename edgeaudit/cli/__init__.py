"""The command line: one file for each verb, no logic."""

from edgeaudit.cli.main import app, main

__all__ = ["app", "main"]
