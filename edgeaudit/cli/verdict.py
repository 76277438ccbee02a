"""What `run` and `check` tell at their end: on the terminal, and in files that a pipeline's next step reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeaudit.cli.console import Console

if TYPE_CHECKING:
    from edgeaudit.report.model import Audit

__all__ = ["print_verdict", "read_baseline", "require_folders", "write_files"]


def require_folders(made: Path | None = None, **files: Path | None) -> None:
    """Raise `StoreError` for a file whose folder is missing, before hours of work and not after them.

    made: a folder that will be there by then.
    """
    from edgeaudit.errors import StoreError

    for name, path in files.items():
        if path is None or (made is not None and path.resolve().parent == made.resolve()):
            continue
        if not path.resolve().parent.is_dir():
            raise StoreError(f"--{name} {path} cannot be written: there is no folder {path.parent}; make it first")


def read_baseline(baseline: Path | None, *, sarif: bool) -> Audit | None:
    """Read an earlier run's audit, before any work. sarif: whether the report is written that tells what is new."""
    from edgeaudit.errors import SpecError
    from edgeaudit.report.schema import read_audit

    if baseline is None:
        return None
    if not sarif:
        raise SpecError(f"--baseline {baseline}: only the SARIF report tells what is new; ask for it, too")
    return read_audit(baseline / "audit.json")


def write_files(audit: Audit, baseline: Audit | None = None, **files: Path | None) -> None:
    """Write what report writers of these names write, each to the file that is given for it.

    baseline: an earlier audit, for writers that tell what is new since.
    """
    from edgeaudit.errors import toolchain_errors
    from edgeaudit.report.registry import WRITERS

    for name, path in files.items():
        if path is not None:
            with toolchain_errors(f"the report writer '{name}'"):
                WRITERS.find(name)().write_since(audit, baseline, path)


def print_verdict(console: Console, audit: Audit, *, quiet: bool) -> None:
    """Print the table and the verdict, or the verdict's line alone, after what a policy warns of."""
    from edgeaudit.report.summary import policy_lines, verdict_line
    from edgeaudit.report.terminal import render

    if quiet:
        for line in policy_lines(audit):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        console.print(verdict_line(audit), soft_wrap=True, highlight=False)
    else:
        console.print(render(audit))
