"""Foreign files audited with a wrong list of members, sides or labels: no budget may pass, whatever the figures are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from torch import nn

from tests.e2e.conftest import Finished, Workbench

pytestmark = pytest.mark.e2e

N = 300
Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A folder with a file that knows its N training records by heart, and others not."""
    folder = tmp_path_factory.mktemp("lists")
    x, y = _records()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x[:N])), torch.from_numpy(y[:N])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    onnx.save(_as_onnx(net), folder / "model.onnx")
    return Workbench(folder)


def _as_onnx(net: nn.Sequential) -> onnx.ModelProto:
    weights = {name.replace(".", "_"): value.detach().numpy() for name, value in net.named_parameters()}
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "0_weight", "0_bias"], ["a"], transB=1),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("Gemm", ["b", "2_weight", "2_bias"], ["y"], transB=1),
    ]
    given, returned = (
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])]
        for name, width in (("x", 64), ("y", 10))
    )
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = onnx.helper.make_graph(nodes, "digits", given, returned, stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def _records() -> Pair:
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.data[rows] / 16).astype(np.float32), digits.target[rows].astype(np.int64)


def _audit(bench: Workbench, name: str, members: Pair, nonmembers: Pair, **target: Any) -> Finished:
    sides = {"members": members, "nonmembers": nonmembers}
    for side, (x, y) in sides.items():
        np.savez(bench.folder / f"{name}-{side}.npz", x=x, y=y)
    spec = {
        "target": {"artifact": "model.onnx", **target},
        "data": {"source": "npz", "preprocessing": "raw", **{s: {"path": f"{name}-{s}.npz"} for s in sides}},
        "attacks": ["yeom", "gap"],
        "controls": {"shift": False},
        "quality": {"latency": False},
        "budgets": {"auc": ["error", {"max": 0.9, "attack": "yeom"}]},
    }
    path = Path(f"{name}.yaml")
    (bench.folder / path).write_text(yaml.safe_dump(spec), encoding="utf-8")
    return bench.run("run", path, "--out", f"out-{name}", out=f"out-{name}")


def _side(start: int) -> Pair:
    x, y = _records()
    return x[start : start + N], y[start : start + N]


def _last(done: Finished) -> str:
    """The verdict as the terminal has it, in one line."""
    return " ".join(done.stdout[done.stdout.index("controls:") :].split())


def test_the_right_list_passes(bench: Workbench) -> None:
    done = _audit(bench, "right", _side(0), _side(N))
    assert done.code == 0, done.stdout
    assert {c["name"]: c["status"] for c in done.audit["controls"]}["members known"] == "holds"


def test_a_list_of_records_that_it_never_saw(bench: Workbench) -> None:
    done = _audit(bench, "wrong", _side(2 * N), _side(N))
    assert (done.code, done.audit["verdict"]["outcome"]) == (3, "inconclusive")
    assert "INCONCLUSIVE (exit code 3): control undecided: model.onnx: members known:" in _last(done)
    assert [b["verdict"] for b in done.audit["verdict"]["budgets"]] == ["pass"]


def test_swapped_sides(bench: Workbench) -> None:
    done = _audit(bench, "swapped", _side(N), _side(0))
    assert (done.code, done.audit["verdict"]["outcome"]) == (3, "invalid")
    assert "INVALID (exit code 3): control failed: model.onnx: sides in order:" in _last(done)


def test_labels_of_members_alone_in_another_order(bench: Workbench) -> None:
    x, y = _side(0)
    done = _audit(bench, "labels", (x, np.random.default_rng(1).permutation(y)), _side(N))
    assert done.code == 2
    said = " ".join((done.stdout + done.stderr).split())
    assert "of the 300 records that it trained on and" in said
    assert "not clearly more than always answering the most frequent label" in said


def test_some_labels_of_members_wrong(bench: Workbench) -> None:
    x, y = _side(0)
    wrong = np.where(np.arange(N) % 3 == 0, (y + 1) % 10, y)
    done = _audit(bench, "some", (x, wrong), _side(N))
    assert (done.code, done.audit["verdict"]["outcome"]) == (3, "invalid")


def test_pixels_in_reverse_on_both_sides(bench: Workbench) -> None:
    sides = [(np.ascontiguousarray(x[:, ::-1]), y) for x, y in (_side(0), _side(N))]
    done = _audit(bench, "reversed", *sides)
    assert done.code in (2, 3)
    assert done.code == 2 or done.audit["verdict"]["outcome"] == "inconclusive"


def test_stated_accuracies_stand_for_a_list_that_the_answers_cannot_show(bench: Workbench) -> None:
    sides = _side(2 * N), _side(N)
    measured = _audit(bench, "wrong", *sides).audit["formats"][0]["accuracy"]
    done = _audit(bench, "stated", *sides, accuracy={side: measured[side] for side in ("train", "test")})
    assert done.code == 0, done.stdout
    assert "; controls that warn: " in _last(done)
    assert "members known" in _last(done).rsplit("controls that warn: ", 1)[1]
    refused = _audit(bench, "misstated", *sides, accuracy={"train": 1.0, "test": measured["test"]})
    assert refused.code == 2
    assert "target.accuracy.train is 100.0%, but model.onnx classifies" in " ".join(refused.stderr.split())
