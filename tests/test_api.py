"""Audits from Python: the functions of `import edgeaudit`, without the command line."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import yaml

import edgeaudit
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.registry import attack_names, attack_specs
from edgeaudit.attacks.threshold import learn_threshold
from edgeaudit.errors import AttackError, BudgetError, DataError, MissingToolchain, RunError, SpecError
from edgeaudit.graph.executor import AnyJob, Silent
from edgeaudit.graph.job import Outcome
from edgeaudit.leakage.metrics import Figure
from edgeaudit.report.model import Audit, Latency, LeakageRow
from edgeaudit.report.schema import audit_text
from edgeaudit.report.summary import limits_sentence
from tests.report import sample

TOOLCHAINS = (
    "ai_edge_litert", "executorch", "keras", "litert_torch", "nncf", "onnx", "onnxruntime", "openvino", "tensorflow",
    "torch", "torch_pruning", "torchvision",
)  # fmt: skip
ANY_INTEGER: Any = np.int64(1)
TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"recipe": "mlp", "options": {"hidden": [16]}, "epochs": 5, "batch": 32},
    "data": {"source": "digits", "members": 60, "nonmembers": 60, "reference": 200, "calibration": {"records": 16}},
    "threat": {"shadows": 2},
    "formats": ["torch-fp32"],
    "attacks": ["yeom", "gap"],
    "quality": {"latency": False},
}


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


class Brought:
    """Answers of a target and 8 shadows that are surer of what they trained on; a record is new to half of these."""

    def __init__(self, n: int = 240, classes: int = 4, shadows: int = 8) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, classes, n)
        self.members = rng.random(n) < 0.5
        self.out = rng.permuted(np.tile(np.arange(shadows)[:, None] % 2 == 0, n), axis=0)
        trained = np.concatenate((self.members[None], ~self.out))
        logits = rng.normal(size=(1 + shadows, n, classes)) + 2 * np.eye(classes)[self.labels] * (
            1 + trained[..., None]
        )
        self.logits = logits
        self.target, self.shadows = _softmax(logits[0]), _softmax(logits[1:])

    @property
    def arguments(self) -> dict[str, Any]:
        return {"target": self.target, "shadows": self.shadows, "out": self.out, "labels": self.labels}


@pytest.fixture(scope="module")
def brought() -> Brought:
    return Brought()


@pytest.fixture
def audit() -> Audit:
    return sample.audit()


# ---- the package


def test_every_name_is_there_and_listed() -> None:
    assert {name for name in edgeaudit.__all__ if getattr(edgeaudit, name, None) is None} == set()
    assert set(edgeaudit.__all__) <= set(dir(edgeaudit))
    with pytest.raises(AttributeError, match="module 'edgeaudit' has no attribute 'runs'"):
        _ = edgeaudit.runs


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import edgeaudit, sys; print([name for name in sys.modules if name.startswith('edgeaudit.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_path())
    assert done.stdout == "[]\n"


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(edgeaudit.__file__).parents[1])}


# ---- attack


def test_brought_arrays_are_attacked_without_any_toolchain(tmp_path: Path, brought: Brought) -> None:
    np.savez(tmp_path / "brought.npz", **brought.arguments, members=brought.members)
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TOOLCHAINS!r} or name in ("edgeaudit.exporters", "edgeaudit.recipes"):
            raise ImportError(f"{{name}} is refused")
sys.meta_path.insert(0, Refuse())
import numpy as np, edgeaudit
with np.load("brought.npz") as arrays:
    arrays = dict(arrays)
result = edgeaudit.attack(
    arrays["target"], arrays["shadows"], arrays["out"], arrays["labels"], members=arrays["members"], attacks="all"
)
print(sum(one.scores is not None for one in result.variants), sorted({{one.attack for one in result.variants}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=_path()
    )
    assert done.returncode == 0, done.stderr
    count, _, names = done.stdout.strip().partition(" ")
    assert int(count) > 10
    assert names == str(sorted(attack_names()))


def test_every_variant_is_in_the_result_and_what_cannot_be_run_says_why(brought: Brought) -> None:
    result = edgeaudit.attack(brought.target, None, None, brought.labels, members=brought.members, attacks="all")
    assert [(one.attack, one.variant) for one in result.variants] == [
        (spec.name, variant) for spec in attack_specs() for variant in spec.variants
    ]
    by_name = {f"{one.attack}/{one.variant}": one for one in result.variants}
    assert by_name["lira/offline-global"].scores is None
    assert "needs at least 2 shadows and has 0" in str(by_name["lira/offline-global"].reason)
    row = next(row for row in result.leakage if (row.attack, row.variant) == ("lira", "offline-global"))
    assert (row.metric, row.value) == ("auc", None)
    assert str(row.note).startswith("not applicable: 'lira' needs at least 2 shadows")
    assert (row.n_members, row.n_nonmembers) == (int(brought.members.sum()), int((~brought.members).sum()))
    with pytest.raises(AttackError, match=r"lira/.* is not applicable: 'lira' needs at least"):
        result.scores("lira")


def test_figures_are_those_of_the_scores(brought: Brought) -> None:
    result = edgeaudit.attack(**brought.arguments, members=brought.members, attacks=["lira"])
    score = result.scores("lira", "online-global").score
    inside, outside = score[brought.members], score[~brought.members]
    # The AUC is the share of (member, nonmember) pairs that are ranked right, a tie counting half.
    area = float(((inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)).mean())
    rows = {row.metric: row for row in result.leakage if row.variant == "online-global"}
    assert rows["auc"].value == pytest.approx(area)
    assert rows["auc"].low is not None
    assert rows["auc"].high is not None
    assert rows["auc"].low < area < rows["auc"].high
    assert area > 0.7
    # Shadows trained on half of these records, so that they can play the target.
    assert rows["balanced_accuracy"].value is not None
    assert set(rows) >= {"auc", "tpr@fpr=0.01", "tpr@fpr=0.001", "balanced_accuracy", "advantage", "ppv@prior=0.5"}


def test_related_records_widen_the_intervals(brought: Brought) -> None:
    alone, related, few = (
        edgeaudit.attack(**brought.arguments, members=brought.members, attacks="yeom", groups=groups)
        for groups in (None, np.arange(240) // 4, np.arange(240) // 40)
    )
    assert related.leakage[0].value == alone.leakage[0].value
    assert "groups of related members" in str(related.leakage[0].note)
    assert (related.leakage[0].low, related.leakage[0].high) != (alone.leakage[0].low, alone.leakage[0].high)
    assert few.leakage[0].value is None
    assert "20 of each are needed" in str(few.leakage[0].note)


def test_without_memberships_there_are_scores_and_no_figures(brought: Brought) -> None:
    result = edgeaudit.attack(**brought.arguments, attacks="yeom")
    assert len(result.leakage) == 0
    assert result.scores("yeom").score.shape == brought.labels.shape
    assert repr(result) == "AttackResult(1 variants, 0 not applicable, 0 figures)"


def test_the_memberships_of_scored_records_place_no_threshold(brought: Brought) -> None:
    """All OUT and no reference: nothing tells where a threshold could lie, and the target's own scores may not."""
    outside = np.ones_like(brought.out)
    result = edgeaudit.attack(
        brought.target, brought.shadows, outside, brought.labels, members=brought.members, attacks="lira"
    )
    rows = [row for row in result.leakage if row.metric == "balanced_accuracy"]
    assert [row.variant for row in rows] == ["offline-global", "offline-per-record"]
    assert {row.value for row in rows} == {None}
    assert all("no a-priori threshold" in str(row.note) for row in rows)


