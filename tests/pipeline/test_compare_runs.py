"""Two finished runs compared: what is paired, what decides, and what would lead to a wrong conclusion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import edgeaudit
from edgeaudit.cli.main import app
from edgeaudit.controls.base import Control
from edgeaudit.errors import RunError, SpecError
from edgeaudit.gate.attack_set import standing_for
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.rows import LeakageRow
from edgeaudit.report.between_runs import render_comparison, write_comparison_markdown
from edgeaudit.report.model import Audit, Budget, FormatResult, JudgedAttack, Verdict
from edgeaudit.report.model.between_runs import FigureChange, RunComparison
from edgeaudit.report.schema import read_audit, write_audit
from tests.gate import cases
from tests.pipeline.finished_runs import (
    GAP,
    IDS,
    LIRA,
    MEMBERS,
    SETTINGS,
    YEOM,
    N,
    finished,
    scores_of,
)
from tests.report import sample


def _changed(folder: Path, change: Callable[[Audit], dict[str, Any]]) -> Path:
    """The same run with other fields in its audit.json."""
    audit = read_audit(folder / "audit.json")
    write_audit(audit.model_copy(update=change(audit)), folder / "audit.json")
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return finished(tmp_path / "old", {"int8": scores_of(0.5, seed=1)})


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """The same records; members stand out more."""
    return finished(tmp_path / "leaky", {"int8": scores_of(0.8, seed=2)}, created="2026-04-01T00:00:00Z")


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """The same records; another draw of the file's own small noise."""
    return finished(tmp_path / "alike", {"int8": scores_of(0.5, seed=3)}, created="2026-04-01T00:00:00Z")


def _row(found: RunComparison, attack: str, metric: str, format_id: str = "int8") -> FigureChange:
    return next(row for row in found.rows if (row.attack, row.metric, row.format) == (attack, metric, format_id))


# ---- figures


def test_an_increase_is_found_by_pairs(old: Path, leaky: Path) -> None:
    found = edgeaudit.compare(old, leaky)
    assert (found.outcome, found.exit_code) == ("increase", 1)
    assert [one.method for one in found.formats] == ["paired"]
    row = _row(found, LIRA, "auc")
    expected = auc_difference(scores_of(0.8, seed=2)[LIRA], scores_of(0.5, seed=1)[LIRA], MEMBERS)
    assert (row.value, row.low, row.high, row.p_value) == (
        expected.value,
        expected.low,
        expected.high,
        expected.p_value,
    )
    assert row.old == delong(scores_of(0.5, seed=1)[LIRA], MEMBERS).auc
    assert row.new == delong(scores_of(0.8, seed=2)[LIRA], MEMBERS).auc
    assert row.outcome == "increase"
    assert found.reasons[0].startswith("int8: AUC of ")
    # Holm over 9 rows: 3 attacks, 3 figures; the smallest p-value is multiplied by 9.
    assert len(found.rows) == 9
    smallest = min(found.rows, key=lambda one: 1.0 if one.p_value is None else one.p_value)
    assert smallest.adjusted_p == pytest.approx(9 * (smallest.p_value or 0))
    order = ["increase", "inconclusive", "equal", "decrease"]
    places = [order.index(one.outcome) for one in found.rows]
    assert places == sorted(places)


def test_the_other_way_round_it_is_a_decrease_and_the_order_is_questioned(old: Path, leaky: Path) -> None:
    found = edgeaudit.compare(leaky, old)
    assert (found.outcome, found.exit_code) == ("no increase shown", 0)
    forth, back = (_row(one, LIRA, "auc") for one in (edgeaudit.compare(old, leaky), found))
    assert back.outcome == "decrease"
    assert back.value == pytest.approx(-(forth.value or 0))
    assert back.low == pytest.approx(-(forth.high or 0))
    assert "was made before OLD" in found.warnings[0]


def test_files_that_leak_alike_are_equal_within_a_margin(old: Path, alike: Path) -> None:
    found = edgeaudit.compare(old, alike)
    assert found.exit_code == 0
    row = _row(found, LIRA, "auc")
    assert row.low is not None
    assert row.high is not None
    assert max(-row.low, row.high) < 0.02
    assert row.outcome == "equal"
    assert row.low < 0 < row.high
    narrow = edgeaudit.compare(old, alike, margin=max(-row.low, row.high) * 0.9)
    assert _row(narrow, LIRA, "auc").outcome == "inconclusive"


