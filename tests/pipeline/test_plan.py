"""The plan: what is shared is one job, and whatever an output depends on is in its key."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.formats import FormatUse
from edgeaudit.errors import AttackError, MissingToolchain, SpecError, SplitError
from edgeaudit.formats.resolve import find_format
from edgeaudit.graph import closure
from edgeaudit.graph import distributions as distributions_module
from edgeaudit.graph import job as jobs_module
from edgeaudit.graph.estimate import Rates, estimate, typical_seconds
from edgeaudit.graph.job import Job, Ref
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.last_jobs import compare_job
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import Plan, make_plan
from edgeaudit.pipeline.preflight import preflight
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.stages.compress import Compress
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query

FORMATS = ["torch-fp32", "onnx-int8-static", "litert-fp16", "litert-int8", "nncf-pruned-70", "nncf-pruned-70-int8"]


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    folder = tmp_path_factory.mktemp("population")
    build_population(_spec().data, 0, folder)
    return Population(folder)


def _spec(**changes: Any) -> AuditSpec:
    base: dict[str, Any] = {
        "model": {"recipe": "cnn"},
        "data": {"members": 100, "nonmembers": 100, "calibration": {"records": 32}},
        "threat": {"shadows": 3},
        "formats": FORMATS,
    }
    return AuditSpec.model_validate({**base, **changes})


DRAWN = DrawPopulation(content={"records": "digits"}, seed=0, data=_spec().data)
"""Stands for the population in every plan, so that keys differ by the plan alone."""


def _plan(population: Population, **changes: Any) -> Plan:
    spec = _spec(**changes)
    return make_plan(spec, population, DRAWN, choose_attacks(spec))


def _count(plan: Plan, kind: str) -> int:
    return len(_of(plan, kind))


def _of(plan: Plan, kind: str) -> set[Ref]:
    return {ref for ref in plan.jobs if ref.kind == kind}


def _refs(jobs: Iterable[Job[Any]]) -> set[Ref]:
    return {one.ref for one in jobs}


def _passes(plan: Plan, step: str) -> list[Compress]:
    return [one for one in plan.jobs.values() if isinstance(one, Compress) and one.step == step]


def test_work_shared_by_formats_is_done_once(population: Population) -> None:
    plan = _plan(population)
    assert _count(plan, "train") == 5  # target, null target and three shadows serve every format
    # A model: onnx.export, ort.static; litert.export, fp16, static; prune, onnx.export, ort.static. Nothing twice.
    assert _count(plan, "compress") == 5 * 8
    assert _count(plan, "query") == 5 * 6
    assert _count(plan, "measure") == 6


def test_further_targets_share_the_shadows(population: Population) -> None:
    one, many = _plan(population), _plan(population, targets=3, controls={"null-targets": 2})
    # Two targets and a null target more, and nothing else again.
    assert _count(many, "train") == _count(one, "train") + 3
    assert _count(many, "measure") == _count(one, "measure")
    assert {ref for ref in one.jobs if ref[0] != "measure"} <= set(many.jobs)


def test_only_the_first_targets_files_are_inspected_and_timed(population: Population) -> None:
    plan = _plan(population, targets=2)
    assert _count(plan, "inspect") == _count(plan, "latency") == len(FORMATS)
    jobs = [f.latency for f in plan.formats if f.latency is not None]
    assert _refs(jobs) | _refs(f.inspect for f in plan.formats) <= plan.jobs.keys()
    for timed, planned in zip(jobs, plan.formats, strict=True):
        assert timed.exclusive
        assert _refs(timed.needs) == {DRAWN.ref, planned.target_query.ref}
    assert all(_refs(f.inspect.needs) == {f.artifact.ref} for f in plan.formats)
    assert {ref[0] for ref, job in plan.jobs.items() if job.exclusive} == {"latency"}
    # Another machine or number of calls is another measurement, and nothing else is done again for it.
    assert jobs[0].machine == plan.formats[0].target_query.machine
    longer = _plan(population, targets=2, quality={"repetitions": 500})
    assert {ref[0] for ref in longer.jobs.keys() - plan.jobs.keys()} == {"latency"}
    without = _plan(population, targets=2, quality={"latency": False})
    assert [f.latency for f in without.formats] == [None] * len(FORMATS)
    assert without.jobs.keys() < plan.jobs.keys()


def test_a_fixed_batch_is_not_timed_with_a_larger_one(population: Population) -> None:
    plan = _plan(population, formats=["onnx-int8-dynamic", "onnx-int8-static"])
    fixed = [f.latency.fixed_batch for f in plan.formats if f.latency is not None]
    assert fixed == [1, None]


def test_records_are_compared_once_before_anything_is_trained(population: Population) -> None:
    plan = _plan(population, targets=2, controls={"null-targets": 2})
    assert plan.control is next(iter(plan.jobs.values()))
    assert _count(plan, "control") == 1
    without = _plan(population, controls={"shift": False})
    assert without.control is None
    assert _count(without, "control") == 0


def test_jobs_come_after_their_dependencies(population: Population) -> None:
    seen = {DRAWN.ref}
    for ref, job in _plan(population).jobs.items():
        assert _refs(job.needs) <= seen
        seen.add(ref)


def test_more_shadows_keep_existing_keys(population: Population) -> None:
    few, more = _plan(population), _plan(population, threat={"shadows": 5})
    kept = {ref for ref in few.jobs if ref[0] != "measure"}
    assert kept <= set(more.jobs)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"model": {"recipe": "cnn", "epochs": 31}}, {"train", "compress", "query", "measure"}),
        ({"seed": 1}, {"control", "train", "compress", "query", "measure"}),
        ({"attacks": ["cm-mia"]}, {"measure"}),
        ({"cm-mia": {"fraction": 0.2}}, {"measure"}),
        ({"threat": {"shadows": 3, "exposure": "logits"}}, {"measure"}),
        ({"name": "other", "budgets": {"auc": ["error", {"max": 0.9}]}}, set()),
    ],
)
def test_a_change_reaches_every_dependent_job(population: Population, changes: dict[str, Any], kinds: set[str]) -> None:
    before, after = _plan(population).jobs.keys(), _plan(population, **changes).jobs.keys()
    for kind in ("control", "train", "compress", "query", "measure"):
        old, new = ({ref for ref in jobs if ref[0] == kind} for jobs in (before, after))
        assert old.isdisjoint(new) if kind in kinds else old == new


@pytest.mark.parametrize(
    ("package", "untouched"),
    [("torch", "none"), ("onnxruntime", "litert"), ("ai-edge-litert", "onnxruntime")],
)
def test_a_toolchain_version_is_part_of_the_key(
    population: Population, monkeypatch: pytest.MonkeyPatch, package: str, untouched: str
) -> None:
    before = _plan(population).jobs
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99" if name == package else real(name))
    jobs_module._versions.cache_clear()
    distributions_module._version.cache_clear()
    after = _plan(population).jobs
    jobs_module._versions.cache_clear()
    distributions_module._version.cache_clear()
    for ref, one in before.items():
        depends = (package == "torch" and one.kind != "control") or (isinstance(one, Query) and package in one.versions)
        if depends:
            assert ref not in after
        if isinstance(one, Query) and one.runtime == untouched:
            assert ref in after


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("edgeaudit.errors", {"control", "train", "compress", "query", "inspect", "latency", "measure"}),
        ("edgeaudit.controls.shift", {"control"}),
        ("edgeaudit.recipes.training", {"train", "compress", "query", "inspect", "latency", "measure"}),
        ("edgeaudit.stages.query", {"query", "latency", "measure"}),
        ("edgeaudit.attacks.lira", {"measure"}),
    ],
)
def test_the_code_is_part_of_the_key(
    population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, kinds: set[str]
) -> None:
    before = _plan(population)
    real, changed = closure.module_file, tmp_path / "changed.py"
    source = real(module)
    assert source is not None
    shutil.copyfile(source, changed)
    with changed.open("a", encoding="utf-8") as file:
        file.write("# a comment\n")
    monkeypatch.setattr(closure, "module_file", lambda name: changed if name == module else real(name))
    monkeypatch.setattr(closure, "_cache", {})
    after = _plan(population)
    for kind in {ref.kind for ref in before.jobs}:
        old, new = _of(before, kind), _of(after, kind)
        assert old.isdisjoint(new) if kind in kinds else old == new


def test_code_that_a_users_module_imports_is_part_of_the_key(
    population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_recipe.py").write_text("from my_layers import layer\n\n\ndef make(): ...\n", encoding="utf-8")
    layers = tmp_path / "my_layers.py"

    def planned(code: str) -> Plan:
        layers.write_text(code, encoding="utf-8")
        return _plan(population, model={"recipe": "my_recipe:make"})

    before, after = planned("layer = 1\n"), planned("# a comment\nlayer = 1\n")
    for kind in ("train", "compress", "query", "measure"):
        assert _of(before, kind).isdisjoint(_of(after, kind))
    # Nothing before a training depends on how the model is made.
    assert _of(before, "control") == _of(after, "control") != set()
    assert planned("layer = 1\n").jobs.keys() == before.jobs.keys()


def test_calibration_belongs_to_the_format(population: Population) -> None:
    formats = ["litert-int8", {"format": "litert-int8", "calibration": "members"}]
    plan = _plan(population, formats=formats)
    assert _count(plan, "query") == 2 * 5
    # One export serves both; each policy quantises for itself.
    assert _count(plan, "compress") == 5 * 3


def test_a_preset_and_the_same_composition_are_the_same_jobs(population: Population) -> None:
    plan = _plan(population, formats=["nncf-pruned-70-int8", "onnx-int8-dynamic"])
    passes = [[{"nncf.prune": {"ratio": 0.7}}, "onnx.export", "ort.static-int8"], ["onnx.export", "ort.dynamic-int8"]]
    named = [{"name": f"mine-{n}", "passes": steps} for n, steps in enumerate(passes)]
    other = _plan(population, formats=named)
    assert {ref for ref in plan.jobs if ref[0] != "measure"} == {ref for ref in other.jobs if ref[0] != "measure"}
    # A measurement's rows bear the format's name. Side by side, everything else is done once.
    both = _plan(population, formats=["nncf-pruned-70-int8", "onnx-int8-dynamic", *named])
    assert _count(both, "measure") == 4
    assert both.jobs.keys() == plan.jobs.keys() | other.jobs.keys()


def test_parameters_runtimes_and_limits_are_part_of_the_key(population: Population) -> None:
    def jobs(kind: str, **changes: Any) -> set[Any]:
        entry = {"name": "mine", "passes": ["onnx.export", "ort.static-int8"], **changes}
        return {ref for ref in _plan(population, formats=[entry]).jobs if ref[0] == kind}

    plain = jobs("query")
    assert plain == jobs("query", name="other", runtime={"onnxruntime": {"batch": 64}}, tolerance=0.2)
    assert plain.isdisjoint(jobs("query", runtime={"onnxruntime": {"batch": 1}}))
    assert plain.isdisjoint(jobs("query", tolerance=0.3))
    assert plain.isdisjoint(jobs("query", **{"range-tolerance": 0.3}))
    assert plain.isdisjoint(jobs("query", passes=["onnx.export", {"ort.static-int8": {"reduce_range": True}}]))
    assert jobs("compress") == jobs("compress", runtime={"onnxruntime": {"batch": 1}}, tolerance=0.3)


def test_reject_logits_from_an_export_with_softmax() -> None:
    entry = {"name": "mine", "passes": [{"onnx.export": {"softmax": "inside"}}]}
    preflight(_spec(formats=[entry]))
    with pytest.raises(
        SpecError, match=r"formats: 'mine' outputs probabilities; threat\.exposure: logits needs a format"
    ):
        preflight(_spec(formats=[entry], threat={"shadows": 3, "exposure": "logits"}))


def test_fp32_shadows_need_the_reference_even_if_it_is_no_format(population: Population) -> None:
    plan = _plan(population, formats=["litert-int8"], threat={"shadows": 3, "shadow_match": "fp32"})
    runtimes = [one.runtime for one in plan.jobs.values() if isinstance(one, Query)]
    assert runtimes.count("torch") == 3


def test_reject_too_small_a_pool_before_anything_runs(population: Population) -> None:
    with pytest.raises(SplitError, match="are missing"):
        _plan(population, data={"members": 100, "nonmembers": 100, "calibration": {"records": 1560}})


def test_formats_and_toolchains_are_checked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="edgeaudit formats"):
        preflight(_spec(formats=["onnx-int9"]))
    real = metadata.version

    def without_litert(name: str) -> str:
        if name == "ai-edge-litert":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without_litert)
    with pytest.raises(MissingToolchain, match=r"pip install 'edgeaudit\[litert\]'"):
        preflight(_spec())


def test_reject_cutoffs_that_shadows_cannot_resolve() -> None:
    with pytest.raises(AttackError, match="needs at least 99 shadows"):
        choose_attacks(_spec(**{"cm-mia": {"cutoffs": [0.01]}, "threat": {"shadows": 98}}))
    choose_attacks(_spec(**{"cm-mia": {"cutoffs": [0.01]}, "threat": {"shadows": 99}}))


def test_views_add_queries_and_no_training(population: Population) -> None:
    plain, views = _plan(population), _plan(population, threat={"shadows": 3, "views": ["flip", "noise-1"]})
    assert {ref for ref in plain.jobs if ref[0] != "measure"} <= set(views.jobs)
    assert _count(views, "view") == 2 * _count(plain, "query")
    assert _count(plain, "view") == 0
    louder = _plan(population, threat={"shadows": 3, "views": ["flip", "noise-2"]})
    shared = {ref for ref in views.jobs if ref[0] == "view"} & set(louder.jobs)
    assert len(shared) == _count(plain, "query")  # the flips
    with pytest.raises(SpecError, match=r"threat\.views: 'shift-9' moves images of 8 by 8 pixels out of sight"):
        _plan(population, threat={"shadows": 3, "views": ["shift-9"]})


def test_the_boundary_is_searched_only_if_named(population: Population) -> None:
    assert _count(_plan(population, attacks=["all"]), "boundary") == 0
    plan = _plan(population, attacks=["label-only"])
    # The target, the null target and one shadow, in each format.
    assert _count(plan, "boundary") == 3 * len(FORMATS)
    auditor = {"shadows": 4, "mode": "auditor"}
    assert _count(_plan(population, attacks=["label-only"], threat=auditor), "boundary") == 0


def test_students_are_distilled_only_if_loss_trajectory_is_named(population: Population) -> None:
    assert _count(_plan(population, attacks=["all"]), "trajectory") == 0
    named = {"attacks": ["loss-trajectory"], "targets": 2}
    plan = _plan(population, **named)
    # Two targets, the null target and one shadow, in each format.
    assert _count(plan, "trajectory") == 4 * len(FORMATS)
    assert _count(_plan(population, **named, **{"loss-trajectory": {"shadows": 9}}), "trajectory") == 6 * len(FORMATS)
    auditor = {"shadows": 4, "mode": "auditor"}
    assert _count(_plan(population, **named, threat=auditor), "trajectory") == 0
    both = _plan(population, attacks=["label-only", "loss-trajectory"])
    assert (_count(both, "boundary"), _count(both, "trajectory")) == (3 * len(FORMATS), 3 * len(FORMATS))


def test_a_student_depends_on_its_own_settings_and_not_on_other_models(population: Population) -> None:
    def students(**changes: Any) -> set[Any]:
        jobs = _plan(population, attacks=["loss-trajectory"], **changes).jobs
        return {ref for ref in jobs if ref[0] == "trajectory"}

    plain = students()
    assert plain.isdisjoint(students(**{"loss-trajectory": {"epochs": 31}}))
    assert plain.isdisjoint(students(**{"loss-trajectory": {"records": 100}}))
    assert plain.isdisjoint(students(seed=1))
    assert plain == students(threat={"shadows": 3, "exposure": "logits"})
    assert plain < students(targets=2, controls={"null-targets": 2}, **{"loss-trajectory": {"shadows": 2}})


def test_the_cost_of_students_scales_with_records_and_epochs(population: Population, tmp_path: Path) -> None:
    settings = {"loss-trajectory": {"epochs": 15, "records": 300}}
    plan = _plan(population, attacks=["loss-trajectory"], formats=["torch-fp32"], **settings)
    rows = {row.stage: row for row in estimate(plan.jobs, Store(tmp_path), training_seconds=6.0)}
    # 15 epochs of 300 records, and of forward passes on 200 that cost a third, against 30 epochs of 100 for 6 seconds.
    assert rows["trajectory"].jobs == 3
    assert rows["trajectory"].seconds == pytest.approx(3 * 6.0 * (15 * (300 + 200 / 3)) / (30 * 100))


def test_a_variant_of_a_pass_shares_what_comes_before_it(population: Population) -> None:
    variant = {"name": "hard", "passes": [{"distil": {"alpha": 0.5}}, "onnx.export"]}
    plan = _plan(population, formats=["distilled-onnx", "distilled-onnx-int8", variant])
    assert _count(plan, "train") == 5
    # Two ways to distil, an export of each, and one of the exports quantised: five models each.
    assert _count(plan, "compress") == 5 * 5
    alphas = [distil.params["alpha"] for distil in _passes(plan, "distil")]
    assert sorted(alphas) == [0.5] * 5 + [0.9] * 5


def test_the_code_of_a_student_is_part_of_the_key(
    population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    entry = {"name": "mine", "passes": [{"distil": {"student": "my_students:make"}}, "onnx.export"]}

    def planned(code: str) -> dict[str, set[Any]]:
        (tmp_path / "my_students.py").write_text(code, encoding="utf-8")
        jobs = _plan(population, formats=[entry]).jobs
        return {kind: {ref for ref in jobs if ref[0] == kind} for kind in ("train", "compress")}

    before, after = planned("make = 1"), planned("make = 2")
    assert before["train"] == after["train"]
    assert before["compress"].isdisjoint(after["compress"])


def test_export_durations_are_not_learned_across_model_sizes(population: Population) -> None:
    plan = _plan(population, formats=["onnx-fp32", "distilled-onnx"])
    exports = _passes(plan, "onnx.export")
    whole = [export for export in exports if export.source.kind == "train"]
    small = [export for export in exports if export not in whole]
    assert len(whole) == len(small) == 5
    rates = Rates()
    rates.learn(whole[0], 7.0)
    assert rates.seconds(whole[1]) == 7.0
    assert rates.seconds(small[0]) is None
    distil, *_ = _passes(plan, "distil")
    assert 10 < typical_seconds(distil.cost(), training_seconds=10.0) < 12  # about a training of its own


def test_reject_a_pool_without_records_for_distillation(tmp_path: Path) -> None:
    data = {"members": 100, "nonmembers": 100, "reference": 130, "calibration": {"records": 8}}
    build_population(_spec(data=data).data, 0, tmp_path)
    # Half of the pool is 65, of which a shadow leaves 65 x 30 / 130 = 15 on average, and nine tenths of that are 13.
    with pytest.raises(SplitError, match=r"data\.reference: .* 100 of 130, which leaves 13 for a student"):
        _plan(Population(tmp_path), data=data, attacks=["loss-trajectory"])


@pytest.mark.parametrize(
    ("name", "where"),
    [("onnx-int8-static", "onnx.export"), ("nncf-pruned-70-executorch-int8", "executorch.static-int8")],
)
def test_softmax_inside_applies_to_the_pass_that_leaves_torch(name: str, where: str) -> None:
    found = find_format(FormatUse(format=name, softmax="inside"))
    assert {use.name: use.params.get("softmax") for use in found.passes if "softmax" in use.params} == {where: "inside"}


def test_torch_itself_has_no_softmax_inside() -> None:
    with pytest.raises(SpecError, match=r"'torch-fp32\+softmax' exports no file"):
        find_format(FormatUse(format="torch-fp32", softmax="inside"))


def test_weaker_exposures_reuse_stored_answers(population: Population) -> None:
    levels = ["top-3", "rounded-2", "label"]
    threat = {"shadows": 3, "shadow_match": ["matched", "fp32"]}
    plain, weaker = (_plan(population, threat=t) for t in (threat, threat | {"weaker": levels}))
    # A job for each format and level, for the audit's own shadows alone; every other job is the same.
    assert _count(weaker, "weaken") == len(FORMATS) * len(levels)
    assert {ref for ref in weaker.jobs if ref[0] != "weaken"} == set(plain.jobs)
    for planned in weaker.formats:
        assert list(planned.exposures) == levels
        measured = planned.measures["matched"]
        for level, weaken in planned.exposures.items():
            assert weaken.ref in weaker.jobs
            assert _refs(weaken.needs) == _refs(measured.needs)
            assert {need.kind for need in weaken.needs} == {"population", "query"}
            assert (weaken.level, weaken.measure.settings.place.format) == (level, planned.use.id)
    one = _plan(population, threat=threat | {"weaker": "top-3"})
    assert set(one.jobs) < set(weaker.jobs)


def test_a_comparison_has_the_exposures_that_could_be_measured(population: Population) -> None:
    plan = _plan(population, threat={"shadows": 3, "weaker": ["top-3", "label"]}, formats=FORMATS[:2])
    first, second = plan.formats
    lost = {second.exposures["label"], first.measures["matched"]}
    comparison = compare_job(plan, lambda job: job not in lost)
    assert comparison is not None
    # Without a measurement there is nothing to compare the first format's exposures with.
    assert [(one.measure.settings.place.format, one.level) for one in comparison.weakened] == [(FORMATS[1], "top-3")]
    measured = (second.measures["matched"], second.exposures["top-3"])
    assert list(comparison.measures) == [measured[0]]
    answers = [first.target_query, second.target_query]
    assert [one.query for one in comparison.answers] == answers
    records = measured[0].settings.evidence.population  # labels of claimed records
    assert _refs(comparison.needs) == _refs((*measured, *answers, records))


def test_reject_levels_that_answers_cannot_have(population: Population) -> None:
    with pytest.raises(SpecError, match=r"threat\.weaker: 'top-11' returns more classes than there are \(10\)"):
        _plan(population, threat={"shadows": 3, "weaker": ["top-11"]})
