"""The agent as one file: its bytes, what Python runs it, and that it needs numpy and a runtime and nothing else."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.devices.agent_file import OLDEST_PYTHON, agent_bytes, agent_sources, write_agent
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.environments import Environment
from edgeaudit.errors import ArtifactError, DeviceError
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.runtimes.registry import find_runtime
from tests.agent.serving import TOKEN
from tests.runtimes.served import RAMP, onnx_artifact, tflite_artifact

MODULES = {name: content.decode() for name, content in agent_sources().items() if name.endswith(".py")}

# What newer Pythons added and syntax alone does not show: names of attributes, and keywords of calls.
NEWER = {
    "file_digest": "hashlib, 3.11", "add_note": "BaseException, 3.11", "UTC": "datetime, 3.11",
    "pairwise": "itertools, 3.10",
    "batched": "itertools, 3.12", "TypeAlias": "typing, 3.10", "Self": "typing, 3.11", "override": "typing, 3.12",
    "StrEnum": "enum, 3.11", "ExceptionGroup": "3.11", "aclosing": "contextlib, 3.10", "chdir": "contextlib, 3.11",
    "tomllib": "3.11", "TaskGroup": "asyncio, 3.11", "walk": "Path, 3.12", "hardlink_to": "Path, 3.10",
    "orig_argv": "sys, 3.10", "stdlib_module_names": "sys, 3.10", "bit_count": "int, 3.10",
}  # fmt: skip
NEWER_KEYWORDS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only"), ("entry_points", "group")}
GUARDED = {
    ("edgeaudit/agent/lease.py", "chdir"),  # of os
    ("edgeaudit/host/quiet.py", "add_note"),  # asks for the version first
    ("edgeaudit/host/packages.py", "group"),  # plugins are not for the agent
}


def within_annotations(tree: ast.AST) -> set[int]:
    """Nodes inside of annotations, which are text only (`from __future__ import annotations`)."""
    roots: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            roots.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            roots.append(node.returns)
    return {id(inner) for root in roots if root is not None for inner in ast.walk(root)}


def too_new(tree: ast.AST) -> set[str]:
    found = set()
    told = within_annotations(tree)
    for node in ast.walk(tree):
        if id(node) in told:
            continue
        if isinstance(node, ast.Attribute) and node.attr in NEWER:
            found.add(node.attr)
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if alias.name in NEWER}
        if isinstance(node, ast.Call):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found |= {key.arg for key in node.keywords if key.arg and (function, key.arg) in NEWER_KEYWORDS}
            if function in ("isinstance", "issubclass") and isinstance(node.args[1], ast.BinOp):
                found.add("X | Y")
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr):
            sides = (node.value.left, node.value.right)
            if any(
                isinstance(side, ast.Subscript) or (isinstance(side, ast.Constant) and side.value is None)
                for side in sides
            ):
                found.add("X | Y")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_python_of_the_oldest_version(name: str) -> None:
    tree = ast.parse(MODULES[name], name, feature_version=OLDEST_PYTHON)
    assert {(name, what) for what in too_new(tree)} <= GUARDED
    if any(isinstance(node, ast.arg | ast.AnnAssign) for node in ast.walk(tree)):
        assert "from __future__ import annotations" in MODULES[name]


@pytest.mark.parametrize(
    "text",
    [
        "match x:\n case 1: pass",
        "with (open(a) as b, open(c) as d): pass\ntry: pass\nexcept* OSError: pass",
        "type X = int",
    ],
)
def test_newer_syntax_is_detected(text: str) -> None:
    with pytest.raises(SyntaxError):
        ast.parse(text, feature_version=OLDEST_PYTHON)


@pytest.mark.parametrize(
    "text",
    [
        "hashlib.file_digest(a, b)", "zip(a, b, strict=True)", "@dataclass(slots=True)\nclass A: pass",
        "A = int | None",
        "isinstance(a, int | str)", "from typing import Self", "entry_points(group='a')", "datetime.UTC",
    ],
)  # fmt: skip
def test_newer_names_are_detected(text: str) -> None:
    assert too_new(ast.parse(text))


def test_vermin_agrees(tmp_path: Path) -> None:
    """It knows what came with which Python far better than the list above; that one needs no package."""
    pytest.importorskip("vermin")
    for name, content in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    command = [
        str(Path(sys.executable).parent / "vermin"),
        "--no-tips",
        "--no-eval-annotations",
        f"-t={oldest}-",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """In another process, from another folder, with another hash seed, time zone and file mask."""
    code = "import sys; from edgeaudit.devices.agent_file import agent_bytes; sys.stdout.buffer.write(agent_bytes())"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=True, umask=0o077
    )
    assert done.stdout == agent_bytes()


def test_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(agent_bytes())) as packed:
        assert packed.testzip() is None
        names = packed.namelist()
        build = json.loads(packed.read("edgeaudit/agent/build.json"))
    assert names == sorted(names)
    assert "__main__.py" in names
    assert not [name for name in names if "exporters" in name or "attacks" in name or "registry" in name]
    assert len(build["sources"]) == 64
    path = write_agent(tmp_path / "new" / "agent.pyz")
    assert path.read_bytes() == agent_bytes()
    assert path.stat().st_mode & stat.S_IXUSR
    assert [p.name for p in path.parent.iterdir()] == ["agent.pyz"]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_agent(tmp_path_factory.mktemp("agent") / "agent.pyz")


def started(pyz: Path, *arguments: str, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
    """Run the file to its end; nothing is on standard input."""
    env = {key: value for key, value in os.environ.items() if key != "EDGEAUDIT_AGENT_TOKEN"}
    if token is not None:
        env["EDGEAUDIT_AGENT_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-I", str(pyz), *arguments], env=env, capture_output=True, text=True, check=False, input=""
    )


def test_help(pyz: Path) -> None:
    done = started(pyz, "--help")
    assert done.returncode == 0
    assert "EDGEAUDIT_AGENT_TOKEN" in done.stdout
    assert "tflite-runtime" in done.stdout


def interpreter(name: str) -> str | None:
    """On the PATH, or kept by pyenv, whose own command of that name works for chosen versions only."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [path for path in (shutil.which(name), *map(str, sorted(kept.glob(f"*/bin/{name}")))) if path]
    return next((p for p in found if not subprocess.run([p, "-V"], capture_output=True, check=False).returncode), None)


