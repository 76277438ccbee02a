"""Servers that are already there: what is checked of them, how they are asked, and what becomes of a lost one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.transport import OipSession, OipTransport
from edgeaudit.devices.registry import find_transport
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, ProtocolError
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec
from tests.agent.foreign import Foreign, described, running
from tests.agent.serving import FLOATS, TOKEN, serving
from tests.runtimes.served import onnx_artifact

VARIABLE = "LAB_TOKEN"
VALUES = np.array([[1, 2], [-0.5, 3], [np.pi, 1e-30]], np.float32)
CODES = replace(FLOATS, input=TensorSpec("in", (-1, 2), "int8"), output=TensorSpec("out", (-1, 2), "int8"))


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    with running(Foreign()) as found:
        yield found


def folder(tmp_path: Path, manifest: Manifest = FLOATS) -> dict[str, Path]:
    """An artifact as a job has it; the file itself is never read here."""
    Artifact(tmp_path, manifest).save()
    return {"model": tmp_path}


def served(
    foreign: Foreign, tmp_path: Path, manifest: Manifest = FLOATS, options: dict[str, Any] | None = None
) -> OipSession:
    transport = OipTransport(Endpoint(foreign.url, model=foreign.model))
    return transport.serve("onnxruntime", folder(tmp_path, manifest), options or {})


@pytest.mark.parametrize("via", ["oip://127.0.0.1:1", "http://127.0.0.1:1/path", "https://host:1"])
def test_the_transport_is_found_by_its_scheme(via: str) -> None:
    transport = find_transport(Endpoint(via))
    assert isinstance(transport, OipTransport)
    assert (transport.timed, transport.exclusive, transport.loads) == (False, True, False)


@pytest.mark.parametrize("extensions", [[], ["binary_tensor_data", "classification"]], ids=["json", "bytes"])
def test_a_foreign_server_is_queried_with_its_own_names(
    foreign: Foreign, tmp_path: Path, extensions: list[str]
) -> None:
    foreign.extensions = extensions
    session = served(foreign, tmp_path)
    answers = session.infer("model", VALUES, "question 7")
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, VALUES * 2)
    ((path, body),) = foreign.heard
    assert path == "/v2/models/theirs/infer"
    for part in (b'"id":"question 7"', b'"name":"x"', b'"shape":[3,2]'):
        assert part in body
    assert (b"binary_data" in body) is bool(extensions)
    assert session.facts("model") == {
        "options": {},
        "engaged": [],
        "sha256": None,
        "server": {"name": "foreign", "version": "1.0", "extensions": extensions},
        "model": "theirs",
        "platform": "theirs",
    }
    assert session.fingerprint() == {}
    session.close()
    session.close()


def test_json_keeps_every_bit(foreign: Foreign, tmp_path: Path) -> None:
    """All exponents of float32, subnormal ones too, both zeros, and numbers that some servers write with no point."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, 40_000, np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    edges = np.array([0.0, -0.0, 1e-45, 1.1754944e-38, 3.4028235e38, 1e20, 2**63, 2**64], np.float32)
    values = np.concatenate([values[np.isfinite(values)], edges])
    values = values[: len(values) // 2 * 2].reshape(-1, 2)
    foreign.compute = lambda given: given
    answers = served(foreign, tmp_path).infer("model", values, "1")
    np.testing.assert_array_equal(answers.view(np.uint32), values.view(np.uint32))
    # As Go writes floats below 1e21, and as servers do that print the shortest text that means the same float32.
    texts = [str(value) if abs(value) > 1e21 else np.format_float_positional(value) for value in values[:2000].ravel()]
    data = ",".join(text.removesuffix(".") for text in texts)
    foreign.post = lambda *_: (  # type: ignore[method-assign]
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2000, 2], "data": [' + data.encode() + b"]}]}",
        None,
    )
    answers = served(foreign, tmp_path).infer("model", values[:2000], "1")
    np.testing.assert_array_equal(answers.view(np.uint32), values[:2000].view(np.uint32))


@pytest.mark.parametrize("extensions", [[], ["binary_tensor_data"]], ids=["json", "bytes"])
def test_integers(foreign: Foreign, tmp_path: Path, extensions: list[str]) -> None:
    foreign.extensions = extensions
    foreign.inputs, foreign.outputs = [described("x", "INT8", [-1, 2])], [described("y", "INT8", [-1, 2])]
    given = np.array([[5, -100], [127, -128]], np.int8)
    answers = served(foreign, tmp_path, CODES).infer("model", given, "1")
    assert answers.dtype == np.int8
    np.testing.assert_array_equal(answers, [[10, 56], [-2, 0]])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([described("x", "FP64", [-1, 2])], None, r"takes float64, but nothing.onnx has float32 there \('in'\)"),
        ([described("x", "UINT8", [-1, 2])], None, "takes uint8, but nothing.onnx has float32"),
        ([described("x", "BYTES", [-1, 2])], None, "takes BYTES, but"),
        ([described("x", "FP32", [-1, 3])], None, r"takes \[-1, 3\], but nothing.onnx has \[-1, 2\] there"),
        ([described("x", "FP32", [2])], None, r"takes \[2\], but"),
        ([described("x", "FP32", [4, 2])], None, "takes 4 records at a time, but the audit sends 2 .* batch: 4"),
        ([described("x", "FP32", [-1, 2]), described("z", "FP32", [1])], None, r"takes 2 tensors \(x, z\); .* one"),
        ([], None, "has no inputs in its metadata; for MLServer"),
        (None, [described("y", "FP16", [-1, 2])], "returns float16, but nothing.onnx has float32"),
        (None, [described("y", "FP32", [-1, 10])], r"returns \[-1, 10\], but nothing.onnx has \[-1, 2\]"),
        (None, [], "has no outputs in its metadata"),
    ],
)
def test_another_model(foreign: Foreign, tmp_path: Path, inputs: Any, outputs: Any, message: str) -> None:
    foreign.inputs = foreign.inputs if inputs is None else inputs
    foreign.outputs = foreign.outputs if outputs is None else outputs
    with pytest.raises(ArtifactError, match=f"the model 'theirs' at {foreign.url} .*{message}"):
        served(foreign, tmp_path, options={"batch": 2})


