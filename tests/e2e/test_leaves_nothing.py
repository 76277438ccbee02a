"""A whole audit with several toolchains leaves nothing outside of its folders and sends nothing to a network.

It runs in a network namespace whose only way out is an interface that leads nowhere and counts what is sent.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.e2e

# Format -> the package that it needs.
FORMATS = {
    "onnx-int8-static": "onnxruntime",
    "litert-int8-dynamic": "ai_edge_litert",
    "openvino-fp32": "openvino",
    "executorch-fp32": "executorch",
}
FAR = "192.0.2.1"  # of the range for documentation (RFC 5737)
# Runs inside the namespace; prints the packets sent before and after one datagram of its own, and after the command.
INSIDE = f"""
import json, socket, subprocess, sys

def sent():
    (line,) = (line for line in open("/proc/net/dev") if line.strip().startswith("far0:"))
    return int(line.split(":")[1].split()[9])  # of 16 columns the tenth: packets transmitted

def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)

try:
    open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w").write("1")  # no solicitations of routers
except OSError:
    pass
if subprocess.run(["ip", "link", "add", "far0", "type", "dummy"], capture_output=True).returncode:
    ip("link", "add", "far0", "type", "veth", "peer", "name", "near0")
    ip("link", "set", "near0", "up")  # nobody listens there
ip("address", "add", "10.213.0.1/24", "dev", "far0")
ip("link", "set", "far0", "up")
# Known, so that the datagram itself is sent, and no question who has that address.
ip("neighbour", "add", "10.213.0.2", "lladdr", "02:00:00:00:00:02", "dev", "far0", "nud", "permanent")
ip("route", "add", "default", "via", "10.213.0.2")
counts = [sent()]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
    datagram.sendto(b"counted", ("{FAR}", 9))
counts.append(sent())
done = subprocess.run(sys.argv[1:], capture_output=True, text=True) if sys.argv[1:] else None
counts.append(sent())
print(json.dumps({{"sent": counts, "code": done and done.returncode, "errors": done and done.stderr}}))
"""


def apart(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> dict[str, Any]:
    """Run a command in a network namespace; skips where none can be made."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("there is no unshare or no ip")
    own = [] if os.getuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", "--net", *own, sys.executable, "-I", "-c", INSIDE, *map(str, command)],
        env=env, cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no network namespace with an interface: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plain(folder: Path) -> dict[str, str]:
    """An environment with an empty home and temporary folder, and without settings that would hide what is written."""
    hidden = ("XDG_", "ORT_", "NNCF_", "MPL", "HF_", "KERAS", "TORCH", "EDGEAUDIT_")
    env = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(hidden)}
    for name in ("home", "temporary"):
        (folder / name).mkdir()
    return {**env, "HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}


def left(folder: Path) -> list[str]:
    """What is in the home and in the temporary folder; folders count, too."""
    return sorted(
        str(path.relative_to(folder)) for name in ("home", "temporary") for path in (folder / name).rglob("*")
    )


def test_an_audit_leaves_nothing_and_sends_nothing(tmp_path: Path) -> None:
    formats = [name for name, package in FORMATS.items() if find_spec(package) is not None]
    if not formats:
        pytest.skip("no toolchain is installed")
    spec = {
        "model": {"recipe": "mlp", "options": {"hidden": [8]}, "epochs": 2},
        "data": {"source": "digits", "members": 100, "nonmembers": 100, "calibration": {"records": 16}},
        "threat": {"shadows": 2},
        "controls": {"null-targets": 0},
        "formats": formats,
        "attacks": ["yeom"],
        "quality": {"repetitions": 20},
    }
    work = tmp_path / "work"
    work.mkdir()
    (work / "audit.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    edgeaudit = Path(sys.executable).parent / "edgeaudit"
    command = ("run", "audit.yaml", "--out", "out", "--workers", "1")
    found = apart(edgeaudit, *command, env=plain(tmp_path), cwd=work)
    before, own, after = found["sent"]
    assert own == before + 1, "the counter does not count"
    assert found["code"] == 0, found["errors"]
    audit = json.loads((work / "out" / "audit.json").read_text("utf-8"))
    assert [(row["id"], row["status"]) for row in audit["formats"]] == [(name, "ok") for name in formats], found
    assert after == own, f"{after - own} packets were sent"
    assert not left(tmp_path)
    assert sorted(path.name for path in work.iterdir()) == [".edgeaudit", "audit.yaml", "out"]


@pytest.mark.toolchain
def test_keras_leaves_nothing_when_its_process_is_ended(tmp_path: Path) -> None:
    """AutoGraph would leave a file for each function that it converts, and its compiled form."""
    if find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    (tmp_path / "converted.py").write_text(
        "from edgeaudit.host.tensorflow import tensorflow\n"
        "tf = tensorflow()\n"
        "@tf.function\n"
        "def total(n):\n"
        "    found = 0\n"
        "    for i in tf.range(n):\n"
        "        if i % 2 == 0:\n"
        "            found += i\n"
        "    return found\n"
        "@tf.function\n"
        "def wrong(n):\n"
        "    for i in tf.range(n):\n"
        "        raise ValueError('as planned')\n"
        "assert int(total(tf.constant(7))) == 12\n"  # 0 + 2 + 4 + 6
        "try:\n"
        "    wrong(tf.constant(3))\n"
        "except ValueError as exc:\n"
        "    assert 'as planned' in str(exc) and 'converted.py' in str(exc), exc\n"
        "import os\n"
        "os._exit(7)\n",
        encoding="utf-8",
    )
    env = {**plain(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "converted.py"], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 7, done.stderr.decode()
    assert not left(tmp_path)
