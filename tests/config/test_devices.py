"""The section `devices`: its short forms, what does not fit together, and where each format is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.config.audit import AuditSpec, load_spec
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import SpecError


def load(folder: Path, text: str) -> AuditSpec:
    path = folder / "audit.yaml"
    path.write_text(text)
    return load_spec(path)


def places(spec: AuditSpec) -> list[tuple[str, str]]:
    return [(use.id, device) for use, device in spec.places]


def test_without_the_section_everything_is_queried_on_this_machine(tmp_path: Path) -> None:
    spec = load(tmp_path, "formats: [torch-fp32, litert-int8]")
    assert places(spec) == [("torch-fp32", "local"), ("litert-int8", "local")]


def test_a_list_of_profiles_is_emulated_and_the_reference_stays_here(tmp_path: Path) -> None:
    spec = load(tmp_path, "formats: [torch-fp32, litert-int8]\ndevices: [local, raspberry-pi-4]")
    assert places(spec) == [("torch-fp32", "local"), ("litert-int8", "local"), ("litert-int8", "raspberry-pi-4")]
    assert spec.devices["raspberry-pi-4"].endpoint("litert-int8") == Endpoint("emulated", "raspberry-pi-4")


def test_a_device_may_name_a_profile_and_its_formats(tmp_path: Path) -> None:
    text = """
formats: [torch-fp32, litert-int8, onnx-int8-static]
devices:
  local:
  pi4: raspberry-pi-4
  lab: {profile: jetson-orin-nano, via: "ssh://me@10.0.0.7:2222", python: /opt/py/bin/python, formats: onnx-int8-static}
"""
    spec = load(tmp_path, text)
    assert places(spec)[1:3] == [("litert-int8", "local"), ("litert-int8", "pi4")]
    assert places(spec)[-1] == ("onnx-int8-static", "lab")
    assert ("litert-int8", "lab") not in places(spec)
    lab = spec.devices["lab"].endpoint("onnx-int8-static")
    assert lab == Endpoint("ssh://me@10.0.0.7:2222", "jetson-orin-nano", "/opt/py/bin/python")


@pytest.mark.parametrize(("written", "seconds"), [("90", 90), ("30s", 30), ("15m", 900), ("2h", 7200), ("1.5h", 5400)])
def test_time_has_units(tmp_path: Path, written: str, seconds: float) -> None:
    spec = load(tmp_path, f"formats: [litert-int8]\ndevices: {{pi: {{profile: raspberry-pi-4, max_time: {written}}}}}")
    assert spec.devices["pi"].max_time == seconds


def test_a_server_may_have_a_model_for_each_format(tmp_path: Path) -> None:
    text = """
formats: [litert-int8, onnx-int8-static]
devices: {triton: {via: "oip://localhost:8000", token: TRITON_TOKEN, model: {litert-int8: a, onnx-int8-static: b}}}
"""
    device = load(tmp_path, text).devices["triton"]
    assert device.is_server
    assert [device.endpoint(name).model for name in ("litert-int8", "onnx-int8-static")] == ["a", "b"]
    assert device.endpoint("litert-int8").token == "TRITON_TOKEN"  # noqa: S105  the name of a variable


def test_a_recorded_section_can_be_read_again(tmp_path: Path) -> None:
    spec = load(
        tmp_path, "formats: [torch-fp32, litert-int8]\ndevices: {local: , pi: {profile: raspberry-pi-4, max_time: 2h}}"
    )
    assert AuditSpec.model_validate(spec.model_dump(mode="json", by_alias=True)) == spec


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("{x: {via: usb}}", r"devices\.x\.via: write local, emulated, ssh://user@host, or oip://.*it is 'usb'"),
        ("{pi: {via: emulated}}", r"devices\.pi: an emulated device needs its profile"),
        ("{here: {}}", r"devices\.here: 'local' is reserved for this machine"),
        ("{local: raspberry-pi-4}", r"devices\.local: 'local' is reserved for this machine"),
        ("{local: {batch: 1}}", r"devices\.local: 'batch' has no effect on this machine"),
        ("{pi: {profil: raspberry-pi-4}}", r"'devices\.pi\.profil' is not a known key; did you mean 'profile'"),
        ("{pi: {profile: raspberry-pi-4, keep: true}}", r"'python' and 'keep' are for via: ssh"),
        ("{pi: {profile: raspberry-pi-4, model: a}}", r"'token' and 'model' are for an existing server"),
        ("{pi: {profile: raspberry-pi-4, max_time: soon}}", r"max_time: write seconds, or a number with its unit"),
        ("{pi: {profile: raspberry-pi-4, max_queries: 0}}", r"devices\.pi\.max_queries"),
        ("{pi: {profile: raspberry-pi-4, formats: litert-int}}", r"'litert-int' is not a format of this audit"),
        ("{local: , pi: {profile: raspberry-pi-4, formats: [torch-fp32]}}", r"'torch-fp32' is the trained model"),
        ("[raspberry-pi-4]", r"'torch-fp32' is not queried on any device; add 'local' to devices"),
        ("{local: {formats: torch-fp32}, pi: {profile: x, formats: []}}", "'litert-int8' is not queried on any"),
        ("[raspberry-pi-4, raspberry-pi-4]", r"'raspberry-pi-4' appears twice"),
        ("[{profile: x}]", r"must be a list of names of profiles"),
        ("[]", r"devices: must have at least one entry"),
        ("{a/b: raspberry-pi-4}", r"devices"),
    ],
)  # fmt: skip
def test_reject_conflicting_keys_by_name(tmp_path: Path, devices: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(tmp_path, f"formats: [torch-fp32, litert-int8]\ndevices: {devices}")


def test_a_server_serves_one_target(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"devices\.s: a server serves one target, and 'targets' is 2"):
        load(tmp_path, "targets: 2\nformats: [litert-int8]\ndevices: {s: {via: 'oip://h:1'}}")


def test_reject_a_literal_token_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="name the environment variable") as caught:
        load(tmp_path, "formats: [litert-int8]\ndevices: {s: {via: 'oip://h:1', token: 'sesame-9f'}}")
    assert "sesame" not in str(caught.value)
