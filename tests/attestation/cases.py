"""Hand-made audits of real files in a folder, and what signs and checks them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import edgeaudit
from edgeaudit.config.audit import spec_of
from edgeaudit.gate.origin import budgets_sha256
from edgeaudit.report.model import Audit, Budget, Control, FormatResult, LimitsOrigin, Verdict
from edgeaudit.report.schema import write_audit
from tests.report import sample

BUDGETS: dict[str, object] = {"auc": ["error", {"max": 0.7}]}
FIGURES = ("leakage", "curves", "null_p_values", "p_calibration", "across_targets", "comparisons", "latency")
"""Megabytes of the sample that evidence does not read."""
IN_TOTO = "application/vnd.in-toto+json"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def format_result(
    format_id: str, file: Path | None, device: str = "local", companions: Sequence[str] = ()
) -> FormatResult:
    """A format that was audited as this file; without one, a format that failed."""
    head = {"id": format_id, "device": device, "summary": "", "precision": "int8"}
    if file is None:
        return FormatResult.model_validate({**head, "status": "failed", "error": "/home/me/x.py: no rule"})
    artifact = {
        "file": file.name,
        "sha256": sha256(file.read_bytes()),
        "bytes": 1,
        "softmax_inside": False,
        "calibration_policy": None,
        "calibration_records": 0,
        "companions": {name: sha256((file.parent / name).read_bytes()) for name in companions},
    }
    return FormatResult.model_validate({**head, "status": "ok", "artifact": artifact})


def budget(format_id: str, verdict: str = "pass", *, device: str | None = "local", level: str = "error") -> Budget:
    """A judged budget on a format."""
    figure = {"value": 0.6, "low": 0.55, "high": 0.65}
    return Budget.model_validate(
        {
            "metric": "auc", "level": level, "limit": "<= 0.7", "format": format_id, "device": device, "subset": "all",
            "attack": "lira/offline", "decided_by": "lira/offline", "verdict": verdict, "note": "note of a toolchain",
            "attacks": ({"attack": "lira/offline", "subset": "all", **figure},), **figure,
        }
    )  # fmt: skip


def control(status: str = "holds", format_id: str | None = None) -> Control:
    return Control(name="null target", status=status, statement="of record 4711", format=format_id)  # type: ignore[arg-type]


class Desk:
    """A folder with a run, keys and files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "out"
        self.run.mkdir()
        self.signer = Ed25519PrivateKey.generate()
        self.private, self.public = self.keys("ours", self.signer)

    def keys(self, name: str, key: Ed25519PrivateKey) -> tuple[Path, Path]:
        """The files of a key pair."""
        private, public = self.folder / f"{name}.pem", self.folder / f"{name}.pub.pem"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return private, public

    def file(self, name: str, content: bytes = b"weights") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def audited(
        self,
        formats: Sequence[FormatResult],
        budgets: Sequence[Budget],
        outcome: str = "within budget",
        controls: Sequence[Control] = (),
        limits: LimitsOrigin | None = None,
    ) -> Audit:
        """Write the run's audit.json; limits: by default those of BUDGETS, read before any figure."""
        digest = budgets_sha256(spec_of({"budgets": BUDGETS}, self.folder))
        origin = limits or LimitsOrigin(file="audit.yaml", sha256=digest, read="2026-03-14T09:00:00", measured=False)
        codes = {"budget exceeded": 1, "error": 2, "inconclusive": 3, "invalid": 3}
        about = {"outcome": outcome, "exit_code": codes.get(outcome, 0), "reasons": ()}
        verdict = Verdict.model_validate({**about, "budgets": tuple(budgets), "limits": origin if budgets else None})
        unread: dict[str, Any] = dict.fromkeys(FIGURES, ())
        audit = sample.audit(formats=tuple(formats), controls=tuple(controls), verdict=verdict, **unread)
        write_audit(audit, self.run / "audit.json")
        return audit

    def sign(self, **options: Any) -> Path:
        return edgeaudit.sign(self.run, self.private, self.folder / "evidence.json", **options).path

    def verify(self, *artifacts: Path, key: Path | None = None, **options: Any) -> edgeaudit.Verification:
        return edgeaudit.verify(self.folder / "evidence.json", key or self.public, artifacts, **options)

    def statement(self) -> dict[str, Any]:
        """The payload of the evidence."""
        envelope = json.loads((self.folder / "evidence.json").read_text())
        found: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
        return found

    def resign(self, change: Callable[[dict[str, Any]], Any] | bytes, kind: str = IN_TOTO) -> None:
        """Change what the evidence states and sign that by the trusted key, by rules written down here once more."""
        if callable(change):
            statement = self.statement()
            change(statement)
            payload = json.dumps(statement).encode()
        else:
            payload = change
        signature = self.signer.sign(pae(kind, payload))
        self.write_envelope(payload, [signature], kind)

    def write_envelope(self, payload: bytes, signatures: Sequence[bytes], kind: str = IN_TOTO) -> None:
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [{"keyid": "", "sig": base64.b64encode(one).decode()} for one in signatures],
        }
        (self.folder / "evidence.json").write_text(json.dumps(envelope))


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, as its protocol text has it: lengths of bytes in ASCII decimals."""
    return b" ".join([b"DSSEv1", str(len(kind.encode())).encode(), kind.encode(), str(len(payload)).encode(), payload])
