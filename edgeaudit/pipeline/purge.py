"""Remove the raw records of finished runs, and keep their figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.errors import store_errors
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.recorded import read_recorded
from edgeaudit.report.model import Thumbnail
from edgeaudit.report.schema import read_audit
from edgeaudit.report.writers import write_reports
from edgeaudit.rows import Rows
from edgeaudit.stages.population import DrawPopulation

__all__ = ["EVIDENCE", "Purged", "purge_records"]

EVIDENCE = "evidence.npz"
"""The file in a run's folder that `edgeaudit export` writes unless another is named."""


@dataclass(frozen=True)
class Purged:
    """What was removed. populations: entries of the store with records. files: of runs, removed or written again."""

    populations: int
    files: Sequence[Path]


def purge_records(store: Store, runs: Iterable[Path]) -> Purged:
    """Remove the records of runs from the store, and what their folders have of records and answers.

    Raw records are in one entry of the store for each population; other entries have models, answers and figures. A
    run's folder may have exported evidence, and thumbnails in its reports, which are then written without them.

    Args:
        store: whose records are removed: all of them if no run is named.
        runs: folders of finished runs; of the store, those of their populations alone are removed.

    Raises:
        RunError: a folder is not that of a run, or has no spec.json; nothing was removed. StoreError: a file cannot be
            removed.
    """
    folders = list(runs)
    for run in folders:
        read_audit(run / "audit.json")
    named = {read_recorded(run).population for run in folders}
    entries = [entry for entry in store.entries() if entry.ref.kind == DrawPopulation.kind]
    removed = [entry for entry in entries if not named or entry.ref.key in named]
    for entry in removed:
        store.drop(*entry.ref)
    files: list[Path] = []
    for run in folders:
        files += _without_records(run)
    return Purged(len(removed), files)


def _without_records(run: Path) -> list[Path]:
    """Remove exported evidence and thumbnails from a run's folder; returns the files that were changed."""
    changed = []
    with store_errors(str(run)):
        if (run / EVIDENCE).exists():
            (run / EVIDENCE).unlink()
            changed.append(run / EVIDENCE)
    audit = read_audit(run / "audit.json")
    if audit.thumbnails:
        without = audit.model_copy(update={"thumbnails": Rows(of=Thumbnail)})
        changed += write_reports(without, run, read_recorded(run).spec.report.writers)
    return changed
