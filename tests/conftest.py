"""What all tests share: one thread, the repository's root, a small population."""

from __future__ import annotations

import os
import sys

# Thread pools read these once, at import; two torch threads under load can be far slower than one.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

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


class Package(metadata.Distribution):
    """An installed package that is called `theirs`."""

    def read_text(self, filename: str) -> str | None:
        return "Name: theirs\nVersion: 1.0\n" if filename == "METADATA" else None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        raise NotImplementedError


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that a package called `theirs` offers these objects (name of the entry point -> object, or its text).

    They are in every group, as `their_module:<name>`, unless a text says otherwise.
    """

    def offer(*pairs: tuple[str, object]) -> None:
        module = ModuleType("their_module")
        monkeypatch.setitem(sys.modules, "their_module", module)
        texts = []
        for n, (name, target) in enumerate(pairs):
            setattr(module, f"Thing{n}", target)
            texts.append((name, target if isinstance(target, str) else f"their_module:Thing{n}"))

        def entry_points(group: str) -> metadata.EntryPoints:
            points = (metadata.EntryPoint(name, text, group) for name, text in texts)
            return metadata.EntryPoints(point._for(Package()) for point in points)  # type: ignore[attr-defined]

        monkeypatch.setattr(metadata, "entry_points", entry_points)

    return offer
