"""How far attacks get on the product's own files, where the unit is the population; resumable.

    python benchmarks/populations/populations.py --role development --data letter
    python benchmarks/populations/populations.py --role confirmation                  # hours on two cores
    python benchmarks/populations/populations.py --write docs/populations.md --populations 0

A population has its own records, shadows and targets, drawn from its seed: the plan of an audit, whose models are
trained, compressed and queried by the product's jobs, and whose answers are scored by its attacks. The first K shadows
are those of an audit with K of them. Settings and the attack are developed on the populations of the role
`development`. Those of `confirmation` are run afterwards: the first run of a data set notes when it was opened, with a
digest of its settings and of the attacks' code, and a later run with others is refused. results/<data>.json has, for
each population, means over targets. Each population leaves its targets' rows and true memberships in the folder of
`--work`, from which the next one's ceiling learns. EDGEAUDIT_DATA is the folder with the data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import population_tables
from population_scores import FLOAT, Lesson, scored

import edgeaudit
from edgeaudit.config.audit import spec_of
from edgeaudit.errors import EdgeAuditError
from edgeaudit.graph.executor import Silent, raise_errors
from edgeaudit.pipeline.audit import prepare
from edgeaudit.pipeline.engine import engine
from edgeaudit.stages.measure import Measure
from edgeaudit.stages.query import Query

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DATA = Path(os.environ.get("EDGEAUDIT_DATA", HERE.parents[2] / "shared" / "data"))
FIRST = {"development": 0, "confirmation": 100}
"""Role -> the seed of its first population."""
REOPENED = dict.fromkeys(("mnist", "fashion-mnist"), 200)
"""Data sets whose settings were changed after a population was opened -> the seed of the first one since.

Standardised by pixel, values of the rim reach 286 deviations, and int8 files of such inputs answer nothing like their
model: the product refuses them."""
NUMBERS = (4, 8, 16, 32)
"""Of shadows."""
LAST = 16
"""Number of shadows for what is no comparison with yardsticks."""
MAIN = ("onnx-int8-static", "litert-int8", "nncf-pruned-70-int8")
FORMATS: Mapping[str, tuple[Any, ...]] = {
    "adversary": (
        "torch-fp32",
        *MAIN,
        {"name": "nncf-pruned-95", "passes": [{"nncf.prune": {"ratio": 0.95}}, "onnx.export"]},
        "distilled-onnx-int8",
    ),
    "auditor": MAIN,
}


@dataclass(frozen=True)
class Setting:
    """A data set: its file in EDGEAUDIT_DATA, its model, and how many records a population has.

    members, nonmembers: audited. reference: that shadows are drawn from in adversary mode.
    """

    file: str
    model: Mapping[str, Any]
    members: int
    nonmembers: int
    reference: int
    data: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=lambda: {"adversary": 2, "auditor": 4})

    def spec(self, name: str, mode: str, seed: int, shadows: int) -> dict[str, Any]:
        """The audit.yaml of a population. In auditor mode there are as many nonmembers as members."""
        online = mode == "auditor"
        sides = {
            "members": self.members,
            "nonmembers": self.members if online else self.nonmembers,
            "reference": min(500, self.reference) if online else self.reference,
        }
        return {
            "name": f"population-{name}-{mode}-{seed}",
            "seed": seed,
            "targets": self.targets[mode],
            "model": dict(self.model),
            "data": {
                "source": "npz", "path": str(DATA / self.file), **sides,
                "calibration": {"records": 128, "policy": "disjoint"}, **self.data,
            },
            "threat": {
                "mode": mode, "shadows": shadows, "exposure": "probabilities",
                "shadow_match": ["matched"] if online else ["matched", "fp32"],
            },
            "controls": {"null-targets": 0, "shift": False},
            "quality": {"latency": False},
            "formats": list(FORMATS[mode]),
        }  # fmt: skip


_MLP = {"recipe": "mlp", "epochs": 40, "batch": 64, "lr": 0.05}
_HALVES = {"options": {"x": "x_train", "y": "y_train"}}
_MLP_OF_PIXELS = {**_MLP, "options": {"hidden": [128, 64]}}
_PIXELS = {"layout": "flat", "preprocessing": "unit", **_HALVES}
SETTINGS = {
    "letter": Setting("letter.npz", {**_MLP, "options": {"hidden": [128, 64]}}, 1000, 14000, 3000, {"layout": "flat"}),
    "location30": Setting(
        "location30.npz", {**_MLP, "options": {"hidden": [256, 128]}, "epochs": 30}, 1000, 1400, 2400,
        {"layout": "flat"},
    ),
    "adult": Setting(
        "adult.npz", {**_MLP, "options": {"hidden": [64]}}, 1000, 11000, 3000, {"layout": "flat", **_HALVES}
    ),
    "cwru": Setting(
        "cwru_de12k_w256.npz", {**_MLP, "options": {"hidden": [64]}}, 1000, 11000, 3000, {"layout": "flat"}
    ),
    "fsdd": Setting("fsdd_logmel32.npz", {**_MLP, "options": {"hidden": [64]}}, 500, 1000, 1400, {"layout": "flat"}),
    "uci-har": Setting(
        "uci_har_raw_subset.npz", {**_MLP, "options": {"hidden": [128, 64]}}, 400, 500, 1300,
        {"layout": "flat", **_HALVES},
    ),
    "mnist": Setting("mnist.npz", _MLP_OF_PIXELS, 1000, 11000, 3000, _PIXELS),
    "fashion-mnist": Setting("fashion_mnist.npz", _MLP_OF_PIXELS, 1000, 11000, 3000, _PIXELS),
    "cifar10": Setting(
        "cifar10_train20k.npz", {"recipe": "resnet8", "epochs": 20, "batch": 64, "lr": 0.1}, 1000, 10000, 3000,
        {"layout": "HWC"},
    ),
}  # fmt: skip
"""Data set -> setting."""


def _first(role: str, name: str) -> int:
    return REOPENED.get(name, FIRST[role]) if role == "confirmation" else FIRST[role]


def opened(name: str) -> dict[str, str]:
    """When the confirmation populations of a data set are opened, and with what."""
    settings = repr(asdict(SETTINGS[name])) + repr((FORMATS, MAIN, NUMBERS))
    return {
        "opened": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": _digest(settings),
        "attacks": _digest(*_sources()),
    }


def require_as_opened(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse populations of settings or attacks that were changed since the first one was opened."""
    if any(before[key] != now[key] for key in ("settings", "attacks")):
        raise SystemExit(
            f"{name}: its confirmation populations were opened on {before['opened']} with other settings or another "
            "attack; what is changed now needs populations that nobody has seen"
        )


