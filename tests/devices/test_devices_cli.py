"""`edgeaudit devices list | show`, and docs/devices.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from edgeaudit.cli import app, main
from edgeaudit.config.formats import FormatUse
from edgeaudit.devices.profiles import Profile, find_profile, profile_names
from edgeaudit.formats.resolve import find_format


def _invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["devices", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_every_device_is_listed(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    output = _invoke("list")
    assert "…" not in output
    lines = output.splitlines()
    for name in profile_names():
        profile = find_profile(name)
        at = next(number for number, line in enumerate(lines) if line.split()[:1] == [name])
        entry = " ".join(" ".join(lines[at : at + 11]).split())
        assert f"{profile.verified.by}" in entry
        if columns < 200:
            for said in (profile.title, profile.cpu.int8, ", ".join(profile.runtimes), ", ".join(profile.transports)):
                assert said in entry
    if columns < 200:
        titles = {find_profile(name).title for name in profile_names()}
        assert all(len(line) <= columns for line in lines if not any(title in line for title in titles))


@pytest.mark.parametrize("name", profile_names())
def test_everything_is_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    profile, output = find_profile(name), _invoke("show", name)
    shown = " ".join(output.split())
    said = [profile.title, profile.cpu.name, profile.system.name, profile.system.note, profile.verified.compared]
    said += [*profile.sources, *profile.cpu.isa, *(found.what for found in profile.defaults)]
    said += [text for found in profile.accelerators for text in (found.name, found.note)]
    said += [text for build in profile.runtimes.values() for text in (build.version, build.source)]
    said += profile.emulation.differs if profile.emulation is not None else ["not emulated"]
    for text in said:
        assert " ".join(text.split()) in shown
    for build in profile.runtimes.values():  # in one piece, to be copied
        assert not build.requirements or f"pip install {' '.join(build.requirements)}\n" in output


def test_json_is_the_profile() -> None:
    found = json.loads(_invoke("show", "jetson-orin-nano", "--json"))
    assert Profile.model_validate(found) == find_profile("jetson-orin-nano")
    assert found["schema"] == 1


def test_json_is_a_valid_user_profile(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_invoke("show", "rock-5b", "--json"), encoding="utf-8")  # JSON is YAML
    assert "Radxa ROCK 5B" in _invoke("show", str(tmp_path / "mine.yaml"))


def test_the_schema(root_folder: Path) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads(_invoke("show", "--schema"))
    Draft202012Validator.check_schema(schema)
    for path in (root_folder / "device_profiles").glob("*.yaml"):
        Draft202012Validator(schema).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "raspbery-pi-4"], "there is no device profile 'raspbery-pi-4'. Did you mean 'raspberry-pi-4'?"),
        (["show"], "name a device of `edgeaudit devices list`, or a .yaml file"),
        (["show", "none.yaml"], "the device profile none.yaml cannot be read: No such file"),
    ],
)
def test_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("sys.argv", ["edgeaudit", "devices", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_documentation_has_every_device(root_folder: Path) -> None:
    text = (root_folder / "docs" / "devices.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 6]
    expected = []
    for name in profile_names():
        profile = find_profile(name)
        model = f"`{profile.emulation.cpu}`" if profile.emulation is not None else "nothing"
        expected.append(f"| `{name}` | {profile.title} | {profile.cpu.int8} | {model} | {profile.verified.by} |")
    assert rows == expected


def test_the_documentation_has_every_key(root_folder: Path) -> None:
    text = (root_folder / "docs" / "devices.md").read_text(encoding="utf-8")
    for name, field in Profile.model_fields.items():
        assert f"`{field.alias or name}`" in text


def test_the_documentations_example_is_a_format(root_folder: Path) -> None:
    text = (root_folder / "docs" / "devices.md").read_text(encoding="utf-8")
    (block,) = (part.split("```")[0] for part in text.split("```yaml\n")[1:])
    (entry,) = yaml.safe_load(block)["formats"]
    found = find_format(FormatUse.model_validate(entry))
    assert found.runtime == "onnxruntime"
    providers = found.runtime_options["providers"]
    assert isinstance(providers, list)
    assert [list(one) if isinstance(one, dict) else one for one in providers] == [
        ["TensorrtExecutionProvider"], "CUDAExecutionProvider"
    ]  # fmt: skip
