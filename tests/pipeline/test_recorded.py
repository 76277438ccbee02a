"""What of a spec a report does not show, however messages write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.config.audit import load_spec
from edgeaudit.pipeline.recorded import SpecOrigin, private_of
from edgeaudit.report.private import Private

AUDIT = """
data: {source: npz, path: data/secret customer/x (1).npz, options: {extra: notes/y.txt}}
model: {recipe: "clients.acme.net:build", options: {weights: /opt/acme/w.bin}}
formats: [onnx-int8-static]
devices:
  kitchen: {via: "ssh://pi@rpi.acme.example:2222"}
  shop: {via: "https://models.acme.example/v1"}
"""


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Private:
    """Of an audit.yaml in a folder, as it is named from there."""
    for folder in ("clients/acme", "notes"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notes" / "y.txt").touch()
    (tmp_path / "audit.yaml").write_text(AUDIT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    spec = load_spec(tmp_path / "audit.yaml")
    return private_of(spec, SpecOrigin(tmp_path, "./audit.yaml"), tmp_path / ".edgeaudit", tmp_path / "out")


def test_paths_in_full_and_as_audit_yaml_has_them(private: Private, tmp_path: Path) -> None:
    assert private.clean(f"{tmp_path}/data/secret customer/x (1).npz: no array x") == "x (1).npz: no array x"
    assert private.clean("data/secret customer/x (1).npz: no array x") == "x (1).npz: no array x"
    assert private.clean("notes/y.txt and ./audit.yaml") == "y.txt and audit.yaml"
    assert private.clean("/opt/acme/w.bin") == "w.bin"
    assert private.clean(f"the store {tmp_path}/.edgeaudit lacks it") == "the store .edgeaudit lacks it"


def test_addresses_of_devices_become_their_names(private: Private) -> None:
    assert private.clean("ssh://pi@rpi.acme.example:2222") == "ssh://kitchen"
    assert private.clean("pi@rpi.acme.example: Permission denied") == "kitchen: Permission denied"
    assert private.clean("rpi.acme.example port 2222: refused") == "kitchen port 2222: refused"
    assert private.clean("https://models.acme.example/v1: 404") == "https://shop: 404"
    assert private.clean("https://models.acme.example/v1/v2/models/m: 404") == "https://shop/v2/models/m: 404"


def test_packages_of_a_module_are_folders(private: Private) -> None:
    assert private.clean("clients.acme.net:build") == "net:build"
    assert private.clean("module 'clients.acme.net' has no build") == "module 'net' has no build"
    assert private.clean("torchvision:resnet18 and torch.nn.modules:Linear") == (
        "torchvision:resnet18 and torch.nn.modules:Linear"
    )
