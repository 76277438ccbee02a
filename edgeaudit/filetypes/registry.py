"""File types by name; another package offers one through the entry-point group `edgeaudit.filetypes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.recognise import unknown_suffix
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.filetypes.base import FileType, FileTypeSpec

__all__ = ["FILETYPES", "filetype_module", "filetype_of", "filetype_specs", "find_filetype"]

FILETYPES: Registry[FileType, FileTypeSpec] = Registry(
    noun="file type",
    group="edgeaudit.filetypes",
    base="edgeaudit.filetypes.base:FileType",
    own={
        "onnx": "edgeaudit.filetypes.onnx:Onnx",
        "tflite": "edgeaudit.filetypes.tflite:Tflite",
        "openvino": "edgeaudit.filetypes.openvino:OpenVino",
        "executorch": "edgeaudit.filetypes.executorch:ExecuTorch",
        "torch": "edgeaudit.filetypes.torch:Torch",
        "keras": "edgeaudit.filetypes.keras:Keras",
        "sklearn": "edgeaudit.filetypes.sklearn:Sklearn",
    },
    error=ArtifactError,
    named_by_spec=True,
)


def find_filetype(name: str) -> FileType:
    """The file type called `name`; raises `ArtifactError` as described in `Registry.find`."""
    return FILETYPES.find(name)()


def filetype_module(name: str) -> str:
    """The module of the file type called `name`, for the keys of jobs that read such files."""
    return FILETYPES.module(name)


def filetype_specs() -> tuple[FileTypeSpec, ...]:
    """The spec of every file type. No toolchain is imported."""
    return FILETYPES.specs()


def filetype_of(path: Path) -> FileType:
    """The type of a foreign model file, by its suffix. `ArtifactError` says what another file is, and what to do."""
    specs = [spec for spec in filetype_specs() if spec.adoptable]
    for spec in specs:
        if path.suffix in spec.suffixes:
            return find_filetype(spec.name)
    suffixes = tuple(suffix for spec in specs for suffix in spec.suffixes)
    raise ArtifactError(unknown_suffix(path, suffixes, tuple(spec.title for spec in specs)))