def test_a_threshold_is_learned_on_reference_records(brought: Brought) -> None:
    audited, known = slice(0, 120), slice(120, 240)
    reference = edgeaudit.Reference(
        brought.target[known], brought.shadows[:, known], brought.out[:, known], brought.labels[known]
    )
    outside = np.ones((8, 120), dtype=np.bool_)
    result = edgeaudit.attack(
        brought.target[audited], brought.shadows[:, audited], outside, brought.labels[audited],
        members=brought.members[audited], attacks="attack-r", reference=reference,
    )  # fmt: skip
    rows = {row.metric: row for row in result.leakage}
    assert rows["balanced_accuracy"].value is not None
    assert "95% quantile" not in str(rows["balanced_accuracy"].note)


def test_float32_lists_and_logits_are_read(brought: Brought) -> None:
    as_float32 = edgeaudit.attack(
        brought.logits[0].astype(np.float32), list(brought.logits[1:].astype(np.float32)), brought.out.tolist(),
        brought.labels.astype(np.uint8), exposure="logits", attacks="lira",
    )  # fmt: skip
    as_float64 = edgeaudit.attack(
        brought.logits[0], brought.logits[1:], brought.out, brought.labels, exposure="logits", attacks="lira"
    )
    one, two = (result.scores("lira", "online-global").score for result in (as_float32, as_float64))
    assert np.corrcoef(one, two)[0, 1] > 0.99999


def test_an_attack_may_be_made_with_settings(brought: Brought) -> None:
    plain = edgeaudit.attack(**brought.arguments, attacks="cm-mia").scores("cm-mia", "t")
    wide = edgeaudit.attack(**brought.arguments, attacks=[CmMia(d0=1.0), "cm-mia"])
    assert len(wide.variants) == len(CmMia.spec.variants)
    assert not np.array_equal(plain.score, wide.scores("cm-mia", "t").score)


