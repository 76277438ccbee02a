"""The verb `init`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgeaudit.errors import SpecError, store_errors

__all__ = ["init"]


def init(
    path: Annotated[Path, typer.Argument(metavar="AUDIT.YAML", help="Where to write it.")] = Path("audit.yaml"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a starter audit.yaml that runs as it is (digits, offline) and says what to change."""
    if path.exists() and not force:
        raise SpecError(f"{path} exists; give another name, or --force to overwrite it")
    text = resources.files("edgeaudit.cli").joinpath("starter.yaml").read_text(encoding="utf-8")
    with store_errors(str(path)):
        path.write_text(text, encoding="utf-8")
    said = f"wrote {path}. Next: edgeaudit plan {path}, then edgeaudit run {path} --out out"
    Console().print(said, highlight=False, markup=False, soft_wrap=True)  # commands to copy, so no line is broken