def test_the_order_of_records_does_not_matter(tmp_path: Path, old: Path, leaky: Path) -> None:
    order = np.random.default_rng(5).permutation(2 * N)
    shuffled = finished(
        tmp_path / "shuffled",
        {"int8": {name: values[order] for name, values in scores_of(0.8, seed=2).items()}},
        members=MEMBERS[order],
        ids=IDS[order],
        created="2026-04-01T00:00:00Z",
    )
    first, second = edgeaudit.compare(old, leaky), edgeaudit.compare(old, shuffled)
    assert [one.method for one in second.formats] == ["paired"]
    for metric in ("auc", "balanced_accuracy"):
        a, b = _row(first, LIRA, metric), _row(second, LIRA, metric)
        assert a.low is not None
        assert b.value == pytest.approx(a.value)
        assert b.low == pytest.approx(a.low)


def test_related_records_are_drawn_together(tmp_path: Path) -> None:
    """Each record four times: the interval is that of a quarter of the records, as without copies."""
    single = slice(0, 2 * N, 4)
    copies = np.repeat(np.arange(N // 2), 4)
    files: list[dict[str, Any]] = [{}, {}]
    for i, shift in enumerate((0.5, 0.8)):
        for name, values in scores_of(shift, seed=i).items():
            files[i][name] = np.repeat(values[single], 4)
    members = np.repeat(MEMBERS[single], 4)
    runs = [
        finished(tmp_path / str(i), {"int8": scores}, members=members, groups=copies + 10 * i)
        for i, scores in enumerate(files)
    ]
    found = edgeaudit.compare(*runs)
    assert [one.method for one in found.formats] == ["paired"]
    new, before = (scores_of(shift, seed=i)[LIRA][single] for i, shift in ((1, 0.8), (0, 0.5)))
    alone = auc_difference(new, before, MEMBERS[single])
    row = _row(found, LIRA, "auc")
    assert alone.low is not None
    assert row.value == pytest.approx(alone.value)
    assert row.low == pytest.approx(alone.low)


def test_accuracies_are_paired_and_decide_nothing(tmp_path: Path, old: Path) -> None:
    worse = {**scores_of(0.5, seed=1), GAP: np.where(MEMBERS, 1.0, np.arange(2 * N) % 2)}
    new = finished(tmp_path / "new", {"int8": worse})
    (row,) = edgeaudit.compare(old, new).accuracy
    before = float((scores_of(0.5, seed=1)[LIRA][~MEMBERS] > -1).mean())
    assert row.old_test == pytest.approx(before)
    assert row.new_test == 0.5
    assert row.value == pytest.approx(0.5 - before)
    assert row.method == "paired"
    assert row.high is not None
    assert row.high < 0


# ---- what cannot be paired


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": IDS + 10}, "990 of 1,000 records are audited in both runs"),
        ({"ids": IDS[::-1].copy()}, "1,000 of 1,000 records are members in one run"),
        (
            {"population": sample.audit().population.model_copy(update={"sha256": "0" * 64})},
            "the digests of the data differ",
        ),
    ],
)
def test_other_records_have_independent_intervals(
    tmp_path: Path, old: Path, changes: dict[str, Any], said: str
) -> None:
    new = finished(tmp_path / "new", {"int8": scores_of(0.5, seed=2)}, **changes)
    found = edgeaudit.compare(old, new)
    (one,) = found.formats
    assert one.method == "unpaired"
    assert said in one.why
    row, paired = (
        _row(found, LIRA, "auc"),
        auc_difference(scores_of(0.5, seed=2)[LIRA], scores_of(0.5, seed=1)[LIRA], MEMBERS),
    )
    assert row.method == "unpaired"
    assert row.low is not None
    assert row.high is not None
    assert paired.low is not None
    assert paired.high is not None
    assert row.high - row.low > 2 * (paired.high - paired.low)


def test_sides_that_were_exchanged_widen_the_interval(tmp_path: Path, old: Path) -> None:
    """A record that is easy raises one AUC and lowers the other, so that the variances add twice over."""
    exchanged = {LIRA: scores_of(0.0, seed=1)[LIRA][::-1] + 0.5 * MEMBERS}
    widths = []
    # The second as another seed has it: other preprocessing of the same records. The third are other records.
    for i, changes in enumerate(({}, {"sha256": "0" * 64}, {"sha256": "0" * 64, "source": "fashion-mnist"})):
        population = sample.audit().population.model_copy(update=changes)
        run = finished(tmp_path / str(i), {"int8": exchanged}, ids=IDS[::-1].copy(), population=population)
        found = edgeaudit.compare(old, run)
        assert [one.method for one in found.formats] == ["unpaired"]
        row = _row(found, LIRA, "auc")
        widths.append((row.high or 0) - (row.low or 0))
    # Independent: V + V. Of correlation -1: V + V + 2 V.
    assert widths[0] / widths[2] == pytest.approx(np.sqrt(2), rel=0.05)
    assert widths[1] == widths[0]