NAN = np.full((240, 4), np.nan)
EVEN = np.full((240, 4), 0.25)
EVEN8 = np.full((8, 240, 4), 0.25)
OUT = np.ones((8, 240), dtype=np.bool_)
# The sum of row 7 is 0.85: 0.15 off, where 4 classes rounded to two decimals are 4 * 0.005 = 0.02 off at most.
SHORT = np.where(np.arange(240)[:, None] == 7, [0.1, 0.25, 0.25, 0.25], EVEN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": None}, r"^target: must be an array of numbers or truth values; it has None"),
        ({"target": [[None, 1.0]]}, r"^target: must be an array of numbers .* it has values that are no numbers"),
        (
            {"target": SHORT},
            r"^target: the probabilities of a record have the sum 1, and those of target\[7\] have 0\.85",
        ),
        ({"shadows": EVEN8 * 0.3}, r"^shadows: the probabilities .* those of shadows\[0, 0\] have 0\.3; give all"),
        (
            {"target": -EVEN},
            r"^target: probabilities lie in \[0, 1\], and these run from -0\.25 to -0\.25; write exposure",
        ),
        ({"target": np.ma.masked_less(EVEN, 0)}, r"^target: is a masked array"),
        ({"target": EVEN[:0]}, r"^target: must be \[1 or more records, 2 or more classes\]; it is \(0, 4\)"),
        ({"shadows": EVEN8[:0], "out": OUT[:0]}, r"^shadows: must be \[1 or more models, records, classes\]"),
        ({"shadows": [EVEN, EVEN[:3]]}, r"^shadows: cannot be read as an array: .*; give a numpy array$"),
        ({"out": "x"}, r"^out: must be bool; it is <U1"),
        ({"labels": None}, r"^labels: must be an array of numbers or truth values; it has None"),
        ({"target": EVEN.astype(object)}, r"^target: must be an array of numbers .*; it is of dtype object; give"),
        ({"members": [None] * 240}, r"^members: must be an array of numbers or truth values"),
        ({"attacks": None}, r"^attacks: must be names or attacks, .*; it is None"),
        ({"attacks": 3}, r"^attacks: must be names or attacks, .*; it is an int"),
        ({"attacks": {"yeom": {}}}, r"^attacks: must be names or attacks, .*; it is a dict"),
        ({"exposure": ["logits"]}, r"^exposure: must be one of"),
        ({"reference": (EVEN, None, None, [0])}, r"^reference: must be an edgeaudit\.Reference or None; it is a tuple"),
        ({"grid": 0.1}, r"^grid: must be an .*Grid or None; it is a float"),
        ({"floor": None}, r"^floor: must be a number; it is None"),
        ({"floor": True}, r"^floor: must be a number; it is a bool"),
        ({"floor": 0.5}, r"^floor: must be above 0 and below 0\.5; it is 0\.5"),
        ({"floor": np.nan}, r"^floor: must be above 0 and below 0\.5; it is nan"),
        ({"floor": -1, "exposure": "logits"}, r"^floor: must be at least 0 and below 0\.5; it is -1"),
        ({"seed": None}, r"^seed: must be an integer of at least 0; it is None"),
        ({"seed": -1}, r"^seed: must be an integer of at least 0; it is -1"),
        ({"seed": True}, r"^seed: must be an integer of at least 0; it is True"),
        ({"target": np.zeros(5)}, r"^target: must be \[records, classes\]; it is \(5,\)"),
        (
            {"target": np.zeros((240, 1))},
            r"^target: must be \[1 or more records, 2 or more classes\]; it is \(240, 1\)",
        ),
        ({"target": NAN}, r"^target: 960 of 960 values are not finite"),
        ({"target": [["a", "b"]]}, r"^target: must be numbers; it is <U1"),
        ({"target": [[1.0], [1.0, 2.0]]}, r"^target: cannot be read as an array"),
        (
            {"target": np.full((240, 4), 3.5)},
            r"^target: probabilities lie in \[0, 1\], and these run from 3\.5 to 3\.5",
        ),
        (
            {"shadows": EVEN8[:, :, :3] * 4 / 3},
            r"^shadows: must be \[K, records, classes\] with the target's 240 records",
        ),
        ({"shadows": np.zeros((240, 4))}, r"^shadows: must be \[K, records, classes\]; it is \(240, 4\)"),
        ({"shadows": None}, r"^shadows and out: give both"),
        ({"out": np.ones((8, 240), dtype=np.int64)}, r"^out: must be bool; it is int64"),
        ({"out": np.ones((240, 8), dtype=np.bool_)}, r"^out: must be \(8, 240\); it is \(240, 8\)"),
        ({"labels": np.full(240, 4)}, r"^labels: must be in \[0, 4\); they run from 4 to 4"),
        ({"labels": np.zeros(240)}, r"^labels: must be integers; it is float64"),
        ({"labels": np.zeros(10, dtype=np.int64)}, r"^labels: must be \(240,\), one a record; it is \(10,\)"),
        ({"members": np.zeros(240, dtype=np.int64)}, r"^members: must be bool"),
        (
            {"groups": np.zeros(239, dtype=np.int64)},
            r"^groups: must be \(240,\) integers, one a record; it is \(239,\)",
        ),
        ({"groups": np.zeros(240)}, r"^groups: must be \(240,\) integers, one a record; it is \(240,\) float64"),
        ({"members": np.ones(240, dtype=np.bool_)}, r"^members: must have members and nonmembers; it has 240 and 0"),
        ({"inputs": np.zeros((3, 5))}, r"^inputs: must be \[240 records, \.\.\.\]; it is \(3, 5\)"),
        ({"exposure": "labels"}, r"^exposure: must be one of logits, probabilities; it is 'labels'"),
        ({"attacks": "lirra"}, r"no attack 'lirra'\. Did you mean 'lira'\?"),
        ({"attacks": []}, r"^attacks: names one or more attacks; it is empty"),
        ({"attacks": [3]}, r"^attacks: must be names or attacks; one is an int"),
        (
            {"reference": edgeaudit.Reference(EVEN[:9, :3] * 4 / 3, EVEN8[:, :9, :3] * 4 / 3, OUT[:, :9], [0] * 9)},
            r"^reference\.target: must have the target's 4 classes; it has 3",
        ),
        (
            {"reference": edgeaudit.Reference(EVEN[:9], None, None, [0] * 9)},
            r"^reference\.shadows: must be of the same 8 models as shadows; it is of 0",
        ),
        (
            {"reference": edgeaudit.Reference(EVEN[:9], EVEN8[:, :9], OUT[:, :9], [0.5] * 9)},
            r"^reference\.labels: must be integers",
        ),
    ],
)
def test_an_argument_that_does_not_fit_is_named(brought: Brought, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AttackError, match=message):
        edgeaudit.attack(**{**brought.arguments, "attacks": "yeom", **changes})


