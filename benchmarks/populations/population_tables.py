"""Tables of populations' results, as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from population_scores import FLOAT, METRICS, WHOLE, YARDSTICKS
from scipy import stats

__all__ = ["write"]

BEGIN, END = "<!-- populations begin -->", "<!-- populations end -->"
LEAST = 5
"""Populations below which cells are not counted as ahead or behind."""
MARGIN = 0.01
"""Of AUC, within which two formats leak the same."""
FloatArray = npt.NDArray[np.float64]
Population = Mapping[str, Any]
"""What `population_scores.scored` found."""
Stored = Mapping[str, Mapping[str, list[Population]]]
"""Data set -> mode -> its populations."""


def write(results: Path, page: Path, first: int) -> None:
    """Replace what is between the marks of a page by the tables of the populations from seed `first` on."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    text = "\n".join(tables(results, first))
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def tables(results: Path, first: int) -> Iterator[str]:
    """The lines of all tables."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    stored: Stored = {
        name: {
            mode: [found[key] for key in sorted(found) if key.startswith(mode) and int(key.split("|")[1]) >= first]
            for mode in WHOLE
        }
        for name, found in files.items()
        if "opened" in found
    }  # fmt: skip
    yield from _opened(files, stored)
    yield from _comparisons(stored)
    yield from _parts(stored)
    yield from _ceilings(stored)
    yield from _of_the_paper(stored)
    yield from _matched(stored)
    yield from _abnormal(stored)
    yield from _formats(stored)
    yield from _nulls(stored)
    yield from _refused(stored)


def _refused(stored: Stored) -> Iterator[str]:
    every = [
        (data, one["failed"]) for data, by_mode in stored.items() for one in by_mode["adversary"] if one.get("failed")
    ]
    if every:
        yield "\n### Formats that were refused\n"
        yield "A file that does not answer as its model does is not audited; such populations have the other formats.\n"
        names = sorted({(data, name) for data, failed in every for name in failed})
        for data, name in names:
            count = sum(name in failed for other, failed in every if other == data)
            yield f"- {data}, {name}: in {count} population{'' if count == 1 else 's'}"


def _opened(files: Mapping[str, Any], stored: Stored) -> Iterator[str]:
    yield "\n### What was run\n"
    yield "Accuracy on members / on nonmembers is that of onnx-int8-static, in adversary mode.\n"
    yield "| data | opened (UTC) | attacks | populations: adversary, auditor | accuracy | fit, score a target: CPU s |"
    yield "|---" * 6 + "|"
    for data, by_mode in stored.items():
        opened, offline = files[data]["opened"], by_mode["adversary"]
        counts = ", ".join(str(len(each)) for each in by_mode.values())
        accuracy = _mean([one["accuracy"]["onnx-int8-static"] for one in offline]) if offline else [math.nan] * 2
        seconds = [one["attack CPU seconds"] for one in offline]
        spent = [np.mean([one[part] for one in seconds]) if seconds else math.nan for part in ("fit", "score a target")]
        yield (
            f"| {data} | {opened['opened'][:16].replace('T', ' ')} | {opened['attacks']} | {counts} | "
            f"{accuracy[0]:.0%} / {accuracy[1]:.0%} | {spent[0]:.1f}, {spent[1]:.1f} |"
        )


def _comparisons(stored: Stored) -> Iterator[str]:
    outcomes: list[tuple[str, int, bool, bool]] = []
    rows: dict[str, list[str]] = {mode: [] for mode in WHOLE}
    for data, by_mode in stored.items():
        for mode, populations in by_mode.items():
            for format_, shadows, every in _columns(populations):
                row = []
                for place in range(len(METRICS)):
                    text, outcome = _compared(every, YARDSTICKS[mode], place)
                    row.append(text)
                    if outcome is not None:
                        outcomes.append((mode, place, *outcome))
                rows[mode].append(f"| {data} | {format_} | {shadows} | " + " | ".join(row) + " |")
    yield "\n### Cells\n"
    yield f"Of columns with {LEAST} populations or more.\n"
    yield "| mode | figure | cells | ahead by more than 2 standard errors | level | behind by more than 2 |"
    yield "|---" * 6 + "|"
    for mode in WHOLE:
        for place, metric in enumerate(METRICS):
            ours = [outcome for outcome in outcomes if outcome[:2] == (mode, place)]
            ahead, behind = sum(one[2] for one in ours), sum(one[3] for one in ours)
            yield f"| {mode} | {metric} | {len(ours)} | {ahead} | {len(ours) - ahead - behind} | {behind} |"
    for mode, leading in WHOLE.items():
        yield f"\n### {mode}: {leading}, and its difference to the best yardstick of the column\n"
        yield "| data | format | shadows | AUC | TPR at 1% | TPR at .1% |"
        yield "|---" * 6 + "|"
        yield from rows[mode]


def _columns(populations: Sequence[Population]) -> Iterator[tuple[str, str, list[Mapping[str, list[float]]]]]:
    """Format, number of shadows, and their figures in each population."""
    if not populations:
        return
    for format_, by_number in populations[0]["formats"].items():
        if len(by_number) > 1:
            for shadows in sorted(by_number, key=int):
                yield format_, shadows, [one["formats"][format_][shadows] for one in populations]


def _compared(
    every: list[Mapping[str, list[float]]], yardsticks: tuple[str, ...], place: int
) -> tuple[str, tuple[bool, bool] | None]:
    """The mean and the paired difference, and whether that is beyond two standard errors on either side."""
    values = {name: np.array([one[name][place] for one in every], np.float64) for name in ("whole", *yardsticks)}
    if np.isnan(values["whole"]).any():
        return "not resolvable", None
    best = max(yardsticks, key=lambda name: float(values[name].mean()))
    difference = values["whole"] - values[best]
    mean, error = float(difference.mean()), _error(difference)
    shown = f"{values['whole'].mean():.3f} ({mean:+.3f}{_give_or_take(error)}, {best})"
    return shown, None if len(every) < LEAST else (mean > 2 * error, mean < -2 * error)


def _parts(stored: Stored) -> Iterator[str]:
    for mode, leading in WHOLE.items():
        names: dict[str, dict[str, list[FloatArray]]] = {}
        for by_mode in stored.values():
            for one in by_mode[mode]:
                for format_, by_number in one["parts"].items():
                    for shadows, parts in by_number.items():
                        whole = one["formats"][format_][shadows]["whole"]
                        for name, figures in parts.items():
                            names.setdefault(name, {}).setdefault(shadows, []).append(
                                np.subtract(figures[:2], whole[:2])
                            )
        if not names:
            continue
        numbers = sorted(next(iter(names.values())), key=int)
        yield f"\n### Parts of {leading}: mean difference to the whole, AUC / TPR at 1%\n"
        yield "Over all data sets, populations and formats.\n"
        yield "| part | " + " | ".join(f"K = {k}" for k in numbers) + " |\n|---" + "|---" * len(numbers) + "|"
        for name, by_number in names.items():
            cells = (np.mean(by_number[k], axis=0) for k in numbers)
            yield f"| {name} | " + " | ".join(" / ".join(f"{value:+.4f}" for value in cell) for cell in cells) + " |"


def _ceilings(stored: Stored) -> Iterator[str]:
    yield "\n### What is left to find\n"
    yield (
        "Smooth learners of the same rows that are told the true memberships of another population's targets, "
        "onnx-int8-static, 16 shadows; AUC / TPR at 1% / TPR at .1%.\n"
    )
    yield "| data | mode | populations | found | taught | gap |\n|---|---|---|---|---|---|"
    for data, by_mode in stored.items():
        for mode, populations in by_mode.items():
            every = [one for one in populations if "taught" in one]
            if not every:
                continue
            found = np.array([one["formats"]["onnx-int8-static"]["16"]["whole"] for one in every], np.float64)
            told = np.array([one["taught"] for one in every], np.float64)
            shown = [" / ".join(_or_dash(value, ".3f") for value in each.mean(axis=0)) for each in (found, told)]
            gap = " / ".join(_or_dash(value, "+.3f") for value in (told - found).mean(axis=0))
            yield f"| {data} | {mode} | {len(every)} | {shown[0]} | {shown[1]} | {gap} |"


def _of_the_paper(stored: Stored) -> Iterator[str]:
    yield "\n### H1: attacks of the paper's day\n"
    yield (
        "onnx-int8-static, 16 shadows, adversary mode: AUC, and in brackets balanced accuracy at a threshold learned "
        "from shadows.\n"
    )
    first = next((one for by_mode in stored.values() for one in by_mode["adversary"]), None)
    if first is None:
        return
    names = list(first["paper"])
    yield "| data | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|"
    for data, by_mode in stored.items():
        every = by_mode["adversary"]
        if every:
            cells = (_mean([one["paper"][name] for one in every]) for name in names)
            yield f"| {data} | " + " | ".join(f"{cell[0]:.3f} ({cell[1]:.3f})" for cell in cells) + " |"


def _matched(stored: Stored) -> Iterator[str]:
    tests = ("whole", "cm-mia/t", "lira/offline-global", "rmia/offline-0.3")
    yield "\n### H2: AUC with matched shadows less AUC with uncompressed ones, 16 of each\n"
    yield "| data | format | " + " | ".join(("cm-mia/calibrated", *tests[1:])) + " |"
    yield "|---" * (2 + len(tests)) + "|"
    for data, by_mode in stored.items():
        every = by_mode["adversary"]
        for format_ in _in_all(every, "unmatched"):
            cells = []
            for test in tests:
                gains = [
                    one["formats"][format_]["16"][test][0] - one["unmatched"][format_][test][0] for one in every
                ]  # fmt: skip
                cells.append(f"{np.mean(gains):+.3f}{_give_or_take(_error(np.array(gains)))}")
            yield f"| {data} | {format_} | " + " | ".join(cells) + " |"


def _abnormal(stored: Stored) -> Iterator[str]:
    yield "\n### H3: asking about abnormal records alone\n"
    yield (
        "onnx-int8-static, 16 shadows; abnormal is the tenth that is furthest from its neighbours. Recall is that of "
        "`pchip` at nominal p of .1, over all members.\n"
    )
    yield "| data | recall | recall on abnormal | AUC on abnormal: cm-mia/calibrated | AUC on abnormal: loss |"
    yield "|---" * 5 + "|"
    for data, by_mode in stored.items():
        every = [one["abnormal"] for one in by_mode["adversary"]]
        if every:
            areas = [np.mean([one[name] for one in every]) for name in ("auc on abnormal", "auc of loss on abnormal")]
            recalls = []
            for name in ("recall@0.1", "recall@0.1 on abnormal"):
                known = [one[name] for one in every if name in one]
                recalls.append(f"{np.mean(known):.1%}" if known else "-")
            yield f"| {data} | {recalls[0]} | {recalls[1]} | {areas[0]:.3f} | {areas[1]:.3f} |"


def _formats(stored: Stored) -> Iterator[str]:
    yield f"\n### Formats: AUC of cm-mia/calibrated less that of {FLOAT} in the same population\n"
    yield (
        f"16 shadows, with the 90% interval over populations (Student's t). *Same*: the interval lies within {MARGIN} "
        "of 0 (two one-sided tests at 5%); *other*: it does not hold 0; else open.\n"
    )
    yield "| data | format | accuracy on nonmembers | difference | |\n|---|---|---|---|---|"
    for data, by_mode in stored.items():
        every = by_mode["adversary"]
        for format_ in _in_all(every, "formats"):
            if format_ == FLOAT or len(every) < 2:
                continue
            each = np.array([
                one["formats"][format_]["16"]["whole"][0] - one["formats"][FLOAT]["16"]["whole"][0] for one in every
            ])  # fmt: skip
            half = float(stats.t.ppf(0.95, len(each) - 1)) * _error(each)
            low, high = each.mean() - half, each.mean() + half
            verdict = "same" if low > -MARGIN and high < MARGIN else "other" if low > 0 or high < 0 else "open"
            accuracy = _mean([one["accuracy"][format_] for one in every])[1]
            yield f"| {data} | {format_} | {accuracy:.1%} | {each.mean():+.4f} [{low:+.4f}, {high:+.4f}] | {verdict} |"


def _nulls(stored: Stored) -> Iterator[str]:
    yield "\n### Null: auditor mode, scores of a target against the memberships of another of the same population\n"
    yield "| data | populations | AUC | TPR at 1% | TPR at .1% |\n|---|---|---|---|---|"
    for data, by_mode in stored.items():
        every = np.array([one["null"] for one in by_mode["auditor"]], np.float64)
        if len(every):
            cells = (
                "not resolvable" if np.isnan(each).any() else f"{each.mean():.4f}{_give_or_take(_error(each), 4)}"
                for each in every.T
            )
            yield f"| {data} | {len(every)} | " + " | ".join(cells) + " |"


def _in_all(populations: Sequence[Population], part: str) -> list[str]:
    """The formats that every population has, in their order."""
    return [
        name for name in (populations[0][part] if populations else ()) if all(name in one[part] for one in populations)
    ]


def _mean(rows: Sequence[Sequence[float]]) -> FloatArray:
    return np.asarray(np.mean(rows, axis=0), dtype=np.float64)


def _give_or_take(error: float, digits: int = 3) -> str:
    """` ± ` and the standard error; nothing where one population has none."""
    return "" if math.isnan(error) else f" ± {error:.{digits}f}"


def _or_dash(value: float, form: str) -> str:
    """A number; `-` for what nonmembers are too few for."""
    return "-" if math.isnan(value) else format(value, form)


def _error(values: FloatArray) -> float:
    """Standard error of a mean; NaN of one value."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