def test_scores_that_were_removed_leave_independent_intervals(old: Path, leaky: Path) -> None:
    shutil.rmtree(leaky / "scores")
    found = edgeaudit.compare(old, leaky)
    (one,) = found.formats
    assert one.method == "unpaired"
    assert "NEW/scores/int8.npz is missing, so that records cannot be matched" in one.why
    row = _row(found, LIRA, "auc")
    a, b = (delong(scores_of(shift, seed=seed)[LIRA], MEMBERS) for shift, seed in ((0.8, 2), (0.5, 1)))
    assert row.low == pytest.approx(a.auc - b.auc - np.hypot(a.auc - a.low, b.high - b.auc))
    assert "/" not in one.why.replace("NEW/scores/int8.npz", "")  # no folder of this machine
    # A figure in which nonmembers tie has no difference, with or without scores.
    assert _row(found, GAP, "tpr@fpr=0.01").value is None
    assert "tie at the highest score" in str(_row(found, GAP, "tpr@fpr=0.01").note)


def test_damaged_files_are_one_sentence(old: Path, leaky: Path) -> None:
    path = leaky / "scores" / "int8.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RunError, match=r"int8\.npz cannot be read"):
        edgeaudit.compare(old, leaky)
    text = (leaky / "audit.json").read_text()
    for broken, said in (
        (text[:2000], "not JSON"),
        (text.replace('"schema_version": "1.0"', '"schema_version": "9.0"'), "schema_version"),
    ):
        (leaky / "audit.json").write_text(broken)
        with pytest.raises(RunError, match=said):
            edgeaudit.compare(old, leaky)
    with pytest.raises(RunError, match="no such file"):
        edgeaudit.compare(old, leaky.parent / "nothing")


def test_scores_of_another_run_are_refused(tmp_path: Path, old: Path, leaky: Path) -> None:
    alike = finished(tmp_path / "other", {"int8": scores_of(0.2, seed=9)})
    shutil.copy(alike / "scores" / "int8.npz", leaky / "scores" / "int8.npz")
    with pytest.raises(RunError, match="files of two runs are mixed"):
        edgeaudit.compare(old, leaky)


# ---- what would lead to a wrong conclusion


def test_a_run_is_not_compared_with_itself(old: Path) -> None:
    with pytest.raises(RunError, match="compared with itself"):
        edgeaudit.compare(old, old / ".." / old.name)


@pytest.mark.parametrize("which", ["OLD", "NEW"])
def test_an_invalid_audit_concludes_nothing(old: Path, leaky: Path, which: str) -> None:
    failed = Control(name="shift", status="failed", statement="members differ as records")
    _changed(old if which == "OLD" else leaky, lambda _: {"controls": (failed,)})
    found = edgeaudit.compare(old, leaky)
    assert (found.outcome, found.exit_code) == ("not comparable", 3)
    assert found.reasons[0].startswith(f"the audit of {which} is invalid (failed controls: shift)")


@pytest.mark.parametrize(
    ("key", "value"), [("mode", "auditor"), ("exposure", "logits"), ("shadow_match", ["fp32", "matched"])]
)
def test_another_attacker_concludes_nothing(tmp_path: Path, old: Path, key: str, value: Any) -> None:
    """Also where figures fell, which a weaker attacker alone explains."""
    threat = {**SETTINGS["threat"], key: value}
    new = finished(tmp_path / "new", {"int8": scores_of(0.1)}, threat=threat, spec={**SETTINGS, "threat": threat})
    found = edgeaudit.compare(old, new)
    assert (found.outcome, found.exit_code) == ("not comparable", 3)
    assert "different attackers" in found.reasons[0]
    assert found.settings[0].attacker
    assert key in found.settings[0].name


def test_what_an_older_version_did_not_record_is_no_other_attacker(tmp_path: Path, old: Path) -> None:
    threat = {name: value for name, value in SETTINGS["threat"].items() if name != "shadow_match"}
    new = finished(
        tmp_path / "new", {"int8": scores_of(0.5, seed=4)}, threat=threat, spec={**SETTINGS, "threat": threat}
    )
    found = edgeaudit.compare(old, new)
    assert found.exit_code == 0
    assert [(one.name, one.new, one.attacker) for one in found.settings] == [
        ("threat.shadow_match", "not recorded", False)
    ]


def test_what_is_only_doubtful_is_warned_of(old: Path, alike: Path) -> None:
    warning = Control(name="shadow match", status="warning", statement="shadows answer somewhat otherwise")
    _changed(alike, lambda audit: {"controls": (warning,), "threat": {**audit.threat, "targets": 4}})
    found = edgeaudit.compare(old, alike)
    assert found.exit_code == 0
    assert found.warnings == ("an audit has several targets: figures here are those of the first one, this file",)


