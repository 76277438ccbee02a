"""MLServer and Triton, really running, serving ONNX files with ONNX Runtime: processes that a test starts and kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from edgeaudit.agent.tensors import datatype_of
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.errors import DeviceLost
from edgeaudit.filetypes.artifact import Artifact, TensorSpec

_SECONDS = 120.0

_SESSION = """
import onnxruntime

def opened(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class OtherServer(ABC):
    """A server's process over a folder of its own. `start` again after `kill` is on the same port."""

    name: ClassVar[str]

    def __init__(self, python: str, folder: Path, models: Mapping[str, Artifact]) -> None:
        self.python = python
        self.folder = folder
        self.models = dict(models)
        self.port = free_port()
        self._log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.lay()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def lay(self) -> None:
        """Write what it serves into the folder."""

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """(command, environment) that starts it."""

    def start(self) -> None:
        command, environment = self.command()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        client, ends = OipClient(self.url), time.monotonic() + _SECONDS
        while not self._ready(client):
            if self._process.poll() is not None or time.monotonic() > ends:
                self.kill()
                pytest.fail(f"{self.name} does not serve: {self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
        client.close()

    def _ready(self, client: OipClient) -> bool:
        try:
            return all(client.ready(model) for model in self.models)
        except DeviceLost:
            return False

    def kill(self) -> None:
        """At once, with what it started, as a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it ended itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


_MLSERVER = (
    _SESSION
    + """
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse

class Onnx(MLModel):
    async def load(self):
        self.session = opened(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        (source,), (answer,) = self.session.get_inputs(), self.session.get_outputs()
        try:
            values = self.session.run(None, {source.name: NumpyCodec.decode_input(payload.inputs[0])})[0]
        except Exception as exc:  # MLServer itself compares neither shapes nor dtypes with the model's metadata
            raise InferenceError(str(exc))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(answer.name, values)])
"""
)


class MlServer(OtherServer):
    """MLServer with a model class of its own, since it has none for ONNX. It says in its metadata what it is told."""

    name = "mlserver"

    def lay(self) -> None:
        (self.folder / "served.py").write_text(_MLSERVER)
        about = {
            "host": "127.0.0.1", "http_port": self.port, "grpc_port": free_port(), "metrics_endpoint": None,
            "parallel_workers": 0,
        }  # fmt: skip
        (self.folder / "settings.json").write_text(json.dumps(about))
        for name, artifact in self.models.items():
            manifest = artifact.manifest
            model = {
                "name": name,
                "implementation": "served.Onnx",
                "parameters": {"uri": str(artifact.path)},
                "inputs": [_tensor(manifest.input)],
                "outputs": [_tensor(manifest.output)],
            }
            (self.folder / name).mkdir()
            (self.folder / name / "model-settings.json").write_text(json.dumps(model))

    def command(self) -> tuple[list[str], dict[str, str]]:
        # An environment is renamed when it is whole, and its scripts, mlserver too, name the Python that was.
        command = [self.python, "-c", "from mlserver.cli import main; main()", "start", str(self.folder)]
        return command, {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(self.folder)}


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape)}


_TRITON = (
    _SESSION
    + """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.session = opened(PATH)

    def execute(self, requests):
        (source,), (answer,) = self.session.get_inputs(), self.session.get_outputs()
        answers = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, source.name).as_numpy()
            values = self.session.run(None, {source.name: values})[0]
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(answer.name, values)]))
        return answers
"""
)


class Triton(OtherServer):
    """Triton with its Python backend, both as nvidia-pytriton's wheel has them."""

    name = "triton"

    def lay(self) -> None:
        packages = next(Path(self.python).parent.parent.glob("lib/python3*/site-packages"))
        self._wheel = packages / "pytriton" / "tritonserver"
        self._libraries = packages / "nvidia_pytriton.libs"
        backend = self.folder / "backends" / "python"
        backend.mkdir(parents=True)
        version = "{}.{}".format(*packages.parent.name.removeprefix("python").split("."))
        stub = self._wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
        for file in (*(self._wheel / "backends" / "python").glob("*triton_python*"), stub):
            (backend / file.name).symlink_to(file)
        for name, artifact in self.models.items():
            version_folder = self.folder / "models" / name / "1"
            version_folder.mkdir(parents=True)
            (version_folder / "model.py").write_text(_TRITON.replace("PATH", repr(str(artifact.path))))
            manifest = artifact.manifest
            # max_batch_size 0: the shapes are whole, and no request is joined with another or cut.
            (version_folder.parent / "config.pbtxt").write_text(
                f'name: "{name}"\nbackend: "python"\nmax_batch_size: 0\n'
                f"input [{_pbtxt(manifest.input)}]\noutput [{_pbtxt(manifest.output)}]\n"
                "instance_group [{ kind: KIND_CPU count: 1 }]\n"
            )

    def command(self) -> tuple[list[str], dict[str, str]]:
        options = {
            "model-repository": self.folder / "models", "backend-directory": self.folder / "backends",
            "http-address": "127.0.0.1", "http-port": self.port, "allow-grpc": "false", "allow-metrics": "false",
            "backend-config": f"python,shm-region-prefix-name={self._region}",
        }  # fmt: skip
        # The backend's stub is linked against libpython, which must be of the very Python whose modules it imports.
        libraries = f"{self._libraries}:{sysconfig.get_config_var('LIBDIR')}"
        path = f"{Path(self.python).parent}:{os.environ['PATH']}"
        return (
            [
                str(self._wheel / "bin" / "tritonserver"),
                "--disable-auto-complete-config",
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            {"PATH": path, "LD_LIBRARY_PATH": libraries, "HOME": str(self.folder)},
        )

    @property
    def _region(self) -> str:
        return f"edgeaudit-{self.port}-"

    def kill(self) -> None:
        super().kill()
        for left in Path("/dev/shm").glob(f"{self._region}*"):  # noqa: S108  Triton's, which it had no time to remove
            left.unlink()


def _pbtxt(spec: TensorSpec) -> str:
    dims = ", ".join(map(str, spec.shape))
    return f'{{ name: "{spec.name}" data_type: TYPE_{datatype_of(spec.dtype)} dims: [{dims}] }}'
