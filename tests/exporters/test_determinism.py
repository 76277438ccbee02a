"""A pass is a pure function of its inputs: same bytes every time, whatever else the process did before."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeaudit.config.entries import PassEntry
from edgeaudit.digests import file_sha256
from edgeaudit.exporters import PassResult, find_pass, pass_specs
from tests.exporters.toys import Toy, apply, pushed, toy

ROOT = Path(__file__).resolve().parent.parent.parent
EXPORTS = {
    "onnx": PassEntry("onnx.export"),
    "tflite": PassEntry("litert.export"),
    "openvino": PassEntry("openvino.export"),
}
PASSES = (
    # Of Keras models no process with torch can run any; of estimators see tests/recipes/test_sklearn_models.py.
    *(PassEntry(spec.name) for spec in pass_specs() if spec.consumes not in ("keras", "sklearn")),
    PassEntry("ort.static-int8", {"quant_format": "QOperator", "per_channel": False}),
    PassEntry("ort.static-int8", {"calibration": "percentile", "percentile": 99.9}),
    PassEntry("aeq.static-int8", {"calibration": "moving-average"}),
    PassEntry("nncf.ptq-openvino", {"bias_correction": "fast", "calibration": "nncf-default"}),
)


def source(subject: Toy, use: PassEntry) -> Path:
    """What the pass works on."""
    kind = find_pass(use.name).spec.consumes
    return subject.state if kind == "torch" else pushed(subject, [EXPORTS[kind]])[0]


def digest(made: tuple[Path, PassResult]) -> str:
    """Of the file and of those that ship beside it."""
    path, product = made
    return " ".join(file_sha256(path.parent / name) for name in (path.name, *product.companions))


def digests(name: str, passes: list[PassEntry]) -> dict[str, str]:
    """Pass -> digest of what it makes of the network called `name`."""
    return {str(use): digest(apply(toy(name), use, source(toy(name), use))) for use in passes}


@pytest.mark.toolchain
@pytest.mark.parametrize("use", PASSES, ids=str)
def test_same_bytes_twice(use: PassEntry) -> None:
    subject = toy("mlp")
    first, second = (digest(apply(subject, use, source(subject, use))) for _ in range(2))
    assert first == second


@pytest.mark.toolchain
@pytest.mark.parametrize("name", [pytest.param("mlp", marks=pytest.mark.matrix), "separable-32x32x3"])
def test_same_bytes_in_another_process_after_other_passes_and_without_a_word(tmp_path: Path, name: str) -> None:
    """The other process has another hash seed and runs the passes backwards; it also checks what training gives
    before and after, and everything it writes to the terminal is looked at here, and that the telemetry of nncf and
    openvino leaves no client id in the home folder.
    """
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("TF_", "LITERT_", "NNCF_", "CI"))}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-m", "tests.exporters.other_process", name],
        env={**environment, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["trained after"] == found["trained before"]
    assert found["random after"] == found["random before"]
    assert found["logging after"] == found["logging before"]
    assert found["environment after"] == found["environment before"]
    assert found["telemetry"] == "MagicMock"
    assert not (tmp_path / "intel").exists()
    assert found["digests"] == digests(name, list(PASSES))


def trained() -> str:
    """A digest of everything that training and answering gives."""
    import numpy as np
    import torch

    from tests.exporters.toys import cnn, train

    torch.manual_seed(5)
    x = np.random.default_rng(5).normal(size=(60, 1, 8, 8)).astype(np.float32)
    module = cnn((1, 8, 8), 10)
    train(module, x, np.arange(60) % 10, 3)
    answer = module(torch.from_numpy(x))
    tensors = [*module.state_dict().values(), answer.detach()]
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()