@pytest.mark.parametrize("python", ["python3.9", "python3.10", "python3.12", "python3.13"])
def test_help_on_other_pythons(pyz: Path, python: str) -> None:
    """Without numpy, too: whatever the interpreter has installed is left out (-S)."""
    found = interpreter(python)
    if found is None:
        pytest.skip(f"there is no {python}")
    done = subprocess.run([found, "-I", "-S", str(pyz), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: edgeaudit-agent" in done.stdout


def test_without_numpy(pyz: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(pyz), "--stdin", "--runtime", "litert", str(tmp_path)],
        capture_output=True, text=True, check=False, input=f"{TOKEN}\n",
    )  # fmt: skip
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "the agent needs numpy, which this Python does not have"


@pytest.mark.parametrize("token", [None, "", "short", "\u00e9" * 16])
def test_without_a_token_nothing_is_served(pyz: Path, tmp_path: Path, token: str | None) -> None:
    for more in ((), ("--stdin",)):
        done = started(pyz, "--runtime", "litert", *more, str(tmp_path), token=token)
        assert done.returncode == 2
        assert "must be 16 ASCII characters or more" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing has no readable manifest.json"),
        (["--options", "{", "a"], "--options is not JSON"),
        (["--options", "3", "a"], "--options must be a JSON object"),
        (["a=one", "a=two"], "two artifacts are named 'a'"),
        (["../up=one"], "'../up' is not a valid model name"),
    ],
)
def test_errors_of_serving(pyz: Path, arguments: list[str], message: str) -> None:
    done = started(pyz, "--runtime", "onnxruntime", *arguments)
    assert done.returncode == 2
    assert message in json.loads(done.stdout)["error"]


def test_a_file_that_was_changed_is_not_served(pyz: Path, tmp_path: Path) -> None:
    served = onnx_artifact(tmp_path)
    served.path.write_bytes(served.path.read_bytes() + b"\0")
    done = started(pyz, "--runtime", "onnxruntime", str(tmp_path))
    assert done.returncode == 2
    assert "does not match its manifest" in json.loads(done.stdout)["error"]


