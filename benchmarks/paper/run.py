"""Re-test the claims of CM-MIA on six data sets: `python benchmarks/paper/run.py`, hours on two cores, resumable.

Each data set is one audit (<name>.yaml: 64 shadows, 8 or 16 targets, 7 formats) and its ablations: uncompressed
shadows, and fewer shadows. They share one store, so nothing is trained, exported or asked twice, and a run that was
ended goes on where it stopped. Writes results/<name>.json, from which write_up.py makes docs/benchmark.md.
EDGEAUDIT_DATA is the folder with the data.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.cli.console import Console
from edgeaudit.cli.progress import ProgressView
from edgeaudit.config.audit import AuditSpec, load_spec
from edgeaudit.config.formats import FormatUse
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.leakage.rows import LeakageRow, TargetFigure
from edgeaudit.pipeline.audit import prepare, run_audit
from edgeaudit.pipeline.plan import Plan
from edgeaudit.stages.query import Query

HERE = Path(__file__).resolve().parent
DATA_SETS = ("location30", "letter", "uci-har", "fashion-mnist", "mnist", "cifar10")
PILOT = ("onnx-int8-static", "litert-int8", "nncf-pruned-70-int8")
MAIN = "matched-64"
COMPARED = ("cm-mia", "lira", "rmia")
COVERAGES = (0.01, 0.05, 0.1)
KEPT = (
    "auc", "tpr@fpr=0.01", "tpr@fpr=0.001", "balanced_accuracy", "forced_accuracy@0.05", "recall@0.05",
    "forced_accuracy@nominal=0.05", "recall@nominal=0.05",
)  # fmt: skip


def runs(spec: AuditSpec) -> Iterator[tuple[str, AuditSpec]]:
    """The audit and its ablations, by name."""
    yield MAIN, spec
    compressed = tuple(use for use in spec.formats if use.format != "torch-fp32")
    yield "fp32-64", _ablation(spec, 64, "fp32", compressed)
    yield "matched-32", _ablation(spec, 32, "matched", tuple(FormatUse(format=f) for f in PILOT))
    for k in (8, 16):
        yield f"matched-{k}", _ablation(spec, k, "matched", (FormatUse(format="litert-int8"),))


def _ablation(spec: AuditSpec, k: int, match: str, formats: Sequence[FormatUse]) -> AuditSpec:
    threat = spec.threat.model_copy(update={"shadows": k, "shadow_match": (match,)})
    controls = spec.controls.model_copy(update={"null_targets": 0, "shift": False})
    changes = {"threat": threat, "controls": controls, "formats": tuple(formats)}
    return spec.with_attacks(COMPARED).model_copy(update=changes)


def run(name: str, store: Store, workers: int, console: Console) -> dict[str, Any]:
    """All runs of one data set: {run: {...}}."""
    spec = load_spec(HERE / f"{name}.yaml")
    found: dict[str, Any] = {"name": name, "runs": {}}
    for label, variant in runs(spec):
        console.print(f"{name}: {label}")
        with (
            LocalProcesses(store, workers, HERE) as executor,
            ProgressView(console, workers) as view,
            tempfile.TemporaryDirectory() as out,
        ):
            prepared = prepare(variant, store, executor, view)
            view.begin(prepared.plan.jobs, set(prepared.plan.jobs) - set(prepared.todo(store)))
            audit, _ = run_audit(prepared, store, executor, view, Path(out))
        failed = [f"{f.id}: {f.error}" for f in audit.formats if f.status != "ok"]
        if failed:
            raise SystemExit(f"{name} {label}: {failed[0]}")
        values = dict(_formats(prepared.plan, store))
        found["runs"][label] = {"formats": values if label == MAIN else _all_records(values)}
        if label == MAIN:
            found["p_calibration"] = [asdict(row) for row in audit.p_calibration]
            about = audit.model_dump(mode="json", include={"population", "environment", "seed", "threat", "timings"})
            controls = [asdict(row) for row in audit.controls]
            accuracy = {f.id: asdict(f.accuracy) for f in audit.formats if f.accuracy}
            queries = sum(store.read(job).queries for job in prepared.plan.jobs.values() if isinstance(job, Query))
            found |= about | {"controls": controls, "accuracy": accuracy, "queries": queries}
    return found


def _formats(plan: Plan, store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Format -> {series: {subset: {metric: [a value a target]}}}."""
    for planned in plan.formats:
        findings, folder = store.read(planned.measure).findings, store.folder(*planned.measure.ref)
        roles = [role for role, _ in planned.measure.settings.evidence.targets]
        rows: list[Sequence[LeakageRow | TargetFigure]] = [findings.leakage]
        rows += (findings.targets[role] for role in roles[1:])
        yield planned.use.id, _values(rows) | _at_coverage(folder, roles)


def _values(targets: Sequence[Sequence[LeakageRow | TargetFigure]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, rows in enumerate(targets):
        for row in rows:
            key = f"{row.attack}/{row.variant}", row.subset, row.metric
            if key[2] not in KEPT:
                continue
            values = found.setdefault(key[0], {}).setdefault(key[1], {}).setdefault(key[2], [None] * len(targets))
            values[index] = row.value
    return found


def _all_records(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without subsets, which only the main run is asked about."""
    return {
        form: {series: {"all": subsets["all"]} for series, subsets in found.items() if "all" in subsets}
        for form, found in values.items()
    }


def _at_coverage(folder: Path, roles: Sequence[str]) -> dict[str, Any]:
    """PPV of the records that an attack is surest of, as many as are covered; ties count in proportion."""
    found: dict[str, Any] = {}
    for index, role in enumerate(roles):
        with np.load(folder / ("scores.npz" if index == 0 else f"scores-{role}.npz")) as arrays:
            members = arrays["members"]
            for series in (name for name in arrays.files if "/" in name):
                for coverage in COVERAGES:
                    key = found.setdefault("coverage", {}).setdefault(series, {})
                    values = key.setdefault(f"ppv@coverage={coverage:g}", [None] * len(roles))
                    values[index] = _ppv_of_top(arrays[series], members, coverage)
    return found


def _ppv_of_top(scores: np.ndarray, members: np.ndarray, coverage: float) -> float:
    count = max(1, round(coverage * len(scores)))
    edge = np.sort(scores)[-count]
    above, tied = scores > edge, scores == edge
    hits = members[above].sum() + (count - above.sum()) * members[tied].mean()
    return float(hits / count)


def main() -> None:
    """Run the data sets that were named; all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=DATA_SETS, help=f"of: {', '.join(DATA_SETS)}")
    parser.add_argument("--store", type=Path, default=Path(".edgeaudit"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="also those whose results are there")
    chosen = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    for name in chosen.names:
        if (HERE / "results" / f"{name}.json").exists() and not chosen.again:
            continue
        found = run(name, Store(chosen.store.resolve()), chosen.workers, Console())
        text = json.dumps(_rounded(found), indent=None, separators=(",", ":"), allow_nan=False)
        (HERE / "results" / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