def test_other_devices_are_not_compared(tmp_path: Path, old: Path) -> None:
    board = finished(tmp_path / "board", {"int8": scores_of(0.9)}, device="pi5")
    found = edgeaudit.compare(old, board)
    assert (found.exit_code, len(found.rows)) == (3, 0)
    assert "no figure can be compared" in found.reasons[0]
    assert [(one.name, one.run) for one in found.uncompared] == [("int8", "old"), ("int8 @ pi5", "new")]
    assert all("other devices" in one.why for one in found.uncompared)


def test_what_one_run_alone_has_is_listed(tmp_path: Path, old: Path) -> None:
    without = {name: values for name, values in scores_of(0.5, seed=4).items() if name != LIRA}
    new = finished(tmp_path / "new", {"int8": without, "fp16": without})
    failed = FormatResult.model_validate(
        {**cases.result("dyn").model_dump(), "status": "failed", "error": "no kernel for this"}
    )
    _changed(new, lambda audit: {"formats": (*audit.formats, failed)})
    found = edgeaudit.compare(old, new)
    listed = {(one.kind, one.name, one.run, one.why) for one in found.uncompared}
    assert listed == {
        ("format", "fp16", "new", "only in NEW"),
        ("format", "dyn", "new", "it failed in NEW: no kernel for this"),
        ("attack", "lira", "old", "only in OLD"),
    }
    assert (found.outcome, found.exit_code) == ("not comparable", 3)
    assert found.reasons[0].startswith("NEW was not attacked by lira, which OLD was")
    assert {row.attack for row in found.rows} == {YEOM, GAP}


def test_an_attack_that_could_not_be_run_is_listed_with_its_reason(tmp_path: Path, old: Path) -> None:
    new = finished(tmp_path / "new", {"int8": scores_of(0.5, seed=4)})

    def without_lira(audit: Audit) -> dict[str, Any]:
        none = cases.series(LIRA, "int8")
        row = LeakageRow(
            "int8", "local", none.attack, none.variant, "probabilities", "all", "matched", "auc", None, None, None, N,
            N, note="lira needs 2 shadows",
        )  # fmt: skip
        return {"leakage": (*(one for one in audit.leakage if one.attack != "lira"), row)}

    found = edgeaudit.compare(old, _changed(new, without_lira))
    (one,) = found.uncompared
    assert (one.kind, one.name, one.run, one.why) == ("attack", f"{LIRA} on int8", "old", "NEW: lira needs 2 shadows")
    assert found.exit_code == 3
    assert f"NEW was not attacked by {LIRA} on int8" in found.reasons[0]


def test_a_section_that_was_not_set_is_no_gap_in_the_record(tmp_path: Path) -> None:
    """Of a version that knows the section; one that does not has no word of it."""
    stopping = {**SETTINGS["model"], "early_stopping": {"patience": 5}}
    for name, before, expected in (("set", {"early_stopping": None}, "-"), ("gap", {}, "not recorded")):
        specs = ({**SETTINGS, "model": {**SETTINGS["model"], **before}}, {**SETTINGS, "model": stopping})
        runs = [
            finished(tmp_path / f"{name}{i}", {"int8": scores_of(0.5, seed=i)}, spec=spec)
            for i, spec in enumerate(specs)
        ]
        (one,) = edgeaudit.compare(*runs).settings
        assert (one.name, one.old, one.new) == ("model.early_stopping.patience", expected, "5")


def test_settings_that_differ_are_said(tmp_path: Path, old: Path) -> None:
    threat = {**SETTINGS["threat"], "shadows": 4}
    before = sample.audit()
    new = finished(
        tmp_path / "new",
        {"int8": scores_of(0.5, seed=4)},
        threat=threat,
        spec={**SETTINGS, "threat": threat, "seed": 8, "model": {"recipe": "resnet8", "epochs": 90}},
        tool=before.tool.model_copy(update={"version": "0.2.0"}),
        population=before.population.model_copy(update={"sha256": "1" * 64, "classes": 12}),
        environment=before.environment.model_copy(
            update={"packages": {**before.environment.packages, "onnxruntime": "1.25.0"}, "cpu": "Cortex-A53"}
        ),
    )
    found = edgeaudit.compare(old, new)
    said = {one.name: (one.old, one.new) for one in found.settings}
    assert said == {
        "data digest": (before.population.sha256[:16], "1" * 16),
        "records: classes": ("10", "12"),
        "threat.shadows": ("64", "4"),
        "seed": ("7", "8"),
        "model.epochs": ("60", "90"),
        "edgeaudit": ("0.1.0", "0.2.0"),
        "cpu": ("Cortex-A76", "Cortex-A53"),
        "package onnxruntime": ("1.24.0", "1.25.0"),
    }
    assert "OLD has 10 classes and NEW 12" in " ".join(found.warnings)
    assert "OLD has 64 shadows and NEW 4" in found.reasons[0]
    assert found.exit_code == 3


