"""The source closure: every import form, and what is left out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeaudit.errors import RecipeError
from edgeaudit.graph.closure import closure, current_closure, module_file
from edgeaudit.graph.distributions import distribution_versions, installed_state, with_dependencies
from edgeaudit.host.isolation import _Refusal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _own(*roots: str) -> set[str]:
    return {name for name in closure(roots).modules if not name.startswith("edgeaudit")}


@pytest.mark.parametrize(
    "line",
    [
        "import layers",
        "import layers as other",
        "from layers import body",
        "from layers import *",
        "def f():\n    from layers import body",
        "class A:\n    def f(self):\n        if True:\n            import layers",
        "try:\n    import layers\nexcept ImportError:\n    layers = None",
        "import importlib\nlayers = importlib.import_module('layers')",
        "from importlib import import_module\nlayers = import_module('layers')",
        "if not TYPE_CHECKING:\n    import layers",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\nelse:\n    import layers",
        "x = [__import__ for _ in ()]; import layers",
        "match 1:\n    case 1:\n        import layers",
        "async def f():\n    async with a:\n        import layers",
        "layers = __import__('layers')",
        "from importlib import import_module as load\nlayers = load('layers')",
        "import importlib\nlayers = importlib.import_module(name='layers')",
    ],
)
def test_a_sibling_module_is_in_the_closure_for_every_import_form(folder: Path, line: str) -> None:
    _write(folder, {"mine": line, "layers": "import deeper", "deeper": "", "unrelated": ""})
    assert _own("mine") == {"mine", "layers", "deeper"}


def test_type_checking_imports_are_left_out(folder: Path) -> None:
    _write(folder, {"mine": "import typing\nif typing.TYPE_CHECKING:\n    import layers", "layers": ""})
    assert _own("mine") == {"mine"}


def test_packages_relative_imports_and_names_that_are_modules(folder: Path) -> None:
    _write(
        folder,
        {
            "pack/__init__": "from . import first",
            "pack/first": "from .sub import second\nfrom ..pack import third",
            "pack/third": "",
            "pack/sub/__init__": "",
            "pack/sub/second": "from .. import fourth",
            "pack/fourth": "",
            "pack/fifth": "",
        },
    )
    inside = {"pack", "pack.first", "pack.third", "pack.sub", "pack.sub.second", "pack.fourth"}
    assert _own("pack.first") == inside


def test_folders_without_init_are_packages_too(folder: Path) -> None:
    _write(folder, {"space/deep/mine": "import space.deep.other", "space/deep/other": ""})
    assert _own("space.deep.mine") == {"space.deep.mine", "space.deep.other"}


def test_circular_imports_terminate(folder: Path) -> None:
    _write(folder, {"one": "import two", "two": "import one"})
    assert _own("one") == _own("two") == {"one", "two"}


def test_the_digest_depends_on_content_and_not_on_location(folder: Path, tmp_path_factory: object) -> None:
    _write(folder, {"mine": "import layers", "layers": "a = 1"})
    first = closure(["mine"]).digest
    _write(folder, {"layers": "a = 1  # a comment"})
    assert closure(["mine"]).digest != first
    _write(folder, {"layers": "a = 1"})
    assert closure(["mine"]).digest == first
    (folder / "deep").mkdir()
    (folder / "layers.py").rename(folder / "deep" / "layers.py")
    sys.path.insert(0, str(folder / "deep"))
    try:
        assert closure(["mine"]).digest == first
    finally:
        sys.path.remove(str(folder / "deep"))


def test_a_running_process_notices_a_change(folder: Path) -> None:
    _write(folder, {"mine": "import layers", "layers": "a = 1", "more": ""})
    first = current_closure(["mine"])
    assert current_closure(["mine"]) is first
    _write(folder, {"layers": "import more"})
    second = current_closure(["mine"])
    assert second.digest != first.digest
    assert "more" in second.modules


def test_modules_of_one_name_in_two_folders_are_not_mistaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for name in ("one", "two"):
        _write(tmp_path / name, {"mine": f"a = '{name}'"})
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / name)
            digests.append(current_closure(["mine"]).digest)
    assert digests[0] != digests[1]


def test_computing_a_closure_imports_nothing(folder: Path) -> None:
    _write(
        folder, {"pack/__init__": "raise SystemExit('imported')", "pack/mine": "import pack.other", "pack/other": ""}
    )
    assert _own("pack.mine") == {"pack", "pack.mine", "pack.other"}
    assert "pack" not in sys.modules


def test_an_unparsable_module_is_hashed(folder: Path) -> None:
    _write(folder, {"mine": "def ("})
    assert _own("mine") == {"mine"}
    assert closure(["mine"]).digest


def test_other_packages_have_name_and_version(folder: Path) -> None:
    _write(folder, {"mine": "import numpy.linalg\nimport sklearn\nimport json\nimport not_installed_anywhere"})
    found = closure(["mine"])
    assert found.packages == ("not_installed_anywhere", "numpy", "sklearn")
    versions = distribution_versions(found.packages)
    assert versions["not_installed_anywhere"] is None
    assert set(versions) == {"not_installed_anywhere", "numpy", "scikit-learn"}


def test_a_missing_root_is_named() -> None:
    for name in ("no_such_module", "json.no_such", "not a name", "a..b"):
        with pytest.raises(RecipeError, match=f"'{name}' cannot be found"):
            closure([name])


def test_the_engine_and_registered_plugins_are_not_in_a_stages_closure() -> None:
    modules = closure(["edgeaudit.stages.query", "edgeaudit.runtimes.onnxruntime"]).modules
    assert not [name for name in modules if name.startswith("edgeaudit.graph")]
    assert {"edgeaudit.filetypes.agreement", "edgeaudit.host.quiet", "edgeaudit.stages.check_answers"} <= modules
    assert not [name for name in modules if name.startswith(("edgeaudit.devices", "edgeaudit.agent", "edgeaudit.cli"))]
    assert not modules & {"edgeaudit.runtimes.litert", "edgeaudit.runtimes.openvino", "edgeaudit.recipes.training"}


def test_every_module_of_the_package_is_found() -> None:
    root = Path(__file__).resolve().parents[2]
    for top in ("edgeaudit", "edgeaudit/exporters"):
        for path in (root / top).glob("*.py"):
            name = f"{top}/{path.stem}".replace("/", ".").removesuffix(".__init__")
            assert module_file(name) is not None, name


def test_modules_loaded_by_a_stage_are_in_its_closure(tmp_path: Path) -> None:
    """Importing every module of a closure loads no other module of edgeaudit."""
    roots = ["edgeaudit.stages.query", "edgeaudit.runtimes.onnxruntime"]
    code = (
        "import sys, json, importlib\n"
        f"for name in {roots!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(n for n in sys.modules if n.split('.')[0] == 'edgeaudit')))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    loaded = set(__import__("json").loads(done.stdout))
    outside = {n for n in loaded - closure(roots).modules if not n.startswith("edgeaudit.graph")}
    assert not outside


def test_a_package_that_is_installed_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    assert distribution_versions(["brought"]) == {"brought": None}
    before = installed_state()
    info = site / "brought_by-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-by\nVersion: 2.5\n", encoding="utf-8")
    (info / "top_level.txt").write_text("brought\n", encoding="utf-8")
    (site / "brought.py").touch()
    os.utime(site, ns=(1, 1))
    assert installed_state() != before
    assert distribution_versions(["brought"]) == {"brought-by": "2.5"}


def test_relative_names_given_to_import_module_are_followed(folder: Path) -> None:
    _write(
        folder,
        {"pack/__init__": "", "pack/mine": "import_module('.layers', __package__)\nimport_module('..pack.more', x)",
         "pack/layers": "", "pack/more": ""},
    )  # fmt: skip
    assert _own("pack.mine") == {"pack", "pack.mine", "pack.layers", "pack.more"}


@pytest.mark.parametrize("text", ["__all__ = ['layers']", "def __getattr__(name): ..."])
def test_a_package_that_imports_its_submodules_by_name_has_all_of_them(folder: Path, text: str) -> None:
    _write(
        folder, {"mine": "from parts import *", "parts/__init__": text, "parts/layers": "", "parts/sub/__init__": ""}
    )
    assert _own("mine") == {"mine", "parts", "parts.layers", "parts.sub"}


def test_a_module_named_like_one_of_the_standard_library_is_the_users_where_it_is_found_first(folder: Path) -> None:
    _write(folder, {"mine": "import wave, json", "wave": "import layers", "layers": ""})
    assert _own("mine") == {"mine", "wave", "layers"}


def test_a_worker_that_refuses_a_package_computes_the_same_closure(folder: Path) -> None:
    _write(folder, {"mine": "import torch, tensorflow, triton"})
    first = closure(["mine"])
    sys.meta_path.insert(0, _Refusal("tensorflow"))
    try:
        assert closure(["mine"]) == first
    finally:
        sys.meta_path.pop(0)


def test_a_module_in_an_archive_is_kept_by_the_archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(folder, {"mine": "import zipped"})
    with zipfile.ZipFile(folder / "lib.zip", "w") as archive:
        archive.writestr("zipped.py", "a = 1")
    monkeypatch.syspath_prepend(folder / "lib.zip")
    assert dict(closure(["mine"]).files)["zipped"] == folder / "lib.zip"
    first = closure(["mine"]).digest
    with zipfile.ZipFile(folder / "lib.zip", "a") as archive:
        archive.writestr("more.py", "")
    assert closure(["mine"]).digest != first


def _install(site: Path, name: str, version: str, files: Mapping[str, str], requires: str = "") -> None:
    """What pip leaves in site-packages."""
    _write(site, files)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires.splitlines())
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}", encoding="utf-8"
    )
    record = [f"{file}.py,sha256={hash_of(text)},{len(text)}" for file, text in files.items()]
    (info / "RECORD").write_text("\n".join([*record, f"{info.name}/RECORD,,"]) + "\n", encoding="utf-8")
    os.utime(site, ns=(time.time_ns(), time.time_ns()))


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second site-packages folder."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    return site


def test_a_module_in_site_packages_that_is_of_no_distribution_is_the_users(folder: Path, site: Path) -> None:
    _install(site, "proper", "1.0", {"proper": ""})
    _write(folder, {"mine": "import copied, proper"})
    _write(site, {"copied": "import deeper", "deeper": "a = 1"})
    assert _own("mine") == {"mine", "copied", "deeper"}
    assert closure(["mine"]).packages == ("proper",)
    first = closure(["mine"]).digest
    _write(site, {"deeper": "a = 2"})
    assert closure(["mine"]).digest != first


def test_a_root_module_of_an_installed_distribution_stands_for_it(site: Path) -> None:
    _install(site, "shipped", "1.0", {"shipped/__init__": "", "shipped/nets": "from shipped import layers"})
    found = current_closure(["shipped.nets"])
    assert (found.files, found.packages, found.roots) == ((), ("shipped",), ("shipped",))
    assert distribution_versions(found.packages) == {"shipped": "1.0"}


def test_a_root_distribution_that_is_installed_again_under_its_version_is_noticed(site: Path) -> None:
    _install(site, "shipped", "1.0", {"shipped/__init__": "", "shipped/nets": "a = 1"})
    first = current_closure(["shipped.nets"]).digest
    _install(site, "shipped", "1.0", {"shipped/__init__": "", "shipped/nets": "a = 1"})
    assert current_closure(["shipped.nets"]).digest == first
    _install(site, "shipped", "1.0", {"shipped/__init__": "", "shipped/nets": "a = 2"})
    assert current_closure(["shipped.nets"]).digest != first


@pytest.mark.toolchain
def test_a_function_of_a_large_installed_package_has_a_quick_closure() -> None:
    started = time.process_time()
    found = closure(["torch.nn"])
    assert found.digest
    assert time.process_time() - started < 1
    assert found.roots == ("torch",)


def test_dependencies_are_the_installed_ones_of_the_installed_ones(site: Path) -> None:
    _install(
        site, "Top_One", "1", {"top_one": ""}, "middle>=1; python_version > '3'\nmissing\nextra-only; extra == 'x'"
    )
    _install(site, "middle", "2", {"middle": ""}, "Deep.Est (>1)\ntop-one")
    _install(site, "deep_est", "3", {"deep_est": ""}, "edgeaudit")
    _install(site, "extra-only", "4", {"extra_only": ""})
    assert with_dependencies(["Top_One", "absent"]) == ("Top_One", "absent", "deep-est", "middle")
    assert with_dependencies([]) == ()


def test_dependencies_for_other_pythons_are_left_out(site: Path) -> None:
    _install(site, "top", "1", {"top": ""}, "old; python_version < '3'\nelsewhere; sys_platform == 'none'\nhere")
    for name in ("old", "elsewhere", "here"):
        _install(site, name, "1", {name: ""})
    assert with_dependencies(["top"]) == ("here", "top")


def test_copies_that_an_installed_package_brought_are_of_no_distribution(
    folder: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(site, "top", "1", {"top": ""}, "copied")
    _write(folder, {"mine": "import copied, top"})
    before = closure(["mine"])
    assert with_dependencies(["top"]) == ("top",)
    assert distribution_versions(before.packages) == {"copied": None, "top": "1"}
    # What importing setuptools does.
    _install(site / "tools" / "_vendor", "copied", "2", {"copied": ""})
    monkeypatch.setattr(sys, "path", [*sys.path, str(site / "tools" / "_vendor")])
    os.utime(site, ns=(2, 2))
    assert with_dependencies(["top"]) == ("top",)
    assert closure(["mine"]) == before
    assert distribution_versions(before.packages) == {"copied": None, "top": "1"}


def test_a_project_below_a_folder_with_that_name_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "_vendor")
    _write(tmp_path / "_vendor", {"mine": "import layers", "layers": ""})
    assert _own("mine") == {"mine", "layers"}
