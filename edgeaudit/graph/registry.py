"""Executors by name; another package offers one through the entry-point group `edgeaudit.executors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeaudit.errors import SpecError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.graph.executor import Executor, ExecutorSpec

__all__ = ["EXECUTORS"]

EXECUTORS: Registry[Executor, ExecutorSpec] = Registry(
    noun="executor",
    group="edgeaudit.executors",
    base="edgeaudit.graph.executor:Executor",
    own={"local": "edgeaudit.graph.processes:LocalProcesses"},
    error=SpecError,
)