def test_figures_are_over_groups_of_related_records(brought: Brought) -> None:
    repeated: dict[str, Any] = {
        name: np.repeat(value, 4, axis=-2) for name, value in brought.arguments.items() if name in ("target", "shadows")
    }
    repeated |= {"out": np.repeat(brought.out, 4, axis=1), "labels": np.repeat(brought.labels, 4)}
    members = np.repeat(brought.members, 4)

    def area(groups: Any) -> Any:
        found = edgeaudit.attack(**repeated, members=members, attacks="yeom", groups=groups)
        return next(row for row in found.leakage if row.metric == "auc")

    plain, grouped = area(None), area(np.repeat(np.arange(240), 4))
    once = next(
        row
        for row in edgeaudit.attack(**brought.arguments, members=brought.members, attacks="yeom").leakage
        if row.metric == "auc"
    )
    assert plain.value == pytest.approx(grouped.value)
    # Four copies of every record say as much as one of each.
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high), abs=1e-3)
    assert grouped.high - grouped.low > 1.8 * (plain.high - plain.low)
    assert area(np.arange(960)) == plain


def test_rounded_probabilities_are_read(brought: Brought) -> None:
    rounded = {"target": brought.target.round(2), "shadows": brought.shadows.round(2)}
    assert not np.allclose(rounded["target"].sum(axis=1), 1)
    assert len(edgeaudit.attack(**{**brought.arguments, **rounded, "attacks": "yeom"}).variants) == 1


# ---- tables


def test_sections_become_frames(audit: Audit) -> None:
    pytest.importorskip("pandas")
    frame = audit.leakage.to_frame()
    assert list(frame.columns) == [field.name for field in fields(LeakageRow)]
    assert len(frame) == len(audit.leakage)
    assert frame.iloc[0].to_dict()["metric"] == audit.leakage[0].metric
    formats = audit.formats.to_frame()
    index = next(i for i, one in enumerate(audit.formats) if one.accuracy is not None)
    assert formats.loc[index, "accuracy.test"] == audit.formats[index].accuracy.test  # type: ignore[union-attr]


def test_an_empty_section_has_its_columns(audit: Audit) -> None:
    pytest.importorskip("pandas")
    frame = audit.model_copy(update={"latency": type(audit.latency)(of=Latency)}).latency.to_frame()
    assert list(frame.columns) == list(Latency.model_fields)
    read = Audit.model_validate_json(audit_text(audit), strict=True)
    assert (read.leakage, type(read.leakage)) == (audit.leakage, edgeaudit.Rows)
    assert edgeaudit.Rows((), of=Figure).to_frame().columns.tolist()[:2] == ["metric", "value"]


def test_scores_become_a_frame(brought: Brought) -> None:
    pytest.importorskip("pandas")
    result = edgeaudit.attack(**brought.arguments, attacks=["yeom", "samia"])
    frame = result.to_frame()
    assert frame.shape == (240, 1)  # samia needs views
    assert np.array_equal(frame[f"yeom/{result.variants[0].variant}"], result.scores("yeom").score)


def test_without_pandas_the_error_has_the_pip_line(brought: Brought, monkeypatch: pytest.MonkeyPatch) -> None:
    result = edgeaudit.attack(**brought.arguments, members=brought.members, attacks="yeom")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingToolchain, match=r"pip install 'edgeaudit\[pandas\]'"):
        result.leakage.to_frame()


# ---- run, plan, load, check


class Counted(Silent):
    """Counts jobs by kind."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.jobs = 0

    def begin(self, jobs: Any, stored: Any) -> None:
        self.jobs = len(jobs) - len(stored)

    def finished(self, job: AnyJob, outcome: Outcome) -> None:
        self.kinds.append(job.kind)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the store of a tiny audit that ran from a mapping, its output, and what it printed."""
    folder = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("EDGEAUDIT_STORE", raising=False)
        edgeaudit.run(TINY, out="out", workers=1)
        yield folder


