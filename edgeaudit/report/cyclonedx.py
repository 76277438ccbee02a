"""CycloneDX 1.6: a bill of materials of the audited files as machine learning models, each with a model card.

Every value is a text, since the specification takes no numbers in a model card. Figures on all records are given; those
of slices, and the long tables, stay in audit.json.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.report.files import write_atomically
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place
from edgeaudit.report.model import Audit, FormatResult
from edgeaudit.report.summary import waived_by
from edgeaudit.report.words import metric_name, place_name, printable
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["CycloneDxWriter", "bill_of_models", "serial_number"]

_NAMESPACE = uuid.UUID("1d0e6f0a-6f43-5c43-9f7e-5f6f0c8a4b51")


class CycloneDxWriter(Writer):
    """Writes audit.cdx.json."""

    spec: ClassVar[WriterSpec] = WriterSpec("cyclonedx", "audit.cdx.json", "CycloneDX 1.6 with a model card a file")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        write_atomically(path, json.dumps(bill_of_models(audit), indent=1, allow_nan=False) + "\n")


def bill_of_models(audit: Audit) -> dict[str, Any]:
    """Return the bill of materials; the same audit gives the same one."""
    lookup = Lookup(audit)
    audited = [(place, result) for place, result in lookup.ok() if result.artifact is not None]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial_number(audit)}",
        "version": 1,
        "metadata": {
            "timestamp": audit.created,
            "tools": {"components": [{"type": "application", "name": "edgeaudit", "version": audit.tool.version}]},
        },
        "components": [
            *(_model(lookup, place, result) for place, result in audited),
            _records(audit),
        ],
    }


def serial_number(audit: Audit) -> str:
    """Return the audit's UUID, of its name, time and audited files."""
    digests = [result.artifact.sha256 for _, result in Lookup(audit).ok() if result.artifact]
    return str(uuid.uuid5(_NAMESPACE, json.dumps([audit.name, audit.created, digests])))


def _model(lookup: Lookup, place: Place, result: FormatResult) -> dict[str, Any]:
    audit, artifact = lookup.audit, result.artifact
    if artifact is None:
        raise AssertionError("only audited files are listed")
    budgets = lookup.budgets(place)
    verdicts: list[str] = list(dict.fromkeys(b.counted for b in budgets))
    waived = [f"{b.metric} {b.limit} ({b.verdict}), {waived_by(b)}" for b in budgets if b.waived_by]
    properties = {
        "outcome": audit.verdict.outcome,
        "verdict": ", ".join(verdicts) or "not judged",
        "format": result.id,
        "device": result.device,
        "interval": "95%",
        "members": str(audit.population.members),
        "nonmembers": str(audit.population.nonmembers),
        **({"policy": audit.verdict.policy.name} if audit.verdict.policy else {}),
        **({"waived": "; ".join(waived)} if waived else {}),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{place_name(*place)}",
        "name": printable(artifact.file),
        "description": printable(result.summary),
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "modelCard": {
            "modelParameters": {"datasets": [{"ref": "data:population"}]},
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(lookup, place, result))},
            "considerations": {
                "technicalLimitations": list(_limitations(audit)),
                "ethicalConsiderations": [
                    {
                        "name": "Membership inference: answers may tell which records the model was trained on",
                        "mitigationStrategy": "Limits of leakage, judged before deployment on the file that ships",
                    }
                ],
            },
        },
        "properties": [{"name": f"edgeaudit:{name}", "value": printable(value)} for name, value in properties.items()],
    }


def _metrics(lookup: Lookup, place: Place, result: FormatResult) -> Iterator[dict[str, Any]]:
    if result.accuracy is not None:
        yield {"type": "accuracy", "value": f"{result.accuracy.test:.6g}", "slice": "nonmembers"}
        yield {"type": "accuracy", "value": f"{result.accuracy.train:.6g}", "slice": "members"}
    for series in lookup.series:
        for metric in (AUC, TPR):
            row = lookup.row(place, series, metric)
            if row is None or row.value is None or not series.is_main or series.subset != "all":
                continue
            where = f"attack={row.attack}/{row.variant}; exposure={row.exposure}; shadow_match={row.shadow_match}"
            found: dict[str, Any] = {
                "type": f"membership inference {metric_name(metric)}",
                "value": f"{row.value:.6g}",
                "slice": printable(f"device={row.device}; {where}"),
            }
            if row.low is not None and row.high is not None:
                found["confidenceInterval"] = {"lowerBound": f"{row.low:.6g}", "upperBound": f"{row.high:.6g}"}
            yield found


def _limitations(audit: Audit) -> Iterator[str]:
    mode, shadows = printable(str(audit.threat.get("mode"))), audit.threat.get("shadows")
    yield f"Threat model: {mode}, exposure {printable(str(audit.threat.get('exposure')))}, {shadows} shadow models"
    yield "Membership inference alone was tested: no attribute inference, inversion, extraction or poisoning"
    for control in audit.controls:
        if control.status in ("failed", "undecided", "warning"):
            yield printable(f"Control {control.name} ({control.status}): {control.statement}")


def _records(audit: Audit) -> dict[str, Any]:
    population = audit.population
    return {
        "type": "data",
        "bom-ref": "data:population",
        "name": printable(population.source),
        "hashes": [{"alg": "SHA-256", "content": population.sha256}],
        "data": [{"type": "dataset", "name": printable(population.source)}],
    }
