"""The artifact: the file or files to deploy, and the manifest that describes them.

A manifest is plain JSON, readable with the standard library alone, since the device side reads it too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError

__all__ = ["Artifact", "Kind", "Layout", "Manifest", "PassRecord", "TensorSpec"]

Kind = str
"""The name of a file type (`edgeaudit.filetypes.registry`, which the device side does not have)."""
Layout = Literal["NCHW", "NHWC", "HW", "flat"]
"""Layout of a batch: images with channels first or last, one-channel images without a channel axis, vectors."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of an artifact, as the file itself declares it.

    `shape` has -1 for the batch axis, or the file's fixed batch. `scale` and `zero_point` are set if the tensor is
    quantised: real = scale * (integer - zero_point). `rounded`: of a float output that the file itself dequantises, the
    step between its values; None if it does not. `alias`: the name in the file's signature, where that is another one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout = "flat"
    scale: float | None = None
    zero_point: int | None = None
    rounded: float | None = None
    alias: str = ""


@dataclass(frozen=True)
class PassRecord:
    """An applied toolchain step: its name, parameters and package versions."""

    name: str
    params: dict[str, object]
    versions: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and where it came from.

    `sha256` is of `file`; `companions` are the files that ship beside it (OpenVINO's weights, ONNX's external data), by
    their paths in the artifact's folder, each with its SHA-256.
    `bytes` counts all of them. `calibration_ids` are the population's record ids that a quantiser saw (empty if there
    was none). `softmax_inside` tells whether the file answers with probabilities (True) or logits (False). `outputs`
    are the indices of the labels' scores among the values of `output`; None for all, in the file's order. `place`: of
    `output` among the outputs of a file that has several. `single`: the file has one value per record, the probability
    or the logit of label 1, and answers are made of it for both labels. `stateful`: the file keeps a state between
    calls. `foreign`: the file was not made by edgeaudit, so there is no torch model to compare its outputs with.
    `others`: outputs that such a file has beside `output`, which nothing reads.
    """

    kind: Kind
    file: str
    sha256: str
    bytes: int
    input: TensorSpec
    output: TensorSpec
    softmax_inside: bool
    passes: tuple[PassRecord, ...] = ()
    calibration_policy: str | None = None
    calibration_ids: tuple[int, ...] = ()
    recipe: dict[str, object] = field(default_factory=dict)
    companions: dict[str, str] = field(default_factory=dict)
    outputs: tuple[int, ...] | None = None
    place: int = 0
    single: Literal["probability", "logit"] | None = None
    stateful: bool = False
    foreign: bool = False
    others: int = 0

    @property
    def unread(self) -> int:
        """Values of `output` that are no label's score, such as that of a background class."""
        return 0 if self.outputs is None else max(0, self.output.shape[-1] - len(self.outputs))

    def to_json(self) -> str:
        """JSON text with sorted keys: the same manifest gives the same bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Inverse of `to_json`."""
        raw = json.loads(text)
        for key in ("input", "output"):
            raw[key]["shape"] = tuple(raw[key]["shape"])
            raw[key] = TensorSpec(**raw[key])
        raw["passes"] = tuple(PassRecord(**p) for p in raw["passes"])
        raw["calibration_ids"] = tuple(raw["calibration_ids"])
        if raw.get("outputs") is not None:
            raw["outputs"] = tuple(raw["outputs"])
        return cls(**raw)


@dataclass(frozen=True)
class Artifact:
    """A folder with `manifest.json` and the files that the manifest names."""

    folder: Path
    manifest: Manifest

    @property
    def path(self) -> Path:
        """The file to deploy, which a runtime loads."""
        return self.folder / self.manifest.file

    @classmethod
    def load(cls, folder: Path) -> Artifact:
        """Read the manifest in `folder`."""
        return cls(folder, Manifest.from_json((folder / "manifest.json").read_text(encoding="utf-8")))

    def save(self) -> None:
        """Write the manifest next to the file."""
        (self.folder / "manifest.json").write_text(self.manifest.to_json(), encoding="utf-8")

    def changed(self) -> Path | None:
        """The first file that is missing or does not match the manifest's digest."""
        described = {self.manifest.file: self.manifest.sha256, **self.manifest.companions}
        for name, digest in described.items():
            path = self.folder / name
            if not path.is_file() or file_sha256(path) != digest:
                return path
        return None

    def verify(self) -> None:
        """Raise `ArtifactError` unless every file matches the manifest (see `changed`)."""
        if (path := self.changed()) is not None:
            fault = "does not match its manifest" if path.is_file() else "is missing"
            raise ArtifactError(f"{path} {fault}; recreate the artifact")
