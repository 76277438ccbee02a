"""Reference models that the user has: they show what the same models show where the audit trained them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from edgeaudit.population.base import Population
from tests.e2e.conftest import Finished, Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

FORMATS = ["torch-fp32", "onnx-fp32"]
SETTINGS: dict[str, Any] = {
    "attacks": ["lira", "rmia", "attack-r", "gap"],
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
}
SHADOWS = 4
REST = 1597
"""All other records, so that lists and draws have the same reference pool."""


@dataclass(frozen=True)
class Own:
    """An audit that trained its shadows. weights, files, trained: of each model by role."""

    done: Finished
    population: Population
    weights: dict[str, Path]
    files: dict[str, Path]
    trained: dict[str, npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module", params=["adversary", "auditor"])
def own(request: pytest.FixtureRequest, bench: Workbench) -> Own:
    mode = request.param
    store = bench.folder / f"store-{mode}"
    path = bench.write(
        mode, formats=FORMATS, data={"reference": REST}, threat={"mode": mode, "shadows": SHADOWS}, **SETTINGS
    )
    done = bench.run("run", path, "--out", mode, "--store", store, out=mode)
    assert done.code == 0, done.stderr
    population = Population.load(next((store / "population").iterdir()))
    weights, files, roles = {}, {}, {}
    for entry in (store / "train").iterdir():
        role = json.loads((entry / "entry.json").read_text())["inputs"]["role"]
        weights[role], roles[entry.name] = entry / "model.safetensors", role
    for entry in (store / "compress").iterdir():
        about = json.loads((entry / "entry.json").read_text())["inputs"]
        files[about["role"]] = next(entry.glob("*.onnx"))
    trained = {role: population.training_ids(role, 0) for role in weights}
    for name, ids in (("members", population.split.members), ("nonmembers", population.split.nonmembers)):
        np.save(bench.folder / f"{mode}-{name}.npy", ids)
    for role, ids in trained.items():
        np.save(bench.folder / f"{mode}-{role}.npy", ids)
    return Own(done, population, weights, files, trained)


def _mode(own: Own) -> str:
    found: str = own.done.audit["threat"]["mode"]
    return found


def _shadow_roles(own: Own) -> list[str]:
    return sorted((role for role in own.weights if role != "target"), key=lambda role: int(role.split("-")[-1]))


def _data(bench: Workbench, own: Own) -> dict[str, Any]:
    sides = {name: str(bench.folder / f"{_mode(own)}-{name}.npy") for name in ("members", "nonmembers")}
    return {"reference": REST, **sides}


def _lists(bench: Workbench, own: Own, roles: list[str]) -> list[str]:
    return [str(bench.folder / f"{_mode(own)}-{role}.npy") for role in roles]


def _figures(done: Finished, format_id: str) -> dict[tuple[str, ...], tuple[float, ...]]:
    assert done.code == 0, done.stderr
    return {
        (row["attack"], row["variant"], row["subset"], row["metric"]): (row["value"], row["low"], row["high"])
        for row in done.audit["leakage"]
        # One-run audits need members that the audit drew at random.
        if row["format"] == format_id and row["metric"] not in {"epsilon_one_run", "mu_one_run"}
    }


def test_checkpoints_show_what_they_showed_where_they_were_trained(bench: Workbench, own: Own) -> None:
    roles = _shadow_roles(own)
    name = f"given-{_mode(own)}"
    path = bench.write(
        name,
        formats=FORMATS,
        data=_data(bench, own),
        model={"checkpoint": str(own.weights["target"])},
        threat={"mode": _mode(own), "shadows": 0},
        shadows={"models": [str(own.weights[role]) for role in roles], "members": _lists(bench, own, roles)},
        **SETTINGS,
    )
    done = bench.run("run", path, "--out", name, "--store", bench.folder / name / "store", out=name)
    for format_id in FORMATS:
        assert _figures(done, format_id) == _figures(own.done, format_id)
    told = done.audit["threat"]["given_shadows"]
    assert told == [f"model.safetensors, trained on {len(own.trained[role]):,} records" for role in roles]
    trained = {one for one in (bench.folder / name / "store" / "train").iterdir() if (one / "loss.json").exists()}
    assert not trained
    if _mode(own) == "adversary":
        return
    # Half of them beside as many that are trained: the first ones are the audit's own.
    both = bench.write(
        f"{name}-both",
        formats=FORMATS[:1],
        data=_data(bench, own),
        model={"checkpoint": str(own.weights["target"])},
        threat={"mode": _mode(own), "shadows": SHADOWS // 2},
        shadows={
            "models": [str(own.weights[role]) for role in roles[SHADOWS // 2 :]],
            "members": _lists(bench, own, roles[SHADOWS // 2 :]),
        },
        **SETTINGS,
    )
    mixed = bench.run(
        "run", both, "--out", f"{name}-both", "--store", bench.folder / name / "store", out=f"{name}-both"
    )
    assert _figures(mixed, FORMATS[0]) == _figures(own.done, FORMATS[0])


def test_files_show_what_they_showed_where_they_were_made(bench: Workbench, own: Own) -> None:
    roles = _shadow_roles(own)
    name = f"files-{_mode(own)}"
    path = bench.write(
        name,
        formats=["onnx-fp32"],
        data={**_data(bench, own), "preprocessing": "standardise"},
        target={"artifact": str(own.files["target"])},
        threat={"mode": _mode(own), "shadows": 0},
        shadows={"models": [str(own.files[role]) for role in roles], "members": _lists(bench, own, roles)},
        **SETTINGS,
    )
    without_recipe = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "model"}
    path.write_text(yaml.safe_dump(without_recipe), encoding="utf-8")
    done = bench.run("run", path, "--out", name, "--store", bench.folder / name / "store", out=name)
    assert _figures(done, "onnx-fp32") == _figures(own.done, "onnx-fp32")


def test_wrong_lists_take_a_pass_away(bench: Workbench, own: Own) -> None:
    """With them the online attack finds nothing."""
    if _mode(own) == "adversary":
        return
    roles, rng = _shadow_roles(own), np.random.default_rng(0)
    audited = np.concatenate([own.population.split.members, own.population.split.nonmembers])
    lists = []
    for number in range(0, SHADOWS, 2):
        shuffled = rng.permutation(audited)
        for k, half in enumerate((shuffled[:100], shuffled[100:])):
            lists.append(str(bench.folder / f"wrong-{number + k}.npy"))
            np.save(lists[-1], half)
    path = bench.write(
        "wrong-lists",
        formats=FORMATS[1:],
        data=_data(bench, own),
        model={"checkpoint": str(own.weights["target"])},
        threat={"mode": "auditor", "shadows": 0},
        shadows={"models": [str(own.weights[role]) for role in roles], "members": lists},
        budgets={"auc": ["error", {"max": 0.97}]},
        **SETTINGS,
    )
    done = bench.run("run", path, "--out", "wrong-lists", out="wrong-lists")
    assert done.code == 3, done.stderr
    online = next(
        row["value"]
        for row in done.audit["leakage"]
        if (row["attack"], row["variant"], row["subset"], row["metric"]) == ("lira", "online-global", "all", "auc")
    )
    assert online < 0.6
    assert done.code == 3
    control = next(one for one in done.audit["controls"] if one["name"] == "given shadows known")
    assert control["status"] == "undecided"
    # Records that are in the lists of all models are refused beforehand.
    everyone = bench.folder / "everyone.npy"
    np.save(everyone, audited)
    spec = yaml.safe_load(path.read_text())
    spec["shadows"]["members"] = [str(everyone)] * SHADOWS
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    refused = bench.call("run", path, "--out", "all-lists", "--workers", "1")
    assert refused.code == 2
    assert "200 audited records" in " ".join(refused.stderr.split())


def test_what_does_not_fit_is_refused(bench: Workbench, own: Own) -> None:
    roles = _shadow_roles(own)
    files, lists = [str(own.weights[role]) for role in roles], _lists(bench, own, roles)
    common = {"data": _data(bench, own), "model": {"checkpoint": str(own.weights["target"])}, **SETTINGS}
    if _mode(own) == "auditor":
        done = bench.refused(**common, shadows={"models": files, "members": lists})
        assert "shadows.members[0]" in done.stderr
        assert "set threat.mode: auditor" in " ".join(done.stderr.split())
        return
    done = bench.refused(**common, shadows={"models": files, "members": lists[:-1]})
    assert "there are 4 models and 3 lists of members" in " ".join(done.stderr.split())
    done = bench.refused(**common, shadows={"models": [*files[:-1], "gone.pt"], "members": lists})
    assert "shadows.models[3]" in done.stderr
    done = bench.refused(**common, shadows={"models": files, "members": [*lists[:-1], "gone.npy"]})
    assert "shadows.members[3]" in done.stderr
    beyond = bench.folder / "beyond.txt"
    beyond.write_text("0\n1797\n", encoding="utf-8")
    done = bench.refused(**common, shadows={"models": files, "members": [*lists[:-1], str(beyond)]})
    assert "shadows.members[3]: record 1797 does not exist" in " ".join(done.stderr.split())
    done = bench.refused(**common, shadows={"models": [*files[:-1], files[0]], "members": lists})
    assert "is the same file as shadows.models[0]" in " ".join(done.stderr.split())
    done = bench.refused(**common, shadows={"models": [*files[:-1], str(own.weights["target"])], "members": lists})
    assert "is the same file as model.checkpoint" in " ".join(done.stderr.split())
    done = bench.refused(**common, shadows={"models": [*files[:-1], str(own.files["target"])], "members": lists})
    assert "is a model file" in " ".join(done.stderr.split())
    # Folds of the members alone: by how many shadows left a record out, a member is told from a nonmember.
    folds = []
    for k, fold in enumerate(np.array_split(own.population.split.members, SHADOWS)):
        folds.append(str(bench.folder / f"fold-{k}.npy"))
        np.save(folds[-1], np.setdiff1d(own.population.split.members, fold))
    done = bench.refused(
        **common, threat={"mode": "auditor", "shadows": 0}, shadows={"models": files, "members": folds}
    )
    said = " ".join(done.stderr.split())
    assert "a member is left out by 1 of 4 shadows, a nonmember by 4" in said
    # A model of another architecture.
    done = bench.run(
        "run",
        bench.write("other", **{**common, "model": {**common["model"], "options": {"width": 16}}},
                    shadows={"models": files, "members": lists}),
        "--out", "other", out="other",
    )  # fmt: skip
    assert done.code == 2


def test_models_that_saw_more_than_their_lists_say_take_a_pass_away(bench: Workbench, own: Own) -> None:
    """Near copies of the target, given as models of other records: attacks calibrated on them would find nothing."""
    from safetensors.numpy import load_file, save_file

    if _mode(own) == "auditor":
        return
    roles, rng = _shadow_roles(own), np.random.default_rng(0)
    files = []
    for k in range(2):
        files.append(str(bench.folder / f"near-{k}.safetensors"))
        weights = load_file(own.weights["target"])
        noisy = {key: (v + 1e-3 * rng.normal(size=v.shape)).astype(v.dtype) if v.dtype == np.float32 else v
                 for key, v in weights.items()}  # fmt: skip
        save_file(noisy, files[-1])
    spec = bench.write(
        "near",
        formats=FORMATS[1:],
        data=_data(bench, own),
        model={"checkpoint": str(own.weights["target"])},
        threat={"shadows": 0},
        shadows={"models": files, "members": _lists(bench, own, roles[:2])},
        budgets={"auc": ["error", {"max": 0.9}]},
        **SETTINGS,
    )
    done = bench.run("run", spec, "--out", "near", out="near")
    assert done.code == 3, done.stderr
    control = next(one for one in done.audit["controls"] if one["name"] == "given shadows known")
    assert (control["status"], "do the lists have all records" in control["statement"]) == ("undecided", True)


def test_a_shadow_that_is_no_model_of_the_records_is_refused(bench: Workbench, own: Own) -> None:
    from safetensors.numpy import load_file, save_file

    if _mode(own) == "auditor":
        return
    roles = _shadow_roles(own)
    rng = np.random.default_rng(0)
    path = bench.folder / "noise.safetensors"
    save_file({key: rng.normal(size=value.shape).astype(value.dtype) if value.dtype == np.float32 else value
               for key, value in load_file(own.weights[roles[0]]).items()}, path)  # fmt: skip
    spec = bench.write(
        "noise",
        formats=FORMATS[:1],
        data=_data(bench, own),
        model={"checkpoint": str(own.weights["target"])},
        shadows={
            "models": [str(path), *(str(own.weights[role]) for role in roles[1:])],
            "members": _lists(bench, own, roles),
        },
        **SETTINGS,
    )
    done = bench.run("run", spec, "--out", "noise", out="noise")
    assert done.code == 2
    assert "shadows.models[0] noise.safetensors" in " ".join(done.stderr.split())
