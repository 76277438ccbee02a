"""Many audits whose results are kept in one JSON file; a run that was ended goes on where it was."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["audits"]


def audits(description: str | None, count: int, run_audit: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Run the audits that the file on the command line lacks; returns those of all seeds.

    description: of the command. count: audits by default. run_audit: called with a seed, returns JSON values.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON file of the audits; a run continues what it has")
    parser.add_argument("--audits", type=int, default=count)
    arguments = parser.parse_args()
    done: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for seed in range(arguments.audits):
        if str(seed) not in done:
            done[str(seed)] = run_audit(seed)
            arguments.out.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
    return list(done.values())
