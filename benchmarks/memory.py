"""Peak memory of the main process against the number of shadows.

    python benchmarks/memory.py examples/digits.yaml --shadows 8 64

Each count runs in a store of its own, once from nothing (the main process plans and dispatches) and once more
(it only reads); the workers' memory is reported beside it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

_CHILD = (
    "import resource, sys\n"
    "from edgeaudit.cli.main import app\n"
    "sys.argv = ['edgeaudit', *sys.argv[1:]]\n"
    "try:\n    app(standalone_mode=False)\n"
    "finally:\n"
    "    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
    "    print(f'PEAK {own} {workers}')\n"
)


def _peak(audit: Path, folder: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", _CHILD, "run", str(audit), "--out", str(folder / "out"), "--store", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"PEAK (\d+) (\d+)", done.stdout)
    if found is None:
        raise SystemExit(done.stdout + done.stderr)
    return int(found[1]) / 1024, int(found[2]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audit", type=Path)
    parser.add_argument("--shadows", type=int, nargs="+", default=[8, 64])
    arguments = parser.parse_args()
    spec = yaml.safe_load(arguments.audit.read_text(encoding="utf-8"))
    for count in arguments.shadows:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            copy = folder / "audit.yaml"
            copy.write_text(yaml.safe_dump({**spec, "threat": {**spec["threat"], "shadows": count}}), encoding="utf-8")
            for run in ("from nothing", "again"):
                own, workers = _peak(copy, folder)
                print(f"K={count:3d} {run:13s} main {own:7.1f} MB, largest worker {workers:7.1f} MB", flush=True)


if __name__ == "__main__":
    main()