@pytest.mark.toolchain
def test_an_audit_of_a_mapping(ran: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert sorted(path.name for path in (ran / "out").iterdir()) == [
        "audit.json",
        "labels.npy",
        "leakage.parquet",
        "report.html",
        "scores",
        "spec.json",
    ]
    heard = Counted()
    again = edgeaudit.run(TINY, listener=heard, workers=1)  # from the store, and nothing is written
    assert heard.kinds == []
    first = edgeaudit.load(ran / "out")
    assert again.leakage == first.leakage
    assert again.verdict == first.verdict
    assert {row.attack for row in first.leakage} == {"yeom", "gap", "taught"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.toolchain
def test_a_plan_counts_what_the_store_has(ran: Path) -> None:
    more = edgeaudit.plan({**TINY, "threat": {"shadows": 3}}, workers=ANY_INTEGER)
    stages = {stage.stage: (stage.jobs, stage.stored) for stage in more.stages}
    assert stages["train"] == (5, 4)  # the target, a null target and three shadows
    assert stages["measure"] == (1, 0)
    assert (more.population.members, more.population.classes, more.workers) == (60, 10, 1)
    assert more.seconds == sum(stage.seconds for stage in more.stages) > 0


@pytest.mark.toolchain
def test_budgets_are_checked(ran: Path) -> None:
    loose = edgeaudit.check(ran / "out", {"auc": ["error", {"max": 0.99, "attack": "gap", "formats": ["torch-fp32"]}]})
    assert (loose.outcome, loose.exit_code) in {("within budget", 0), ("invalid", 3)}
    assert [budget.verdict for budget in loose.budgets] == ["pass"]
    assert edgeaudit.check(edgeaudit.load(ran / "out")) == edgeaudit.load(ran / "out").verdict
    with pytest.raises(BudgetError, match=r"budgets\.aucc: unknown metric"):
        edgeaudit.check(ran / "out", {"aucc": ["error", {"max": 0.9}]})
    with pytest.raises(SpecError, match=r"budgets\.auc"):
        edgeaudit.check(ran / "out", {"auc": ["error", {"maxx": 0.9}]})
    with pytest.raises(SpecError, match=r"^budgets: the mapping has no budgets to judge the run by; add limits"):
        edgeaudit.check(ran / "out", {})
    (ran / "none.yaml").write_text("seed: 1\n")
    with pytest.raises(SpecError, match=r"none\.yaml: the file has no budgets to judge the run by"):
        edgeaudit.check(ran / "out", ran / "none.yaml")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max": 90}, "90 looks like a percentage: write 0.9"),
        ({"max": 1}, "so it could not fail"),
        ({"max": 0.3}, "so a model that leaks nothing could not pass"),
        ({"max": math.inf}, "which is no limit"),
        ({"max": math.nan}, "which is no limit"),
        ({"max": True}, "which is not a number"),
        ({"max-increase": 2, "against": "torch-fp32"}, "2 looks like a percentage: write 0.02"),
        ({"max-increase": 0.1, "against": "onnx-fp32", "formats": ["onnx-fp32"]}, "compared with itself"),
    ],
)
def test_a_limit_without_sense_is_refused_by_every_function(
    limit: dict[str, Any], message: str, audit: Audit, tmp_path: Path
) -> None:
    budgets = {"auc": ["error", limit]}
    written = tmp_path / "audit.yaml"
    written.write_text(yaml.safe_dump({**TINY, "budgets": budgets}))
    doors: tuple[Callable[[], object], ...] = (
        lambda: edgeaudit.plan({**TINY, "budgets": budgets}),
        lambda: edgeaudit.run({**TINY, "budgets": budgets}),
        lambda: edgeaudit.plan(written),
        lambda: edgeaudit.check(audit.model_copy(update={"spec": {}}), budgets),
        lambda: edgeaudit.check(audit.model_copy(update={"spec": {}}), written),
        lambda: edgeaudit.check(audit.model_copy(update={"spec": {"budgets": budgets}})),
    )
    for door in doors:
        with pytest.raises(SpecError, match=message):
            door()


def test_an_older_runs_own_budgets_do_not_hinder_others(audit: Audit) -> None:
    """It has a limit that is refused now; others are judged on it."""
    older = audit.model_copy(update={"spec": {**audit.spec, "budgets": {"auc": [{"level": "error", "max": 1.0}]}}})
    with pytest.raises(SpecError, match="could not fail"):
        edgeaudit.check(older)
    found = edgeaudit.check(older, {"auc": ["error", {"max": 0.999, "attack": "lira", "formats": ["onnx-fp32"]}]})
    assert [budget.metric for budget in found.budgets] == ["auc"]
    assert found.limits is not None
    assert (found.limits.file, found.limits.measured) == (None, True)


