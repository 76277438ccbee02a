"""A policy's budgets are judged beside the audit's own, which cannot loosen, remove or shadow them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.policy import ReadPolicy, policy_of
from edgeaudit.errors import BudgetError, RunError
from edgeaudit.gate.judge import judge
from edgeaudit.gate.needed import budget_needs
from edgeaudit.gate.origin import policy_origin, recorded_policy
from edgeaudit.gate.policy import applicable, require_policy_applies
from edgeaudit.report.model import Verdict
from tests.gate import cases

TODAY = dt.date(2026, 6, 1)
LIRA = "lira/offline-global"


def _policy(budgets: Any, **more: Any) -> ReadPolicy:
    return policy_of({"budgets": budgets, "name": "privacy", **more}, TODAY)


def _audit(*formats: Any, **more: Any) -> AuditSpec:
    return AuditSpec.model_validate({"attacks": ["lira"], "formats": list(formats), **more})


def _limit(value: float, **more: Any) -> Any:
    return {"auc": ["error", {"max": value, **more}]}


ROWS = [cases.row(LIRA, (0.65, 0.62, 0.68))]
"""Beyond .6, within .7."""


@pytest.mark.parametrize(
    ("own", "policy", "outcome", "code"),
    [
        (0.7, 0.6, "budget exceeded", 1),  # the policy is stricter
        (0.9, 0.6, "budget exceeded", 1),  # and the audit.yaml loosened further
        (0.6, 0.7, "budget exceeded", 1),  # the audit's own is stricter
        (0.7, 0.8, "within budget", 0),
        (0.7, 0.65, "inconclusive", 3),
    ],
)
def test_the_same_metric_in_both_is_judged_twice(own: float, policy: float, outcome: str, code: int) -> None:
    verdict = cases.judged(cases.spec(_limit(own), ("lira",)), ROWS, policy=_policy(_limit(policy)), today=TODAY)
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    assert [(b.policy, b.limit) for b in verdict.budgets] == [(None, f"<= {own:g}"), ("privacy", f"<= {policy:g}")]
    assert verdict.judged_on == "2026-06-01"


def test_an_audit_without_budgets_is_judged_by_the_policy() -> None:
    verdict = cases.judged(cases.spec({}, ("lira",)), ROWS, policy=_policy(_limit(0.6)))
    assert verdict.exit_code == 1
    assert "budget auc <= 0.6 of policy privacy is exceeded by" in verdict.reasons[0]
    assert cases.judged(cases.spec({}, ("lira",)), ROWS).judged_on is None


def test_a_renamed_format_is_limited_by_its_preset() -> None:
    """A name of audit.yaml's own is no way around a policy that names the preset, or a reference's exception."""
    audit = _audit("torch-fp32", {"format": "litert-int8", "name": "mine"}, "onnx-fp32")
    found = applicable(_policy(_limit(0.6, formats=["litert-int8"])).spec, audit)
    assert [budget.formats for _, budget in found.budgets] == [("mine",)]
    named = applicable(_policy(_limit(0.6, formats=["mine", "litert-int8"])).spec, audit)
    assert [budget.formats for _, budget in named.budgets] == [("mine",)]
    every = applicable(_policy(_limit(0.6)).spec, audit)
    assert [budget.formats for _, budget in every.budgets] == [("mine", "onnx-fp32")]
    increase = {"auc": ["error", {"max-increase": 0.02, "against": "litert-int8"}]}
    ((_, budget),) = applicable(_policy(increase).spec, audit).budgets
    assert (budget.against, budget.formats) == ("mine", ("onnx-fp32",))
    softmax = _audit("torch-fp32", {"format": "onnx-fp32", "softmax": "inside"})
    ((_, budget),) = applicable(_policy(_limit(0.6, formats=["onnx-fp32"])).spec, softmax).budgets
    assert budget.formats == ("onnx-fp32+softmax",)


STATIC = ["onnx.export", "ort.static-int8"]
"""The passes of onnx-int8-static, and of presets with other parameters of the same passes."""


def _formats(policy: ReadPolicy, audit: AuditSpec) -> list[tuple[str, ...] | None]:
    return [budget.formats for _, budget in applicable(policy.spec, audit).budgets]


@pytest.mark.parametrize(
    ("named", "entry", "limited"),
    [
        ("onnx-int8-static", {"passes": STATIC}, True),
        ("onnx-int8-static", {"passes": ["onnx.export", {"ort.static-int8": {"per_channel": False}}]}, True),
        ("onnx-int8-static", {"passes": STATIC, "runtime": {"onnxruntime": {"batch": 2}}}, True),
        ("onnx-int8-qop", {"passes": STATIC}, True),  # only its parameters differ
        ("onnx-int8-static", {"passes": ["onnx.export", "ort.fp16"]}, False),
        ("onnx-int8-static", {"passes": [{"nncf.prune": {"ratio": 0.01}}, *STATIC]}, False),
        ("litert-int8", {"passes": ["litert.export", "aeq.static-int8"]}, True),
        ("litert-int8-tflite-runtime", {"passes": ["litert.export", "aeq.static-int8"]}, False),  # in another runtime
        ("litert-int8-tflite-runtime", {"format": "litert-int8", "runtime": "tflite-runtime"}, True),
        ("litert-int8-reference", {"format": "litert-int8", "runtime": {"litert": {"xnnpack": False}}}, True),
        ("litert-int8-averaged", {"format": "litert-int8", "runtime": {"litert": {"xnnpack": False}}}, False),
        ("litert-int8-reference", {"format": "litert-int8"}, False),
    ],
)
def test_a_preset_under_any_spelling_is_limited(named: str, entry: Any, limited: bool) -> None:
    """The file of the composition is byte-identical to that of the preset, so its limit applies."""
    audit = _audit("torch-fp32", "onnx-fp32", {"name": "mine", **entry})
    policy = _policy({"auc": [["error", {"max": 0.6, "formats": [named]}], ["error", {"max": 0.95}]]})
    both = [("mine",), ("onnx-fp32", "mine")]
    assert _formats(policy, audit) == (both if limited else both[1:])
    composed = "'mine' is a composition that no budget with formats names"
    assert (composed in applicable(policy.spec, audit).notes) == (not limited and "passes" in entry)


def test_options_of_a_device_are_those_of_a_preset() -> None:
    devices: dict[str, Any] = {"local": {}, "pi": {"via": "oip://pi:8001", "options": {"litert": {"xnnpack": False}}}}
    policy = _policy(_limit(0.6, formats=["litert-int8-reference"]))
    assert _formats(policy, _audit("torch-fp32", "litert-int8", devices=devices)) == [("litert-int8",)]
    others: list[Any] = [{}, {"litert": {}}, {"onnxruntime": {"session": {}}}]
    for options in others:
        devices["pi"]["options"] = options
        assert _formats(policy, _audit("torch-fp32", "litert-int8", devices=devices)) == []


@pytest.mark.parametrize(("waived", "code"), [("mine", 0), ("onnx-int8-static", 1)])
def test_a_waiver_is_for_its_own_format_alone(waived: str, code: int) -> None:
    """The composition exceeds the limit of its preset; what is accepted for the preset is not accepted for it."""
    audit = cases.spec({}, ("lira",), formats=["torch-fp32", {"name": "mine", "passes": STATIC}])
    rows = [dataclasses.replace(one, format="mine") for one in ROWS]
    budgets = {"auc": [["error", {"max": 0.6, "formats": ["onnx-int8-static"]}], ["error", {"max": 0.95}]]}
    about = {"metric": "auc", "owner": "o", "reason": "r", "expires": "2026-12-31"}

    def judged(*waivers: Any) -> Verdict:
        policy = _policy(budgets, waivers=list(waivers))
        return judge(audit, [cases.result("mine")], rows, (), cases.no_scores, policy=policy, today=TODAY)

    limits = [(one.limit, one.format, one.verdict) for one in judged().budgets]
    assert limits == [("<= 0.6", "mine", "fail"), ("<= 0.95", "mine", "pass")]
    assert judged().exit_code == 1
    assert judged({**about, "format": waived}).exit_code == code


def test_what_no_budget_of_formats_names_is_told() -> None:
    """A pass that changes nothing hides a preset; a foreign file is what audit.yaml says."""
    policy = _policy({"auc": [["error", {"max": 0.6, "formats": ["onnx-int8-static"]}], ["error", {"max": 0.95}]]})
    mine = {"name": "mine", "passes": ["onnx.export", "ort.fp16"]}
    yours = {"name": "yours", "passes": ["litert.export", "aeq.fp16"]}
    told = "'mine' and 'yours' are compositions that no budget with formats names"
    assert told in applicable(policy.spec, _audit("torch-fp32", mine, yours)).notes
    every = _policy(_limit(0.6))  # limits all formats alike, so there is nothing to go around
    assert applicable(every.spec, _audit("torch-fp32", mine, yours)).notes == ()
    named = _policy(_limit(0.6, formats=["mine", "onnx-int8-static"]))
    assert [note for note in applicable(named.spec, _audit(mine)).notes if "composition" in note] == []
    foreign = {"target": {"artifact": "a.onnx"}, "data": {"members": "in.npy", "nonmembers": "out.npy",
               "preprocessing": "raw"}, "threat": {"shadows": 0}}  # fmt: skip
    told = "'as-shipped' is a foreign file that no budget with formats names"
    assert told in applicable(policy.spec, _audit("as-shipped", attacks=["yeom"], **foreign)).notes
    declared = _audit("onnx-int8-qop", attacks=["yeom"], **foreign)
    assert (
        "'onnx-int8-qop' is a foreign file that no budget with formats names" in applicable(policy.spec, declared).notes
    )
    same = _audit("onnx-int8-static", attacks=["yeom"], **foreign)
    assert applicable(policy.spec, same).notes == ()


def test_an_increase_over_a_preset_is_measured_from_a_composition_and_told() -> None:
    increase = _policy({"auc": ["error", {"max-increase": 0.02, "against": "onnx-fp32"}]})
    found = applicable(increase.spec, _audit({"name": "base", "passes": ["onnx.export"]}, "litert-int8"))
    assert [(budget.against, budget.formats) for _, budget in found.budgets] == [("base", ("litert-int8",))]
    assert found.notes == ("budget auc <= onnx-fp32 + 0.02 is measured from 'base', which is made like it",)
    both = _audit({"name": "base", "passes": ["onnx.export"]}, "onnx-fp32", "litert-int8")
    ((_, budget),) = applicable(increase.spec, both).budgets
    assert (budget.against, budget.formats) == ("onnx-fp32", ("base", "litert-int8"))


def test_a_reference_is_limited_where_it_is_named() -> None:
    audit = _audit({"format": "torch-fp32", "name": "shipped"}, "onnx-fp32")
    assert [b.formats for _, b in applicable(_policy(_limit(0.6)).spec, audit).budgets] == [("onnx-fp32",)]
    named = applicable(_policy(_limit(0.6, formats=["torch-fp32"])).spec, audit)
    assert [b.formats for _, b in named.budgets] == [("shipped",)]


def test_a_format_that_is_not_audited_is_not_judged_and_told() -> None:
    audit = _audit("torch-fp32", "onnx-fp32")
    budgets = {"auc": [["error", {"max": 0.6, "formats": ["litert-int8", "onnx-fp32"]}],
                       ["error", {"max": 0.7, "formats": ["onnx-fp23"]}]]}  # fmt: skip
    found = applicable(_policy(budgets).spec, audit)
    assert [budget.formats for _, budget in found.budgets] == [("onnx-fp32",)]
    # A preset is no slip of the pen, another name may be one.
    assert found.notes == (
        "budget auc <= 0.6 names what is not among this audit's formats: 'litert-int8'",
        "budget auc <= 0.7 names what is not among this audit's formats: 'onnx-fp23' (did you mean 'onnx-fp32'?)",
    )
    require_policy_applies(_policy(budgets), audit)
    audit = cases.spec({}, ("lira",))
    verdict = cases.judged(audit, ROWS, policy=_policy({"auc": [
        ["error", {"max": 0.7}], ["error", {"max": 0.6, "formats": ["onnx-fp32"]}]]}))  # fmt: skip
    assert verdict.exit_code == 0
    assert any(reason.startswith("warning: policy privacy: budget auc <= 0.6 names") for reason in verdict.reasons)


def test_a_policy_that_judges_nothing_is_refused_and_never_green() -> None:
    policy = _policy(_limit(0.6, formats=["onnx-fp32"]))
    audit = cases.spec(_limit(0.9), ("lira",))
    with pytest.raises(BudgetError, match=r"the policy privacy judges nothing in this audit.*torch-fp32, litert-int8"):
        require_policy_applies(policy, audit)
    verdict = cases.judged(audit, ROWS, policy=policy)
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", 3)
    assert verdict.reasons[0] == "policy privacy judged nothing in this audit, so nothing passes"
    assert cases.judged(audit, ROWS).exit_code == 0
    against = _policy({"auc": ["error", {"max-increase": 0.02, "against": "onnx-fp32"}]})
    assert applicable(against.spec, audit).budgets == ()
    with pytest.raises(BudgetError, match="judges nothing"):
        require_policy_applies(_policy(_limit(0.6)), _audit("torch-fp32"))


def test_a_policy_of_level_warn_reports_and_decides_nothing() -> None:
    policy = _policy({"auc": ["warn", {"max": 0.6}]})
    verdict = cases.judged(cases.spec(_limit(0.9), ("lira",)), ROWS, policy=policy)
    assert (verdict.outcome, verdict.exit_code) == ("within budget", 0)
    assert cases.judged(cases.spec({}, ("lira",)), ROWS, policy=policy).outcome == "not judged"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (_policy(_limit(0.6, attacks=["rmia"])), r"privacy: budgets\.auc: the attack 'rmia' is not in this audit's"),
        (_policy(_limit(0.6, subset="canaries")), "needs canaries"),
        (_policy(_limit(0.6, subset="class:12")), "there is no class 12"),
        (_policy({"acu": ["error", {"max": 0.6}]}), r"budgets\.acu: unknown metric\. Did you mean 'auc'\?"),
        (_policy(_limit(0.6), waivers=[{"metric": "auc", "format": "a", "attack": "yeon", "owner": "o", "reason": "r",
                                        "expires": "2026-12-31"}]),
         r"waivers\.0\.attack: there is no attack 'yeon'\. Did you mean 'yeom'\?"),
        (_policy(_limit(0.6), waivers=[{"metric": "auc", "format": "a", "subset": "al", "owner": "o", "reason": "r",
                                        "expires": "2026-12-31"}]),
         r"waivers\.0\.subset: unknown subset 'al'\. Did you mean 'all'\?"),
    ],
)  # fmt: skip
def test_what_the_audit_lacks_otherwise_is_an_error(policy: ReadPolicy, message: str) -> None:
    """To leave an attack, canaries or a class out would be a way around the limit."""
    with pytest.raises(BudgetError, match=message):
        require_policy_applies(policy, cases.spec({}), classes=10)


def test_classes_need_classes() -> None:
    regression = AuditSpec.model_validate({"task": "regression", "formats": ["torch-fp32", "onnx-fp32"]})
    with pytest.raises(BudgetError, match="there are no figures by class"):
        require_policy_applies(_policy(_limit(0.6, subset="class:*")), regression)


def test_a_policy_is_judged_again_from_what_is_recorded() -> None:
    waiver = {"metric": "auc", "format": "a", "owner": "o", "reason": "r", "expires": "2026-12-31"}
    policy = _policy(_limit(0.6), owner="them", waivers=[waiver])
    origin = policy_origin(policy, measured=True)
    assert (origin.name, origin.owner, origin.sha256, origin.measured) == ("privacy", "them", policy.sha256, True)
    again = recorded_policy(origin)
    assert (again.spec, again.title, again.sha256) == (policy.spec, "privacy", policy.sha256)
    with pytest.raises(RunError, match=r"privacy cannot be read by this version.*--policy"):
        recorded_policy(origin.model_copy(update={"content": {"budgets": "strict", "later": 1}}))


def test_a_plan_says_what_the_policy_needs() -> None:
    audit = cases.spec(_limit(0.7), ("lira",))
    needs = list(budget_needs(audit, 100, 100, 10, _policy(_limit(0.6))))
    assert [(need.policy, need.limit) for need in needs] == [(None, "<= 0.7"), ("privacy", "<= 0.6")]
    assert needs[1].records is not None
    assert needs[0].records is not None
    assert needs[1].records > needs[0].records


def test_notes_are_among_the_reasons_and_apart() -> None:
    """Views show each in a line of its own; waivers that are needed are no notes."""
    waiver = {"metric": "auc", "owner": "Ada", "reason": "r", "expires": "2026-12-31"}
    policy = _policy(
        {"auc": [["error", {"max": 0.7}], ["warn", {"max": 0.6}], ["error", {"max": 0.6, "formats": ["onnx-fp32"]}]]},
        waivers=[{**waiver, "format": "onnx-fp32"}, {**waiver, "format": "litert-int8"}],
    )
    verdict = cases.judged(cases.spec({}, ("lira",)), ROWS, policy=policy, today=TODAY)
    unmatched = "no budget is judged on 'onnx-fp32'"
    assert verdict.policy_notes == (
        "warning: policy privacy: budget auc <= 0.6 names what is not among this audit's formats: 'onnx-fp32'",
        f"warning: waiver of Ada for auc on onnx-fp32, until 2026-12-31 (r): unmatched, {unmatched}",
    )
    assert set(verdict.policy_notes) < set(verdict.reasons)
    assert cases.judged(cases.spec(_limit(0.7), ("lira",)), ROWS).policy_notes == ()