@pytest.mark.parametrize("entry", [{"datatype": "FP32", "shape": [2]}, described("x", "FP32", ["a"]), "x"])
def test_metadata_that_violate_the_protocol(foreign: Foreign, tmp_path: Path, entry: Any) -> None:
    foreign.inputs = [entry]
    with pytest.raises(ProtocolError, match=r"has inputs without a name|invalid shape"):
        served(foreign, tmp_path)


@pytest.mark.parametrize(
    ("there", "mine", "batch"),
    [
        ([-1, 2], (-1, 2), 5),
        ([-1, 2], (1, 2), 1),
        ([1, 2], (-1, 2), 1),
        ([1, 2], (1, 2), 1),
        ([-1, -1], (-1, 2), 7),
        (["-1", "2"], (-1, 2), 7),
    ],
)
def test_compatible_shapes(
    foreign: Foreign, tmp_path: Path, there: list[Any], mine: tuple[int, ...], batch: int
) -> None:
    foreign.inputs = [described("x", "FP32", there)]
    manifest = replace(FLOATS, input=replace(FLOATS.input, shape=mine))
    one = served(foreign, tmp_path, manifest, {"batch": batch})
    np.testing.assert_array_equal(one.infer("model", VALUES[:1], "1"), VALUES[:1] * 2)


def test_a_file_for_one_record_and_a_model_for_four(foreign: Foreign, tmp_path: Path) -> None:
    foreign.inputs = [described("x", "FP32", [4, 2])]
    manifest = replace(FLOATS, input=replace(FLOATS.input, shape=(1, 2)))
    with pytest.raises(ArtifactError, match=r"takes 4 records at a time, but nothing\.onnx is made for 1"):
        served(foreign, tmp_path, manifest)


