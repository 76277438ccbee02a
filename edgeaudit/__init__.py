"""edgeaudit: how much each deployment format of a model gives away about its training data.

`run`, `plan`, `load`, `check`, `compare`, `artifacts`, `export`, `sign`, `verify` and `inspect` do what the command
line's verbs do; `attack` takes arrays and needs no toolchain. docs/python.md shows them at work. A name is imported
when it is first used: `import edgeaudit` itself imports nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeaudit.api import (
        AuditSource,
        CopiedFile,
        EvidenceFile,
        FileReport,
        Listener,
        PlanSummary,
        PolicySource,
        SignedEvidence,
        Verification,
        artifacts,
        attack_run,
        check,
        compare,
        export,
        inspect,
        load,
        plan,
        run,
        sign,
        verify,
    )
    from edgeaudit.attacks.arrays import AttackFigure, AttackResult, Grid, Reference, attack
    from edgeaudit.config.audit import AuditSpec
    from edgeaudit.errors import EdgeAuditError
    from edgeaudit.report.model import Audit, Verdict
    from edgeaudit.report.model.between_runs import RunComparison
    from edgeaudit.rows import Rows

    __version__: str

__all__ = [
    "Advice", "AttackFigure", "AttackResult", "Audit", "AuditSource", "AuditSpec", "CopiedFile", "EdgeAuditError",
    "EvidenceFile", "FileReport", "Grid", "Listener", "PlanSummary", "PolicySource", "Reference", "Rows",
    "RunComparison", "SignedEvidence", "Verdict", "Verification", "__version__", "advise", "artifacts", "attack",
    "attack_run", "check", "compare", "export", "inspect", "load", "plan", "run", "sign", "verify",
]  # fmt: skip

_MODULES = {
    "Advice": "edgeaudit.report.model.advice",
    "AttackFigure": "edgeaudit.attacks.arrays",
    "AttackResult": "edgeaudit.attacks.arrays",
    "Audit": "edgeaudit.report.model",
    "AuditSource": "edgeaudit.api",
    "AuditSpec": "edgeaudit.config.audit",
    "EdgeAuditError": "edgeaudit.errors",
    "EvidenceFile": "edgeaudit.api",
    "FileReport": "edgeaudit.api",
    "Grid": "edgeaudit.attacks.arrays",
    "Listener": "edgeaudit.api",
    "PlanSummary": "edgeaudit.api",
    "PolicySource": "edgeaudit.api",
    "Reference": "edgeaudit.attacks.arrays",
    "Rows": "edgeaudit.rows",
    "RunComparison": "edgeaudit.report.model.between_runs",
    "SignedEvidence": "edgeaudit.api",
    "Verdict": "edgeaudit.report.model",
    "Verification": "edgeaudit.api",
    "attack": "edgeaudit.attacks.arrays",
    "CopiedFile": "edgeaudit.api",
    "advise": "edgeaudit.api",
    "artifacts": "edgeaudit.api",
    "attack_run": "edgeaudit.api",
    "check": "edgeaudit.api",
    "compare": "edgeaudit.api",
    "export": "edgeaudit.api",
    "inspect": "edgeaudit.api",
    "load": "edgeaudit.api",
    "plan": "edgeaudit.api",
    "run": "edgeaudit.api",
    "sign": "edgeaudit.api",
    "verify": "edgeaudit.api",
}
"""Name -> the module that has it. Names in text: whoever uses one part of edgeaudit does not depend on all of it."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("edgeaudit")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'edgeaudit' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
