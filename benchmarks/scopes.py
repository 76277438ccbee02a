"""What the intervals of `this file` and of `this pipeline` cover, on real models.

    python benchmarks/scopes.py results.json                 # EDGEAUDIT_DATA is the folder with letter.npz

Each audit draws its own records of Letter, trains its own shadows and five targets. The truth of the pipeline is the
mean of a figure over the targets of all other audits. Counted are the audits whose interval of the pipeline, and the
targets whose interval of the file, contain it: the first is made to, the second is not, and is shown for that reason.
Resumable; about a minute an audit.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from resumable import audits

import edgeaudit

TARGETS = 5
METRICS = ("auc", "tpr@fpr=0.01")


def spec(seed: int) -> dict[str, Any]:
    """An audit of five targets on 600 members and 600 nonmembers."""
    data = Path(os.environ.get("EDGEAUDIT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return {
        "name": f"scopes-{seed}",
        "seed": seed,
        "targets": TARGETS,
        "model": {"recipe": "mlp", "options": {"hidden": [64]}, "epochs": 40, "batch": 32},
        "data": {
            "source": "npz",
            "path": str(data / "letter.npz"),
            "layout": "flat",
            "members": 600,
            "nonmembers": 600,
            "reference": 2400,
            "calibration": {"records": 64},
        },
        "threat": {"shadows": 8},
        "controls": {"null-targets": 0, "shift": False},
        "formats": ["onnx-int8-static"],
        "attacks": ["cm-mia", "lira", "rmia", "watson", "yeom"],
        "quality": {"latency": False},
    }


def run_audit(seed: int) -> dict[str, Any]:
    """Figures of the pipeline and of each target, by attack and metric."""
    found: dict[str, Any] = {"pipeline": {}, "file": {}}
    with tempfile.TemporaryDirectory() as name:
        audit = edgeaudit.run(spec(seed), store=Path(name) / "store", workers=1)
        if audit.verdict.outcome == "error":
            raise SystemExit(f"audit {seed}: {'; '.join(audit.verdict.reasons)}")
        headlines = {f"{row.attack}/{row.variant}" for row in audit.worst_slices}
        for scope, rows in (("pipeline", audit.across_targets), ("file", audit.leakage)):
            for row in rows:
                series = f"{row.attack}/{row.variant}"
                if row.subset == "all" and row.metric in METRICS and series in headlines:
                    found[scope][f"{series} {row.metric}"] = [row.value, row.low, row.high]
    return found


def counted(done: list[dict[str, Any]], scope: str) -> dict[str, tuple[int, int, int, int]]:
    """Metric -> intervals, those that contain the truth, those that end below it, those without both ends."""
    counts: dict[str, list[int]] = {metric: [0, 0, 0, 0] for metric in METRICS}
    for i, audit in enumerate(done):
        for name, (_, low, high) in audit[scope].items():
            metric = name.rpartition(" ")[2]
            truth = np.mean([other["pipeline"][name][0] for j, other in enumerate(done) if j != i])
            row = counts[metric]
            row[0] += 1
            if low is None or high is None:
                row[3] += 1
            elif low <= truth <= high:
                row[1] += 1
            elif high < truth:
                row[2] += 1
    return {metric: (row[0], row[1], row[2], row[3]) for metric, row in counts.items()}


def main() -> None:
    """Run the audits that are missing, and print what their intervals cover."""
    done = audits(__doc__, 48, run_audit)
    print("| scope | metric | intervals | contain the pipeline's mean | end below it | not resolvable |")
    print("|---|---|---|---|---|---|")
    for scope in ("pipeline", "file"):
        for metric, row in counted(done, scope).items():
            print(f"| {scope} | {metric} | {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
