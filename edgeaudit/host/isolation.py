"""Isolation groups: toolchains that cannot share a process run in separate worker processes.

This is needed for TensorFlow. Imported before triton (a dependency of torch), it makes the process crash with a
segmentation fault once litert-torch or executorch loads its libraries; with torch imported first it still does
(tensorflow-cpu 2.21.0, torch 2.14.1, litert-torch 0.10.0). So a worker belongs to one group and refuses to import the
packages of the other.

Read by the device side, too: standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Literal

from edgeaudit.errors import ToolchainError

__all__ = ["IsolationGroup", "enter", "require_apart"]

IsolationGroup = Literal["torch", "tensorflow"]
"""`torch`: everything except TensorFlow, including code without a toolchain."""

_FOREIGN: Mapping[str, tuple[str, ...]] = {"torch": ("tensorflow",), "tensorflow": ("torch", "triton")}
"""Group -> the packages that may not be imported in it."""


class _Refusal:
    """A meta path finder for packages that must not be imported.

    They look installed but fail to load, which `try: import` in libraries handles. `None` in `sys.modules` would look
    as if they were loaded: scipy 1.17 then reads `sys.modules["torch"].Tensor` and fails.
    """

    def __init__(self, group: str) -> None:
        self.group, self.names = group, _FOREIGN[group]

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # required by the protocol
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return a spec for refused names."""
        return ModuleSpec(name, self) if name in self.names else None  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Raise `ImportError`."""
        raise ImportError(f"{spec.name} cannot be imported in a worker process of {self.group}", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Never called; required by the protocol."""


def enter(group: str) -> None:
    """Assign this process to a group permanently: imports of packages excluded from it raise `ImportError`."""
    if group not in _FOREIGN:
        raise ValueError(f"unknown isolation group '{group}'; known: {', '.join(_FOREIGN)}")
    sys.meta_path.insert(0, _Refusal(group))


def require_apart(group: IsolationGroup) -> None:
    """Raise `ToolchainError` if this process has imported a package that is excluded from the group."""
    loaded = [name for name in _FOREIGN[group] if name in sys.modules]
    if loaded:
        raise ToolchainError(
            f"{group} and {loaded[0]} cannot share a process (it would crash with a segmentation fault), and "
            f"{loaded[0]} is "
            "already imported; use separate processes, as `edgeaudit run` does"
        )
