"""The verb `schema`."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["schema"]


def schema(
    *, policy: Annotated[bool, typer.Option("--policy", help="The schema of a policy's file instead.")] = False
) -> None:
    """Print the JSON Schema of audit.yaml, by which editors complete and check it.

    It lists the names of installed plugins as well; after installing one, write it again beside audit.yaml:
    edgeaudit schema > audit.schema.json
    """
    from edgeaudit.pipeline.vocabulary import audit_schema_text, policy_schema_text

    typer.echo(policy_schema_text() if policy else audit_schema_text(), nl=False)
