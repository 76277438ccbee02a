"""A budget is judged on all attacks of the audit, or on those that it names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeaudit.gate.judge import FormatScores, judge
from edgeaudit.leakage.influence import target_figure
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.simultaneous import simultaneous_level
from tests.gate import cases
from tests.gate.cases import SERIES, judged, mean, measured, one, row, spec

_WITHIN, _BEYOND = (0.55, 0.52, 0.58), (0.63, 0.605, 0.66)


def _rows(**found: Any) -> list[Any]:
    return [row(SERIES[name], interval) for name, interval in found.items()]


def _scored(rng: np.random.Generator, shift: dict[str, float], n: int = 1000) -> FormatScores:
    """Normal scores in which members are shifted, by attack."""
    members = np.arange(2 * n) < n
    common = rng.normal(size=2 * n)
    values = {SERIES[a]: 0.8 * common + 0.6 * rng.normal(size=2 * n) + s * members for a, s in shift.items()}
    return FormatScores(values, members)


def _level(metric: str, scores: FormatScores, threshold: float | None = None, tests: int = 3) -> float:
    """The level at which the lower ends of all attacks on all records hold together."""
    groups = np.arange(len(scores.members)) if scores.groups is None else scores.groups
    shares = [target_figure(one, scores.members, metric, groups, threshold) for one in scores.scores.values()]
    return simultaneous_level(shares, tests)


def test_a_stronger_attack_than_the_headline_decides() -> None:
    """By the first attack alone the file would pass."""
    scores = _scored(np.random.default_rng(1), {"lira": 0.1, "yeom": 0.6, "gap": 0.1})
    rows = measured(scores.scores, scores.members)
    verdict = judged(spec({"auc": ["error", {"max": 0.6}]}), rows, scores)
    budget = one(verdict)
    assert verdict.exit_code == 1
    assert (budget.verdict, budget.decided_by) == ("fail", "yeom/loss")
    assert {a.attack for a in budget.attacks} == {SERIES[name] for name in cases.ATTACKS}
    assert "is exceeded by this file: yeom/loss 0.6" in verdict.reasons[0]
    named = judged(spec({"auc": ["error", {"max": 0.6, "attacks": ["lira"]}]}), rows, scores)
    assert named.exit_code == 0
    assert one(named).worst_outside == next(
        a.model_copy(update={"low_corrected": a.low}) for a in budget.attacks if a.attack == "yeom/loss"
    )
    assert "beyond the limit outside the attack set: auc <= 0.6 (yeom/loss)" in named.reasons
    loose = judged(spec({"auc": ["error", {"max": 0.9, "attacks": ["lira"]}]}), rows, scores)
    assert not any("outside" in reason for reason in loose.reasons)


def test_the_lower_end_is_corrected_for_the_attacks_of_the_set() -> None:
    """Expected: DeLong's lower end for three related attacks, above that at a tail of 2.5% / 3."""
    scores = _scored(np.random.default_rng(2), {"lira": 0.0, "yeom": 0.35, "gap": 0.0})
    rows = measured(scores.scores, scores.members)
    strong = scores.scores["yeom/loss"]
    alone = figures(strong, scores.members, None)[0]
    of_three = figures(strong, scores.members, None, level=_level("auc", scores))[0]
    independent = figures(strong, scores.members, None, level=1 - 2 * 0.025 / 3)[0]
    assert alone.low is not None
    assert of_three.low is not None
    assert independent.low is not None
    assert independent.low + 0.0005 < of_three.low < alone.low - 0.002
    between = (of_three.low + alone.low) / 2
    undecided = one(judged(spec({"auc": ["error", {"max": between}]}), rows, scores))
    assert (undecided.verdict, undecided.decided_by) == ("inconclusive", "yeom/loss")
    assert next(a for a in undecided.attacks if a.attack == "yeom/loss").low_corrected == pytest.approx(of_three.low)
    assert "would decide that it is exceeded, corrected for 3 figures" in (undecided.needed or "")
    # Its whole interval is beyond the limit, so the sentence has the end that is not.
    words = judged(spec({"auc": ["error", {"max": between}]}), rows, scores).reasons[0]
    assert f"lower end corrected for the other figures {of_three.low:.4f}"[:-1] in words
    assert one(judged(spec({"auc": ["error", {"max": of_three.low - 1e-4}]}), rows, scores)).verdict == "fail"
    # One attack needs no correction, and no scores.
    alone_set = spec({"auc": ["error", {"max": between, "attacks": ["yeom"]}]})
    assert one(judged(alone_set, rows)).verdict == "fail"