def test_only_the_output_with_the_artifacts_name_is_requested(foreign: Foreign, tmp_path: Path) -> None:
    """Classifiers of scikit-learn answer labels first, as strings too, which nobody here could read."""
    foreign.outputs = [described("label", "BYTES", [-1]), described("out", "FP32", [-1, 2])]
    np.testing.assert_array_equal(served(foreign, tmp_path).infer("model", VALUES, "1"), VALUES * 2)
    assert json.loads(foreign.heard[-1][1])["outputs"] == [{"name": "out"}]


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda values: values[:1], r"returned float32 \[1, 2\] for 3 records of 'theirs', not float32 \[3, 2\]"),
        (lambda values: values[:, :1], r"float32 \[3, 1\]"),
        (lambda values: values.astype(np.float64), r"float64 \[3, 2\] for 3 records of 'theirs', not float32"),
    ],
)
def test_outputs_of_another_shape_or_type(foreign: Foreign, tmp_path: Path, compute: Any, message: str) -> None:
    foreign.compute = compute
    with pytest.raises(ProtocolError, match=message):
        served(foreign, tmp_path).infer("model", VALUES, "1")


def test_outputs_with_nan_or_infinity(foreign: Foreign, tmp_path: Path) -> None:
    """MLServer writes null for them, and Triton a word that is not JSON."""
    one = served(foreign, tmp_path)
    for data, message in (
        (b"[1, null]", "have null instead of a number"),
        (b"[1, Infinity]", "Infinity is not a JSON number"),
    ):
        body = b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": ' + data + b"}]}"
        foreign.post = lambda *_, body=body: (body, None)  # type: ignore[method-assign]
        with pytest.raises(ProtocolError, match=message):
            one.infer("model", VALUES[:1], "1")
    with pytest.raises(ProtocolError, match="cannot be sent as JSON"):
        one.infer("model", VALUES * np.inf, "1")


def test_models_and_files(foreign: Foreign, tmp_path: Path) -> None:
    """Without a name the model is called like the file; one name is not two artifacts."""
    foreign.model = "nothing"
    one = OipTransport(Endpoint(foreign.url)).serve("onnxruntime", folder(tmp_path), {})
    np.testing.assert_array_equal(one.infer("model", VALUES, "1"), VALUES * 2)
    with pytest.raises(DeviceError, match="'nothing' configured, which cannot stand for 2 artifacts"):
        OipTransport(Endpoint(foreign.url, model="nothing")).serve("onnxruntime", {"a": tmp_path, "b": tmp_path}, {})
    with pytest.raises(DeviceError, match=r"refused \(404\)"):
        OipTransport(Endpoint(foreign.url, model="other")).serve("onnxruntime", folder(tmp_path), {})


def test_facts_of_a_foreign_server(foreign: Foreign) -> None:
    found = OipTransport(Endpoint(foreign.url, model="theirs")).facts("onnxruntime")
    assert json.loads(json.dumps(found)) == {
        **dict.fromkeys(("machine", "cpu", "isa", "os", "python")),
        "versions": {"onnxruntime": None},
        "server": {"name": "foreign", "version": "1.0", "extensions": []},
        "model": {"name": "theirs", "versions": ["3"], "platform": "theirs"},
    }
    assert OipTransport(Endpoint(foreign.url)).facts("onnxruntime")["model"] is None


def test_a_server_that_is_not_ready_is_retryable(foreign: Foreign, tmp_path: Path) -> None:
    foreign.ready = False
    with pytest.raises(DeviceLost, match="is not ready yet"):
        served(foreign, tmp_path)


