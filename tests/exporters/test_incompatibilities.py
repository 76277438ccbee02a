"""Real artifacts that are wrong: each must be refused, and the sentence must say why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import AgreementError, ArtifactError
from edgeaudit.exporters import PassResult
from edgeaudit.filetypes.agreement import agreement, require_agreement
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.formats.presets import FORMATS
from edgeaudit.runtimes.registry import find_runtime
from tests.exporters.toys import Toy, artifact, pushed, sealed, toy

pytestmark = [pytest.mark.toolchain, pytest.mark.isa]

INT8 = FORMATS["litert-int8"]
FLOAT = FORMATS["onnx-fp32"]


def answers(runtime: str, served: Artifact, subject: Toy) -> np.ndarray:
    return find_runtime(runtime)(served).query(subject.queries)


@pytest.mark.parametrize("name", ["mlp", "cnn-8x8x1", "residual-32x32x3"])
def test_moving_average_calibration_clips_while_top1_stays(name: str) -> None:
    """AEQ 0.10's default ranges, on a network that overfits, beside min-max ranges from the same records."""
    subject = toy(name)
    averaged = [PassEntry("litert.export"), PassEntry("aeq.static-int8", {"calibration": "moving-average"})]
    clipped = answers("litert", artifact(subject, averaged), subject)
    honest = agreement(subject.logits, answers("litert", artifact(subject, INT8.passes), subject))
    found = agreement(subject.logits, clipped)
    assert found.top1 is not None
    assert found.top1 > 0.95
    assert found.range_ratio < 0.8
    assert honest.range_ratio > 0.95
    with pytest.raises(AgreementError, match=r"litert-int8-averaged clips .* Calibrate with min-max ranges"):
        require_agreement(subject.logits, clipped, what="litert-int8-averaged", tolerance=INT8.tolerance)


@pytest.mark.parametrize(
    ("runtime", "passes"),
    [("openvino", ("openvino.export", "nncf.ptq-openvino")), ("onnxruntime", ("onnx.export", "nncf.ptq-onnx"))],
    ids=["openvino", "onnx"],
)
def test_nncfs_default_ranges_shorten_the_reach(runtime: str, passes: tuple[str, str]) -> None:
    """NNCF 3.4's own ranges, beside min-max ranges from the same records."""
    subject = toy("separable-32x32x3")
    export, quantise = passes
    reach = {
        calibration: agreement(
            subject.logits,
            answers(
                runtime,
                artifact(subject, [PassEntry(export), PassEntry(quantise, {"calibration": calibration})]),
                subject,
            ),
        ).range_ratio
        for calibration in ("min-max", "nncf-default")
    }
    assert reach["min-max"] > 0.95
    assert reach["nncf-default"] < 0.9


def corrupted(subject: Toy, folder: Path, at: int) -> Artifact:
    """The ONNX file with one tensor of weights shuffled."""
    path, product = pushed(subject, FLOAT.passes)
    model = onnx.load(path)
    weights = [i for i in model.graph.initializer if len(i.dims) >= 2]
    tensor = numpy_helper.to_array(weights[at])
    shuffled = np.random.default_rng(0).permutation(tensor.ravel()).reshape(tensor.shape)
    weights[at].CopyFrom(numpy_helper.from_array(shuffled, weights[at].name))
    onnx.save(model, folder / path.name)
    assert isinstance(product, PassResult)
    return sealed((folder / path.name, product), FLOAT.passes)


@pytest.mark.parametrize("at", [0, -1], ids=["first-layer", "last-layer"])
@pytest.mark.parametrize("tolerance", [FLOAT.tolerance, INT8.tolerance], ids=["float32", "int8"])
def test_one_corrupted_tensor(tmp_path: Path, at: int, tolerance: float) -> None:
    subject = toy("mlp")
    wrong = answers("onnxruntime", corrupted(subject, tmp_path, at), subject)
    with pytest.raises(AgreementError, match=r"onnx-fp32 does not agree with .* Recreate the artifact"):
        require_agreement(subject.logits, wrong, what="onnx-fp32", tolerance=tolerance)


def test_another_models_weights() -> None:
    first, other = toy("cnn-8x8x1"), toy("mlp")
    wrong = answers("onnxruntime", artifact(other, FLOAT.passes), other)[::-1]
    with pytest.raises(AgreementError, match="does not agree with"):
        require_agreement(first.logits, wrong, what="onnx-fp32", tolerance=INT8.tolerance)


def test_a_float_file_that_is_secretly_int8() -> None:
    """The limits are the format's: int8 noise is no longer float32."""
    subject = toy("mlp")
    rounded = answers("litert", artifact(subject, INT8.passes), subject)
    require_agreement(subject.logits, rounded, what="litert-int8", tolerance=INT8.tolerance)
    with pytest.raises(AgreementError, match="relative RMS error"):
        require_agreement(subject.logits, rounded, what="onnx-fp32", tolerance=FLOAT.tolerance)


def test_a_file_changed_on_disk_is_detected_by_its_digest(tmp_path: Path) -> None:
    subject = toy("mlp")
    path, product = pushed(subject, FLOAT.passes)
    content = bytearray(path.read_bytes())
    (tmp_path / path.name).write_bytes(content)
    served = sealed((tmp_path / path.name, product), FLOAT.passes)
    served.save()
    Artifact.load(tmp_path).verify()
    content[len(content) // 2] ^= 1
    (tmp_path / path.name).write_bytes(content)
    with pytest.raises(ArtifactError, match="does not match its manifest"):
        Artifact.load(tmp_path).verify()
    (tmp_path / path.name).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        Artifact.load(tmp_path).verify()


def test_a_changed_companion_is_detected_by_its_digest(tmp_path: Path) -> None:
    """The weights of an OpenVINO IR are in a file of their own."""
    subject = toy("mlp")
    path, product = pushed(subject, FORMATS["openvino-fp32"].passes)
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_bytes((path.parent / name).read_bytes())
    served = sealed((tmp_path / "model.xml", product), FORMATS["openvino-fp32"].passes)
    served.save()
    loaded = Artifact.load(tmp_path)
    loaded.verify()
    assert loaded.manifest.bytes == sum((tmp_path / name).stat().st_size for name in ("model.xml", "model.bin"))
    weights = tmp_path / "model.bin"
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.bin does not match its manifest"):
        loaded.verify()
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"model\.bin is missing"):
        loaded.verify()


def test_manifests_without_companions_are_read(tmp_path: Path) -> None:
    """As they were written before there were any."""
    subject = toy("mlp")
    written = json.loads(artifact(subject, FLOAT.passes).manifest.to_json())
    assert written.pop("companions") == {}
    assert Manifest.from_json(json.dumps(written)) == artifact(subject, FLOAT.passes).manifest