@pytest.mark.toolchain
def test_who_set_the_limits_is_recorded(ran: Path) -> None:
    """A run keeps when its limits were first read; limits that come later are known to be later."""
    budgets = {"auc": ["error", {"max": 0.97, "formats": ["torch-fp32"]}]}
    Path("limits.yaml").write_text(yaml.safe_dump({**TINY, "seed": 4, "budgets": budgets}))
    first = edgeaudit.run("limits.yaml", out="limited", workers=1).verdict
    assert first.limits is not None
    assert (first.limits.file, first.limits.measured) == ("limits.yaml", False)
    recorded = json.dumps(edgeaudit.load("limited").spec["budgets"], sort_keys=True, separators=(",", ":"))
    assert first.limits.sha256 == hashlib.sha256(recorded.encode()).hexdigest()
    assert edgeaudit.run("limits.yaml", out="limited", workers=1).verdict == first
    again = edgeaudit.run("limits.yaml", out="elsewhere", workers=1).verdict
    assert again.limits is not None
    assert again.limits.measured
    # Another set of attacks, or more targets, are other figures of answers whose figures are known.
    for change in ({"attacks": ["gap"]}, {"targets": 2}):
        Path("changed.yaml").write_text(yaml.safe_dump({**TINY, "seed": 4, "budgets": budgets, **change}))
        changed = edgeaudit.run("changed.yaml", out="changed", workers=1).verdict
        assert changed.limits is not None
        assert changed.limits.measured, change
    later = edgeaudit.check("limited", {"auc": ["error", {"max": 0.98, "formats": ["torch-fp32"]}]})
    assert later.limits is not None
    assert later.limits.measured
    assert later.limits.sha256 != first.limits.sha256
    assert {a.attack for b in first.budgets for a in b.attacks} == {"yeom/loss", "gap/label", "taught/classifier"}


@pytest.mark.toolchain
def test_limits_of_a_command_line_are_told_from_the_files(ran: Path) -> None:
    own = {"auc": ["error", {"max": 0.97, "formats": ["torch-fp32"]}]}
    Path("own.yaml").write_text(yaml.safe_dump({**TINY, "budgets": own}))
    other = "[error, {max: 0.98, formats: [torch-fp32]}]"
    for change, changed in ((f"budgets.auc={other}", True), (f"budgets={{auc: {other}}}", True), ("name=x", False)):
        limits = edgeaudit.run("own.yaml", out="changed", changes=[change], workers=1).verdict.limits
        assert limits is not None
        assert (limits.file, limits.changed) == ("own.yaml", changed), change
        said = "own.yaml, changed on the command line" in (limits_sentence(edgeaudit.load("changed").verdict) or "")
        assert said == changed


@pytest.mark.toolchain
def test_a_policy_stays_with_its_run(ran: Path) -> None:
    """A repeated run keeps when it was first read; checks and more attacks judge by it, whatever the budgets are."""

    def limit(value: float) -> dict[str, Any]:
        return {"auc": ["error", {"max": value, "formats": ["torch-fp32"]}]}

    policy = {"budgets": limit(0.501), "owner": "Privacy team"}
    limited = {**TINY, "seed": 5, "budgets": limit(0.99)}
    first = edgeaudit.run(limited, out="policed", policy=policy, workers=1).verdict
    assert first.policy is not None
    assert (first.policy.owner, first.policy.file, first.policy.measured) == ("Privacy team", None, False)
    assert [budget.policy for budget in first.budgets] == [None, "policy"]
    assert edgeaudit.run(limited, out="policed", policy=policy, workers=1).verdict == first
    assert edgeaudit.check("policed") == first
    loose = edgeaudit.check("policed", limit(0.995))
    assert [(b.policy, b.limit) for b in loose.budgets] == [(None, "<= 0.995"), ("policy", "<= 0.501")]
    assert loose.policy == first.policy
    other = edgeaudit.check("policed", policy={"budgets": limit(0.995)})
    assert other.policy is not None
    assert other.policy.measured
    more = edgeaudit.attack_run("policed", ["attack-p"], workers=1).verdict
    assert more.policy == first.policy
    assert [budget.policy for budget in more.budgets] == [None, "policy"]
    with pytest.raises(SpecError, match="policy: must be the path of a policy's file, or a mapping"):
        edgeaudit.check("policed", policy=3)  # type: ignore[arg-type]


@pytest.mark.toolchain
def test_more_attacks_on_a_finished_run(ran: Path) -> None:
    heard = Counted()
    result = edgeaudit.attack_run("out", ["attack-p"], listener=heard, workers=1)
    assert {row.attack for row in result.leakage} == {"yeom", "gap", "attack-p", "taught"}
    assert set(heard.kinds) == {"measure", "compare"}
    assert edgeaudit.load("out") == result
    with pytest.raises(AttackError, match="no attack 'attack-q'"):
        edgeaudit.attack_run("out", ["attack-q"])
    with pytest.raises(SpecError, match=r"^weaker: .* is not a weaker exposure"):
        edgeaudit.attack_run("out", weaker=["top"])
    with pytest.raises(
        RunError, match=r"the store .* does not have the records of out: .* name the run's store with --store"
    ):
        edgeaudit.attack_run("out", ["attack-r"], store="another")