# ---- the attacker, or what is missing, may be the reason


def _with_threat(folder: Path, **threat: Any) -> Path:
    """The same run by another attacker."""
    return _changed(folder, lambda audit: {"threat": {**audit.threat, **threat}})


def _without(folder: Path, attack: str) -> Path:
    return _changed(folder, lambda audit: {"leakage": tuple(one for one in audit.leakage if one.attack != attack)})


def _same_bytes(*folders: Path, runtimes: tuple[str, str] = ("1.24.0", "1.24.0")) -> None:
    """Give int8 of both runs one digest."""
    about = next(one for one in sample.audit().formats if one.artifact is not None and one.runtime is not None)
    for folder, version in zip(folders, runtimes, strict=True):
        assert about.runtime is not None
        same = {"artifact": about.artifact, "runtime": about.runtime.model_copy(update={"version": version})}
        _changed(folder, lambda audit, same=same: {"formats": tuple(f.model_copy(update=same) for f in audit.formats)})  # type: ignore[misc]


def _last_line(old: Path, new: Path, code: int) -> str:
    """The one line of --quiet, which every other output has, too."""
    files = old.parent / "said.json", old.parent / "said.md"
    arguments = ["compare", str(old), str(new), "--json", str(files[0]), "--markdown", str(files[1])]
    quiet = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert quiet.exit_code == code, quiet.output
    (line,) = quiet.output.splitlines()
    reason = RunComparison.model_validate_json(files[0].read_text("utf-8")).reasons[0]
    assert line.partition(": ")[2].startswith(reason)
    assert reason.split(":")[0] in files[1].read_text("utf-8").replace("\\", "")
    full = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert full.exit_code == code
    assert " ".join(full.output.split()).endswith(" ".join(line.split()))
    return line


def test_an_attack_that_new_lacks_hides_an_increase(tmp_path: Path) -> None:
    """LiRA alone finds the increase, and NEW was not attacked by it."""
    gap = {GAP: scores_of(0.5)[GAP]}
    old, leaky = (
        finished(tmp_path / str(i), {"int8": {LIRA: scores_of(shift, seed=i)[LIRA], **gap}})
        for i, shift in enumerate((0.5, 0.9))
    )
    assert edgeaudit.compare(old, leaky).exit_code == 1
    assert "NEW was not attacked by lira" in _last_line(old, _without(leaky, "lira"), 3)
    # One that OLD lacks does no harm.
    assert edgeaudit.compare(leaky, old).exit_code == 0
    assert [one.run for one in edgeaudit.compare(leaky, old).uncompared] == ["new"]


def test_an_increase_that_fewer_attacks_find_is_one(old: Path, leaky: Path) -> None:
    found = edgeaudit.compare(old, _without(leaky, "yeom"))
    assert (found.outcome, found.exit_code) == ("increase", 1)
    assert any("NEW was not attacked by yeom" in said for said in found.warnings)


