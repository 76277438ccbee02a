"""What is no model file that can be audited is refused by what it is, each with its own remedy."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.registry import filetype_of, find_filetype

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
)


def _zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return content.getvalue()


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".xml", ".pte"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "it is by its content a Git LFS pointer, not the file itself; fetch the file: git lfs pull"),
        (b"", "it is empty; copy or download it again"),
        (b"<!DOCTYPE html>\n<html><body>Sign in", "it is by its content a web page; download the file itself"),
        (b"\x1f\x8b\x08\0" * 9, "it is by its content a gzip archive; unpack it"),
        (_zipped("model.tflite"), "it is by its content a zip archive; unpack it"),
        (_zipped("archive/data.pkl"), "a torch model, as torch.save writes it; set it as model.checkpoint"),
        (_zipped("metadata.json", "config.json"), "a Keras model"),
        (pickle.dumps(np.zeros(3), protocol=4), "a pickle, as joblib and scikit-learn write; set it as model.checkp"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "a Keras model or weights in HDF5"),
        (b"\x01HEF" + bytes(64), "a network compiled for a Hailo NPU"),
        (b"RKNN" + bytes(64), "a network compiled for a Rockchip NPU"),
    ],
)
def test_content_of_another_kind(tmp_path: Path, suffix: str, content: bytes, said: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    (tmp_path / "model.bin").write_bytes(b"weights")
    with pytest.raises(ArtifactError) as raised:
        filetype_of(path).contract(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("start", "name", "said"),
    [
        (b"\x1c\0\0\0TFL3" + bytes(64), "model.bin", "is by its content a TFLite file; rename it to model.tflite"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "model.lite", "rename it to model.tflite"),
        (b"\x1c\0\0\0ET12" + bytes(64), "model.ptl", "rename it to model.pte"),
        (b'<?xml version="1.0"?>\n<net name="m">', "model.openvino", "rename it to model.xml"),
        (
            b"anything",
            "model.hef",
            "a network compiled for a Hailo NPU, which no runtime here can run; audit the .tflite",
        ),
        (b"anything", "model.rknn", "a network compiled for a Rockchip NPU"),
        (b"anything", "model.engine", "a TensorRT engine"),
        (b"anything", "model.dlc", "Qualcomm"),
        (b"anything", "model.mlmodel", "a Core ML model"),
        (b"anything", "model.pt", "a trained torch model, not a file that is deployed; set it as model.checkpoint"),
        (b"anything", "model.joblib", "a pickled estimator"),
        (POINTER, "model.TFLITE", "is a Git LFS pointer, not the file itself; fetch the file: git lfs pull"),
        (b"PK\x03\x04" + bytes(64), "model.zip", "is a zip archive; unpack it"),
        (b"anything", "model.xyz", "has none of the suffixes .onnx, .tflite, .xml, .pte"),
    ],
)
def test_a_wrong_suffix(tmp_path: Path, start: bytes, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(start)
    with pytest.raises(ArtifactError) as raised:
        filetype_of(tmp_path / name)
    assert str(raised.value).startswith(name)
    assert said in str(raised.value)


def test_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(ArtifactError, match=r"saved is a folder; name the model file in it"):
        filetype_of(tmp_path / "saved")
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(ArtifactError, match=r"saved is a TensorFlow SavedModel; set it as model\.checkpoint"):
        filetype_of(tmp_path / "saved")


def test_weights_that_are_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net name='m'/>", encoding="utf-8")
    (tmp_path / "model.bin").write_bytes(POINTER)
    with pytest.raises(ArtifactError, match=r"keeps weights in model.bin, which is a Git LFS pointer.* git lfs pull"):
        find_filetype("openvino").companions(tmp_path / "model.xml")
