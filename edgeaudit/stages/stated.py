"""What has to be known of files of others while an audit is planned: names and architectures that they state.

Jobs, because files of others are opened in confined workers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.errors import StoreError
from edgeaudit.filetypes.registry import filetype_module, find_filetype
from edgeaudit.graph.job import Context
from edgeaudit.recipes.keras_checkpoint import architecture_of
from edgeaudit.stages.file_job import MOST_MEMORY, ReadJob, memory_for
from edgeaudit.stages.json_files import read_json, write_json

__all__ = ["Architecture", "Names", "ReadArchitecture", "ReadNames"]


@dataclass(frozen=True)
class Names:
    """Names of the files that belong to a model file, as it states them; nothing is checked."""

    names: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """As JSON."""
        write_json(folder / "names.json", self)

    @classmethod
    def load(cls, folder: Path) -> Names:
        """Read what `save` wrote."""
        return read_json(folder / "names.json", cls)


@dataclass(frozen=True)
class Architecture:
    """Of a Keras model, as its `config.json` states it."""

    config: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """As JSON."""
        (folder / "architecture.json").write_text(json.dumps(self.config), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Architecture:
        """Read what `save` wrote."""
        path = folder / "architecture.json"
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as exc:
            raise StoreError(f"{path} cannot be read: {exc}; delete its folder and run again") from exc


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadNames(ReadJob[Names]):
    """Read which files belong to a model file. filetype: its name."""

    kind: ClassVar[str] = "names"
    result: ClassVar[type[Names]] = Names

    filetype: str

    def memory(self) -> int:
        """See `Job`."""
        return memory_for(self.filetype)

    def code(self) -> tuple[str, ...]:
        """The file type."""
        return (filetype_module(self.filetype),)

    def run(self, context: Context) -> Names:
        """See the class."""
        del context
        return Names(find_filetype(self.filetype).stated_companions(self.file.path))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadArchitecture(ReadJob[Architecture]):
    """Read the architecture in a .keras file."""

    kind: ClassVar[str] = "architecture"
    result: ClassVar[type[Architecture]] = Architecture

    def memory(self) -> int:
        """See `Job`."""
        return MOST_MEMORY

    def run(self, context: Context) -> Architecture:
        """See the class."""
        del context
        return Architecture(architecture_of(self.file.path))
