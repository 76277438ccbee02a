"""`edgeaudit inspect`: its own audit.yaml audits files of stock exporters in one attempt, with their own figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from edgeaudit.host.quiet import quiet
from tests.e2e.conftest import Workbench
from tests.keras_process import default_int8_tflite, in_tensorflow, stateful_lstm_tflite

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

FloatArray = npt.NDArray[np.float64]
N = 500


@pytest.fixture(scope="module")
def digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images [2 N, 8, 8] of bytes, the first half of them members, and labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = np.random.default_rng(1).permutation(len(found.target))[: 2 * N]
    return np.round(found.images[rows] * (255 / 16)).astype(np.uint8), found.target[rows].astype(np.int64)


# The figures of a file, without edgeaudit: its runtime, one record at a time, and the rank test.


def _tflite_answers(path: Path, inputs: npt.NDArray[np.float32]) -> FloatArray:
    """A fresh interpreter for each record, so that none has a state of another."""
    from ai_edge_litert.interpreter import Interpreter

    found = []
    for record in inputs:
        with quiet():
            asked = Interpreter(str(path), num_threads=1)
            asked.allocate_tensors()
            asked.set_tensor(asked.get_input_details()[0]["index"], record[None])
            asked.invoke()
            found.append(asked.get_tensor(asked.get_output_details()[0]["index"])[0])
    return np.array(found, np.float64)


def _onnx_answers(path: Path, inputs: npt.NDArray[np.float32], output: int) -> FloatArray:
    import onnxruntime

    asked = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = [asked.run(None, {asked.get_inputs()[0].name: record[None]})[output] for record in inputs]
    if isinstance(answers[0], list):
        return np.array([[row[label] for label in range(10)] for (row,) in answers])
    return np.concatenate(answers).astype(np.float64)


def _auc(answers: FloatArray, labels: npt.NDArray[np.int64], *, logits: bool) -> float:
    p = np.exp(answers - answers.max(axis=1, keepdims=True)) if logits else answers
    p = p / p.sum(axis=1, keepdims=True) if logits else p
    true = p[np.arange(len(labels)), labels]
    found: float = stats.mannwhitneyu(true[:N], true[N:]).statistic / N**2
    return found


def _int8(folder: Path, x: npt.NDArray[np.uint8], y: npt.NDArray[np.int64]) -> tuple[float, npt.NDArray[Any]]:
    inputs = (x[..., None] / 255).astype(np.float32)
    in_tensorflow(default_int8_tflite, folder, inputs[:N], y[:N])
    return _auc(_tflite_answers(folder / "model.tflite", inputs), y, logits=False), x


def _lstm(folder: Path, x: npt.NDArray[np.uint8], y: npt.NDArray[np.int64]) -> tuple[float, npt.NDArray[Any]]:
    inputs = (x / 255).astype(np.float32)
    in_tensorflow(stateful_lstm_tflite, folder, inputs[:N], y[:N])
    return _auc(_tflite_answers(folder / "model.tflite", inputs), y, logits=True), inputs


def _forest(folder: Path, x: npt.NDArray[np.uint8], y: npt.NDArray[np.int64]) -> tuple[float, npt.NDArray[Any]]:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.ensemble import RandomForestClassifier

    flat = x.reshape(len(x), -1).astype(np.float32)
    forest = RandomForestClassifier(20, max_depth=7, random_state=0).fit(flat[:N], y[:N])
    made = skl2onnx.to_onnx(forest, flat[:1])  # its default: a label, and a mapping a record (ZipMap)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    return _auc(_onnx_answers(folder / "model.onnx", flat, 1), y, logits=False), flat


def _torch(folder: Path, x: npt.NDArray[np.uint8], y: npt.NDArray[np.int64]) -> tuple[float, npt.NDArray[Any]]:
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    inputs = torch.from_numpy((x[:, None] / 255).astype(np.float32))
    optimizer = torch.optim.Adam(net.parameters(), 0.005)
    for _ in range(60):
        for rows in torch.randperm(N).split(50):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), torch.from_numpy(y)[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with quiet():
        torch.onnx.export(net.eval(), (inputs[:1],), str(folder / "model.onnx"), verbose=False)
    assert (folder / "model.onnx.data").is_file()  # external data are the default
    return _auc(_onnx_answers(folder / "model.onnx", inputs.numpy(), 0), y, logits=True), x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [_int8, _lstm, _forest, _torch])
def test_audited_in_one_attempt(
    bench: Workbench,
    digits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
    make: Callable[[Path, npt.NDArray[np.uint8], npt.NDArray[np.int64]], tuple[float, npt.NDArray[Any]]],
) -> None:
    x, y = digits
    own, records = make(bench.folder, x, y)
    np.savez(bench.folder / "train.npz", x=records[:N], y=y[:N])
    np.savez(bench.folder / "test.npz", x=records[N:], y=y[N:])
    (file,) = bench.folder.glob("model.[!d]*x") if make in (_forest, _torch) else bench.folder.glob("*.tflite")
    said = bench.run("inspect", file.name, "--data", "train.npz", "--data", "test.npz", "--write", "audit.yaml")
    assert said.code == 0, said.stderr
    done = bench.run("run", "audit.yaml", "--out", "out")
    assert done.code in (0, 3), done.stderr  # 3: what else it says of the records
    (row,) = [
        row
        for row in done.audit["leakage"]
        if (row["attack"], row["variant"], row["metric"], row["subset"]) == ("yeom", "loss", "auc", "all")
    ]
    assert row["value"] == pytest.approx(own, abs=5e-4)
    if make is _lstm:
        assert "keeps a state" not in " ".join(done.audit["formats"][0]["artifact"]["found"][:5])
        assert any("keeps a state between calls" in note for note in done.audit["formats"][0]["artifact"]["found"])


def test_outputs_in_another_order_are_said(
    bench: Workbench, digits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from sklearn.linear_model import LogisticRegression

    x, y = digits
    flat = x.reshape(len(x), -1).astype(np.float32)
    fitted = LogisticRegression(max_iter=200).fit(flat / 255, y)
    order = np.random.default_rng(0).permutation(10)  # output i is label order[i]
    weights = (fitted.coef_[order].T / 255).astype(np.float32)
    bias = fitted.intercept_[order].astype(np.float32)
    values = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["z"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 10])],
        values,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), bench.folder / "order.onnx"
    )
    np.savez(bench.folder / "order.npz", x=flat, y=y)
    done = bench.run("inspect", "order.onnx", "--data", "order.npz")
    assert done.code == 0, done.stderr
    places = ", ".join(str(int(np.flatnonzero(order == label)[0])) for label in range(10))
    assert f"outputs are in another order than the labels: theirs are {places}" in " ".join(done.stdout.split())