@pytest.mark.parametrize("metric", ["tpr@fpr=0.01", "balanced_accuracy", "advantage"])
def test_every_metric_has_a_corrected_lower_end(metric: str) -> None:
    scores = _scored(np.random.default_rng(3), {"lira": 0.0, "yeom": 2.0, "gap": 0.0})
    rows = measured(scores.scores, scores.members, threshold=1.0)
    strong = scores.scores["yeom/loss"]
    level = _level(metric, scores, 1.0)
    assert 0.95 < level < 1 - 2 * 0.025 / 3
    expected = {f.metric: f.low for f in figures(strong, scores.members, 1.0, level=level)}[metric]
    budget = one(
        judged(spec({metric: ["error", {"max": 0.1 if metric != "balanced_accuracy" else 0.6}]}), rows, scores)
    )
    assert budget.verdict == "fail"
    assert next(a for a in budget.attacks if a.attack == "yeom/loss").low_corrected == pytest.approx(expected)


def test_related_records_enter_the_corrected_end() -> None:
    rng = np.random.default_rng(4)
    members = np.repeat(np.arange(200) < 100, 5)
    groups = np.repeat(np.arange(200), 5)
    values = np.repeat(rng.normal(size=200) + 0.8 * (np.arange(200) < 100), 5)
    scores = {SERIES["lira"]: values, SERIES["yeom"]: rng.normal(size=1000), SERIES["gap"]: rng.normal(size=1000)}
    rows = [
        cases.series(name).row("all", f) for name, v in scores.items() for f in figures(v, members, None, groups=groups)
    ]
    budget = one(judged(spec({"auc": ["error", {"max": 0.55}]}), rows, FormatScores(scores, members, groups=groups)))
    level = _level("auc", FormatScores(scores, members, groups=groups))
    by_group = figures(values, members, None, groups=groups, level=level)[0].low
    assert budget.attacks[0].low_corrected == pytest.approx(by_group)


def test_an_attack_that_could_not_be_run_blocks_a_pass() -> None:
    rows = [
        *_rows(lira=_WITHIN, gap=_WITHIN),
        row(SERIES["yeom"], (None, None, None), note="not applicable: no confidences"),
    ]
    verdict = judged(spec({"auc": ["error", {"max": 0.6}]}), rows)
    budget = one(verdict)
    assert verdict.exit_code == 3
    assert (budget.decided_by, budget.note) == ("yeom/loss", "not applicable: no confidences")
    assert "yeom/loss has no upper end, without which nothing passes (not applicable: no confidences)" in (
        budget.needed or ""
    )
    assert verdict.reasons[0].count("no confidences") == 1
    named = judged(spec({"auc": ["error", {"max": 0.6, "attacks": ["lira", "gap"]}]}), rows)
    assert named.exit_code == 0


def test_an_attack_without_any_row_blocks_a_pass() -> None:
    """Such as one that failed, or that a report of another version lacks."""
    verdict = judged(spec({"auc": ["error", {"max": 0.6}]}), _rows(lira=_WITHIN, gap=_WITHIN))
    assert (verdict.exit_code, one(verdict).decided_by) == (3, "yeom/loss")


def test_an_upper_end_without_a_value_may_pass() -> None:
    """With 60 nonmembers TPR at 1% FPR has no point estimate, and an upper end that is valid."""
    rng = np.random.default_rng(5)
    members = np.arange(460) >= 60
    values = {SERIES[name]: rng.normal(size=460) for name in cases.ATTACKS}
    rows = measured(values, members)
    loose = one(judged(spec({"tpr@fpr=0.01": ["error", {"max": 0.5}]}), rows))
    assert (loose.verdict, loose.value) == ("pass", None)
    assert loose.high is not None
    assert one(judged(spec({"tpr@fpr=0.01": ["error", {"max": loose.high / 2}]}), rows)).verdict == "inconclusive"


