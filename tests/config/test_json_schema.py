"""The JSON Schema of audit.yaml: it lets through what edgeaudit reads, refuses what it refuses, and is up to date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from edgeaudit import config
from edgeaudit.cli import app
from edgeaudit.config.audit import AuditSpec, load_spec
from edgeaudit.config.json_schema import SCHEMA_FILE, SCHEMA_ID, JsonSchema, Term, json_schema, schema_text
from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import EdgeAuditError, SpecError
from edgeaudit.formats.resolve import find_format
from edgeaudit.pipeline.vocabulary import RECIPES, audit_schema_text, vocabulary

COMMITTED = Path(config.__file__).with_name(SCHEMA_FILE)
SCHEMA: JsonSchema = json.loads(COMMITTED.read_bytes())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def complaints(content: object) -> list[str]:
    """What the schema has against a file's content."""
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(content)]


def test_the_committed_schema_is_current() -> None:
    again = (
        "from edgeaudit.config.json_schema import schema_text; from edgeaudit.pipeline.vocabulary import vocabulary; "
        "print(schema_text(vocabulary(plugins=False)), end='')"
    )
    text = COMMITTED.read_text(encoding="utf-8")
    assert text == schema_text(vocabulary(plugins=False)), f'python -c "{again}" > {COMMITTED}'


def test_it_is_a_schema_that_editors_read() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert SCHEMA["$id"] == SCHEMA_ID
    referred = set(re.findall(r'"#/definitions/([^"]+)"', COMMITTED.read_text(encoding="utf-8")))
    assert referred == set(SCHEMA["definitions"])  # nothing is missing, and nothing is of no use
    assert "x-names" not in COMMITTED.read_text(encoding="utf-8")


def _properties(schema: JsonSchema) -> Iterator[tuple[str, JsonSchema]]:
    sections = [("audit.yaml", schema), *schema["definitions"].items()]
    for name, section in sections:
        for key, value in section.get("properties", {}).items():
            yield f"{name}.{key}", value


def test_every_key_is_described() -> None:
    """By itself, or by the section that it refers to."""
    for key, value in _properties(SCHEMA):
        if key.startswith("audit.yaml.") or key.split(".")[0].endswith(("Spec", "Limit", "Use")):
            described = value.get("description") or SCHEMA["definitions"][value["$ref"].split("/")[-1]]["description"]
            assert len(described) > 8, key
            assert "\n" not in described, key


def test_no_toolchain_is_imported_for_it() -> None:
    code = (
        "import sys; from edgeaudit.pipeline.vocabulary import vocabulary; vocabulary(plugins=True); "
        "print(sorted({'torch', 'tensorflow', 'onnx', 'onnxruntime', 'nncf', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def files(root_folder: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.yaml"], cwd=root_folder, capture_output=True, text=True, check=True
    ).stdout.split()
    other = (".", "device_profiles/", "examples/plugin/")  # the packaged schema has no plugin's names
    return [root_folder / name for name in listed if not name.startswith(other)]


def test_every_audit_of_the_repository_is_valid(files: list[Path]) -> None:
    names = {path.name for path in files}
    assert {"digits.yaml", "starter.yaml", "devices.yaml", "mlperf_tiny.yaml", "letter.yaml"} <= names
    for path in files:
        load_spec(path)
        assert complaints(read_yaml(path.read_text(encoding="utf-8"))) == [], path


