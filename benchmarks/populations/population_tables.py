"""Tables of populations' results, as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["METRICS", "write"]

METRICS = ("auc", "tpr@fpr=0.01", "tpr@fpr=0.001")
BEGIN, END = "<!-- populations begin -->", "<!-- populations end -->"
LEADING = {"adversary": "cm-mia/calibrated", "auditor": "cm-mia/calibrated-online"}
YARDSTICKS = {
    "adversary": (
        "lira/offline-global", "lira/offline-per-record", "rmia/offline-0", "rmia/offline-0.3", "rmia/offline-0.6",
    ),
    "auditor": ("lira/online-global", "lira/online-per-record", "rmia/online"),
}  # fmt: skip
Figures = Mapping[str, Mapping[str, list[float | None]]]
FloatArray = npt.NDArray[np.float64]


def write(results: Path, page: Path, first: int) -> None:
    """Replace what is between the marks of a page by the tables of the populations from seed `first` on."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    text = "\n".join(_tables(results, first))
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _tables(results: Path, first: int) -> Iterator[str]:
    stored: dict[str, dict[str, Figures]] = {
        path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json")) if path.stem != "opened"
    }
    cells: list[tuple[bool, bool, int]] = []
    for mode, leading in LEADING.items():
        yield f"\n### Threat mode {mode}: {leading}, and its difference to the best yardstick of the column\n"
        yield "| data | format | shadows | populations | AUC | TPR at 1% | TPR at .1% |"
        yield "|---" * 7 + "|"
        for data, audits in stored.items():
            for shadows, format_, every in _groups(audits, mode, first):
                row = []
                for place in range(len(METRICS)):
                    text, outcome = _compared(every, leading, YARDSTICKS[mode], place)
                    row.append(text)
                    if outcome is not None:
                        cells.append((*outcome, place))
                yield f"| {data} | {format_} | {shadows} | {len(every)} | " + " | ".join(row) + " |"
    for place, metric in enumerate(METRICS):
        of_metric = [cell for cell in cells if cell[2] == place]
        ahead, behind = sum(cell[0] for cell in of_metric), sum(cell[1] for cell in of_metric)
        all_ = len(of_metric)
        yield f"\n{metric}: of {all_} cells ahead by more than 2 standard errors in {ahead}, behind in {behind}."


def _groups(
    audits: Mapping[str, Figures], mode: str, first: int
) -> Iterator[tuple[int, str, list[Mapping[str, list[float | None]]]]]:
    """Number of shadows, format, and that format's figures in each population."""
    numbers = sorted({int(key.split("|")[1]) for key in audits if key.startswith(f"{mode}|")})
    for shadows in numbers:
        keys = [key for key in audits if key.startswith(f"{mode}|{shadows}|") and int(key.split("|")[2]) >= first]
        for format_ in dict.fromkeys(name for key in keys for name in audits[key]):
            yield shadows, format_, [audits[key][format_] for key in keys]


def _compared(
    every: list[Mapping[str, list[float | None]]], leading: str, yardsticks: tuple[str, ...], place: int
) -> tuple[str, tuple[bool, bool] | None]:
    """The mean and the paired difference, and whether that is beyond two standard errors on either side."""
    if any(one[name][place] is None for one in every for name in (leading, *yardsticks)):
        return "not resolvable", None
    values: dict[str, FloatArray] = {
        name: np.array([one[name][place] for one in every], dtype=np.float64) for name in (leading, *yardsticks)
    }
    best = max(yardsticks, key=lambda name: float(values[name].mean()))
    difference = values[leading] - values[best]
    mean = f"{values[leading].mean():.3f} ({difference.mean():+.3f}"
    if len(difference) < 2:
        return f"{mean}, {best})", None
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    outcome = bool(difference.mean() > 2 * error), bool(difference.mean() < -2 * error)
    return f"{mean} ± {error:.3f}, {best})", outcome
