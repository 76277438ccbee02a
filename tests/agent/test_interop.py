"""Our client and `OipTransport` against servers of others: MLServer 1.7 and Triton 2.51, really running.

Expected answers are ONNX Runtime's in this process. The servers have the same version and session options, so they are
compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.transport import OipSession, OipTransport
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost
from edgeaudit.filetypes.artifact import Artifact, TensorSpec
from edgeaudit.formats.presets import FORMATS
from edgeaudit.runtimes.registry import find_runtime
from tests.agent.other_servers import MlServer, OtherServer, Triton
from tests.exporters.toys import artifact, toy
from tests.runtimes.served import WEIGHTS, seal

pytestmark = pytest.mark.toolchain
BATCH = 16


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """An MLP trained on digits in float32 and in dynamic int8, and a file by hand that takes bytes."""
    found = {name: artifact(toy("mlp"), FORMATS[f"onnx-{name}"].passes) for name in ("fp32", "int8-dynamic")}
    for one in found.values():
        one.save()
    return {**found, "codes": codes(tmp_path_factory.mktemp("codes"))}


def codes(folder: Path) -> Artifact:
    """uint8 records @ WEIGHTS."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["codes"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["floats", "weights"], ["logits"]),
        ],
        "by hand",
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    path = folder / "codes.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return seal(path, "onnx", TensorSpec("codes", (-1, 2), "uint8"), TensorSpec("logits", (-1, 2), "float32"))