def test_a_variant_that_new_lacks_hides_an_increase(tmp_path: Path) -> None:
    """An online variant judged OLD; NEW had too few shadows for it, and only the offline one is in both."""
    audit: dict[str, Any] = {"threat": {**SETTINGS["threat"], "mode": "auditor"}}
    first = {"bavaria/online-t": scores_of(0.5)[LIRA], "bavaria/online-n": scores_of(0.5, seed=1)[LIRA]}
    second = {"bavaria/online-n": scores_of(0.5, seed=2)[LIRA]}
    old, new = (finished(tmp_path / str(i), {"int8": files}, **audit) for i, files in enumerate((first, second)))
    found = edgeaudit.compare(old, new)
    assert {row.attack for row in found.rows} == {"bavaria/online-n"}
    assert (found.exit_code, [one.run for one in found.uncompared]) == (3, ["old"])
    assert "NEW was not attacked by bavaria/online-t on int8" in found.reasons[0]
    assert edgeaudit.compare(new, old).exit_code == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"shadows": 8}, {"shadows": 2}),
        ({"shadows": 2, "given_shadows": ["a", "b"]}, {"shadows": 2, "given_shadows": ["a"]}),
        ({"records_per_model": sample.MEMBERS}, {"records_per_model": sample.MEMBERS // 2}),
        ({"views": ["flip"]}, {"views": []}),
    ],
)
def test_a_weaker_attacker_hides_an_increase_and_makes_none(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    by_views = "views" in before
    name = "samia" if by_views else "lira"
    series = f"{name}/{_headline(name)}"
    files = [{"int8": {series: scores_of(shift, seed=i)[LIRA]}} for i, shift in enumerate((0.5, 0.3, 0.5, 0.9))]
    old, less, alike, more = (finished(tmp_path / str(i), one) for i, one in enumerate(files))
    _with_threat(old, **before)
    for folder in (less, alike, more):
        _with_threat(folder, **after)
    for new in (less, alike):
        assert "may come from the weaker attacker" in _last_line(old, new, 3)
    found = edgeaudit.compare(old, more)
    assert (found.outcome, found.exit_code) == ("increase", 1)
    assert any("the weaker attacker" in said for said in found.warnings)
    # The other way round NEW has the stronger attacker: less than before is less, and more may be the attacker's.
    assert edgeaudit.compare(alike, old).exit_code == 0
    assert any("attacker of NEW is the stronger" in said for said in edgeaudit.compare(alike, old).warnings)
    assert edgeaudit.compare(more, old).exit_code == 0
    assert "may come from the stronger attacker" in _last_line(less, old, 3)


def _headline(attack: str) -> str:
    return standing_for(attack, "adversary", lambda _: True, ()).partition("/")[2]


def test_figures_that_need_no_shadow_have_the_same_attacker(tmp_path: Path) -> None:
    """The loss itself ranks records for `yeom`; shadows choose its threshold alone."""
    old, new = (finished(tmp_path / str(i), {"int8": scores_of(0.5 + 0.4 * i, seed=i)}) for i in (0, 1))
    _with_threat(old, shadows=2)
    found = edgeaudit.compare(old, _with_threat(new, shadows=8))
    assert (found.outcome, found.exit_code) == ("increase", 1)
    assert not any(" of lira/" in said or "balanced accuracy of yeom" in said for said in found.reasons)
    assert any(said.startswith("int8: AUC of yeom/loss") for said in found.reasons)
    assert any("the stronger attacker" in said for said in found.warnings)


def test_more_records_and_their_shadows_are_no_other_attacker(tmp_path: Path, old: Path) -> None:
    population = sample.audit().population.model_copy(update={"members": 2 * sample.MEMBERS})
    new = finished(tmp_path / "new", {"int8": scores_of(0.9, seed=3)}, population=population)
    _with_threat(old, records_per_model=sample.MEMBERS)
    assert edgeaudit.compare(old, _with_threat(new, records_per_model=2 * sample.MEMBERS)).exit_code == 1
    assert edgeaudit.compare(new, old).exit_code == 0


@pytest.mark.parametrize(
    ("attack", "before", "after", "code"),
    [
        ("cm-mia", {"cm-mia": {"d0": "eb"}}, {"cm-mia": {"d0": 4.0}}, 3),
        ("cm-mia", {"cm-mia": {"fraction": 0.1}}, {"cm-mia": {"fraction": 0.2}}, 1),
        ("rmia", {"attacks": ["rmia"]}, {"attacks": [{"rmia": {"gamma": 1.5}}]}, 3),
        ("rmia", {"attacks": ["rmia"]}, {"attacks": [{"rmia": {"gamma": 2.0}}]}, 1),
        ("lira", {"attacks": ["rmia"]}, {"attacks": [{"rmia": {"gamma": 1.5}}]}, 1),
        ("lira", {"cm-mia": {"d0": "eb"}}, {}, 1),
    ],
)
def test_settings_of_an_attack_concern_that_attack(
    tmp_path: Path, attack: str, before: dict[str, Any], after: dict[str, Any], code: int
) -> None:
    """d0 and gamma change scores; the fraction chooses records, and 2 is what gamma is without being set."""
    series = f"{attack}/{_headline(attack)}"
    old, new = (
        finished(tmp_path / str(i), {"int8": {series: scores_of(0.5 + 0.4 * i)[LIRA]}}, spec={**SETTINGS, **settings})
        for i, settings in enumerate((before, after))
    )
    assert edgeaudit.compare(old, new).exit_code == code
    assert edgeaudit.compare(new, old).exit_code == (3 if code == 3 else 0)


def test_a_shipping_format_that_new_lacks_hides_an_increase(tmp_path: Path) -> None:
    files = {"torch-fp32": scores_of(0.5), "int8": scores_of(0.5, seed=1), "static": scores_of(0.5, seed=2)}
    old = finished(tmp_path / "old", files)
    new = finished(tmp_path / "new", {"torch-fp32": scores_of(0.5), "int8": scores_of(0.5, seed=3)})
    assert "NEW has no static, which OLD has" in _last_line(old, new, 3)
    # One that NEW alone has does no harm, nor does a reference that is not shipped.
    assert edgeaudit.compare(new, old).exit_code == 0
    bare = finished(tmp_path / "bare", {"int8": scores_of(0.5, seed=3), "percentile": scores_of(0.5, seed=4)})
    assert "NEW has no static" in edgeaudit.compare(old, bare).reasons[0]
    assert edgeaudit.compare(old, bare, formats={"static": "percentile"}).exit_code == 0
    worse = finished(tmp_path / "worse", {"int8": scores_of(0.9, seed=3)})
    found = edgeaudit.compare(old, worse)
    assert found.exit_code == 1
    assert any("NEW has no static" in said for said in found.warnings)
    failed = {"status": "failed", "error": "no kernel for this"}
    _changed(new, lambda audit: {"formats": (*audit.formats, cases.result("static").model_copy(update=failed))})
    assert edgeaudit.compare(old, new).reasons[0].startswith("static of OLD failed in NEW (no kernel for this)")


@pytest.mark.parametrize("which", ["OLD", "NEW"])
def test_an_undecided_control_concludes_nothing(old: Path, alike: Path, which: str) -> None:
    unseen = Control(name="members known", status="undecided", statement="the file answers members as nonmembers")
    _changed(old if which == "OLD" else alike, lambda _: {"controls": (unseen,)})
    assert f"controls of {which} are undecided (members known)" in _last_line(old, alike, 3)
    # One of a file that is compared counts, on any device; one of a file that one run alone has does not.
    for place, code in (("int8", 3), ("int8 @ pi5", 3), ("fp16", 0)):
        control = replace(unseen, format=place)
        _changed(old if which == "OLD" else alike, lambda _, control=control: {"controls": (control,)})  # type: ignore[misc]
        assert edgeaudit.compare(old, alike).exit_code == code


def test_an_increase_of_the_same_file_is_the_attackers(tmp_path: Path, old: Path, leaky: Path) -> None:
    """Also of the same number of shadows: others were trained."""
    _same_bytes(old, leaky)
    line = _last_line(old, leaky, 3)
    assert "int8 is the same file in both runs, on the same records" in line
    assert edgeaudit.compare(leaky, old).exit_code == 0
    # Without scores the same data are taken for the same records.
    shutil.move(leaky / "scores", tmp_path / "kept")
    assert edgeaudit.compare(old, leaky).exit_code == 3
    shutil.move(tmp_path / "kept", leaky / "scores")
    # Other records are another matter, and so is another runtime, which answers otherwise.
    other = finished(tmp_path / "other", {"int8": scores_of(0.9, seed=2)}, ids=IDS + 5000)
    _same_bytes(old, other)
    assert edgeaudit.compare(old, other).exit_code == 1
    _same_bytes(old, leaky, runtimes=("1.24.0", "1.25.0"))
    assert edgeaudit.compare(old, leaky).exit_code == 1


def test_every_reason_is_said(old: Path, alike: Path, tmp_path: Path) -> None:
    found = edgeaudit.compare(_with_threat(old, shadows=8), _without(_with_threat(alike, shadows=2), "yeom"))
    assert [said.split(":")[0] for said in found.reasons] == [
        "OLD has 8 shadows and NEW 2",
        "NEW was not attacked by yeom, which OLD was",
        f"{len(found.rows)} figures",
    ]
    assert "also: NEW was not attacked by yeom" in _shown(found, 200)
    write_comparison_markdown(found, tmp_path / "found.md")
    assert "- NEW was not attacked by yeom" in (tmp_path / "found.md").read_text("utf-8")


def _limit(limit: str, level: str = "error", attacks: tuple[str, ...] = (LIRA, YEOM), **more: Any) -> Budget:
    judged = [JudgedAttack(attack=name, subset="all", value=0.6, low=0.5, high=0.7) for name in attacks]
    about = {
        "metric": "auc", "level": level, "limit": limit, "format": "int8", "attack": LIRA, "subset": "all",
        "verdict": "pass", "value": 0.6, "low": 0.5, "high": 0.7, "attacks": judged, "device": "local",
    }  # fmt: skip
    return Budget.model_validate(about | more)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ([_limit("<= 0.8")], None),
        ([_limit("<= 0.75")], None),
        ([_limit("<= 0.85")], "auc <= 0.8 (level error) is now <= 0.85: int8"),
        ([_limit("<= 0.8", "warn")], "auc <= 0.8 (level error) is a warning now: int8"),
        ([_limit("<= 0.8", "warn"), _limit("<= 0.8")], None),
        ([_limit("<= 0.8", subset="class:1")], "auc <= 0.8 (level error) is gone: int8"),
        ([], "auc <= 0.8 (level error) is gone: int8"),
        ([_limit("<= torch-fp32 + 0.1")], "auc <= 0.8 (level error) is gone: int8"),
        ([_limit("<= 0.8", attacks=(LIRA,))], "auc <= 0.8 (level error) is no longer judged on yeom: int8"),
    ],
)
def test_a_loosened_limit_is_said(old: Path, alike: Path, new: list[Budget], said: str | None) -> None:
    for folder, budgets in ((old, [_limit("<= 0.8")]), (alike, new)):
        verdict = Verdict(outcome="within budget", exit_code=0, reasons=("held",), budgets=tuple(budgets))
        _changed(folder, lambda _, verdict=verdict: {"verdict": verdict})  # type: ignore[misc]
    found = edgeaudit.compare(old, alike)
    assert found.loosened == (() if said is None else (said,))
    shown = _shown(found)
    assert ("LIMIT LOOSENED" in shown) == (said is not None)


