"""One prepared emulation for all tests of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from edgeaudit.devices.profiles import Profile
from edgeaudit.devices.qemu.prepare import Emulation
from edgeaudit.errors import ToolchainError
from tests.devices.boards import HASWELL, PI_4, PI_5

WANTED = ((PI_4, ("onnxruntime", "litert")), (PI_5, ("onnxruntime",)), (HASWELL, ("onnxruntime",)))


@pytest.fixture(scope="session")
def emulated_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Everything of `WANTED` is prepared: in the user's cache, or else in a folder of this run.

    Skips where this host cannot prepare it. Processes of one run share the folder; the first that comes fills it.
    """
    if all(Emulation(profile).prepared(runtime) for profile, runtimes in WANTED for runtime in runtimes):
        yield
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEAUDIT_EMULATION", str(shared / "emulation"))
        try:
            for profile, runtimes in WANTED:
                Emulation(profile).prepare(runtimes)
        except ToolchainError as exc:
            pytest.skip(f"no emulation here: {exc}")
        yield


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Profile], str]:
    """Writes a profile into a file, as users name one."""

    def write(profile: Profile) -> str:
        path = tmp_path / f"{profile.name}.yaml"
        path.write_text(yaml.safe_dump(profile.model_dump(mode="json", by_alias=True)), encoding="utf-8")
        return str(path)

    return write
