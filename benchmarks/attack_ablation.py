"""What each part of the calibrated test is worth, offline and online, and what the yardsticks find.

    python benchmarks/attack_ablation.py results.json --write docs/attacks/cm-mia.md      # an hour of one core
    python benchmarks/attack_ablation.py results.json --data letter --populations 2

A population has its own records, 32 shadows and two targets (small networks, float logits, see `many_nets`); shadows
train on complementary halves, as in an audit. Offline, they train on reference records; online, on audited ones. Every
figure is a mean over populations of the mean over targets, every difference is paired by population, with its standard
error. From the second population on, learners that are told the true memberships of the targets of the population
before show what is left to find: a ceiling for learners of plays. The same targets with changed logits, as of models
that were trained unlike their shadows, show what `shadow_distribution` is worth. Results are kept in the JSON file, and
are not computed again.
EDGEAUDIT_DATA is the folder with the data.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from many_nets import SETTINGS, BoolArray, FloatArray, IntArray, answers, records

from edgeaudit.attacks.calibrated import Calibrated
from edgeaudit.attacks.calibrated_online import CalibratedOnline
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.play_learners import AnyRows, Learner, Network, Quadratic
from edgeaudit.attacks.registry import find_attack
from edgeaudit.leakage.operating_points import accused_rank, members_above
from edgeaudit.leakage.roc import auc

TARGETS, SHADOWS = 2, 32
NUMBERS = (4, 8, 16, 32)
RATES = (0.01, 0.001)
BEGIN, END = "<!-- attack_ablation.py begins -->", "<!-- attack_ablation.py ends -->"
YARDSTICKS = {
    "offline": (
        "lira/offline-global",
        "lira/offline-per-record",
        "rmia/offline-0",
        "rmia/offline-0.3",
        "rmia/offline-0.6",
    ),
    "online": ("lira/online-global", "lira/online-per-record", "bavaria/online-t", "bavaria/online-n", "rmia/online"),
}
UNLIKE: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "logits doubled": lambda logits: 2 * logits,
    "logits halved": lambda logits: logits / 2,
    "4 added to every second logit": lambda logits: logits + 4.0 * (np.arange(logits.shape[-1]) % 2 == 0),
}
"""Name of a change -> the target's logits with it."""
UNMATCHED = "without the match"
WHOLE = {"offline": "calibrated", "online": "calibrated-online"}
TAUGHT = "taught by another population's targets"
Figures = dict[str, list[float]]
"""Name of a score -> its AUC and TPRs, means over targets."""
Lessons = dict[tuple[str, str, int], tuple[FloatArray, BoolArray]]
"""(mode, data set, shadows) -> rows of the targets of the population before, and their true memberships."""


class Nothing:
    """A learner that knows nothing: takes a part out of a sum."""

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray) -> Nothing:  # noqa: ARG003  # the protocol's
        return cls()

    def log_odds(self, rows: AnyRows) -> FloatArray:
        return np.zeros(len(rows))


class Recorder:
    """A learner that knows nothing and keeps the rows that it is asked for."""

    def __init__(self) -> None:
        self.rows: list[FloatArray] = []

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray) -> Recorder:  # noqa: ARG003  # the protocol's
        return cls()

    def log_odds(self, rows: AnyRows) -> FloatArray:
        self.rows.append(np.asarray(rows, dtype=np.float64))
        return np.zeros(len(rows))


class Alike:
    """A distribution that takes every target as it is."""

    def match(self, values: FloatArray) -> Alike:  # noqa: ARG002  # as of `ShadowDistribution`
        return self

    def apply(self, values: FloatArray, labels: IntArray) -> FloatArray:  # noqa: ARG002  # as of `Match`
        return values