# ---- names


def test_formats_with_other_ids_are_named(tmp_path: Path) -> None:
    files = {"static": scores_of(0.5, seed=1), "fp32": scores_of(0.5, seed=2)}
    old = finished(tmp_path / "a", files)
    new = finished(tmp_path / "b", {"percentile": scores_of(0.9, seed=3), "fp32": scores_of(0.5, seed=2)})
    plain = edgeaudit.compare(old, new)
    assert [(one.old, one.new) for one in plain.formats] == [("fp32", "fp32")]
    found = edgeaudit.compare(old, new, formats={"static": "percentile"})
    assert [(one.old, one.new) for one in found.formats] == [("static", "percentile"), ("fp32", "fp32")]
    assert not found.uncompared
    assert found.reasons[0].startswith("percentile over static: ")
    for formats, said in (
        ({"statik": "percentile"}, "'statik' is no format of OLD .*Did you mean 'static'"),
        ({"static": "nothing"}, "'nothing' is no format of NEW"),
        ({"static": "fp32", "fp32": "fp32"}, "'fp32' of NEW is compared with two formats of OLD"),
    ):
        with pytest.raises(SpecError, match=said):
            edgeaudit.compare(old, new, formats=formats)
    wrong: Any = [("static", 1), "0.1", True]
    for bad in wrong:
        with pytest.raises(SpecError, match="formats: must be a mapping"):
            edgeaudit.compare(old, new, formats=bad)
    for margin in (0, 1, -0.1, float("nan"), *wrong[1:]):
        with pytest.raises(SpecError, match="margin: must be a number"):
            edgeaudit.compare(old, new, margin=margin)


