"""Passes: one toolchain step each, torch module -> torch module, or -> artifact.

This folder is `edgeaudit.exporters`. Imported under any other name it would exist twice, with two
registries, so it refuses.
"""

if __name__ != "edgeaudit.exporters":
    raise ImportError("import this package as 'edgeaudit.exporters', not from the repository's top level")

from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.registry import find_pass, pass_specs

__all__ = ["ExportJob", "Pass", "PassResult", "PassSpec", "find_pass", "pass_specs"]
