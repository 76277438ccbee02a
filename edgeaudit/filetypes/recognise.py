"""What a file is by its first bytes, whatever it is called; and what to do about those that no runtime here reads.

Standard library only, so that a file can be recognised before any toolchain is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.errors import ArtifactError

__all__ = ["COMPILED_SUFFIXES", "Recognised", "recognised", "require_content", "unknown_suffix"]

_HEAD = 4096
_CHECKPOINT = "set it as model.checkpoint, beside the model.recipe that it was trained with, or export it first"
_SOURCE = "audit the .tflite, .onnx or .xml file that it was made of"


@dataclass(frozen=True)
class Recognised:
    """What a file is.

    remedy: what to do. suffix: of a model file of a type that is read here; "" otherwise. stands_in: whether it stands
    where another file should be: a pointer to it, a page about it.
    """

    what: str
    remedy: str
    suffix: str = ""
    stands_in: bool = False


_STARTS: tuple[tuple[int, bytes, Recognised], ...] = (
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        Recognised("a Git LFS pointer, not the file itself", "fetch the file: git lfs pull", stands_in=True),
    ),
    (4, b"TFL3", Recognised("a TFLite file", "rename it", ".tflite")),
    (4, b"ET12", Recognised("an ExecuTorch file", "rename it", ".pte")),
    (4, b"ORTM", Recognised("an ONNX Runtime file (.ort)", "audit the .onnx file that it was made of")),
    (0, b"\x89HDF\r\n\x1a\n", Recognised("a Keras model or weights in HDF5", _CHECKPOINT)),
    (0, b"\x80\x02", Recognised("a pickle, as older torch.save and scikit-learn write", _CHECKPOINT)),
    (0, b"\x80\x04", Recognised("a pickle, as joblib and scikit-learn write", _CHECKPOINT)),
    (0, b"\x80\x05", Recognised("a pickle, as joblib and scikit-learn write", _CHECKPOINT)),
    (0, b"\x01HEF", Recognised("a network compiled for a Hailo NPU (.hef)", _SOURCE)),
    (0, b"RKNN", Recognised("a network compiled for a Rockchip NPU (.rknn)", _SOURCE)),
    (0, b"ptrt", Recognised("a TensorRT engine", f"{_SOURCE}; TensorRT builds its engine of it in the audit")),
    (0, b"ftrt", Recognised("a TensorRT engine", f"{_SOURCE}; TensorRT builds its engine of it in the audit")),
    (0, b"\x1f\x8b", Recognised("a gzip archive", "unpack it")),
    (0, b"\x7fELF", Recognised("a compiled program or library", _SOURCE)),
    (0, b"7767517\n", Recognised("an ncnn graph", _SOURCE)),
)
"""Place, bytes there, and what such a file is."""
_TEXT: tuple[tuple[bytes, Recognised], ...] = (
    (b"<!doctype html", Recognised("a web page", "download the file itself", stands_in=True)),
    (b"<html", Recognised("a web page", "download the file itself", stands_in=True)),
    (b"<net ", Recognised("an OpenVINO IR", "rename it", ".xml")),
)
"""What the first line of text, after `<?xml ...?>`, begins with."""
COMPILED_SUFFIXES: Mapping[str, str] = {
    ".hef": "a network compiled for a Hailo NPU",
    ".rknn": "a network compiled for a Rockchip NPU",
    ".dlc": "a network converted for Qualcomm's SNPE",
    ".serialized": "a network compiled for Qualcomm's QNN",
    ".engine": "a TensorRT engine",
    ".plan": "a TensorRT engine",
    ".trt": "a TensorRT engine",
    ".dla": "a network compiled for a MediaTek NPU",
    ".nb": "a network compiled for a VeriSilicon NPU",
    ".nef": "a network compiled for a Kneron NPU",
    ".kmodel": "a network compiled for a Kendryte NPU",
    ".blob": "a network compiled for a Movidius VPU",
    ".mlmodelc": "a compiled Core ML model",
    ".mlmodel": "a Core ML model",
    ".mlpackage": "a Core ML model",
    ".vnnx": "a network compiled for VectorBlox",
    ".nbg": "a network compiled for a VeriSilicon NPU",
    ".cvimodel": "a network compiled for a Sophgo TPU",
    ".bmodel": "a network compiled for a Sophgo TPU",
    ".om": "a network compiled for a Huawei Ascend NPU",
    ".axmodel": "a network compiled for an Axera NPU",
    ".tmfile": "a Tengine model",
    ".mnn": "an MNN model",
    ".param": "an ncnn graph",
    ".ncnn": "an ncnn graph",
}
"""Suffix of files that run on one vendor's hardware or engine alone -> what they are."""
_TRAINED_SUFFIXES: Mapping[str, str] = {
    ".pt": "a trained torch model", ".pth": "a trained torch model", ".ckpt": "a trained model",
    ".safetensors": "trained weights", ".keras": "a trained Keras model", ".h5": "a trained Keras model",
    ".hdf5": "a trained Keras model", ".pkl": "a pickled estimator", ".joblib": "a pickled estimator",
    ".pb": "a TensorFlow graph", ".bst": "an XGBoost model", ".ubj": "an XGBoost model",
}  # fmt: skip
_FOLDER = "a folder; name the model file in it"
_OWN = {".onnx", ".tflite", ".xml", ".pte", ".safetensors", ".keras"}
_SPARE = {".tar", ".gz", ".tgz", ".zip", ".7z", ".xz", ".bz2"}


