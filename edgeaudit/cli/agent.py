"""The verb `agent`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console

__all__ = ["agent"]


def agent(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("edgeaudit-agent.pyz"),
) -> None:
    """Write the agent, one file that serves artifacts on a device with Python 3.9, numpy and a runtime."""
    from edgeaudit.devices.agent_file import write_agent

    path = write_agent(out)
    Console().print(f"wrote {path}; `python3 {path.name} --help` describes its use", highlight=False, soft_wrap=True)
