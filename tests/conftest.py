"""What all tests share: one thread, the repository's root, a small population."""

from __future__ import annotations

import os

# Thread pools read these once, at import; two torch threads under load can be far slower than one.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from edgeaudit.devices.environments import Environment, find_environment
from edgeaudit.errors import ToolchainError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root_folder() -> Path:
    """The repository's top level."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real data sets; skips where there is none."""
    folder = Path(os.environ.get("EDGEAUDIT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"EDGEAUDIT_DATA: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def tflite_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """tflite-runtime's environment: the user's where there is one, or else one made for this run; skips without pip."""
    environment = find_environment("tflite-runtime")
    if environment.prepared:
        yield environment
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEAUDIT_ENVIRONMENTS", str(shared / "environments"))
        try:
            environment.prepare()
        except ToolchainError as exc:
            pytest.skip(f"no environment for tflite-runtime: {exc}")
        yield environment


class EntryPoint:
    """An entry point of a package that is not there."""

    name, value = "theirs", "their.module:Thing"

    def __init__(self, target: object) -> None:
        self._target = target

    def load(self) -> object:
        return self._target


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretend that other packages offer these objects as passes and runtimes."""
    from edgeaudit.exporters import registry as passes
    from edgeaudit.runtimes import registry as runtimes

    def forget() -> None:
        passes._passes.cache_clear()
        runtimes._runtimes.cache_clear()

    def offer(*targets: object) -> None:
        monkeypatch.setattr(metadata, "entry_points", lambda **_: [EntryPoint(t) for t in targets])
        forget()

    yield offer
    forget()