@pytest.fixture(scope="module", params=[MlServer, Triton], ids=lambda kind: kind.name)
def server(
    request: pytest.FixtureRequest,
    others: str,
    models: dict[str, Artifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OtherServer]:
    found = request.param(others, tmp_path_factory.mktemp(request.param.name), models)
    found.start()
    try:
        yield found
    finally:
        found.kill()


def served(server: OtherServer, name: str, given: Artifact | None = None) -> OipSession:
    transport = OipTransport(Endpoint(server.url.replace("http", "oip"), model=name))
    return transport.serve("onnxruntime", {"model": (given or server.models[name]).folder}, {"batch": BATCH})


def native(name: str) -> npt.NDArray[Any]:
    """50 records as the file takes them: the last block is not a whole one."""
    if name == "codes":
        return np.random.default_rng(0).integers(0, 256, (50, 2)).astype(np.uint8)
    return np.ascontiguousarray(toy("mlp").queries[:50])


def asked(session: OipSession, records: npt.NDArray[Any], batch: int = BATCH) -> npt.NDArray[Any]:
    starts = range(0, len(records), batch)
    return np.concatenate([session.infer("model", records[i : i + batch], f"question {i}") for i in starts])


def test_health_and_metadata(server: OtherServer) -> None:
    client = OipClient(server.url)
    assert client.live()
    assert client.ready()
    assert client.ready("codes")
    assert not client.ready("other")
    about = client.server_metadata()
    assert (about["name"], about["version"]) == {"mlserver": ("mlserver", "1.7.1"), "triton": ("triton", "2.51.0")}[
        server.name
    ]
    assert client.model_metadata("codes")["inputs"] == [{"name": "codes", "datatype": "UINT8", "shape": [-1, 2]}]
    for unknown in (client.model_metadata, client.facts):
        with pytest.raises(DeviceError, match=r"refused \(404\)"):
            unknown("other")


@pytest.mark.parametrize("name", ["fp32", "int8-dynamic", "codes"])
def test_answers_are_those_of_the_runtime_bit_for_bit(server: OtherServer, name: str) -> None:
    """Dynamic int8 takes its scale from the whole batch, so this would show requests that are cut or joined."""
    session, records = served(server, name), native(name)
    assert session.client.binary is (server.name == "triton")
    here = find_runtime("onnxruntime")(server.models[name], {"batch": BATCH})
    # The runtime pads its last block, and a device that is asked as it will be is asked for what there is.
    whole = len(records) // BATCH * BATCH
    answers = asked(session, records)
    assert answers.dtype == np.float32
    assert len(answers) == len(records)
    np.testing.assert_array_equal(answers[:whole], here.ask(records[:whole]))
    if name == "int8-dynamic":
        assert (asked(session, records, batch=1) != answers).any()
    else:
        np.testing.assert_array_equal(answers[whole:], here.ask(records[whole:]))


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_tensors_as_bytes_and_as_json(server: OtherServer, binary: bool) -> None:
    client, records = OipClient(server.url), native("fp32")
    source, answer = (getattr(server.models["fp32"].manifest, side).name for side in ("input", "output"))
    if binary and server.name == "mlserver":  # it names no such extension, and reads the bytes as JSON
        with pytest.raises(DeviceError, match=r"refused \(500\)"):
            client.infer("fp32", {source: records}, binary=True)
        assert client.live()
        return
    found = client.infer("fp32", {source: records}, binary=binary)
    here = find_runtime("onnxruntime")(server.models["fp32"], {"batch": len(records)})
    np.testing.assert_array_equal(found[answer], here.ask(records))


def test_refusals(server: OtherServer) -> None:
    """A wrong shape, a wrong dtype, a model and an input that are not there: refused in words, and it serves on."""
    client, records = OipClient(server.url, binary=server.name == "triton"), native("fp32")
    source = server.models["fp32"].manifest.input.name
    for name, given, words in (
        ("fp32", records[:, :5], "shape|dimension"),
        ("fp32", records.astype(np.float64), "FP64|double"),
        ("codes", records[:, :2].astype(np.float32), "FP32|float"),
    ):
        tensor = source if name == "fp32" else "codes"
        with pytest.raises(DeviceError, match=rf"refused \(400\): .*({words})") as told:
            client.infer(name, {tensor: given})
        assert not isinstance(told.value, DeviceLost)
    with pytest.raises(DeviceError, match=r"refused \(40[04]\)"):
        client.infer("other", {source: records})
    assert len(client.infer("fp32", {source: records})) == 1


def test_another_artifact_is_not_queried(server: OtherServer, tmp_path: Path) -> None:
    mine = server.models["fp32"].manifest
    for changes, message in (
        ({"input": replace(mine.input, dtype="uint8")}, "takes float32, but .* has uint8"),
        ({"output": replace(mine.output, shape=(-1, 7))}, r"returns \[-1, 10\], but .* has \[-1, 7\]"),
        ({"input": replace(mine.input, shape=(-1, 8, 8, 1))}, r"takes \[-1, 64\], but .* has \[-1, 8, 8, 1\]"),
    ):
        other = Artifact(tmp_path, replace(mine, **changes))  # type: ignore[arg-type]
        other.save()
        with pytest.raises(ArtifactError, match=message):
            served(server, "fp32", other)
    with pytest.raises(DeviceError, match=r"refused \(404\): .*[Mm]odel"):
        served(server, "other", server.models["fp32"])


def test_facts(server: OtherServer) -> None:
    session = served(server, "fp32")
    assert session.fingerprint() == {}
    facts = session.facts("model")
    assert (facts["sha256"], facts["options"], facts["server"]["name"]) == (None, {}, server.name)
    transport = OipTransport(Endpoint(server.url, model="fp32"))
    found = transport.facts("onnxruntime")
    assert found == transport.facts("onnxruntime")
    assert (found["cpu"], found["versions"], found["server"]) == (None, {"onnxruntime": None}, facts["server"])
    assert found["model"] is not None
    assert found["model"]["versions"] == {"mlserver": [], "triton": ["1"]}[server.name]


def test_killed_and_started_again(server: OtherServer) -> None:
    session, records = served(server, "fp32"), native("fp32")
    first = session.infer("model", records[:BATCH], "1")
    server.kill()
    for _ in range(2):
        with pytest.raises(DeviceLost):
            session.infer("model", records[:BATCH], "2")
        with pytest.raises(DeviceLost):
            session.restore()
    server.start()
    session.restore()
    np.testing.assert_array_equal(session.infer("model", records[:BATCH], "2"), first)
