"""While an audit is planned, files of others are opened by confined workers, and not by the planning process."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeaudit.errors import ArtifactError, EdgeAuditError, SpecError
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.files_of_others import NoFiles, OpenedFiles
from tests.graph.jobs import Log


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[OpenedFiles, Log]]:
    store, log = Store(tmp_path / "store"), Log()
    with LocalProcesses(store, 1) as executor:
        yield OpenedFiles(store, executor, log), log


def _with_data(folder: Path, place: str = "deep/weights.bin") -> Path:
    """A model whose weights lie in another file."""
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weights],
    )  # fmt: skip
    path = folder / "m.onnx"
    (folder / "deep").mkdir()
    model = helper.make_model(graph)
    onnx.save_model(model, path, save_as_external_data=True, location="deep/weights.bin", size_threshold=0)
    if place != "deep/weights.bin":
        path.write_bytes(path.read_bytes().replace(b"deep/weights.bin", place.encode().ljust(16, b"/")))
    return path


def _raises(*_: object, **__: object) -> None:
    raise AssertionError("the planning process opens a file of others")


def test_companions_are_named_by_a_worker(
    tmp_path: Path, opened: tuple[OpenedFiles, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, filetype = _with_data(tmp_path), find_filetype("onnx")
    monkeypatch.setattr(type(filetype), "_companions", _raises)  # here; workers import their own
    files, log = opened
    assert files.companions(path, filetype) == ("deep/weights.bin",)
    assert files.companions(path, filetype) == ("deep/weights.bin",)
    assert len(log.ended) == 1  # stated once for one content

    # What lies beside the file is looked at each time.
    (tmp_path / "deep" / "weights.bin").unlink()
    with pytest.raises(ArtifactError, match=r"keeps weights in deep/weights\.bin, which is missing"):
        files.companions(path, filetype)


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, opened: tuple[OpenedFiles, Log]) -> None:
    path = _with_data(tmp_path, "../../etc/passwd")
    with pytest.raises(ArtifactError, match="outside of its folder"):
        opened[0].companions(path, find_filetype("onnx"))


@pytest.mark.parametrize("content", [b"", b"\x08\x07garbage" * 20])
def test_a_damaged_file_is_one_sentence_with_its_name(
    tmp_path: Path, opened: tuple[OpenedFiles, Log], content: bytes
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"m\.onnx") as caught:
        opened[0].companions(path, find_filetype("onnx"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match=r"gone\.onnx cannot be read: No such file"):
        opened[0].companions(tmp_path / "gone.onnx", find_filetype("onnx"))


def test_what_the_name_says_needs_no_worker(tmp_path: Path, opened: tuple[OpenedFiles, Log]) -> None:
    (tmp_path / "m.xml").write_text("<?xml version='1.0'?><net/>", encoding="utf-8")
    (tmp_path / "m.bin").write_bytes(b"")
    assert opened[0].companions(tmp_path / "m.xml", find_filetype("openvino")) == ("m.bin",)
    assert opened[1].ended == []


def _keras(path: Path, config: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
    return path


def test_an_architecture_is_read_by_a_worker(
    tmp_path: Path, opened: tuple[OpenedFiles, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {"class_name": "Sequential", "config": {"layers": [{"shared_object_id": 140}]}, "compile_config": {"a": 1}}
    path = _keras(tmp_path / "m.keras", json.dumps(whole))
    monkeypatch.setattr(zipfile, "ZipFile", _raises)
    stated = {"class_name": "Sequential", "config": {"layers": [{"shared_object_id": 0}]}}
    assert opened[0].architecture(path) == stated


@pytest.mark.parametrize("config", ["[" * 100_000, '{"a": NaN}', "", "[1]"])
def test_a_damaged_architecture_is_one_sentence(tmp_path: Path, opened: tuple[OpenedFiles, Log], config: str) -> None:
    with pytest.raises(SpecError, match=r"model\.checkpoint: .*m\.keras cannot be read as a \.keras file") as caught:
        opened[0].architecture(_keras(tmp_path / "m.keras", config))
    assert "\n" not in str(caught.value)


def test_a_plan_without_files_opens_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no worker"):
        NoFiles().companions(tmp_path / "m.onnx", find_filetype("onnx"))
    with pytest.raises(RuntimeError, match="no worker"):
        NoFiles().architecture(tmp_path / "m.keras")


@pytest.mark.slow
def test_the_plan_of_an_onnx_file_imports_no_reader(tmp_path: Path) -> None:
    """As a user plans: the process that reads audit.yaml has neither protobuf nor onnx in it at the end."""
    _with_data(tmp_path)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(900, 4)).astype(np.float32), y=rng.integers(0, 4, 900))
    for name, first in (("members", 0), ("nonmembers", 100)):
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, range(first, first + 100))), encoding="utf-8")
    (tmp_path / "audit.yaml").write_text(
        "data: {source: npz, path: data.npz, members: members.txt, nonmembers: nonmembers.txt, preprocessing: raw}\n"
        "target: {artifact: m.onnx}\nmodel: {recipe: mlp}\nthreat: {shadows: 4}\nformats: [onnx-fp32]\n",
        encoding="utf-8",
    )
    script = (
        "import sys; from edgeaudit.cli.main import app\n"
        "try: app(['plan', 'audit.yaml', '--store', 'store'])\n"
        "except SystemExit as exc: assert not exc.code, exc.code\n"
        "assert not {'onnx', 'google.protobuf', 'onnxruntime'} & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert "100 members, 100 nonmembers" in ran.stdout


def test_errors_are_ours(tmp_path: Path, opened: tuple[OpenedFiles, Log]) -> None:
    """Whatever the bytes of an archive are."""
    for content in (b"PK\x03\x04", bytes(100)):
        path = tmp_path / "m.keras"
        path.write_bytes(content)
        with pytest.raises(EdgeAuditError, match=r"m\.keras"):
            opened[0].architecture(path)