def test_the_first_headline_variant_that_ran_stands_for_an_attack() -> None:
    audit = spec({"auc": ["error", {"max": 0.6}]}, attacks=["cm-mia"])
    test, calibrated = row("cm-mia/t", _WITHIN), row("cm-mia/calibrated", (0.57, 0.54, 0.59))
    other = row("cm-mia/pchip", (0.9, 0.85, 0.95))  # not a headline variant
    assert one(judged(audit, [test, calibrated, other])).decided_by == "cm-mia/calibrated"
    missing = replace(calibrated, value=None, low=None, high=None)
    assert one(judged(audit, [test, missing, other])).decided_by == "cm-mia/t"
    asked = spec({"auc": ["error", {"max": 0.6, "attacks": ["cm-mia/pchip"]}]}, attacks=["cm-mia"])
    assert one(judged(asked, [test, calibrated, other])).verdict == "fail"


def test_in_auditor_mode_the_online_variant_stands_for_an_attack() -> None:
    """The worst case is asked for, and offline the file would pass."""
    offline, online = row("lira/offline-global", _WITHIN), row("lira/online-global", (0.98, 0.97, 0.99))
    auditor = spec({"auc": ["error", {"max": 0.96}]}, attacks=["lira"], threat={"mode": "auditor"})
    budget = one(judged(auditor, [offline, online]))
    assert (budget.verdict, budget.decided_by) == ("fail", "lira/online-global")
    adversary = spec({"auc": ["error", {"max": 0.96}]}, attacks=["lira"])
    assert one(judged(adversary, [offline, online])).decided_by == "lira/offline-global"
    # With 3 shadows it cannot be run; the offline variant does not pass in its place.
    reason = "not applicable: 'lira' needs at least 4 shadows and has 3"
    verdict = judged(auditor, [offline, row("lira/online-global", (None, None, None), note=reason)])
    assert (verdict.exit_code, one(verdict).decided_by, one(verdict).note) == (3, "lira/online-global", reason)
    # An attack without such a variant is judged as ever.
    plain = spec({"auc": ["error", {"max": 0.96}]}, attacks=["yeom"], threat={"mode": "auditor"})
    assert one(judged(plain, _rows(yeom=_WITHIN))).decided_by == "yeom/loss"


def test_the_former_keys_are_a_set_of_one_attack() -> None:
    rows = _rows(lira=_WITHIN, yeom=_BEYOND, gap=_WITHIN)
    assert one(judged(spec({"auc": ["error", {"max": 0.6, "attack": "gap"}]}), rows)).verdict == "pass"
    assert (
        one(judged(spec({"auc": ["error", {"max": 0.6, "attack": "yeom", "variant": "loss"}]}), rows)).verdict == "fail"
    )


def test_all_without_shadows_means_attacks_that_need_none() -> None:
    """As the plan runs them; else no file of another maker could pass with `attacks: all`."""
    shipped = {"target": {"artifact": "m.tflite"}, "formats": [{"format": "as-shipped", "name": cases.FORMAT}]}
    data = {"source": "npz", "path": "d.npz", "members": "m.txt", "nonmembers": "n.txt", "preprocessing": "raw"}
    audit = spec({"auc": ["error", {"max": 0.6}]}, attacks=["all"], **shipped, data=data)
    names = {a.attack.partition("/")[0] for a in one(judged(audit, [])).attacks}
    assert {"yeom", "gap", "attack-p"} <= names
    assert not names & {"lira", "cm-mia", "rmia"}


def _sidak(tests: int) -> float:
    """The level of the intervals of independent figures whose lower ends hold together in 97.5%."""
    return float(2 * 0.975 ** (1 / tests) - 1)


