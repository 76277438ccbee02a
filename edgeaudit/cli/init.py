"""The verb `init`."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.errors import SpecError, store_errors

__all__ = ["init"]


def init(
    path: Annotated[Path, typer.Argument(metavar="AUDIT.YAML", help="Where to write it.")] = Path("audit.yaml"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a starter audit.yaml that runs as it is (digits, offline) and says what to change.

    Its JSON Schema is written beside it, as audit.schema.json, for editors that complete and check YAML.
    """
    from edgeaudit.config.json_schema import SCHEMA_FILE
    from edgeaudit.pipeline.vocabulary import audit_schema_text

    schema = path.with_name(SCHEMA_FILE)
    if path.exists() and not force:
        raise SpecError(f"{path} exists; give another name, or --force to overwrite it")
    if schema.exists() and not force and not _is_generated(schema):
        raise SpecError(f"{schema} exists and is not a schema of audit.yaml; move it, or --force to overwrite it")
    text = resources.files("edgeaudit.cli").joinpath("starter.yaml").read_text(encoding="utf-8")
    with store_errors(str(path)):
        schema.write_text(audit_schema_text(), encoding="utf-8")
        path.write_text(text, encoding="utf-8")
    written = (
        f"wrote {path}, and {schema.name} beside it. Next: edgeaudit plan {path}, then edgeaudit run {path} --out out"
    )
    Console().print(written, highlight=False, soft_wrap=True)  # commands to copy, so no line is broken


def _is_generated(schema: Path) -> bool:
    """Whether an existing file was written by `init` or `schema`."""
    from edgeaudit.config.json_schema import SCHEMA_ID

    try:
        content = json.loads(schema.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("$id") == SCHEMA_ID