def _sources() -> Iterator[str]:
    folder = Path(edgeaudit.__file__).parent / "attacks"
    for path in sorted(folder.glob("*.py")):
        yield f"{path.name}\n{path.read_text(encoding='utf-8')}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def run(name: str, mode: str, seed: int, work: Path, workers: int) -> dict[str, Any]:
    """Train, compress and query the models of one population, and score its targets."""
    lessons = work / "lessons" / f"{name}-{mode}-{{}}.npz"
    folder = work / f"store-{name}-{mode}-{seed}"
    with engine(HERE, folder, workers) as running:
        spec = spec_of(SETTINGS[name].spec(name, mode, seed, max(NUMBERS)), HERE)
        prepared = prepare(spec, running.store, running.executor, Silent())
        asked = {ref: job for ref, job in prepared.plan.jobs.items() if ref.kind in {"train", "compress", "query"}}
        result = running.executor.run(asked, Silent())
        made, failed = [], {}
        for one in prepared.plan.formats:
            queries = {job.ref for m in one.measures.values() for job in _queries(m)}
            if all(running.store.has(*ref) for ref in queries):
                made.append(one)
                continue
            if one.use.id in MAIN or one.use.id == FLOAT:
                raise_errors(result)
            # A file that does not agree with its model is refused by the product, which is a result, too.
            failed[one.use.id] = next((str(error) for error in result.errors.values()), "a job before it failed")
        before = Lesson.load(Path(str(lessons).format(seed - 1)))
        found = scored(made, running.store, mode, NUMBERS, MAIN, LAST, before)
    found.lesson.save(Path(str(lessons).format(seed)))
    return found.figures | {"failed": failed}


def _queries(measure: Measure) -> Iterator[Query]:
    settings = measure.settings.evidence
    yield from (query for _, query in settings.targets)
    yield from settings.shadows


def main() -> None:
    """Run the populations that are missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=FIRST, default="development")
    parser.add_argument("--data", default=",".join(SETTINGS), help="names, separated by commas (default: all)")
    parser.add_argument("--modes", default="adversary,auditor")
    parser.add_argument("--populations", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--work", type=Path, default=Path(".edgeaudit/populations"), help="folder of lessons and stores"
    )
    parser.add_argument("--keep", action="store_true", help="keep the stores, tens of gigabytes")
    parser.add_argument("--write", type=Path, help="Markdown page whose tables to write, of confirmation populations")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for number in range(chosen.populations):
        for name in chosen.data.split(","):
            path = RESULTS / f"{name}.json"
            for mode in chosen.modes.split(","):
                done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
                seed = _first(chosen.role, name) + number
                if f"{mode}|{seed}" in done:
                    continue
                if chosen.role == "confirmation":
                    now = opened(name)
                    require_as_opened(name, done.setdefault("opened", now), now)
                try:
                    done[f"{mode}|{seed}"] = _rounded(run(name, mode, seed, chosen.work.resolve(), chosen.workers))
                except EdgeAuditError as exc:
                    raise SystemExit(f"{name}, {mode}, population {seed}: {exc}") from exc
                path.write_text(json.dumps(done, sort_keys=True, separators=(",", ":")) + "\n")
                print(f"{datetime.now(UTC):%H:%M} {name} {mode} population {seed}", flush=True)
                if not chosen.keep:
                    shutil.rmtree(chosen.work / f"store-{name}-{mode}-{seed}")
    if chosen.write is not None:
        population_tables.write(RESULTS, chosen.write, FIRST["confirmation"])


def _rounded(value: Any) -> Any:
    """Five significant digits of every number, null for NaN."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else float(f"{value:.5g}")


if __name__ == "__main__":
    main()
