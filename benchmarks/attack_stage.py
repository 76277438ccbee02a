"""LiRA and RMIA on 100,000 records, 64 shadows and 10 classes, beside plain numpy: CPU time, peak memory, agreement.

    python benchmarks/attack_stage.py
    python benchmarks/attack_stage.py --records 20000 --shadows 16

Logits are drawn, stored as float32 as a query job stores them, and read by a fresh process for each line of the
table, which makes float64 of them as a measure job does. `numpy` is the attack written down plainly, with one binary
search for RMIA and no records x references matrix. Time is that of the attack alone, memory that of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

REFERENCE = 10_000
CLASSES = 10
FLOOR = 1 / 512
A, GAMMA = 0.3, 2.0


def draw(folder: Path, records: int, shadows: int) -> None:
    """Logits of a target (the last model) and of OUT shadows; records differ in difficulty, half are members."""
    rng, n = np.random.default_rng(0), records + REFERENCE
    labels = rng.integers(CLASSES, size=n)
    difficulty = rng.normal(2, 2, size=n)
    answers = np.lib.format.open_memmap(
        folder / "answers.npy", mode="w+", dtype=np.float32, shape=(shadows + 1, n, CLASSES)
    )
    for model in range(shadows + 1):
        logits = rng.normal(size=(n, CLASSES))
        logits[np.arange(n), labels] += difficulty + (np.arange(n) < records // 2) * (model == shadows)
        answers[model] = logits
    answers.flush()
    np.save(folder / "labels.npy", labels)


def read(folder: Path) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Answers float64 [shadows + 1, n, classes] and labels; the stored float32 is never in memory as a whole."""
    stored = np.load(folder / "answers.npy", mmap_mode="r")
    answers = np.empty(stored.shape)
    for model, one in enumerate(stored):
        answers[model] = one
    return answers, np.load(folder / "labels.npy")


def edgeaudit(attack: str, variant: str, folder: Path) -> tuple[FloatArray, float]:
    """Scores, and the CPU seconds of the attack."""
    from edgeaudit.attacks.evidence import Evidence
    from edgeaudit.attacks.registry import find_attack

    answers, labels = read(folder)
    out = np.ones(answers.shape[:2], dtype=np.bool_)[:-1]

    def evidence(where: slice) -> Evidence:
        return Evidence(answers[-1, where], answers[:-1, where], out[:, where], labels[where], "logits", FLOOR)

    audited, reference = evidence(slice(0, -REFERENCE)), evidence(slice(-REFERENCE, None))
    start = time.process_time()
    score = find_attack(attack)().score(audited, variant, reference).score
    return score, time.process_time() - start


def lira(folder: Path) -> tuple[FloatArray, float]:
    """Offline, one variance for all records, in plain numpy."""
    answers, labels = read(folder)
    start = time.process_time()
    n = len(labels) - REFERENCE
    rows, own = np.arange(n), labels[:n]
    margins = np.empty((len(answers), n))
    for model, logits in enumerate(answers[:, :n]):
        others = logits.copy()
        others[rows, own] = -np.inf
        top = others.max(axis=1)
        margins[model] = logits[rows, own] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    out = margins[:-1]
    spread = np.sqrt(out.var(axis=0, ddof=1).mean())
    score = (margins[-1] - out.mean(axis=0)) / spread
    return np.asarray(score), time.process_time() - start


def rmia(folder: Path) -> tuple[FloatArray, float]:
    """Offline with a = 0.3 and gamma = 2, in plain numpy."""
    answers, labels = read(folder)
    start = time.process_time()
    rows = np.arange(len(labels))
    p = np.empty(answers.shape[:2])
    for model, logits in enumerate(answers):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        p[model] = np.clip(powers[rows, labels] / powers.sum(axis=1), FLOOR, 1 - FLOOR)
    ratio = p[-1] / (((1 + A) * p[:-1].mean(axis=0) + 1 - A) / 2)
    z = np.sort(ratio[-REFERENCE:])
    score = np.searchsorted(z, ratio[:-REFERENCE] / GAMMA, side="left") / len(z)
    return np.asarray(score), time.process_time() - start


RUNS: dict[str, Callable[[Path], tuple[FloatArray, float]]] = {
    "numpy lira": lira,
    "edgeaudit lira": lambda folder: edgeaudit("lira", "offline-global", folder),
    "numpy rmia": rmia,
    "edgeaudit rmia": lambda folder: edgeaudit("rmia", "offline-0.3", folder),
}


def _one(name: str, folder: Path) -> None:
    score, seconds = RUNS[name](folder)
    np.save(folder / f"{name}.npy", score)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--shadows", type=int, default=64)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _one(arguments.one[0], Path(arguments.one[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw(folder, arguments.records, arguments.shadows)
        print(f"{arguments.records:,} records, {REFERENCE:,} references, {arguments.shadows} shadows")
        for name in RUNS:
            command = [sys.executable, __file__, "--one", name, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout)
            score, plain = (np.load(folder / f"{n}.npy") for n in (name, f"numpy {name.split()[1]}"))
            off = float(np.abs(score - plain).max())
            print(f"{name:15s} {found['seconds']:6.2f} CPU s, peak {found['peak']:5.0f} MB, off by {off:.1e}")


if __name__ == "__main__":
    main()