def test_a_server_that_stops_and_returns(tmp_path: Path) -> None:
    foreign = Foreign()
    with running(foreign):
        one = served(foreign, tmp_path)
        one.infer("model", VALUES, "1")
    one.client.close()  # its thread would go on answering this connection; a process that ends would not
    for _ in range(2):
        with pytest.raises(DeviceLost, match="refused"):
            one.infer("model", VALUES, "2")
        with pytest.raises(DeviceLost, match="refused"):
            one.restore()
    foreign.ready = False
    with running(foreign):
        with pytest.raises(DeviceLost, match="not ready"):
            one.restore()
        foreign.ready = True
        one.restore()
        np.testing.assert_array_equal(one.infer("model", VALUES, "2"), VALUES * 2)
        foreign.version = "1.1"
        with pytest.raises(
            DeviceError, match=r"changed while it was disconnected: its version was 1\.0 and is 1\.1;"
        ) as told:
            one.restore()
        assert not isinstance(told.value, DeviceLost)
        foreign.version = "1.0"
        foreign.inputs = [described("x", "FP32", [-1, -1])]
        with pytest.raises(DeviceError, match="changed while it was disconnected: 'theirs' was"):
            one.restore()


def test_a_retry_has_the_same_request_id(foreign: Foreign) -> None:
    """A kept connection that ends is opened once more; on a new one that is the caller's to decide."""
    client = OipClient(foreign.url)
    client.live()
    foreign.drops = 1
    client.infer("theirs", {"x": VALUES}, outputs=("y",), binary=False)
    (_, first), (_, second) = foreign.heard
    assert first == second
    assert json.loads(first)["id"]
    client.close()
    foreign.drops = 1
    with pytest.raises(DeviceLost, match="closed the connection"):
        client.infer("theirs", {"x": VALUES}, outputs=("y",), binary=False)
    assert len(foreign.heard) == 3
    client.infer("theirs", {"x": VALUES}, outputs=("y",), binary=False)
    assert json.loads(foreign.heard[-1][1])["id"] != json.loads(first)["id"]


SENT = "Wed, 21 Oct 2015 07:28:00 GMT"
"""The server's clock; a board without a battery is years behind."""


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "0"}, 0, 0),
        ({"Retry-After": "86400"}, 3600, 3600),
        ({"Retry-After": SENT}, 0, 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0, 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:29:30 GMT", "Date": SENT}, 90, 90),
        ({"Retry-After": "Fri, 23 Oct 2015 07:28:00 GMT", "Date": SENT}, 3600, 3600),
        ({"Retry-After": "Fri, 31 Dec 2099 23:59:59 GMT", "Date": "soon"}, 3600, 3600),
        ({"Retry-After": "soon"}, None, None),
        ({"Retry-After": "-3"}, None, None),
        ({}, None, None),
    ],
)
def test_retryable_responses(foreign: Foreign, status: int, header: dict[str, str], least: Any, most: Any) -> None:
    foreign.refusals = [(status, header)]
    with pytest.raises(DeviceLost, match=rf"cannot answer now \({status}\): not now") as told:
        OipClient(foreign.url).infer("theirs", {"x": VALUES}, outputs=("y",), binary=False)
    again = pickle.loads(pickle.dumps(told.value))  # noqa: S301  workers hand errors over like this
    assert str(again) == str(told.value)
    assert again.after == told.value.after
    assert (again.after is None) if least is None else (least <= again.after <= most)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 500, 501])
def test_refusals_are_final(foreign: Foreign, status: int) -> None:
    foreign.refusals = [(status, {"Retry-After": "7"})]
    with pytest.raises(DeviceError, match=rf"refused \({status}\): not now") as told:
        OipClient(foreign.url).infer("theirs", {"x": VALUES}, outputs=("y",), binary=False)
    assert not isinstance(told.value, DeviceLost)


def test_a_rate_limited_health_check_is_inconclusive(foreign: Foreign) -> None:
    foreign.refusals = [(429, {"Retry-After": "3"}), (503, {})]
    client = OipClient(foreign.url)
    with pytest.raises(DeviceLost) as told:
        client.live()
    assert told.value.after == 3
    assert not client.live()
    assert client.live()