def _blocks(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    pages = [folder / "README.md", *sorted((folder / "docs").glob("*.md"))]
    for page in (page for page in pages if page.name != "plugins.md"):  # whose names are those of plugins
        for block in page.read_text(encoding="utf-8").split("```yaml\n")[1:]:
            content = read_yaml(block.split("```")[0])
            if isinstance(content, dict) and set(content) <= set(SCHEMA["properties"]):
                yield page.name, content


def test_every_piece_of_audit_yaml_in_the_documentation_is_valid(root_folder: Path) -> None:
    blocks = list(_blocks(root_folder))
    assert {"README.md", "audit-yaml.md", "compositions.md", "devices.md", "keras.md"} <= {page for page, _ in blocks}
    for page, content in blocks:
        assert complaints(content) == [], page


VALID = [
    "{}",
    "seed: ${SEED:-3}",
    "data: {members: '${N}', standardise: '${S:-true}'}",
    "model: {recipe: 'torchvision:resnet18', options: {width: [1, {a: ~}]}, lr: 1e-3}",
    "model: {recipe: keras:mine:make, checkpoint: m.keras}\ndata: {members: m.txt, nonmembers: n.txt}",
    "formats: [onnx-fp32, {format: onnx-fp32, name: other, softmax: inside}]",
    "formats: [{name: a, passes: [nncf.prune, {nncf.prune: }, {nncf.prune: {}}, {nncf.prune: {ratio: 1e-1}}]}]",
    "formats: [{name: a, passes: [{distil: {student: 'my:make', epochs: 3, student_options: {width: 2}}}, finetune]}]",
    "formats: [{name: a, format: onnx-fp32, runtime: {onnxruntime: {batch: 1, providers: [{A: {b: 1}}]}}}]",
    "formats: [{name: a, passes: [onnx.export], runtime: onnxruntime, tolerance: 0.3, range-tolerance: 0.5}]",
    "attacks: all",
    "attacks: [lira, all]",
    "attacks: {rmia: {gamma: 1.5}}",
    "devices: raspberry-pi-4\nformats: [onnx-int8-static]",
    "devices: [local, raspberry-pi-4, intel-haswell]",
    "devices: {local: , pi: raspberry-pi-4, b: {via: 'ssh://a@b', max_time: 2h, formats: onnx-int8-static}}",
    "devices: {local: , mine: {profile: boards/mine.yaml, via: emulated, max_time: 90}}",
    "together: all",
    "together: [torch-fp32, onnx-int8-static]",
    "together: [[torch-fp32, onnx-int8-static]]",
    "threat: {views: flip, weaker: [top-1, rounded-2, label], shadow_match: [matched, fp32]}",
    "threat: {views: [shift-2, noise-1, noise-2x3]}",
    "budgets: {auc: [error, {max: 0.7}]}",
    "budgets: {auc: [[warn, {max-increase: 0.1, against: torch-fp32}], {level: error, max: 0.9}]}",
    "budgets: strict",
    "budgets: {preset: recommended, advantage: [warn, {max: 0.2, reason: agreed with the data protection officer}]}",
    "budgets: {auc: [error, {max: 0.7, scope: pipeline, attacks: [lira, cm-mia/t], subset: 'class:*'}]}\ntargets: 4",
    "budgets: {auc: [error, {max: 0.7, subset: 'class:3'}]}",
    "cm-mia: {d0: 4, cutoffs: [0.1], alpha: ~}",
]


@pytest.mark.parametrize("text", VALID)
def test_accepted_specs_are_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N", "300")
    (tmp_path / "audit.yaml").write_text(text, encoding="utf-8")
    load_spec(tmp_path / "audit.yaml")
    assert complaints(read_yaml(text)) == []


WRONG = [
    "modle: {}",
    "model:",
    "model: {epoch: 3}",
    "model: {epochs: 0}",
    "model: {epochs: many}",
    "model: {recipe: resnet9}",
    "data: {source: mnist}",
    "data: {members: -3}",
    "data: {calibration: {recrods: 9}}",
    "threat: {shadow_match: []}",
    "threat: {views: [turn]}",
    "threat: {views: [shift-0]}",
    "threat: {weaker: [top]}",
    "threat: {weaker: [rounded-7]}",
    "formats: []",
    "formats:",
    "formats: onnx-fp32",
    "formats: [onnx-fp33]",
    "formats: [{softmax: inside}]",
    "formats: [{format: onnx-fp32, passes: [onnx.export]}]",
    "formats: [{passes: [onnx.export]}]",
    "formats: [{name: a, passes: []}]",
    "formats: [{name: a, passes: onnx.export}]",
    "formats: [{name: a, passes: [onnx.exprot]}]",
    "formats: [{name: a, passes: [onnx.export, ort.static_int8]}]",
    "formats: [{name: a, passes: [{nncf.prune: {ratio: 0.7}, onnx.export: }]}]",
    "formats: [{name: a, passes: [{nncf.prune: , ratio: 0.7}]}]",
    "formats: [{name: a, passes: [{}]}]",
    "formats: [{name: a, passes: [{nncf.prune: [0.7, 3]}]}]",
    "formats: [{name: a, passes: [{nncf.prune: 0.7}]}]",
    "formats: [{name: a, passes: [{nncf.prune: {share: 0.7}}]}]",
    "formats: [{name: a, passes: [{nncf.prune: {epochs: 1.5}}]}]",
    "formats: [{name: a, passes: [{nncf.prune: {ratio: half}}]}]",
    "formats: [{name: a, passes: [{nncf.prune: {ratio: '${RATIO:-0.5}'}}]}]",
    "formats: [{name: a, passes: [onnx.export, {ort.static-int8: {per_channel: yes}}]}]",
    "formats: [{name: a, passes: [onnx.export, {ort.static-int8: {weight_type: s4}}]}]",
    "formats: [{name: a, passes: ['nncf.prune(0.7)', onnx.export]}]",
    "formats: [{name: a, passes: [nncf.prune(0.7, epochs=3), onnx.export]}]",
    "formats: [{name: a, passes: [{pass: nncf.prune, ratio: 0.7}]}]",
    "formats: [{name: a, passes: [7]}]",
    "formats: [{name: a, passes: [~]}]",
    "formats: [{name: a, passes: [onnx.export], runtime: onnxruntme}]",
    "formats: [{name: a, passes: [onnx.export], runtime: {onnxruntime: {btach: 1}}}]",
    "formats: [{name: a, passes: [onnx.export], runtime: {onnxruntime: {batch: 0}}}]",
    "formats: [{name: a, passes: [onnx.export], runtime: {name: onnxruntime, batch: 1}}]",
    "formats: [{name: a, passes: [onnx.export], runtime: [onnxruntime]}]",
    "formats: [{name: a, passes: [onnx.export], tolerance: 2}]",
    "formats: [{name: a/b, format: onnx-fp32}]",
    "attacks: []",
    "attacks: [lria]",
    "attacks: [{yeom: {power: 2}}]",
    "attacks: [{cm-mia: {fraction: 0.2}}]",
    "attacks: [{label-only: {queries: 99}}]",
    "attacks: [{rmia: {gama: 2}}]",
    "attacks: [{all: {power: 2}}]",
    "attacks: [3]",
    "devices: [raspberry-pi-9]",
    "devices: {pi: {profil: raspberry-pi-4}}",
    "devices: {pi: {profile: raspberry-pi-4, max_time: soon}}",
    "devices: {-pi: raspberry-pi-4}",
    "together: some",
    "budgets: {auc: error}",
    "budgets: {auc: [eror, {max: 0.9}]}",
    "budgets: {auc: [error, {}]}",
    "budgets: {auc: [error, {max-increase: 0.1}]}",
    "budgets: {auc: [error, {max: 0.7, against: torch-fp32}]}",
    "budgets: {acu: [error, {max: 0.7}]}",
    "budgets: {auc: [error, {max: 0.7, attack: lria}]}",
    "budgets: {auc: [error, {max: 0.7, subset: some}]}",
    "budgets: {auc: [error, {max: 0.7, subset: 'class:many'}]}",
    "budgets: {auc: [error, {max: 90}]}",
    "budgets: {auc: [error, {max: 1}]}",
    "budgets: {auc: [error, {max: 0}]}",
    "budgets: {auc: [error, {max: true}]}",
    "budgets: {auc: [error, {max-increase: 2, against: torch-fp32}]}",
    "budgets: {auc: [error, {max: 0.7, scope: model}]}",
    "budgets: {auc: [error, {max: 0.7, attacks: []}]}",
    "budgets: {auc: [error, {max: 0.7, attacks: [lira], attack: lira}]}",
    "budgets: lenient",
    "budgets: {preset: lenient}",
]
"""Refused by edgeaudit, some by `load_spec` and some by what the plan looks up."""


@pytest.mark.parametrize("text", WRONG)
def test_rejected_specs_are_invalid(text: str, tmp_path: Path) -> None:
    assert complaints(read_yaml(text))
    (tmp_path / "audit.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(EdgeAuditError):
        _looked_up(load_spec(tmp_path / "audit.yaml"))


def _looked_up(spec: AuditSpec) -> None:
    """What a plan refuses before anything runs, as far as names and settings go."""
    from edgeaudit.devices.profiles import find_profile
    from edgeaudit.gate.requirements import require_budgets_exist
    from edgeaudit.pipeline.measurement import choose_attacks
    from edgeaudit.population.sources import find_source
    from edgeaudit.recipes.base import Recipe, build

    for use in spec.formats:
        find_format(use)
    for device in spec.devices.values():
        if device.profile is not None:
            find_profile(device.profile)
    choose_attacks(spec)
    require_budgets_exist(spec)
    find_source(spec.data.source, spec.data.path, spec.data.options)
    build(Recipe(spec.model.recipe, (4,), 2), 0)


def test_recipes_and_sources_are_complete() -> None:
    from edgeaudit.population.sources import find_source
    from edgeaudit.recipes.keras_checkpoint import CHECKPOINT
    from edgeaudit.recipes.registry import ARCHITECTURES

    assert list(RECIPES) == [*ARCHITECTURES.own, CHECKPOINT if ":" in CHECKPOINT else f"keras:{CHECKPOINT}"]
    sources = [term.name for term in vocabulary(plugins=False)["source"]]
    with pytest.raises(EdgeAuditError, match=rf"one of: {', '.join(sources)}, torchvision"):
        find_source("none", None, {})


def test_a_plugins_names_and_settings_are_listed() -> None:
    own = dict(vocabulary(plugins=False))
    own["attack"] = [*own["attack"], Term("loud", "a loud one", {"power": {"default": 2}})]
    validator = jsonschema.Draft7Validator(json_schema(own))
    assert validator.is_valid({"attacks": ["yeom", {"loud": {"power": 3}}]})
    assert not validator.is_valid({"attacks": ["yeom", {"loud": {"pwoer": 3}}]})
    assert not VALIDATOR.is_valid({"attacks": ["loud"]})


def test_an_installed_plugin_is_among_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud_attack.py").write_text(
        "from edgeaudit.attacks.base import Attack, AttackSpec\n"
        "class Loud(Attack):\n"
        "    spec = AttackSpec('loud', ('loud',), 'a loud one', 'none', defaults={'power': 2})\n"
        "    def _score(self, evidence, variant, reference=None):\n"
        "        raise NotImplementedError\n"
    )
    about = tmp_path / "loud-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edgeaudit.attacks]\nloud = loud_attack:Loud\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    printed = CliRunner().invoke(app, ["schema"], catch_exceptions=False).stdout
    with_it = jsonschema.Draft7Validator(json.loads(printed))
    assert with_it.is_valid({"attacks": ["yeom", {"loud": {"power": 3}}]})
    assert not with_it.is_valid({"attacks": [{"loud": {"volume": 3}}]})
    assert schema_text(vocabulary(plugins=False)) == COMMITTED.read_text(encoding="utf-8")


@pytest.mark.skipif(
    any(group.startswith("edgeaudit.") for group in metadata.entry_points().groups), reason="plugins are installed"
)
def test_without_plugins_it_is_the_packaged_schema() -> None:
    assert audit_schema_text() == COMMITTED.read_text(encoding="utf-8")


class TestInit:
    """`edgeaudit init` writes the schema that its first line names."""

    def init(self, *arguments: str) -> int:
        return CliRunner().invoke(app, ["init", *arguments]).exit_code

    def test_the_first_line_names_the_file_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "mine.yaml"
        path.parent.mkdir()
        assert self.init(str(path)) == 0
        first = path.read_text(encoding="utf-8").splitlines()[0]
        named = first.removeprefix("# yaml-language-server: $schema=")
        assert not Path(named).is_absolute()
        schema = json.loads((path.parent / named).read_bytes())
        assert schema["$id"] == SCHEMA_ID
        jsonschema.validate(read_yaml(path.read_text(encoding="utf-8")), schema)

    def test_a_schema_of_an_earlier_version_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / SCHEMA_FILE).write_text(json.dumps({"$id": SCHEMA_ID}), encoding="utf-8")
        assert self.init(str(tmp_path / "audit.yaml")) == 0
        assert "properties" in json.loads((tmp_path / SCHEMA_FILE).read_bytes())

    @pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"$id": "urn:other"}'])
    def test_another_file_of_that_name_is_kept(self, tmp_path: Path, content: str) -> None:
        (tmp_path / SCHEMA_FILE).write_text(content, encoding="utf-8")
        with pytest.raises(SpecError, match=r"audit\.schema\.json exists and is not a schema of audit\.yaml"):
            CliRunner().invoke(app, ["init", str(tmp_path / "audit.yaml")], catch_exceptions=False)
        assert (tmp_path / SCHEMA_FILE).read_text(encoding="utf-8") == content
        assert not (tmp_path / "audit.yaml").exists()
        assert self.init("--force", str(tmp_path / "audit.yaml")) == 0
