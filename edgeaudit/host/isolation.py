"""Isolation groups: toolchains that cannot be in one process run in worker processes of their own.

TensorFlow is the one that needs it. Imported before triton (which torch brings), it makes the process end with a
segmentation fault once litert-torch or executorch loads its libraries; with torch imported first it still does
(tensorflow-cpu 2.21.0, torch 2.14.1, litert-torch 0.10.0). So a worker belongs to one group and refuses the packages of
the others.

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
"""`torch`: whatever is not TensorFlow, and all that needs no toolchain."""

_FOREIGN: Mapping[str, tuple[str, ...]] = {"torch": ("tensorflow",), "tensorflow": ("torch", "triton")}
"""Group -> the packages that may not be imported in it."""


class _Refusal:
    """A finder of packages that cannot be imported.

    They look installed and fail to load, which is what `try: import` in libraries copes with. `None` in `sys.modules`
    would look as if they were loaded: scipy 1.17 then asks `sys.modules["torch"].Tensor`, and fails.
    """

    def __init__(self, group: str) -> None:
        self.group, self.names = group, _FOREIGN[group]

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # the protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Answer for the names that are refused."""
        return ModuleSpec(name, self) if name in self.names else None  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Refuse."""
        raise ImportError(f"{spec.name} cannot be imported in a worker process of {self.group}", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Never reached; a loader has it."""


def enter(group: str) -> None:
    """Put this process into a group, for good: imports of what cannot run there raise `ImportError`."""
    if group not in _FOREIGN:
        raise ValueError(f"unknown isolation group '{group}'; there are: {', '.join(_FOREIGN)}")
    sys.meta_path.insert(0, _Refusal(group))


def require_apart(group: IsolationGroup) -> None:
    """Raise `ToolchainError` where this process has imported a package that cannot run beside the group's."""
    here = [name for name in _FOREIGN[group] if name in sys.modules]
    if here:
        raise ToolchainError(
            f"{group} and {here[0]} cannot be in one process (it ends with a segmentation fault), and {here[0]} is "
            "imported already; use them in processes of their own, as `edgeaudit run` does"
        )
