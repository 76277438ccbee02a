"""Files that stand for others are named before anything runs, whatever key of audit.yaml has them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import spec_of
from edgeaudit.errors import MissingToolchain, SpecError
from edgeaudit.pipeline.preflight import preflight

POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
)
LISTS: dict[str, Any] = {"members": "ids.txt", "nonmembers": "ids.txt"}
SIDES: dict[str, Any] = {"source": "npz", "members": {"path": "a.npz"}, "nonmembers": {"path": "b.npz"}}


@pytest.mark.parametrize(
    ("raw", "key", "name"),
    [
        ({"model": {"checkpoint": "model.pt"}, "data": LISTS}, "model.checkpoint", "model.pt"),
        ({"data": {"source": "npz", "path": "all.npz"}}, "data.path", "all.npz"),
        ({"data": SIDES}, "data.members.path", "a.npz"),
        ({"data": SIDES}, "data.nonmembers.path", "b.npz"),
        ({"data": LISTS}, "data.members", "ids.txt"),
        ({"target": {"artifact": "m.onnx"}, "data": {**SIDES, "preprocessing": "raw"}}, "target.artifact", "m.onnx"),
        ({"target": {"artifact": {"a": "m.onnx", "b": "n.onnx"}}, "data": {**SIDES, "preprocessing": "raw"}},
         "target.artifact", "n.onnx"),
    ],
)  # fmt: skip
def test_a_pointer_of_git_lfs(tmp_path: Path, raw: dict[str, Any], key: str, name: str) -> None:
    (tmp_path / name).write_text(POINTER, encoding="utf-8")
    spec = spec_of({"formats": ["torch-fp32"], **raw} if "target" not in raw else raw, tmp_path)
    with pytest.raises(SpecError) as raised:
        preflight(spec)
    assert str(raised.value) == (
        f"{key}: {tmp_path / name} is a Git LFS pointer, not the file itself; fetch the file: git lfs pull"
    )


def test_budgets_that_no_online_variant_could_pass(tmp_path: Path) -> None:
    raw: dict[str, Any] = {
        "formats": ["torch-fp32"],
        "attacks": ["yeom", "lira"],
        "threat": {"mode": "auditor", "shadows": 3},
        "budgets": {"auc": ["error", {"max": 0.6}]},
    }
    with pytest.raises(SpecError) as raised:
        preflight(spec_of(raw, tmp_path))
    assert str(raised.value) == (
        "threat.shadows: 3 shadows are too few for budgets in auditor mode: 'lira' is judged by 'online-global' there, "
        "which needs 4 or more. Train more, or leave 'lira' out of the attacks that are judged"
    )
    preflight(spec_of({**raw, "threat": {"mode": "auditor", "shadows": 4}}, tmp_path))
    preflight(spec_of({**raw, "threat": {"mode": "adversary", "shadows": 3}}, tmp_path))
    preflight(spec_of({**raw, "attacks": ["yeom"]}, tmp_path))
    preflight(spec_of({**raw, "budgets": {}}, tmp_path))
    named = {"auc": ["error", {"max": 0.6, "attacks": ["lira/offline-global"]}]}
    preflight(spec_of({**raw, "budgets": named}, tmp_path))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"model": {"recipe": "sklearn:Ridge", "privacy": {"epsilon": 8}}},
            "model.privacy: the built-in loop of torch recipes has it, and 'sklearn:Ridge' is one of sklearn",
        ),
        (
            {"model": {"recipe": "keras:mlp", "early_stopping": {}}},
            "model.early_stopping: the built-in loop of torch recipes has it, and 'keras:mlp' is one of keras",
        ),
        (
            {"data": {"members": 200, "nonmembers": 200}, "model": {"privacy": {"epsilon": 8, "delta": 0.005}}},
            "model.privacy.delta: 0.005 is no less than 1/200, and the target trains on 200 records",
        ),
        ({"task": "regression", "model": {"privacy": {"epsilon": 8}}}, "model.privacy: the loss of task: regression"),
    ],
)
def test_settings_that_a_loop_does_not_have(tmp_path: Path, raw: dict[str, Any], said: str) -> None:
    named = {"sklearn:Ridge": "sklearn-fp64", "keras:mlp": "keras-fp32"}.get(raw["model"].get("recipe"), "torch-fp32")
    with pytest.raises(SpecError) as raised:
        preflight(spec_of({"formats": [named], **raw}, tmp_path))
    assert str(raised.value).startswith(said)


def test_privacy_without_opacus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "opacus":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    raw: dict[str, Any] = {"formats": ["torch-fp32"]}
    preflight(spec_of(raw, tmp_path))
    with pytest.raises(MissingToolchain, match=r"^model\.privacy needs the package 'opacus'.*edgeaudit\[dp\]"):
        preflight(spec_of({**raw, "model": {"privacy": {"epsilon": 8}}}, tmp_path))
