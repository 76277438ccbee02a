"""`python -m edgeaudit`, and the console script.

A spawned worker imports the console script anew, and so this module, but has no use for the command line.
"""

import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """See `edgeaudit.cli.main`; the command line's modules are imported here, in the main process alone."""
    from edgeaudit.cli import main as run

    run()


if __name__ == "__main__":
    # `python -m` puts the working directory first, where a file called yaml.py would take the place of the package.
    if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd():
        del sys.path[0]
    main()
