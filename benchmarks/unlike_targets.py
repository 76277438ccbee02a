"""Targets unlike their shadows: what matching them is worth to the calibrated tests, offline and online.

    python benchmarks/unlike_targets.py results.json --write docs/attacks/cm-mia.md      # an hour of one core
    python benchmarks/unlike_targets.py results.json --data letter --populations 2

A population has its own records, 16 shadows and two targets (small networks, float logits, see `many_nets`); shadows
train on complementary halves, as in an audit. Offline, they train on reference records; online, on audited ones. The
targets are scored as they are and with changed logits, as of models that were trained unlike their shadows, with and
without `output_match` and `shadow_distribution`. Every figure is a mean over populations of the mean over targets.
Results are kept in the JSON file, and are not computed again. What the learners are worth is in
benchmarks/populations, on real files. EDGEAUDIT_DATA is the folder with the data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from many_nets import SETTINGS, BoolArray, FloatArray, IntArray, answers, records

from edgeaudit.attacks.calibrated import Calibrated
from edgeaudit.attacks.calibrated_online import CalibratedOnline
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.registry import find_attack
from edgeaudit.leakage.operating_points import accused_rank, members_above
from edgeaudit.leakage.roc import auc

TARGETS, SHADOWS = 2, 16
NUMBERS = (4, 16)
RATES = (0.01, 0.001)
BEGIN, END = "<!-- unlike_targets.py begins -->", "<!-- unlike_targets.py ends -->"
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
AS_THEY_ARE = "none"
WHOLE = {"offline": "calibrated", "online": "calibrated-online"}
Figures = dict[str, list[float]]
"""Name of a score -> its AUC and TPRs, means over targets."""


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


def of_all_changes(drawn: Population, shadows: int, mode: str) -> dict[str, Figures]:
    """Every score by the change of the targets."""
    audited, reference = (drawn.evidence(0, shadows, part).shadow_answers for part in (drawn.audited, drawn.reference))
    whole = Calibrated.fit(audited, reference) if mode == "offline" else CalibratedOnline.fit(audited)
    unmatched = replace(whole, outputs=None, distributions=cast("Any", (Alike(),) * len(whole.distributions)))
    kinds = {WHOLE[mode]: whole, UNMATCHED: unmatched}
    return {
        name: _over_targets(drawn if change is None else drawn.with_targets(change), shadows, mode, kinds)
        for name, change in {AS_THEY_ARE: None, **UNLIKE}.items()
    }


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


def table(stored: Mapping[str, Figures]) -> Iterator[str]:
    """The Markdown table."""
    yield "| mode | change of logits | data | shadows | populations | matched | not matched | best yardstick |"
    yield "|---" * 8 + "|"
    for mode, whole in WHOLE.items():
        for change in (AS_THEY_ARE, *UNLIKE):
            prefix = f"{mode}|{change}|"
            cells = dict.fromkeys(tuple(key.split("|")[2:4]) for key in stored if key.startswith(prefix))
            for data, shadows in cells:
                every = [one for key, one in stored.items() if key.startswith(f"{prefix}{data}|{shadows}|")]
                means = {name: np.mean([one[name][:2] for one in every], axis=0) for name in every[0]}
                best = np.max([means[name] for name in YARDSTICKS[mode]], axis=0)
                shown = (f"{area:.3f} / {tpr:.3f}" for area, tpr in (means[whole], means[UNMATCHED], best))
                yield f"| {mode} | {change} | {data} | {shadows} | {len(every)} | " + " | ".join(shown) + " |"


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
    for number in range(chosen.populations):
        for data in chosen.data.split(","):
            for mode in chosen.modes.split(","):
                keys = {k: [f"{mode}|{name}|{data}|{k}|{number}" for name in (AS_THEY_ARE, *UNLIKE)] for k in NUMBERS}
                if all(key in stored for each in keys.values() for key in each):
                    continue
                drawn = population(data, number, mode)
                for shadows, each in keys.items():
                    stored |= dict(zip(each, of_all_changes(drawn, shadows, mode).values(), strict=True))
                chosen.out.write_text(json.dumps(stored, indent=1))
                print(f"{mode} {data} {number}", flush=True)
    text = "\n".join(table(stored))
    print(text)
    if chosen.write is not None:
        before, _, rest = chosen.write.read_text(encoding="utf-8").partition(BEGIN)
        chosen.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
