"""Device profiles: every one that ships is sound, and a wrong one is refused by key, with the remedy."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeaudit.agent import RUNTIMES
from edgeaudit.agent.served import runtime_class
from edgeaudit.devices import profiles
from edgeaudit.devices.profiles import Cpu, find_profile, profile_names
from edgeaudit.errors import DeviceError
from edgeaudit.host.fingerprint import KERNEL_FLAGS

WANTED = {
    "raspberry-pi-zero-2w", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "jetson-nano", "jetson-orin-nano",
    "jetson-agx-orin", "nxp-imx8m-plus", "coral-dev-board", "rock-5b", "intel-atom", "intel-haswell", "intel-n100",
    "x86-avx512-vnni", "generic-aarch64",
}  # fmt: skip

QEMU_CPUS = {
    # Models of qemu-aarch64 7.2, 10.0 and 11.0 and of qemu-x86_64 7.2, as `-cpu help` lists them.
    "cortex-a35": "7.2", "cortex-a53": "7.2", "cortex-a57": "7.2", "cortex-a72": "7.2", "cortex-a76": "7.2",
    "neoverse-n1": "7.2", "cortex-a55": "10.0", "cortex-a710": "10.0", "cortex-a78ae": "11.0",
    "Haswell": "7.2", "Denverton": "7.2", "Nehalem": "7.2", "Westmere": "7.2",
}  # fmt: skip

QEMU_LACKS = {"avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"}
"""What no release of QEMU translates for x86."""


@pytest.fixture(params=profile_names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_documented_device_has_a_profile() -> None:
    assert set(profile_names()) >= WANTED


def test_a_profile_covers_every_flag(name: str) -> None:
    cpu = find_profile(name).cpu
    arm = set(KERNEL_FLAGS[KERNEL_FLAGS.index("asimd") :])
    assert {*cpu.isa, *cpu.lacks} == (arm if cpu.machine == "aarch64" else set(KERNEL_FLAGS) - arm)
    assert not set(cpu.isa) & set(cpu.lacks)
    assert ("asimd" if cpu.machine == "aarch64" else "sse4_2") in cpu.isa  # what every wheel needs


def test_its_emulation_is_one_that_qemu_has(name: str) -> None:
    profile = find_profile(name)
    if profile.emulation is None:
        assert profile.verified.by == "none"
        return
    assert profile.emulation.qemu == QEMU_CPUS[profile.emulation.cpu]
    assert profile.emulation.cpu.startswith(("cortex", "neoverse")) == (profile.cpu.machine == "aarch64")
    assert not set(profile.cpu.isa) & QEMU_LACKS
    assert profile.emulation.differs


def test_its_runtimes_are_pinned_to_their_version(name: str) -> None:
    profile = find_profile(name)
    assert profile.runtimes
    for runtime, build in profile.runtimes.items():
        package = runtime_class(runtime).spec.packages[0]
        pins = dict(pin.split("==") for pin in build.requirements)
        assert set(pins) in (set(), {package, "numpy"}), runtime
        assert pins.get(package, build.version) == build.version
        if runtime == "tflite-runtime" and pins:
            assert pins["numpy"].startswith("1.")  # with numpy 2 no interpreter can be made


def test_its_options_exist_in_the_runtime(name: str) -> None:
    profile = find_profile(name)
    parts = [(part.runtime, part.options) for part in profile.defaults]
    parts += [(part.runtime, part.options) for part in profile.accelerators if part.runtime is not None]
    for runtime, options in parts:
        runtime_class(runtime).spec.options(options)
    assert {found.runtime for found in profile.defaults} <= set(profile.runtimes)


def test_openvinos_default_precision_follows_from_the_flags(name: str) -> None:
    # The CPU plugin takes float16 where an Arm CPU computes in it, and float32 on these x86 CPUs.
    profile = find_profile(name)
    for found in profile.defaults:
        if found.runtime == "openvino" and profile.cpu.machine == "aarch64":
            assert (found.options.get("precision") == "f16") == ("asimdhp" in profile.cpu.isa)


def test_saturating_kernels_are_documented(name: str) -> None:
    profile = find_profile(name)
    told = any(found.runtime == "onnxruntime" and "saturate" in found.what for found in profile.defaults)
    assert told == ("saturating" in profile.cpu.int8)


def test_profiles_contain_no_addresses(name: str, root_folder: Path) -> None:
    text = (root_folder / "device_profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    assert not re.search(r"https?:|www\.|\w\.(com|org|io|net)\b", text)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("machine", "isa", "kernels"),
    [
        ("x86_64", ("sse4_2",), "SSE, exact"),
        ("x86_64", ("sse4_2", "avx", "avx2"), "AVX2, saturating"),
        ("x86_64", ("avx2", "avx512f", "avx512bw"), "AVX512, saturating"),
        ("x86_64", ("avx2", "avx_vnni"), "VNNI, exact"),
        ("x86_64", ("avx2", "avx512bw", "avx512_vnni"), "VNNI, exact"),
        ("aarch64", ("asimd",), "NEON, exact"),
        ("aarch64", ("asimd", "asimdhp", "asimddp"), "dot product, exact"),
        ("aarch64", ("asimd", "asimddp", "i8mm"), "i8mm, exact"),
    ],
)
def test_int8_kernels(machine: Any, isa: tuple[str, ...], kernels: str) -> None:
    assert Cpu(name="a cpu", machine=machine, cores=1, isa=isa).int8 == kernels


@pytest.fixture
def raw() -> dict[str, Any]:
    path = Path(profiles.__file__).parents[2] / "device_profiles" / "raspberry-pi-4.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        del raw[key]

    return change


def _with(value: object, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for key in keys[:-1]:
            raw = raw[key]
        raw[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("cpu"), "cpu: is missing"),
        (_with([], "sources"), "sources: must have at least one entry"),
        (_with(["lorem"], "sources"), "sources: a source must say in words"),
        (_with(2, "schema"), "schema: Input should be 1 (got 2)"),
        (_with("arm", "cpu", "machine"), "cpu.machine: Input should be 'aarch64' or 'x86_64'"),
        (_with(4, "cpu", "core"), "'cpu.core' is not a known key. Did you mean 'cores'? Known: name, machine,"),
        (_with({}, "acelerators"), "'acelerators' is not a known key. Did you mean 'accelerators'?"),
        (_with(1, "runtimes", "onnxruntime", "requirement"), "Did you mean 'requirements'?"),
        (
            _with(["asimddb"], "cpu", "isa"),
            "cpu.isa.0: 'asimddb' is not a known CPU flag by which runtimes choose kernels",
        ),
        (_with(["asimddb"], "cpu", "isa"), "Did you mean 'asimddp'?"),
        (_with(["asimd", "avx2"], "cpu", "isa"), "cpu: 'avx2' is not a flag of aarch64; it has: asimd, asimdhp,"),
        (_with(["asimd", "sve"], "cpu", "isa"), "cpu: 'sve' is in both isa and lacks"),
        (_with(3.11, "system", "python"), "system.python: must be text; put it in quotes (got 3.11)"),
        (_with("2.7", "system", "python"), "system.python: String should match pattern"),
        (_with([0], "memory_mib"), "memory_mib.0: Input should be greater than or equal to 1 (got 0)"),
        (
            _with({}, "runtimes", "onnxruntim"),
            "'onnxruntim' is not a known runtime that can be served on a device. Did you mean",
        ),
        (
            _with({"version": "1.0", "requirements": ["onnxruntime>=1"], "source": "x"}, "runtimes", "onnxruntime"),
            "runtimes.onnxruntime.requirements.0: String should match pattern",
        ),
        (
            _with("1.31.0", "runtimes", "onnxruntime", "version"),
            "runtimes.onnxruntime: version is 1.31.0, and none of the requirements pins it",
        ),
        (_with(None, "emulation"), "verified.by is 'emulated', but 'emulation' is missing"),
        (_with([{"name": "NPU", "options": {"a": 1}}], "accelerators"), "accelerators.0: options require a runtime"),
        (
            _with({"litert": {"version": "2", "source": "x"}}, "runtimes"),
            "defaults refer to the runtime 'onnxruntime', which is not in 'runtimes'",
        ),
    ],
)
def test_errors_name_the_key(
    tmp_path: Path, raw: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(raw)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DeviceError) as raised:
        find_profile(str(path))
    assert str(path) in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("[1, 2]", "must be a mapping of keys (schema, name, title, cpu,"),
        ("name: a\nname: b", "the key 'name' is given twice"),
        ("\xff", "must be a mapping"),
    ],
)
def test_invalid_profiles(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeviceError, match=re.escape(message)):
        find_profile(str(path))


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeviceError, match="is not YAML"):
        find_profile(str(tmp_path / "mine.yaml"))


def test_all_errors_are_reported_at_once(tmp_path: Path, raw: dict[str, Any]) -> None:
    raw["titel"] = raw.pop("title")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DeviceError, match=r"title: is missing; 'titel' is not a known key. Did you mean 'title'?"):
        find_profile(str(tmp_path / "mine.yaml"))


def test_an_unknown_name_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"Did you mean 'raspberry-pi-\d'\? Known: .*or give the path of a .yaml file"
    ):
        find_profile("rasberry-pi-4")
    with pytest.raises(DeviceError, match="cannot be read: No such file or directory"):
        find_profile(str(tmp_path / "none.yaml"))


def test_a_users_file_may_have_any_name(tmp_path: Path, raw: dict[str, Any]) -> None:
    path = tmp_path / "anything.yaml"
    path.write_text(yaml.safe_dump({**raw, "name": "my-board"}), encoding="utf-8")
    assert find_profile(str(path)).name == "my-board"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed distribution `boards` that offers the package `boards.profiles` by entry point."""
    folder = tmp_path / "boards" / "profiles"
    folder.mkdir(parents=True)
    for init in (folder.parent, folder):
        (init / "__init__.py").write_text("", encoding="utf-8")
    about = tmp_path / "boards-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: boards\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{profiles.GROUP}]\nboards = boards.profiles\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    profiles._files.cache_clear()
    yield folder
    profiles._files.cache_clear()
    for module in [module for module in sys.modules if module.split(".")[0] == "boards"]:
        del sys.modules[module]