def test_an_audit_without_its_folder_has_no_scores_to_compare(audit: Audit) -> None:
    found = audit.model_copy(update={"spec": {**audit.spec, "budgets": {}}})
    loose = edgeaudit.check(found, {"auc": ["error", {"max": 0.999, "attack": "lira", "formats": ["onnx-fp32"]}]})
    assert [budget.metric for budget in loose.budgets] == ["auc"]
    with pytest.raises(RunError, match=r"judged on the scores of .* give that to check"):
        edgeaudit.check(found, {"auc": ["error", {"max-increase": 0.05, "against": "torch-fp32", "attack": "lira"}]})


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"audit\.json: no such file"):
        edgeaudit.load(tmp_path)
    with pytest.raises(RunError, match=r"audit\.json: no such file"):
        edgeaudit.check(str(tmp_path))


@pytest.mark.parametrize(
    ("audit", "message"),
    [
        ({"modle": {}}, r"^'modle' is not a known key; did you mean 'model'"),
        ("none.yaml", r"none\.yaml: No such file"),
        (3, r"^an audit is the path of an audit\.yaml, a mapping with its keys or an AuditSpec, not int"),
        (
            {"model": {"recipe": "__main__:make_model"}},
            r"^model\.recipe: make_model is defined in the script or notebook",
        ),
        ({"model": {"recipe": "keras:__main__:m"}}, r"^model\.recipe: m is defined in the script or notebook"),
        ({"data": {"source": lambda: None}}, r"^data\.source: '<lambda>' is not a function at the top level"),
    ],
)
def test_an_audit_that_is_not_valid(audit: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=message):
        edgeaudit.plan(audit)
    assert list(tmp_path.iterdir()) == []


ANY: Any = edgeaudit  # its arguments have types of their own, and these tests give others


def _looping() -> dict[str, Any]:
    looping: dict[str, Any] = {**TINY}
    looping["model"] = {"options": looping}
    return looping


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ANY.load(None), r"^folder: must be the path of a folder; it is None"),
        (lambda: ANY.load(b"runs"), r"^folder: must be the path of a folder; it is b'runs'"),
        (lambda: ANY.check(["runs"]), r"^run: must be the folder of a run, or an audit; it is \['runs'\]"),
        (lambda: ANY.check("runs", 3), r"^budgets: must be the path of an audit\.yaml, or a mapping .*; it is 3"),
        (lambda: ANY.attack_run(3), r"^run: must be the path of a folder; it is 3"),
        (lambda: ANY.attack_run("runs", None), r"^attacks: must be a list of names; it is None"),
        (lambda: ANY.attack_run("runs", "yeom", weaker=3), r"^weaker: must be a list of names; it is 3"),
        (lambda: ANY.attack_run("runs", "yeom", workers=0), r"^workers must be an integer of at least 1, not 0"),
        (lambda: ANY.plan(TINY, store=3), r"^store: must be the path of a folder; it is 3"),
        (lambda: ANY.plan(TINY, workers="2"), r"^workers must be an integer of at least 1, not '2'"),
        (lambda: ANY.plan(TINY, workers=True), r"^workers must be an integer of at least 1, not True"),
        (lambda: ANY.plan(TINY, workers=0), r"^workers must be an integer of at least 1, not 0"),
        (lambda: ANY.plan(TINY, executor=None), r"^executor: must be the name of an executor; it is None"),
        (lambda: ANY.plan(TINY, listener=print), r"^listener: must have the methods .* has no begin"),
        (
            lambda: ANY.plan(TINY, listener=Silent),
            r"^listener: must be an instance, as Silent\(\); it is the class itself",
        ),
        (lambda: ANY.run(TINY, out=["runs"]), r"^out: must be the path of a folder; it is \['runs'\]"),
        (lambda: ANY.run(TINY, out="runs", write=None), r"^write: must be a list of names; it is None"),
        (lambda: ANY.run(TINY, out="runs", write=["html", 3]), r"^write: must be a list of names"),
        (lambda: ANY.run(TINY, out="runs", write="htlm"), r"there is no report writer 'htlm'"),
        (lambda: ANY.plan(_looping()), r"^the audit is a mapping that contains itself"),
    ],
)
def test_an_argument_of_another_type_is_named(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(edgeaudit.EdgeAuditError, match=message):
        call()
    assert list(tmp_path.iterdir()) in ([], [tmp_path / ".edgeaudit"])


def test_a_report_needs_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="write: text cannot be written without a folder; give out"):
        edgeaudit.run(TINY, write=["text"])


DATA = """
import numpy as np

def make_data():
    rng = np.random.default_rng({seed})
    return rng.normal(size=(400, 5)).astype(np.float32), rng.integers(0, 2, 400)
"""
SOURCE = {"members": 40, "nonmembers": 40, "calibration": {"records": 16}}