def recognised(path: Path) -> Recognised | None:
    """What a file is by its content; None where its first bytes say nothing.

    Raises `ArtifactError` where it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError as exc:
        raise ArtifactError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if not head:
        return Recognised("empty", "copy or download it again")
    for place, start, found in _STARTS:
        if head[place : place + len(start)] == start:
            return found
    return _text(head) or _container(head)


def _text(head: bytes) -> Recognised | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.lower().startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
    return next((found for start, found in _TEXT if text.lower().startswith(start)), None)


def _container(head: bytes) -> Recognised | None:
    """Archives, and safetensors: the length of a JSON header in 8 bytes, then the header."""
    if head[:4] == b"PK\x03\x04":
        if b"config.json" in head or b"metadata.json" in head:
            return Recognised("a Keras model (.keras)", _CHECKPOINT, ".keras")
        if b"data.pkl" in head:
            return Recognised("a torch model, as torch.save writes it", _CHECKPOINT)
        return Recognised("a zip archive", "unpack it")
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 32:
        return Recognised("weights in safetensors", _CHECKPOINT, ".safetensors")
    return None


def require_content(path: Path, title: str, suffixes: tuple[str, ...]) -> None:
    """Raise `ArtifactError` where a file's content is known to be of another type, with what it is and the remedy.

    title, suffixes: of the type as which the file is about to be read. A file whose content says nothing passes; its
    reader judges it. Types of other packages may be archives, pickles or anything.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ArtifactError(f"{path} is neither a file nor a folder, and may never end; give the file itself")
    found = recognised(path)
    if found is None or found.suffix in suffixes:
        return
    if not (found.stands_in or _OWN & set(suffixes)):
        return
    verb = "is" if found.what == "empty" else "is by its content"
    remedy = f"rename it to {path.stem}{found.suffix}" if found.suffix else found.remedy
    raise ArtifactError(f"cannot read {path} as {title}: it {verb} {found.what}; {remedy}")


def unknown_suffix(path: Path, suffixes: tuple[str, ...], titles: tuple[str, ...]) -> str:
    """The sentence for a model file that has none of the suffixes that are read here, those of the types `titles`."""
    suffix = path.suffix.lower()
    if (compiled := COMPILED_SUFFIXES.get(suffix)) is not None:
        return (
            f"{path.name} is {compiled}, which no runtime here can run; {_SOURCE}, or query the hardware behind an "
            "inference server (devices)"
        )
    if path.is_dir():
        saved = (path / "saved_model.pb").is_file()
        return f"{path.name} is {f'a TensorFlow SavedModel; {_CHECKPOINT}' if saved else _FOLDER}"
    found = recognised(path) if path.is_file() else None
    if found is not None and found.suffix in suffixes:
        return f"{path.name} is by its content {found.what}; rename it to {path.stem}{found.suffix}"
    if (trained := _TRAINED_SUFFIXES.get(suffix)) is not None:
        return f"{path.name} is {trained}, not a file that is deployed; {_CHECKPOINT}"
    if suffix in _SPARE or found is not None:
        what = f"{found.what}; {found.remedy}" if found is not None else "an archive; unpack it"
        return f"{path.name} is {what}"
    return f"{path.name} has none of the suffixes {', '.join(suffixes)} ({', '.join(titles)}), so its type is unknown"
