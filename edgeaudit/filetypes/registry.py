"""Which file types there are: those of edgeaudit by name, other packages' by the entry-point group below."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

from edgeaudit.errors import ArtifactError, did_you_mean
from edgeaudit.filetypes.base import FileType, FileTypeSpec

__all__ = ["GROUP", "OWN", "filetype_module", "filetype_of", "filetype_specs", "find_filetype"]

GROUP = "edgeaudit.filetypes"
OWN: Mapping[str, str] = {
    "onnx": "edgeaudit.filetypes.onnx:Onnx",
    "tflite": "edgeaudit.filetypes.tflite:Tflite",
    "openvino": "edgeaudit.filetypes.openvino:OpenVino",
    "executorch": "edgeaudit.filetypes.executorch:ExecuTorch",
    "torch": "edgeaudit.filetypes.torch:Torch",
    "keras": "edgeaudit.filetypes.keras:Keras",
}
"""Name -> `module:Class`, in the order in which listings have them."""


def find_filetype(name: str) -> FileType:
    """The file type called `name`; an unknown name raises `ArtifactError` with the known ones."""
    known = _known()
    if name not in known:
        raise ArtifactError(f"there is no file type '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}")
    return known[name]()


def filetype_module(name: str) -> str:
    """The module that reads files of the type `name`, for the keys of jobs that do."""
    return type(find_filetype(name)).__module__


def filetype_specs() -> tuple[FileTypeSpec, ...]:
    """Every file type's spec. No toolchain is imported."""
    return tuple(filetype.spec for filetype in _known().values())


def filetype_of(path: Path) -> FileType:
    """The type of a model file that was made elsewhere, by its suffix. `ArtifactError` names those that can be read."""
    specs = [spec for spec in filetype_specs() if spec.adoptable]
    for spec in specs:
        if path.suffix in spec.suffixes:
            return find_filetype(spec.name)
    listed = ", ".join(suffix for spec in specs for suffix in spec.suffixes)
    titles = ", ".join(spec.title for spec in specs)
    raise ArtifactError(f"{path.name} ends in none of {listed} ({titles}), so it is not known what serves it")


@cache
def _known() -> Mapping[str, type[FileType]]:
    known: dict[str, type[FileType]] = {}
    for name, reference in OWN.items():
        module, _, cls = reference.partition(":")
        known[name] = getattr(import_module(module), cls)
    for point in metadata.entry_points(group=GROUP):
        plugin = point.load()
        if not (isinstance(plugin, type) and issubclass(plugin, FileType)):
            raise ArtifactError(f"the entry point '{point.name}' of {GROUP} is not a FileType class: {point.value}")
        if plugin.spec.name in known:
            raise ArtifactError(f"there is a file type '{plugin.spec.name}' already; the second is {point.value}")
        known[plugin.spec.name] = plugin
    return known
