"""The verb `schema`."""

from __future__ import annotations

import typer

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of audit.yaml, by which editors complete and check it.

    It lists the names of installed plugins as well; after installing one, write it again beside audit.yaml:
    edgeaudit schema > audit.schema.json
    """
    from edgeaudit.pipeline.vocabulary import audit_schema_text

    typer.echo(audit_schema_text(), nl=False)