# ---- what is written


def _shown(found: RunComparison, width: int = 80) -> str:
    text = StringIO()
    Console(width=width, color_system=None, force_terminal=False, file=text).print(render_comparison(found))
    return text.getvalue()


def test_the_command_line(tmp_path: Path, old: Path, leaky: Path) -> None:
    files = {name: tmp_path / f"compared.{name}" for name in ("json", "md")}
    arguments = ["compare", str(old), str(leaky), "--json", str(files["json"]), "--markdown", str(files["md"])]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert done.exit_code == 1, done.output
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "INCREASE (exit code 1): int8: AUC of " in " ".join(lines)
    found = RunComparison.model_validate_json(files["json"].read_text("utf-8"))
    assert found == edgeaudit.compare(old, leaky)
    assert json.loads(files["json"].read_text("utf-8"))["comparison_version"] == "1.0"
    page = files["md"].read_text("utf-8")
    assert page.startswith("## Membership leakage: ")
    row = _row(found, LIRA, "auc")
    assert f"| int8 | lira offline-global | AUC | {row.old:.3f} | {row.new:.3f} | \\{row.value:+.3f} |" in page
    quiet = CliRunner().invoke(app, ["compare", str(leaky), str(old), "--quiet"])
    assert quiet.exit_code == 0
    (line,) = quiet.output.splitlines()
    assert line.startswith("NO INCREASE SHOWN (exit code 0)")
    for bad in ("int8", "=int8", "int8="):
        wrong = CliRunner().invoke(app, ["compare", str(old), str(leaky), "--map", bad])
        assert isinstance(wrong.exception, SpecError)


def test_tables_become_frames(old: Path, leaky: Path) -> None:
    pytest.importorskip("pandas")
    found = edgeaudit.compare(old, leaky)
    assert list(found.rows.to_frame().columns)[:5] == ["format", "old_format", "device", "attack", "metric"]
    assert len(found.rows.to_frame()) == 9
    assert list(found.uncompared.to_frame().columns) == ["kind", "name", "run", "why"]


def test_names_of_others_are_text(tmp_path: Path, old: Path, leaky: Path) -> None:
    hostile = "x|<b>&`*_\x1b[31m]](javascript:1)"
    _changed(leaky, lambda _: {"name": hostile})
    found = edgeaudit.compare(old, leaky)
    assert "\x1b" not in _shown(found)
    done = CliRunner().invoke(app, ["compare", str(old), str(leaky), "--markdown", str(tmp_path / "x.md")])
    assert done.exit_code == 1
    assert "<b>" not in (tmp_path / "x.md").read_text("utf-8").replace("\\<b\\>", "")