def test_classes_are_judged_together_with_the_attacks() -> None:
    rng = np.random.default_rng(6)
    n = 4000
    members = np.arange(n) < n // 2
    labels = rng.integers(0, 4, n)
    leaky = labels == 2
    scores = {SERIES[name]: rng.normal(size=n) for name in cases.ATTACKS}
    scores["yeom/loss"] = scores["yeom/loss"] + 1.5 * (members & leaky)
    masks = {f"class:{k}": labels == k for k in range(4)}
    rows = measured(scores, members, subsets=masks)
    stored = FormatScores(scores, members, labels=labels)
    whole = spec({"auc": ["error", {"max": 0.7}]})
    assert one(judged(whole, rows, stored)).verdict == "pass"
    budget = one(judged(spec({"auc": ["error", {"max": 0.7, "subset": "class:*"}]}), rows, stored))
    assert (budget.verdict, budget.decided_by, budget.subset) == ("fail", "yeom/loss on class:2", "class:*")
    assert len(budget.attacks) == 12
    expected = figures(scores["yeom/loss"][leaky], members[leaky], None, level=_sidak(12))[0].low
    # Independent but for chance: twelve correlations of a few hundredths.
    ours = next(a for a in budget.attacks if a.name == budget.decided_by).low_corrected
    assert ours == pytest.approx(expected, abs=5e-4)
    quiet = one(judged(spec({"auc": ["error", {"max": 0.7, "subset": "class:1"}]}), rows, stored))
    assert (quiet.verdict, len(quiet.attacks)) == ("pass", 3)
    # A class that is too small has no upper end, so that nothing passes.
    small = [r for r in rows if not (r.subset == "class:0" and r.attack == "gap")]
    small.append(row("gap/label", (None, None, None), subset="class:0", note="3 members and 5 nonmembers"))
    blocked = one(judged(spec({"auc": ["error", {"max": 0.95, "subset": "class:*"}]}), small, stored))
    assert (blocked.verdict, blocked.decided_by) == ("inconclusive", "gap/label on class:0")
    assert "1 of 4 classes have no figure" in (blocked.needed or "")
    assert one(judged(spec({"auc": ["error", {"max": 0.7, "subset": "class:*"}]}), small, stored)).verdict == "fail"


def test_classes_that_are_not_listed_block_a_pass_and_count_as_tests() -> None:
    """A report lists the classes with the largest lower ends; the others may have larger upper ends."""
    rng = np.random.default_rng(8)
    n = 4000
    members, labels = np.arange(n) < n // 2, rng.integers(0, 4, n)
    scores = {SERIES[name]: rng.normal(size=n) for name in cases.ATTACKS}
    scores["yeom/loss"] = scores["yeom/loss"] + 1.5 * (members & (labels == 2))
    stored = FormatScores(scores, members, labels=labels)
    rows = measured(scores, members, subsets={f"class:{k}": labels == k for k in (1, 2)})
    listed = [r for r in rows if r.subset != "class:2"]
    loose = spec({"auc": ["error", {"max": 0.7, "subset": "class:*"}]})
    assert one(judged(loose, listed, stored, classes=1)).verdict == "pass"
    blocked = one(judged(loose, listed, stored, classes=4))
    assert blocked.verdict == "inconclusive"
    assert "some classes have no figure" in (blocked.note or "")
    failed = one(judged(loose, rows, stored, classes=4))
    expected = figures(scores["yeom/loss"][labels == 2], members[labels == 2], None, level=_sidak(12))[0].low
    assert failed.verdict == "fail"
    ours = next(a for a in failed.attacks if a.name == failed.decided_by).low_corrected
    assert ours == pytest.approx(expected, abs=5e-4)


def test_without_figures_by_class_a_budget_on_classes_does_not_pass() -> None:
    rows = _rows(lira=_WITHIN, yeom=_WITHIN, gap=_WITHIN)
    assert one(judged(spec({"auc": ["error", {"max": 0.9, "subset": "class:*"}]}), rows)).verdict == "inconclusive"


