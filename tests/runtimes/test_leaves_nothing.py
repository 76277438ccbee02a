from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnxruntime_writes_nothing_of_its_own(tmp_path: Path) -> None:
    """Version 1.32 leaves an id and a database of telemetry in the user's cache, and a file in the temporary folder."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    plain = {k: v for k, v in os.environ.items() if k not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}}
    code = "from edgeaudit.agent.probes import run_probes; assert run_probes('onnxruntime', {})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**plain, "HOME": str(home), "TMPDIR": str(temporary)})
    assert [path for folder in (home, temporary) for path in folder.rglob("*")] == []