def test_invalid_manifest(pyz: Path, tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", json.dumps({"kind": "onnx"})):
        (tmp_path / "manifest.json").write_text(text)
        done = started(pyz, "--runtime", "onnxruntime", str(tmp_path))
        assert done.returncode == 2, text
        assert "has no readable manifest.json" in json.loads(done.stdout)["error"]


@pytest.mark.toolchain
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_litert_answers_the_same_through_the_agent(pyz: Path, tmp_path: Path, int8: bool) -> None:
    require_same_answers(pyz, "litert", tflite_artifact(tmp_path, int8=int8))


@pytest.mark.toolchain
@pytest.mark.parametrize("layout", ["flat", "NHWC"])
def test_onnxruntime_answers_the_same_through_the_agent(pyz: Path, tmp_path: Path, layout: str) -> None:
    require_same_answers(pyz, "onnxruntime", onnx_artifact(tmp_path, layout=layout))


def require_same_answers(pyz: Path, name: str, served: Artifact) -> None:
    here = find_runtime(name)(served, {"batch": 5})
    records = RAMP if served.manifest.input.layout == "flat" else RAMP.reshape(-1, 2, 1, 1)
    native = here._to_native(records)
    agent = AgentProcess(
        [sys.executable, "-I", str(pyz)], name, {"one": served.folder, "two": served.folder}, {"batch": 5}
    )
    try:
        source, answer = served.manifest.input.name, served.manifest.output.name
        for binary in (True, False):
            there = agent.client.infer("two", {source: native}, binary=binary)[answer]
            assert there.dtype == here.ask(native).dtype
            np.testing.assert_array_equal(there, here.ask(native))
        print_ = agent.client.fingerprint()
        assert print_["models"]["one"]["sha256"] == served.manifest.sha256
        assert print_["runtime"] == {"name": name, "versions": here.spec.versions()}
        assert print_["models"]["one"]["engaged"] == list(here.engaged())
        assert print_["models"]["one"]["options"] == here.options
        assert print_["agent"].startswith("0.1.0+")
    finally:
        agent.close()


@pytest.mark.toolchain
def test_a_python_with_numpy_and_one_runtime(pyz: Path, tmp_path: Path, tflite_environment: Environment) -> None:
    """tflite-runtime's environment has neither torch nor pydantic, nor anything else than pip needs."""
    python = str(tflite_environment.python())
    listing = subprocess.run([python, "-I", "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    assert {row["name"] for row in json.loads(listing.stdout)} == {"numpy", "pip", "setuptools", "tflite-runtime"}
    served = tflite_artifact(tmp_path, int8=True)
    agent = AgentProcess([python, "-I", str(pyz)], "tflite-runtime", {"model": served.folder}, {})
    try:
        found = agent.client.fingerprint()
        assert found["numpy"] == "1.26.4"
        assert found["runtime"]["versions"] == {"tflite-runtime": "2.14.0", "numpy": "1.26.4"}
        assert found["probes"]["int8"] == {"answers": [pytest.approx(259_080, abs=1)], "kernels": "exact"}
        assert found["probes"]["float"] == {"answers": [2049, 257], "kernels": "float32"}
    finally:
        agent.close()
    with pytest.raises(DeviceError, match=r"could not start: .*'onnxruntime', which is not installed"):
        AgentProcess([python, "-I", str(pyz)], "onnxruntime", {"model": onnx_folder(tmp_path)}, {})


def onnx_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "onnx"
    folder.mkdir()
    return onnx_artifact(folder).folder


@pytest.mark.toolchain
def test_a_file_that_is_not_a_model_is_reported(pyz: Path, tmp_path: Path) -> None:
    served = tflite_artifact(tmp_path)
    lying = Manifest.from_json(served.manifest.to_json().replace('"tflite"', '"onnx"'))
    Artifact(tmp_path, lying)
    folder = served.folder
    (folder / "manifest.json").write_text(lying.to_json())
    with pytest.raises(ArtifactError, match=r"'litert' serves tflite files, but model\.tflite is onnx"):
        AgentProcess([sys.executable, "-I", str(pyz)], "litert", {"model": folder}, {})