@pytest.mark.toolchain
def test_functions_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two audits of one process have modules of the same name in different folders."""
    digests = []
    before = list(sys.path)
    for seed, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "brought_data.py").write_text(DATA.format(seed=seed))
        monkeypatch.chdir(tmp_path / folder)
        audit = {**TINY, "data": {"source": "brought_data:make_data", **SOURCE}}
        digests.append(edgeaudit.plan(audit, store=tmp_path / "store", workers=1).population.sha256)
    assert len(set(digests)) == 2
    assert sys.path == before


RECIPE = """
import sys
sys.path.insert(0, "lib")
import numpy as np
import brought_layers

def build(shape, n_classes):
    return brought_layers.make(shape, n_classes, int(np.load("width.npz")["width"]))
"""
LAYERS = """
from torch import nn

def make(shape, n_classes, width):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), width), nn.ReLU(), nn.Linear(width, n_classes))
"""


@pytest.mark.toolchain
def test_a_plan_notices_changes_in_what_a_recipe_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "brought_net.py").write_text(RECIPE)
    (tmp_path / "lib" / "brought_layers.py").write_text("import numpy as np" + LAYERS)
    np.savez(tmp_path / "width.npz", width=8)
    audit = {**TINY, "model": {"recipe": "brought_net:build", "epochs": 20}}

    def left() -> set[str]:
        return {stage.stage for stage in edgeaudit.plan(audit, workers=1).stages if stage.stored < stage.jobs}

    edgeaudit.run(audit, workers=1)
    assert left() == set()
    np.savez(tmp_path / "width.npz", width=9)
    assert {"train", "query", "measure"} <= left()
    edgeaudit.run(audit, workers=1)
    assert left() == set()
    (tmp_path / "lib" / "brought_layers.py").write_text("import numpy as np  # changed" + LAYERS)
    assert {"train", "query", "measure"} <= left()


@pytest.mark.toolchain
def test_relative_paths_of_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    audit = {**TINY, "data": {"source": "npz", "path": "../none.npz", **SOURCE}}
    for given in (audit, edgeaudit.AuditSpec.model_validate(audit)):
        with pytest.raises(DataError, match=f"{tmp_path}/none.npz"):
            edgeaudit.plan(given, workers=1)


SCRIPT = f"""
import sys
import edgeaudit

audit = {TINY!r}
audit["model"] |= {{"epochs": int(sys.argv[1])}}
print("begin", flush=True)
print(edgeaudit.run(audit, workers=1).verdict.outcome)
"""


@pytest.mark.toolchain
def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", "20"], capture_output=True, text=True, check=False, cwd=tmp_path, env=_path()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "begin"
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.toolchain
def test_an_interrupt_ends_the_workers(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    # A background job of a shell ignores the signal, and so would its children.
    listening = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    script = subprocess.Popen(
        [sys.executable, "-c", listening, sys.executable, "script.py", "100000"], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, cwd=tmp_path, env=_path(), text=True,
    )  # fmt: skip
    process = psutil.Process(script.pid)
    workers: list[psutil.Process] = []
    until = time.monotonic() + 120
    while time.monotonic() < until and not list((tmp_path / ".edgeaudit").glob("population/*")):
        time.sleep(0.1)
    while time.monotonic() < until and not workers:
        workers = process.children()
        time.sleep(0.1)
    script.send_signal(2)
    _, errors = script.communicate(timeout=60)
    assert workers
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not [one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.e2e
@pytest.mark.toolchain
def test_the_audits_of_the_documentation(tmp_path: Path, root_folder: Path) -> None:
    """The plain Python of docs/python.md, in one script; what has prompts is run as doctests."""
    text = (root_folder / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"], capture_output=True, text=True, check=False, cwd=tmp_path, env=_path()
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "100 members, 16 jobs,"
    assert "['gap', 'lira', 'taught', 'yeom']" in lines


@pytest.mark.e2e
@pytest.mark.toolchain
def test_the_example_notebook(tmp_path: Path, root_folder: Path) -> None:
    notebook = root_folder / "examples" / "notebook.ipynb"
    code = f"""
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read({str(notebook)!r}, as_version=4)
assert not any(cell.get("outputs") for cell in notebook.cells)
NotebookClient(notebook, timeout=600, kernel_name="python3", resources={{"metadata": {{"path": "."}}}}).execute()
print("".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=_path()
    )
    assert done.returncode == 0, done.stderr
    assert "lira" in done.stdout


def test_a_learned_threshold_is_the_audits(brought: Brought) -> None:
    """The figures at a threshold use what the audit's own measure stage would learn."""
    from edgeaudit.attacks.base import Evidence
    from edgeaudit.attacks.lira import Lira

    result = edgeaudit.attack(**brought.arguments, members=brought.members, attacks="lira")
    row = next(r for r in result.leakage if (r.variant, r.metric) == ("online-global", "advantage"))
    evidence = Evidence(brought.target, brought.shadows, brought.out, brought.labels, "probabilities")
    threshold = learn_threshold(Lira(), "online-global", evidence).value
    assert threshold is not None
    accused = result.scores("lira", "online-global").score >= threshold
    assert row.value == pytest.approx(accused[brought.members].mean() - accused[~brought.members].mean())
