"""Bytes and zeros of whole artifacts."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import FileTypeSpec
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.quality.size import compressed_bytes
from edgeaudit.quality.weights import Sparsity, sparsity
from tests.filetypes.samples import IMAGES, sparse_module
from tests.runtimes.served import converted, seal

pytestmark = pytest.mark.toolchain


def test_zeros_of_an_artifact(tmp_path: Path) -> None:
    assert sparsity(converted(tmp_path, ["onnx.export"], sparse_module, IMAGES)) == Sparsity(123, 45)


def test_a_file_type_with_unreadable_weights_gives_the_reason(tmp_path: Path) -> None:
    zeros = sparsity(converted(tmp_path, ["executorch.export"], sparse_module, IMAGES))
    assert (zeros.weights, zeros.zeros) == (None, None)
    assert "XNNPACK" in (zeros.note or "")


def test_a_missing_reader_gives_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = converted(tmp_path, ["onnx.export"], sparse_module, IMAGES)
    filetype = type(find_filetype("onnx"))
    spec: FileTypeSpec = dataclasses.replace(filetype.spec, packages=("onnx-of-another-world",))
    monkeypatch.setattr(filetype, "spec", spec)
    assert sparsity(artifact) == Sparsity(
        None,
        None,
        "reading ONNX files needs the package 'onnx-of-another-world', which is not installed. Install it with: "
        "pip install 'edgeaudit[onnx]'",
    )


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 64)
    flat = TensorSpec("input", (-1, 2), "float32")
    with pytest.raises(ArtifactError, match=r"cannot read .*model\.onnx as ONNX"):
        sparsity(seal(tmp_path / "model.onnx", "onnx", flat, flat))


def test_companions_are_counted_and_compressed_one_by_one(tmp_path: Path) -> None:
    """The independent path is a .zip of the files."""
    artifact = converted(tmp_path, ["openvino.export"], sparse_module, IMAGES)
    assert list(artifact.manifest.companions) == ["model.bin"]
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in (artifact.manifest.file, "model.bin"):
            archive.write(artifact.folder / name, name)
        expected = sum(entry.compress_size for entry in archive.infolist())
    assert compressed_bytes(artifact) == expected
    alone = dataclasses.replace(artifact, manifest=dataclasses.replace(artifact.manifest, companions={}))
    assert compressed_bytes(alone) < expected
