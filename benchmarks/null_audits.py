"""Real audits of models that trained on none of the records: how often one is said to leak, or a record is claimed.

    python benchmarks/null_audits.py results.json --audits 40

Each audit has its own draw of digits: a model is trained on records that the audit never sees, and audited as a
checkpoint whose list of members is wrong in all of its entries, against the tightest limits that a budget can have. A
sound audit finds nothing: EXCEEDED at its error rate (two budgets, at most 2.5% each), no claimed record, and no
WITHIN BUDGET either, since nothing shows that the model knows its members. Resumable; about 20 CPU seconds an audit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from resumable import audits
from sklearn.datasets import load_digits

import edgeaudit
from edgeaudit.recipes.base import Recipe, Training, build

SIDE = 300
SCALE = 1 / 16
HIDDEN = [64]


def audit_of(seed: int, folder: Path) -> dict[str, Any]:
    """Train a model on 400 records and describe the audit of it on others."""
    import torch

    from edgeaudit.recipes.training import train

    digits = load_digits()
    x, y = digits.images.astype(np.float32), digits.target
    order = np.random.default_rng(seed).permutation(len(y))
    trained, members, nonmembers = order[:400], order[400 : 400 + SIDE], order[400 + SIDE : 400 + 2 * SIDE]
    # The model's own records are on no side, and not in the file of the audit.
    kept = order[400:]
    np.savez(folder / "data.npz", x=x[kept], y=y[kept])
    for name, ids in (("members", members), ("nonmembers", nonmembers)):
        np.save(folder / f"{name}.npy", np.flatnonzero(np.isin(kept, ids)))
    inputs = (x[trained] * SCALE)[:, None]
    recipe = Recipe("mlp", inputs.shape[1:], 10, {"hidden": HIDDEN}, Training(epochs=40, batch=32), None)
    module = build(recipe, seed)
    train(module, inputs, y[trained], recipe, seed)
    torch.save(module.state_dict(), folder / "model.pt")
    return {
        "name": f"null-{seed}",
        "seed": seed,
        "model": {
            "recipe": "mlp",
            "options": {"hidden": HIDDEN},
            "epochs": 40,
            "batch": 32,
            "checkpoint": str(folder / "model.pt"),
        },
        "data": {
            "source": "npz",
            "path": str(folder / "data.npz"),
            "members": str(folder / "members.npy"),
            "nonmembers": str(folder / "nonmembers.npy"),
            "preprocessing": {"scale": SCALE},
            "calibration": {"records": 64},
        },
        "threat": {"shadows": 8},
        "controls": {"null-targets": 0},
        "formats": ["onnx-int8-static"],
        "attacks": ["cm-mia", "lira", "rmia", "watson", "yeom", "gap"],
        "quality": {"latency": False},
        "budgets": {
            "auc": ["error", {"max": 0.501}],
            "tpr@fpr=0.01": ["error", {"max": 0.0101}],
        },
    }


def run_audit(seed: int) -> dict[str, Any]:
    """Run one audit in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = edgeaudit.run(audit_of(seed, folder), store=folder / "store", workers=1)
    if found.verdict.outcome == "error":
        raise SystemExit(f"audit {seed}: {'; '.join(found.verdict.reasons)}")
    headline = [row for row in found.leakage if (row.subset, row.metric) == ("all", "auc") and row.value is not None]
    return {
        "outcome": found.verdict.outcome,
        "exceeded": [f"{b.metric} {b.decided_by}" for b in found.verdict.budgets if b.verdict == "fail"],
        "claimed": len(found.claimed),
        "undecided": sorted({c.name for c in found.controls if c.status == "undecided"}),
        "failed": sorted({c.name for c in found.controls if c.status == "failed"}),
        "auc": {f"{row.attack}/{row.variant}": round(row.value or 0.0, 4) for row in headline},
    }


def main() -> None:
    """Run the audits that are missing, and print what they found."""
    rows = audits(__doc__, 40, run_audit)
    outcomes = {name: sum(row["outcome"] == name for row in rows) for name in sorted({row["outcome"] for row in rows})}
    print(f"{len(rows)} audits: {outcomes}")
    print(f"with a budget exceeded: {sum(bool(row['exceeded']) for row in rows)}")
    print(f"without a claimed record: {sum(row['claimed'] == 0 for row in rows)}")
    print(f"undecided whether members are known: {sum('members known' in row['undecided'] for row in rows)}")


if __name__ == "__main__":
    main()