@pytest.mark.parametrize("targets", [1, 2, 3])
def test_a_pipeline_is_not_judged_over_fewer_than_four_targets(targets: int) -> None:
    audit = spec({"auc": ["error", {"max": 0.9, "scope": "pipeline"}]}, targets=targets)
    across = [mean(SERIES[name], _WITHIN, targets) for name in cases.ATTACKS] if targets > 1 else []
    verdict = judged(audit, _rows(lira=_WITHIN, yeom=_WITHIN, gap=_WITHIN), None, across)
    assert verdict.exit_code == 3
    assert "undecided for this pipeline" in verdict.reasons[0]
    assert "4 or more targets" in (one(verdict).note or "")


def test_a_pipeline_is_judged_over_its_targets() -> None:
    audit = spec({"auc": ["error", {"max": 0.6, "scope": "pipeline"}]}, targets=5)
    rows = _rows(lira=_WITHIN, yeom=_WITHIN, gap=_WITHIN)
    within = [mean(SERIES[name], _WITHIN, 5) for name in cases.ATTACKS]
    verdict = judged(audit, rows, None, within)
    assert (verdict.exit_code, one(verdict).scope) == (0, "pipeline")
    assert verdict.reasons[0] == "1 budget check holds for this pipeline"
    # t with 4 degrees of freedom: tails 2.776 at 2.5% and 3.961 at 2.5% / 3, on the logit scale. logit(.72) = .9445,
    # logit(.69) = .8001, and .9445 - .1444 * 1.4267 = .7385, of which the logistic function is .6767.
    beyond = [mean("yeom/loss", (0.72, 0.69, 0.75), 5), *within[::2]]
    budget = one(judged(audit, rows, None, beyond))
    assert (budget.verdict, budget.decided_by) == ("fail", "yeom/loss")
    assert next(a for a in budget.attacks if a.attack == "yeom/loss").low_corrected == pytest.approx(0.6767, abs=2e-4)
    near = [mean("yeom/loss", (0.64, 0.61, 0.67), 5), *within[::2]]
    assert one(judged(audit, rows, None, near)).verdict == "inconclusive"  # about .64 - .03 * 1.427 = .597
    # Targets without a figure may be those that leak.
    some = [mean("yeom/loss", _WITHIN, 5, missing=1), *within[::2]]
    assert one(judged(audit, rows, None, some)).verdict == "inconclusive"


def test_both_scopes_are_named_in_the_verdict() -> None:
    budgets = {"auc": [["error", {"max": 0.6}], ["error", {"max": 0.6, "scope": "pipeline"}]]}
    within = [mean(SERIES[name], _WITHIN, 5) for name in cases.ATTACKS]
    verdict = judged(spec(budgets, targets=5), _rows(lira=_WITHIN, yeom=_WITHIN, gap=_WITHIN), None, within)
    assert verdict.reasons[0] == "2 budget checks hold for this file and this pipeline"


@pytest.mark.parametrize("metric", ["auc", "tpr@fpr=0.01"])
def test_an_increase_is_judged_on_every_attack(metric: str) -> None:
    rng = np.random.default_rng(7)
    before = _scored(rng, {"lira": 0.5, "yeom": 0.5, "gap": 0.5})
    noise = 1e-3 * rng.normal(size=2000)
    same = {name: values + noise for name, values in before.scores.items()}
    grown = {**same, "gap/label": same["gap/label"] + 2.5 * before.members}
    audit = spec({metric: ["error", {"max-increase": 0.1, "against": "torch-fp32"}]})
    rows = [r for name in ("torch-fp32", cases.FORMAT) for r in _of(measured(same, before.members), name)]

    def outcome(scores: dict[str, np.ndarray]) -> Any:
        held = {"torch-fp32": before, cases.FORMAT: FormatScores(scores, before.members)}
        formats = [cases.result("torch-fp32"), cases.result()]
        return one(judge(audit, formats, rows, (), lambda name, _: held[name]))

    assert outcome(same).verdict == "pass"
    worse = outcome(grown)
    assert (worse.verdict, worse.decided_by) == ("fail", "gap/label")
    corrected = next(a for a in worse.attacks if a.attack == "gap/label").low_corrected
    assert 0.1 < corrected < worse.low


def _of(rows: list[Any], format_id: str) -> list[Any]:
    return [replace(r, format=format_id) for r in rows]