def test_tokens_come_from_the_environment(foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = OipTransport(Endpoint(foreign.url.replace("http", "oip"), token=VARIABLE))
    with pytest.raises(DeviceError, match="needs a token from the environment variable LAB_TOKEN, which is not set"):
        transport.facts("onnxruntime")
    monkeypatch.setenv(VARIABLE, f" {TOKEN}\n")
    transport.facts("onnxruntime")
    assert set(foreign.tokens) == {f"Bearer {TOKEN}"}
    assert TOKEN not in repr(transport.endpoint)


class TestOurAgent:
    """Behind a tunnel it is a server that is already there."""

    @pytest.fixture(autouse=True)
    def token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, TOKEN)

    def transport(self, url: str, model: str | None = "double") -> OipTransport:
        return OipTransport(Endpoint(url.replace("http", "oip"), token=VARIABLE, model=model))

    def test_it_is_queried_with_bytes_and_reports_the_file(self, tmp_path: Path) -> None:
        with serving(double=FLOATS) as agent:
            one = self.transport(agent.url).serve("onnxruntime", folder(tmp_path), {"batch": 2})
            assert one.client.binary
            np.testing.assert_array_equal(one.infer("model", VALUES, "1"), VALUES * 2)
            assert one.facts("model")["sha256"] == FLOATS.sha256
            assert one.facts("model")["options"] == {"batch": 2}
            one.close()

    def test_another_file_under_the_same_name(self, tmp_path: Path) -> None:
        mine = replace(FLOATS, sha256="cd" * 32)
        with (
            serving(double=FLOATS) as agent,
            pytest.raises(ArtifactError, match=f"serves 'double' .* SHA-256 {'ab' * 32}, .*onnx has {'cd' * 32};"),
        ):
            self.transport(agent.url).serve("onnxruntime", folder(tmp_path, mine), {})

    def test_other_options(self, tmp_path: Path) -> None:
        what = "with batch = 2, but the audit requires 32; start the agent"
        with serving(double=FLOATS) as agent, pytest.raises(ArtifactError, match=what):
            self.transport(agent.url).serve("onnxruntime", folder(tmp_path), {"batch": 32})
        fixed = replace(FLOATS, input=replace(FLOATS.input, shape=(1, 2)))
        with serving(double=fixed) as agent:  # the file decides
            self.transport(agent.url).serve("onnxruntime", folder(tmp_path, fixed), {"batch": 32})

    def test_without_its_token(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(double=FLOATS) as agent:
            with pytest.raises(DeviceError, match=r"\(401\): a token is required"):
                OipTransport(Endpoint(agent.url, model="double")).serve("onnxruntime", folder(tmp_path), {})
            monkeypatch.setenv(VARIABLE, "wrong")
            with pytest.raises(DeviceError, match=r"\(403\): the token is invalid"):
                self.transport(agent.url).facts("onnxruntime")

    @pytest.mark.toolchain
    def test_facts(self, tmp_path: Path) -> None:
        """All that decides answers, the same at each time of asking, and nothing of the file."""
        onnx_artifact(tmp_path)
        with serving(double=FLOATS) as agent:
            found = self.transport(agent.url).facts("onnxruntime")
            assert found == self.transport(agent.url).facts("onnxruntime") == json.loads(json.dumps(found))
            whole = OipClient(agent.url, TOKEN).fingerprint()
            assert {
                key: found[key] for key in ("machine", "cpu", "isa", "os", "python", "probes")
            }.items() <= whole.items()
            assert found["versions"] == whole["runtime"]["versions"]
            assert found["server"]["name"] == "edgeaudit-agent"
            assert not {"models", "cores"} & set(found)
            with pytest.raises(DeviceError, match="runs 'onnxruntime', but the audit requires 'litert'"):
                self.transport(agent.url).facts("litert")
