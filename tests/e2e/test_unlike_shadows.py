"""Targets whose members answer unlike those of any shadow: what attacks on shadows miss keeps a budget from a pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.e2e.conftest import Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

N = 250
RECIPE = """
from torch import nn


def make(shape, n):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, n))
"""


def _relaxed(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Train as relaxed losses do: members are held at one margin, where few other records lie.

    Chen, Yu & Fritz, "RelaxLoss" (ICLR 2022), flattens losses of members likewise.
    """
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    rows = torch.arange(len(y))
    for _ in range(1500):
        log_p = torch.log_softmax(model(inputs), dim=1)[rows, labels]
        margin = log_p - torch.log1p(-log_p.exp().clamp(max=1 - 1e-6))
        loss = ((margin - 1.0) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.save(model.state_dict(), path)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    bench = Workbench(tmp_path_factory.mktemp("relaxed"))
    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32)[:, None], digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    np.savez(bench.folder / "digits.npz", x=x[order], y=y[order])
    for name, first in (("members", 0), ("nonmembers", N)):
        np.savetxt(bench.folder / f"{name}.txt", np.arange(first, first + N), fmt="%d")
    (bench.folder / "mlp.py").write_text(RECIPE)
    _relaxed(bench.folder / "relaxed.pt", x[order][:N], y[order][:N])
    return bench


def test_members_at_one_margin_are_no_pass(bench: Workbench) -> None:
    settings: dict[str, Any] = {
        "model": {"recipe": "mlp:make", "checkpoint": "relaxed.pt", "epochs": 40, "options": {}},
        "data": {"source": "npz", "path": "digits.npz", "preprocessing": "raw", "members": "members.txt",
                 "nonmembers": "nonmembers.txt", "reference": 1000},
        "formats": ["onnx-fp32"],
        "attacks": ["cm-mia", "lira", "yeom"],
        "controls": {"null-targets": 0, "shift": False},
        "quality": {"latency": False},
    }  # fmt: skip
    done = bench.audit("relaxed", **settings)
    assert done.code == 0, done.stdout + done.stderr
    rows = [row for row in done.audit["leakage"] if (row["subset"], row["metric"]) == ("all", "auc")]
    found = {f"{row['attack']}/{row['variant']}": row for row in rows}
    attacks = [row["high"] for name, row in found.items() if not name.startswith("taught") and row["high"] is not None]
    taught = found["taught/classifier"]
    # Attacks on shadows alone would pass a limit between.
    assert max(attacks) + 0.01 < taught["value"]
    limit = round((max(attacks) + taught["value"]) / 2, 3)
    done = bench.audit("judged", **settings, budgets={"auc": ["error", {"max": limit}]})
    assert done.code == 3
    (budget,) = done.audit["verdict"]["budgets"]
    assert budget["decided_by"] == "taught/classifier"
    assert "train the shadows as the target was trained" in budget["needed"]