def test_profiles_of_other_packages(package: Path, raw: dict[str, Any]) -> None:
    (package / "my-board.yaml").write_text(yaml.safe_dump({**raw, "name": "my-board"}), encoding="utf-8")
    assert [point.value for point in metadata.entry_points(group=profiles.GROUP)] == ["boards.profiles"]
    assert "my-board" in profile_names()
    assert find_profile("my-board").title == raw["title"]


def test_two_profiles_of_one_name(package: Path, raw: dict[str, Any]) -> None:
    (package / "raspberry-pi-4.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DeviceError, match="two packages have a device profile 'raspberry-pi-4'"):
        profile_names()


def test_a_profile_is_named_like_its_file(package: Path, raw: dict[str, Any]) -> None:
    (package / "my-board.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DeviceError, match=r"name: 'raspberry-pi-4' does not match the file name my-board\.yaml"):
        find_profile("my-board")


def test_an_entry_point_without_profiles(package: Path) -> None:
    with pytest.raises(DeviceError, match=r"the entry point 'boards' .* no profile \(\*\.yaml\)"):
        profile_names()


def test_an_entry_point_without_its_package(package: Path) -> None:
    (package / "__init__.py").unlink()
    package.rmdir()
    with pytest.raises(DeviceError, match=r"names 'boards\.profiles', which is not a package with profiles"):
        profile_names()


def test_the_schema_agrees_with_the_loader(raw: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator

    schema = profiles.Profile.model_json_schema(by_alias=True)
    validator = Draft202012Validator(schema)
    assert not list(validator.iter_errors(raw))
    wrong = copy.deepcopy(raw)
    wrong["cpu"]["isa"] = ["asimddb"]
    assert [list(error.absolute_path) for error in validator.iter_errors(wrong)] == [["cpu", "isa", 0]]
    assert "onnxruntime" in RUNTIMES
