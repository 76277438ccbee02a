"""How far attacks get on the product's own files, where the unit is the population; resumable.

    python benchmarks/populations/populations.py --role development --data letter
    python benchmarks/populations/populations.py --role confirmation --shadows 4,8,16       # hours on two cores
    python benchmarks/populations/populations.py --write docs/populations.md --populations 0

A population is one audit: its own records, shadows and targets, drawn from its seed, through real toolchains and
runtimes. Settings and the attack are developed on the populations of the role `development`. Those of `confirmation`
are run afterwards: the first run of a data set writes to results/opened.json when it was opened, with a digest of its
settings and of the attacks' code, and a later run with others is refused. results/<data>.json has, for each audit, the
mean over targets of AUC and TPR at 1% and .1% FPR of every attack in every format. EDGEAUDIT_DATA is the folder with
the data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import population_tables

import edgeaudit
from edgeaudit.errors import EdgeAuditError

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DATA = Path(os.environ.get("EDGEAUDIT_DATA", HERE.parents[2] / "shared" / "data"))
FIRST = {"development": 0, "confirmation": 100}
"""Role -> the seed of its first population."""
SHADOWS = (4, 8, 16, 32, 64)
FORMATS = (
    "torch-fp32",
    "onnx-int8-static",
    "litert-int8",
    "nncf-pruned-70-int8",
    {"name": "nncf-pruned-95", "passes": [{"nncf.prune": {"ratio": 0.95}}, "onnx.export"]},
    "distilled-onnx-int8",
)


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
    targets: int = 2

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
            "targets": self.targets,
            "model": dict(self.model),
            "data": {
                "source": "npz", "path": str(DATA / self.file), **sides,
                "calibration": {"records": 128, "policy": "disjoint"}, **self.data,
            },
            "threat": {"mode": mode, "shadows": shadows, "exposure": "probabilities"},
            "controls": {"null-targets": 0, "shift": False},
            "quality": {"latency": False},
            "attacks": ["cm-mia", "lira", "rmia", "bavaria"],
            "formats": list(FORMATS),
        }  # fmt: skip


_MLP = {"recipe": "mlp", "epochs": 40, "batch": 64, "lr": 0.05}
_CNN = {"recipe": "cnn", "epochs": 30, "batch": 64, "lr": 0.2}
_HALVES = {"options": {"x": "x_train", "y": "y_train"}}
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
    "fsdd": Setting("fsdd_logmel32.npz", {**_MLP, "options": {"hidden": [64]}}, 500, 900, 1400, {"layout": "flat"}),
    "uci-har": Setting(
        "uci_har_raw_subset.npz", {**_MLP, "options": {"hidden": [128, 64]}}, 400, 500, 1300,
        {"layout": "flat", **_HALVES},
    ),
    "mnist": Setting("mnist.npz", {**_CNN, "epochs": 15}, 1000, 11000, 3000, {"layout": "HW", **_HALVES}),
    "fashion-mnist": Setting("fashion_mnist.npz", _CNN, 1000, 11000, 3000, {"layout": "HW", **_HALVES}),
    "cifar10": Setting(
        "cifar10_train20k.npz", {"recipe": "resnet8", "epochs": 20, "batch": 64, "lr": 0.1}, 1000, 10000, 3000,
        {"layout": "HWC"},
    ),
}  # fmt: skip
"""Data set -> setting."""


def figures(audit: edgeaudit.Audit) -> dict[str, dict[str, list[float | None]]]:
    """Format -> attack/variant -> mean over targets of `population_tables.METRICS`."""
    failed = [f"{one.id}: {one.error}" for one in audit.formats if one.status != "ok"]
    if failed:
        raise SystemExit(f"{audit.name}: {failed[0]}")
    found: dict[str, dict[str, list[float | None]]] = {one.id: {} for one in audit.formats}
    for row in audit.across_targets:
        if row.subset == "all" and row.metric in population_tables.METRICS:
            series = found[row.format].setdefault(
                f"{row.attack}/{row.variant}", [None] * len(population_tables.METRICS)
            )
            series[population_tables.METRICS.index(row.metric)] = (
                None if row.value is None else float(f"{row.value:.5g}")
            )
    return found


def opened(name: str) -> None:
    """Note when the confirmation populations of a data set were opened, and with what; refuse a later change."""
    path = RESULTS / "opened.json"
    known: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    used = {"settings": _digest(repr(asdict(SETTINGS[name])) + repr(FORMATS)), "attacks": _digest(*_sources())}
    if name not in known:
        known[name] = {"opened": datetime.now(UTC).isoformat(timespec="seconds"), **used}
        path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    elif {key: known[name][key] for key in used} != used:
        raise SystemExit(
            f"{name}: its confirmation populations were opened on {known[name]['opened']} with other settings or "
            "another attack; what is changed now needs populations that nobody has seen"
        )


def _sources() -> Iterator[str]:
    folder = Path(edgeaudit.__file__).parent / "attacks"
    for path in sorted(folder.glob("*.py")):
        yield f"{path.name}\n{path.read_text(encoding='utf-8')}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def run(name: str, mode: str, seed: int, shadows: tuple[int, ...], workers: int) -> None:
    """Run the audits of one population that results/<name>.json lacks, the largest first, which has all models."""
    path = RESULTS / f"{name}.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    missing = [k for k in sorted(shadows, reverse=True) if f"{mode}|{k}|{seed}" not in done]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as store:
        for k in missing:
            try:
                audit = edgeaudit.run(SETTINGS[name].spec(name, mode, seed, k), store=store, workers=workers)
            except EdgeAuditError as exc:
                raise SystemExit(f"{name}, {mode}, population {seed}: {exc}") from exc
            done[f"{mode}|{k}|{seed}"] = figures(audit)
            path.write_text(json.dumps(done, sort_keys=True, separators=(",", ":")) + "\n")
            print(f"{datetime.now(UTC):%H:%M} {name} {mode} population {seed}, {k} shadows", flush=True)


def main() -> None:
    """Run the populations that are missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=FIRST, default="development")
    parser.add_argument("--data", default=",".join(SETTINGS), help="names, separated by commas (default: all)")
    parser.add_argument("--modes", default="adversary,auditor")
    parser.add_argument("--shadows", default=",".join(map(str, SHADOWS)))
    parser.add_argument("--populations", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", type=Path, help="Markdown page whose tables to write, of confirmation populations")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    shadows = tuple(int(k) for k in chosen.shadows.split(","))
    for number in range(chosen.populations):
        for name in chosen.data.split(","):
            if chosen.role == "confirmation":
                opened(name)
            for mode in chosen.modes.split(","):
                run(name, mode, FIRST[chosen.role] + number, shadows, chosen.workers)
    if chosen.write is not None:
        population_tables.write(RESULTS, chosen.write, FIRST["confirmation"])


if __name__ == "__main__":
    main()
