"""Finished runs, written from scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.rows import Accuracy, LeakageRow
from edgeaudit.report.model import Verdict
from edgeaudit.report.schema import write_audit
from edgeaudit.stages.scores import TargetScores, save_scores
from tests.gate import cases
from tests.report import sample

N = 500
MEMBERS = np.arange(2 * N) < N
IDS = np.arange(2 * N) + 7000
LIRA, YEOM, GAP = "lira/offline-global", "yeom/loss", "gap/label"
Series = Mapping[str, npt.NDArray[np.float64]]
SETTINGS: dict[str, Any] = {
    "threat": {"mode": "adversary", "exposure": "probabilities", "shadows": 64, "shadow_match": ["matched"]},
    "seed": 7,
    "model": {"recipe": "resnet8", "epochs": 60},
}


def scores_of(shift: float, noise: float = 0.1, seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
    """Scores of one model's files: a common part, a little noise of each, members higher by `shift`."""
    common = np.random.default_rng(99).normal(size=2 * N)
    own = np.random.default_rng(seed).normal(size=2 * N)
    score = common + noise * own + shift * MEMBERS
    return {LIRA: score, YEOM: score + 0.5 * np.random.default_rng(98).normal(size=2 * N), GAP: (score > -1) * 1.0}


def rows_of(format_id: str, scores: Series, members: npt.NDArray[np.bool_], groups: Any = None) -> list[LeakageRow]:
    return [
        replace(cases.series(name, format_id).row("all", figure), format=format_id)
        for name, values in scores.items()
        for figure in figures(values, members, 0.5, groups=groups)
    ]


def finished(
    folder: Path,
    files: Mapping[str, Series],
    *,
    members: npt.NDArray[np.bool_] = MEMBERS,
    ids: npt.NDArray[np.int64] = IDS,
    groups: npt.NDArray[np.int64] | None = None,
    device: str = "local",
    **changes: Any,
) -> Path:
    """A run's folder with these scores (format -> series -> [records])."""
    (folder / "scores").mkdir(parents=True)
    rows, formats = [], []
    for format_id, scores in files.items():
        rows += [replace(row, device=device) for row in rows_of(format_id, scores, members, groups)]
        accuracy = Accuracy(1.0, float(scores[GAP][~members].mean())) if GAP in scores else None
        formats.append(cases.result(format_id).model_copy(update={"accuracy": accuracy, "device": device}))
        held = TargetScores(members, scores, {}, ids, np.zeros(len(ids), np.bool_), {}, groups)
        save_scores(folder / "scores", {"target": held})
        name = f"{format_id}.npz" if device == "local" else f"{format_id}@{device}.npz"
        (folder / "scores" / "scores.npz").rename(folder / "scores" / name)
    verdict = Verdict(outcome="not judged", exit_code=0, reasons=("no budget was set",), budgets=())
    empty = (
        "controls",
        "curves",
        "null_p_values",
        "p_calibration",
        "across_targets",
        "comparisons",
        "exposed",
        "latency",
    )
    fields: dict[str, Any] = {
        **dict.fromkeys(empty, ()), "formats": tuple(formats), "leakage": tuple(rows), "verdict": verdict,
        "threat": SETTINGS["threat"], "spec": SETTINGS,
    }  # fmt: skip
    write_audit(sample.audit(**fields | changes), folder / "audit.json")
    return folder
