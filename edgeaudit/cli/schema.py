"""The verb `schema`."""

from __future__ import annotations

import typer

from edgeaudit.pipeline.vocabulary import audit_schema_text

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of audit.yaml, by which editors complete and check it.

    It lists the names of installed plugins as well; after installing one, write it again beside audit.yaml:
    edgeaudit schema > audit.schema.json
    """
    typer.echo(audit_schema_text(), nl=False)
