"""How often the check of targets refuses a good one, and how often it lets a useless or wrongly fed one pass.

    python benchmarks/target_check.py                  # 500 good models a cell: about 90 seconds
    python benchmarks/target_check.py --audits 1000    # the table of docs/verdict.md

Answers are drawn, never trained, and go through the functions that an audit calls. Records have 2 or 10 classes, the
most frequent of which has the share in the table's head. A good model answers with the posterior of Gaussian classes,
made surer or less sure by a random factor of 0.5 to 4; their distance is such that it makes a third fewer errors on
nonmembers than always answering the most frequent label. On members it is surer of the label by a random amount. Three
other ways to feed it are exactly as good (noise that correlates by .95), five are worse.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from edgeaudit.controls.target_check import Sample, by_chance, find_better

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RECORDS = (200, 300, 1000, 5000)
SHARES = (0.5, 0.7, 0.9, 0.97)
CLASSES = (2, 10)
GAIN = 1 / 3
EXAMINED, TRIED, ANSWERED = 1024, 512, 4096
"""Records of a side that `edgeaudit.stages.target_check` examines as declared, in other ways, and in the end."""


def priors(share: float, classes: int) -> FloatArray:
    return np.array([share, *[(1 - share) / (classes - 1)] * (classes - 1)])


def errors(distance: float, share: float, classes: int) -> float:
    """Share of wrong answers of a calibrated model, by simulation with common random numbers."""
    rng = np.random.default_rng(0)
    prior = priors(share, classes)
    labels = rng.choice(classes, 40_000, p=prior)
    return float(
        (posterior(labels, distance, prior, rng.normal(size=(40_000, classes))).argmax(axis=1) != labels).mean()
    )


def posterior(labels: IntArray, distance: float, prior: FloatArray, noise: FloatArray) -> FloatArray:
    """Logits of records that lie at `distance` from the origin, on the axis of their class."""
    seen = noise.copy()
    seen[np.arange(len(labels)), labels] += distance
    return np.log(prior) + distance * seen


@cache
def distance_for(gain: float, share: float, classes: int) -> float:
    low, high = 0.0, 10.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if errors(middle, share, classes) > (1 - gain) * (1 - share) else (low, middle)
    return high


def draw(n: int, share: float, classes: int, rng: np.random.Generator) -> tuple[Sample, FloatArray]:
    """Records of both sides, members first, and the logits of a good model."""
    prior = priors(share, classes)
    sample = Sample(rng.choice(classes, 2 * n, p=prior), np.arange(2 * n) < n)
    logits = posterior(sample.labels, distance_for(GAIN, share, classes), prior, rng.normal(size=(2 * n, classes)))
    learned = rng.uniform(0, 4)
    logits[np.flatnonzero(sample.members), sample.labels[sample.members]] += learned
    return sample, logits * np.exp(rng.uniform(np.log(0.5), np.log(4)))


def within(sample: Sample, count: int) -> npt.NDArray[np.bool_]:
    kept = np.zeros(len(sample.labels), np.bool_)
    for side in (sample.members, ~sample.members):
        kept[np.flatnonzero(side)[:count]] = True
    return kept


def refused(sample: Sample, answers: npt.NDArray[np.float32], others: dict[str, npt.NDArray[np.float32]]) -> bool:
    """Whether an audit refuses these answers, as the target is examined and as it has answered."""
    for count in {min(count, int(sample.members.sum())) for count in (EXAMINED, ANSWERED)}:
        kept = within(sample, count)
        if by_chance(answers[kept], sample.first(kept), inside=False):
            return True
    kept = within(sample, TRIED)
    tried = {name: other[kept] for name, other in others.items()}
    return find_better(answers[kept], tried, sample.first(kept), inside=False) is not None


def good(n: int, share: float, rng: np.random.Generator) -> bool:
    """A good model, with other inputs that are as good and that are worse."""
    classes = int(rng.choice(CLASSES))
    sample, logits = draw(n, share, classes, rng)
    others = {}
    for i in range(8):
        noise = rng.normal(size=logits.shape)
        spread = logits.std()
        mixed = 0.95 * logits + np.sqrt(1 - 0.95**2) * spread * noise if i < 3 else 0.4 * logits + spread * noise
        others[str(i)] = (mixed * rng.uniform(0.5, 2)).astype(np.float32)
    return refused(sample, logits.astype(np.float32), others)


def useless(n: int, share: float, rng: np.random.Generator) -> bool:
    """Answers that have nothing to do with the records: the posterior of records in another order."""
    sample, logits = draw(n, share, int(rng.choice(CLASSES)), rng)
    return refused(sample, rng.permutation(logits).astype(np.float32), {})


def constant(n: int, share: float, rng: np.random.Generator) -> bool:
    """Always the same answer: the labels' shares."""
    classes = int(rng.choice(CLASSES))
    sample, logits = draw(n, share, classes, rng)
    return refused(sample, np.tile(np.log(priors(share, classes)), (len(logits), 1)).astype(np.float32), {})


def wrongly_fed(n: int, share: float, rng: np.random.Generator) -> bool:
    """A good model that is given inputs of which it makes out half as much; the right ones are among those tried."""
    sample, logits = draw(n, share, int(rng.choice(CLASSES)), rng)
    blurred = 0.5 * logits + 0.5 * logits.std() * rng.normal(size=logits.shape)
    return refused(sample, blurred.astype(np.float32), {"right": logits.astype(np.float32)})


KINDS: dict[str, Callable[[int, float, np.random.Generator], bool]] = {
    "good": good,
    "useless": useless,
    "constant": constant,
    "wrongly fed": wrongly_fed,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=500, help="good models a cell; the others have a tenth of them")
    audits = parser.parse_args(arguments).audits
    print("| target | records a side |", " | ".join(f"{share:.0%}" for share in SHARES), "|")
    print("|---|---|", "---|" * len(SHARES), sep="")
    for kind, draw_one in KINDS.items():
        count = audits if kind == "good" else max(1, audits // 10)
        for n in RECORDS:
            cells = []
            for share in SHARES:
                rng = np.random.default_rng([n, round(share * 100), len(kind)])
                cells.append(f"{sum(draw_one(n, share, rng) for _ in range(count)):,} of {count:,}")
            print(f"| {kind} | {n:,} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
