"""Kill an audit with SIGKILL at random moments, go on until it ends by itself, and compare with an undisturbed run.

Rounds, each from an empty store, until the kills are used up; the last one then ends undisturbed.

    python benchmarks/kill_resume.py examples/digits.yaml --kills 20 --longest 20

With --workers, the main process is left alone and as many of its workers are killed in one audit, at random moments.

Exit code 0 if audit.json is the same but for `created`, `latency` and `timings`.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil


def _command(audit: Path, folder: Path, name: str) -> list[str]:
    store = folder / f"store-{name}"
    return [sys.executable, "-m", "edgeaudit", "run", str(audit), "--out", str(folder / name), "--store", str(store)]


def _audit(folder: Path, name: str) -> dict[str, Any]:
    found = json.loads((folder / name / "audit.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in {"created", "latency", "timings"}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audit", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", action="store_true", help="kill workers of one audit, not the audit")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)  # noqa: S311  when to kill is no secret
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run(_command(arguments.audit, folder, "whole"), check=False)
        undisturbed = _audit(folder, "whole")
        if arguments.workers:
            return _kill_workers(arguments.audit, folder, arguments.kills, arguments.longest, moments, undisturbed)
        kills, rounds, differ = 0, 0, 0
        while kills < arguments.kills:
            rounds += 1
            name = f"round-{rounds}"
            while not _ended_by_itself(
                arguments.audit,
                folder,
                name,
                moments.uniform(0.2, arguments.longest) if kills < arguments.kills else None,
            ):
                kills += 1
                entries = sum(1 for _ in (folder / f"store-{name}").glob("*/*/entry.json"))
                print(f"{name}, kill {kills}: {entries} jobs in the store", flush=True)
            differ += _audit(folder, name) != undisturbed
    print(f"{kills} kills in {rounds} rounds; audit.json differed from the undisturbed run in {differ}")
    return 1 if differ else 0


def _kill_workers(
    audit: Path, folder: Path, kills: int, longest: float, moments: random.Random, undisturbed: dict[str, Any]
) -> int:
    """Kill workers of audits, each from an empty store, until as many are killed; compare the figures of each."""
    done, rounds, differ = 0, 0, 0
    while done < kills:
        rounds += 1
        name = f"workers-{rounds}"
        output = folder / f"{name}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(_command(audit, folder, name), stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(moments.uniform(0.1, longest))
            workers = [one for one in psutil.Process(process.pid).children() if process.poll() is None]
            if workers and done < kills:
                with suppress(psutil.NoSuchProcess):
                    moments.choice(workers).kill()
                    done += 1
        if not (folder / name / "audit.json").is_file():
            print(output.read_text(encoding="utf-8")[-2000:])
            return 1
        differ += _audit(folder, name) != undisturbed
        print(f"{name}: {done} workers killed so far; exit code {process.returncode}", flush=True)
    print(f"{done} workers killed in {rounds} audits; audit.json differed from the undisturbed run in {differ}")
    return 1 if differ else 0


def _ended_by_itself(audit: Path, folder: Path, name: str, seconds: float | None) -> bool:
    """Run the audit and kill it after `seconds` (None: never), unless it ends first."""
    # The output goes nowhere: the interpreter's resource tracker, which survives, would talk about leaked semaphores.
    command = _command(audit, folder, name)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