@dataclass(frozen=True)
class Population:
    """Logits of targets, then of shadows, float64 [models, n, classes], masks of their members, labels, and parts."""

    logits: FloatArray
    masks: BoolArray
    labels: IntArray
    audited: IntArray
    reference: IntArray

    def with_targets(self, change: Callable[[FloatArray], FloatArray]) -> Population:
        """The same with other logits of the targets."""
        return replace(self, logits=np.concatenate((change(self.logits[:TARGETS]), self.logits[TARGETS:])))

    def evidence(self, target: int, shadows: int, which: IntArray) -> Evidence:
        """The answers of one target and the first shadows on some records."""
        models = slice(TARGETS, TARGETS + shadows)
        out = ~self.masks[models][:, which]
        return Evidence(self.logits[target, which], self.logits[models][:, which], out, self.labels[which], "logits")


def population(name: str, number: int, mode: str) -> Population:
    """Draw records, train all models, and ask them."""
    x, y = records(name)
    setting = SETTINGS[name]
    rng = np.random.default_rng([number, mode == "online", 14])
    m = setting.members
    others = 2 * m if mode == "offline" else 500
    asked = min(m + setting.nonmembers if mode == "offline" else 2 * m, len(x) - others)
    chosen = rng.permutation(len(x))[: asked + others]
    of_audited, reference = np.arange(asked), np.arange(asked, asked + others)
    masks = np.zeros((TARGETS + SHADOWS, len(chosen)), dtype=np.bool_)
    for target in range(TARGETS):
        masks[target, rng.permutation(of_audited)[:m]] = True
    pool = reference if mode == "offline" else of_audited
    for pair in range(TARGETS, TARGETS + SHADOWS, 2):
        masks[pair, rng.permutation(pool)[: len(pool) // 2]] = True
        masks[pair + 1, pool] = ~masks[pair, pool]
    logits = answers(x[chosen], y[chosen], masks, setting, number)
    return Population(logits.astype(np.float64), masks, y[chosen], of_audited, reference)


def figures_of(score: FloatArray, members: BoolArray) -> list[float]:
    """AUC, then the TPR at each rate (the expected FPR is at most the rate)."""
    inside, outside = score[members], score[~members]
    above = members_above(inside, outside)
    return [auc(score, members), *(float(above[accused_rank(rate, len(outside))]) / len(inside) for rate in RATES)]


def offline(drawn: Population, shadows: int) -> tuple[dict[str, Figures], list[FloatArray]]:
    """Every score of the offline setting by the change of the targets ("" for none), and the rows of each target."""
    first = drawn.evidence(0, shadows, drawn.audited), drawn.evidence(0, shadows, drawn.reference)
    fitted = Calibrated.fit(first[0].shadow_answers, first[1].shadow_answers)
    network, quadratic = fitted.smooth
    nothing: Learner = Nothing()
    kinds = {
        WHOLE["offline"]: fitted,
        "trees alone": replace(fitted, smooth=(nothing,)),
        "without trees": replace(fitted, trees=nothing),
        "network alone": replace(fitted, trees=nothing, smooth=(network,)),
        "regression alone": replace(fitted, trees=nothing, smooth=(quadratic,)),
        "without network (no torch)": replace(fitted, smooth=(quadratic,)),
        "asked against all shadows": replace(fitted, size=shadows),
    }
    records = []
    for target in range(TARGETS):
        by_trees, by_others = Recorder(), Recorder()
        asked, known = (drawn.evidence(target, shadows, part) for part in (drawn.audited, drawn.reference))
        replace(fitted, trees=by_trees, smooth=(by_others,)).score(asked, known)
        # Audited records are asked for first.
        count = len(by_trees.rows) // 3
        both = [np.mean(one.rows[:count], axis=0) for one in (by_trees, by_others)]
        records.append(np.column_stack(both))
    return _of_all_changes(drawn, shadows, "offline", kinds), records


def online(drawn: Population, shadows: int) -> tuple[dict[str, Figures], list[FloatArray]]:
    """Every score of the online setting by the change of the targets ("" for none), and the rows of each target."""
    fitted = CalibratedOnline.fit(drawn.evidence(0, shadows, drawn.audited).shadow_answers)
    network, quadratic = fitted.learners
    kinds = {
        WHOLE["online"]: fitted,
        "network alone": replace(fitted, learners=(network,)),
        "regression alone (no torch)": replace(fitted, learners=(quadratic,)),
    }
    records = []
    for target in range(TARGETS):
        recorder = Recorder()
        asked = drawn.evidence(target, shadows, drawn.audited)
        replace(fitted, learners=(recorder,)).score(asked, asked)
        records.append(np.mean(recorder.rows, axis=0))
    return _of_all_changes(drawn, shadows, "online", kinds), records


def _of_all_changes(
    drawn: Population, shadows: int, mode: str, kinds: Mapping[str, Calibrated | CalibratedOnline]
) -> dict[str, Figures]:
    whole = kinds[WHOLE[mode]]
    unmatched = replace(whole, distributions=cast("Any", (Alike(),) * len(whole.distributions)))
    found = {"": _over_targets(drawn, shadows, mode, {**kinds, UNMATCHED: unmatched})}
    for name, change in UNLIKE.items():
        some = {WHOLE[mode]: whole, UNMATCHED: unmatched}
        found[name] = _over_targets(drawn.with_targets(change), shadows, mode, some)
    return found


def _over_targets(
    drawn: Population, shadows: int, mode: str, kinds: Mapping[str, Calibrated | CalibratedOnline]
) -> Figures:
    found: dict[str, list[list[float]]] = {}
    for target in range(TARGETS):
        members = drawn.masks[target, drawn.audited]
        asked, known = (drawn.evidence(target, shadows, part) for part in (drawn.audited, drawn.reference))
        scores = {name: kind.score(asked, known).score for name, kind in kinds.items()}
        for yardstick in YARDSTICKS[mode]:
            attack, _, variant = yardstick.partition("/")
            scores[yardstick] = find_attack(attack)().score(asked, variant, known).score
        for name, score in scores.items():
            found.setdefault(name, []).append(figures_of(score, members))
    return {name: np.mean(each, axis=0).tolist() for name, each in found.items()}


def taught(
    rows: list[FloatArray], drawn: Population, lesson: tuple[FloatArray, BoolArray] | None
) -> list[float] | None:
    """Figures of learners that are told the true memberships of another population's targets; None without one."""
    if lesson is None:
        return None
    learners = [kind.fit(*lesson) for kind in (Network, Quadratic)]
    each = []
    for target, columns in enumerate(rows):
        score = np.mean([learner.log_odds(columns) for learner in learners], axis=0)
        each.append(figures_of(score, drawn.masks[target, drawn.audited]))
    return [float(value) for value in np.mean(each, axis=0)]


def tables(stored: Mapping[str, Figures]) -> Iterator[str]:
    """The Markdown tables: the whole against the best yardstick of each column, then the parts."""
    for mode, whole in WHOLE.items():
        yield f"\n**{mode}**: {whole}, and in brackets the paired difference to the best yardstick of that column\n"
        yield "| data | shadows | populations | AUC | TPR at 1% | TPR at .1% |\n|---|---|---|---|---|---|"
        cells = sorted(
            {tuple(key.split("|")[1:3]) for key in stored if key.startswith(f"{mode}|")},
            key=lambda c: (c[0], int(c[1])),
        )
        for data, shadows in cells:
            every = [value for key, value in stored.items() if key.startswith(f"{mode}|{data}|{shadows}|")]
            each = [" | ".join(_compared(every, whole, YARDSTICKS[mode], place) for place in range(3))]
            yield f"| {data} | {shadows} | {len(every)} | {each[0]} |"
        yield f"\nParts of {whole}: mean difference to the whole, AUC / TPR at 1%, over all data sets and populations\n"
        numbers = sorted({int(c[1]) for c in cells})
        yield "| part | " + " | ".join(f"K = {k}" for k in numbers) + " |\n|---" + "|---" * len(numbers) + "|"
        names = dict.fromkeys(name for key, value in stored.items() if key.startswith(f"{mode}|") for name in value)
        for name in names:
            if name == whole or "/" in name:
                continue
            row = []
            for k in numbers:
                every = [
                    value
                    for key, value in stored.items()
                    if key.startswith(f"{mode}|") and key.split("|")[2] == str(k) and name in value
                ]
                difference = np.array([np.subtract(one[name], one[whole])[:2] for one in every])
                error = difference.std(axis=0, ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else [0, 0]
                row.append(
                    " / ".join(f"{d:+.3f} ± {e:.3f}" for d, e in zip(difference.mean(axis=0), error, strict=True))
                )
            yield f"| {name} | " + " | ".join(row) + " |"
        yield f"\nTargets unlike their shadows, AUC / TPR at 1%: {whole}, {UNMATCHED}, and the best yardstick\n"
        yield "| change | data | shadows | populations | whole | without | best yardstick |"
        yield "|---" * 7 + "|"
        for change in UNLIKE:
            for data, shadows in cells:
                prefix = f"{mode} {change}|{data}|{shadows}|"
                every = [value for key, value in stored.items() if key.startswith(prefix)]
                if not every:
                    continue
                means = {name: np.mean([one[name][:2] for one in every], axis=0) for name in every[0]}
                best = np.max([means[name] for name in YARDSTICKS[mode]], axis=0)
                shown = (f"{auc_:.3f} / {tpr:.3f}" for auc_, tpr in (means[whole], means[UNMATCHED], best))
                yield f"| {change} | {data} | {shadows} | {len(every)} | " + " | ".join(shown) + " |"


def _compared(every: list[Figures], whole: str, yardsticks: tuple[str, ...], place: int) -> str:
    values = {name: np.array([one[name][place] for one in every]) for name in (whole, *yardsticks)}
    best = max(yardsticks, key=lambda name: float(values[name].mean()))
    difference = values[whole] - values[best]
    error = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    return f"{values[whole].mean():.3f} ({difference.mean():+.3f} ± {error:.3f}, {best})"


def main() -> None:
    """Simulate what is missing, print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON file of the results; a run continues what it has")
    parser.add_argument("--data", default=",".join(SETTINGS), help=f"of {', '.join(SETTINGS)} (default: all)")
    parser.add_argument("--modes", default=",".join(WHOLE), help="offline, online (default: both)")
    parser.add_argument("--populations", type=int, default=3)
    parser.add_argument("--write", type=Path, help="Markdown page whose tables to write")
    chosen = parser.parse_args()
    stored: dict[str, Figures] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    lessons: Lessons = {}
    for number in range(chosen.populations):
        for data in chosen.data.split(","):
            for mode in chosen.modes.split(","):
                keys = {shadows: f"{mode}|{data}|{shadows}|{number}" for shadows in NUMBERS}
                if all(key in stored for key in keys.values()):
                    continue
                drawn = population(data, number, mode)
                for shadows, key in keys.items():
                    found, rows = (offline if mode == "offline" else online)(drawn, shadows)
                    for change, figures in found.items():
                        stored[f"{mode} {change}|{data}|{shadows}|{number}" if change else key] = figures
                    told = taught(rows, drawn, lessons.get((mode, data, shadows)))
                    if told is not None:
                        stored[key][TAUGHT] = told
                    true = [drawn.masks[target, drawn.audited] for target in range(TARGETS)]
                    lessons[mode, data, shadows] = np.concatenate(rows), np.concatenate(true)
                    chosen.out.write_text(json.dumps(stored, indent=1))
                print(f"{mode} {data} {number}", flush=True)
    text = "\n".join(tables(stored))
    print(text)
    if chosen.write is not None:
        before, _, rest = chosen.write.read_text(encoding="utf-8").partition(BEGIN)
        chosen.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
