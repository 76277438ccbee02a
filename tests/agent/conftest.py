"""Environments for tests alone: servers and clients of the Open Inference Protocol that other projects made."""

from __future__ import annotations

import fcntl
import os
from importlib import metadata

import pytest

from edgeaudit.devices.environments import Environment
from edgeaudit.errors import ToolchainError


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment with MLServer, Triton and tritonclient; skips without pip.

    One for all of them, since they share most packages: a minute of pip, once for all of pytest-xdist's workers; or the
    user's, where there is one. Triton itself is in nvidia-pytriton's wheel: the server and its Python backend, without
    a GPU. numpy 1 is pytriton's. MLServer 1.7 needs protobuf below 7.
    """
    here = metadata.version("onnxruntime")
    found = Environment(
        "others",
        ("mlserver==1.7.1", "protobuf<7", "tritonclient[http]==2.73.0", "nvidia-pytriton==0.7.0", "numpy==1.26.4",
         f"onnxruntime=={here}"),
        ((3, 11),), "mlserver, tritonclient.http, onnxruntime", "tests",
    )  # fmt: skip
    if found.prepared:
        return str(found.python())
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    # Until it is made and no longer: the variable is the whole process's, and other tests have environments elsewhere.
    with (shared / "others.lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("EDGEAUDIT_ENVIRONMENTS", str(shared / "others"))
        patch.setenv("PIP_NO_COMPILE", "0")  # pip's way to say so; half the time goes into modules nobody imports
        try:
            found.prepare()
        except ToolchainError as exc:
            pytest.skip(f"no MLServer, Triton and tritonclient: {exc}")
        return str(found.python())
