"""Which file types there are, and those of other packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.exporters import pass_specs
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Contract, FileType, FileTypeSpec
from edgeaudit.filetypes.registry import filetype_of, filetype_specs, find_filetype
from edgeaudit.runtimes.registry import runtime_specs

OWN = ("onnx", "tflite", "openvino", "executorch", "torch", "keras", "sklearn")


class Spoken(FileType):
    """A file type of another package: a text that says how long a record is."""

    spec: ClassVar[FileTypeSpec] = FileTypeSpec(
        name="spoken", title="Spoken", suffixes=(".spoken",), extra="spoken", packages=(),
        unreadable={"weights": "it has none", "softmax": "it has none", "operators": "it has none"},
    )  # fmt: skip

    def _contract(self, path: Path) -> Contract:
        size = int(path.read_text(encoding="utf-8"))
        return Contract((TensorSpec("in", (-1, size), "float32"),), (TensorSpec("out", (-1, 2), "float32"),))


@pytest.fixture
def spoken(offered: Callable[..., None]) -> None:
    """Another package that offers `Spoken`."""
    offered(("theirs", Spoken))


def test_every_kind_of_a_pass_or_runtime_is_a_file_type() -> None:
    assert tuple(spec.name for spec in filetype_specs()) == OWN
    kinds = {kind for spec in pass_specs() for kind in (spec.consumes, spec.produces)}
    assert kinds | {spec.serves for spec in runtime_specs()} == set(OWN)


def test_suffixes_are_unique() -> None:
    suffixes = [suffix for spec in filetype_specs() for suffix in spec.suffixes]
    assert sorted(suffixes) == [".keras", ".onnx", ".pickle", ".pte", ".safetensors", ".tflite", ".xml"]


def test_an_unknown_type_lists_known_types() -> None:
    with pytest.raises(ArtifactError, match=r"no file type 'onx'\. Did you mean 'onnx'\? There are: onnx, tflite"):
        find_filetype("onx")


@pytest.mark.parametrize("name", ["model.npy", "model"])
def test_an_unsupported_suffix_lists_supported_ones(name: str) -> None:
    with pytest.raises(
        ArtifactError, match=rf"^{name} has none of the suffixes \.onnx, \.tflite, \.xml, \.pte \(ONNX, TFLite, "
    ):
        filetype_of(Path(name))


@pytest.mark.usefixtures("spoken")
def test_a_type_of_another_package_is_found_by_name_and_suffix(tmp_path: Path) -> None:
    path = tmp_path / "model.spoken"
    path.write_text("7", encoding="utf-8")
    assert find_filetype("spoken").contract(path).inputs[0].shape == (-1, 7)
    assert filetype_of(path).spec is Spoken.spec
    path.write_text("seven", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"cannot read .*model\.spoken as Spoken: it is truncated, damaged or"):
        find_filetype("spoken").contract(path)


def test_the_registry_imports_no_toolchain() -> None:
    heavy = ["torch", "tensorflow", "onnx", "openvino", "executorch", "keras", "h5py", "ai_edge_litert"]
    code = (
        "import sys; from edgeaudit.filetypes.registry import filetype_specs; filetype_specs(); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unreadable_facts_are_known_facts() -> None:
    for spec in filetype_specs():
        facts: Any = set(spec.unreadable)
        assert facts <= {"contract", "weights", "softmax", "operators", "state", "traits"}
