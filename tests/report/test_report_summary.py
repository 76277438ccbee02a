"""Sentences on audits small enough to be judged by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeaudit.report.model import Audit, Budget, Control, FormatResult, JudgedAttack, LeakageRow, LimitsOrigin, Verdict
from edgeaudit.report.summary import budget_lines, limits_sentence, sentences, verdict_line
from tests.report import sample

Auc = tuple[float, float, float] | None


def result(name: str, status: str = "ok") -> FormatResult:
    fields = {"id": name, "device": "local", "status": status, "summary": "", "precision": "int8"}
    return FormatResult.model_validate(fields | ({"error": "broke"} if status == "failed" else {}))


def row(name: str, metric: str, figures: Auc, note: str | None = None) -> LeakageRow:
    value, low, high = figures or (None, None, None)
    return LeakageRow(
        format=name, device="local", attack="cm-mia", variant="t", exposure="probabilities", subset="all",
        shadow_match="matched", metric=metric, value=value, low=low, high=high, n_members=500, n_nonmembers=500,
        note=note,
    )  # fmt: skip


def made(
    aucs: dict[str, Auc], *more: LeakageRow, failed: tuple[str, ...] = (), verdict: Verdict | None = None
) -> Audit:
    rows = [row(name, "auc", figures) for name, figures in aucs.items()]
    return sample.audit(
        formats=(*(result(name) for name in aucs), *(result(name, "failed") for name in failed)),
        leakage=(*rows, *more),
        curves=(),
        null_p_values=(),
        exposed=(),
        p_calibration=(),
        across_targets=(),
        comparisons=(),
        verdict=verdict or Verdict(outcome="within budget", exit_code=0, reasons=("all well",), budgets=()),
    )


def test_most_and_least_with_intervals_apart() -> None:
    said = sentences(made({"a": (0.6, 0.58, 0.62), "b": (0.7, 0.68, 0.72)}))
    assert said[0] == (
        "Of 2 formats, b leaks most and a least under cm-mia t: AUC 0.700 [0.680, 0.720] against "
        "AUC 0.600 [0.580, 0.620], where 0.5 is no leak. Their intervals do not overlap."
    )
    assert said[1] == "Leakage is significant in all 2 formats: every AUC interval lies above 0.5."


def test_overlap_is_reported() -> None:
    said = sentences(made({"a": (0.6, 0.55, 0.65), "b": (0.64, 0.6, 0.68)}))
    assert said[0].endswith("Their intervals overlap, so this alone does not show which of the two leaks more.")


@pytest.mark.parametrize("low", [0.49, 0.5])
def test_an_interval_containing_one_half_is_no_evidence_of_leakage(low: float) -> None:
    said = sentences(made({"a": (0.52, low, 0.55), "b": (0.7, 0.68, 0.72)}))
    assert said[1] == "Leakage is not significant in a: its AUC interval contains 0.5. It is significant in all others."


def test_no_format_leaks_visibly() -> None:
    said = sentences(made({"a": (0.51, 0.48, 0.54), "b": (0.5, 0.47, 0.53)}))
    assert said[1] == "Leakage under cm-mia t is significant in no format: every AUC interval contains 0.5."


def test_what_another_attack_finds_is_said_where_the_headline_finds_nothing() -> None:
    strong = replace(row("a", "auc", (0.7, 0.65, 0.75)), attack="rmia", variant="online")
    weak = replace(row("b", "auc", (0.6, 0.52, 0.68)), attack="rmia", variant="online")
    said = sentences(made({"a": (0.51, 0.48, 0.54), "b": (0.5, 0.47, 0.53)}, strong, weak))
    assert said[1].endswith("But rmia online has an AUC 0.700 [0.650, 0.750] on a, above 0.5.")
    one = sentences(made({"a": (0.7, 0.68, 0.72), "b": (0.5, 0.47, 0.53)}, strong, weak))
    assert one[1].endswith("But rmia online has an AUC 0.600 [0.520, 0.680] on b, above 0.5.")
    assert "But" not in sentences(made({"a": (0.7, 0.68, 0.72), "b": (0.5, 0.47, 0.53)}, strong))[1]


def test_an_auc_below_one_half_is_called_a_fault() -> None:
    said = sentences(made({"a": (0.4, 0.37, 0.43), "b": (0.7, 0.68, 0.72)}))
    assert said[1].startswith("The whole AUC interval of a lies below 0.5")
    assert "fault" in said[1]


def test_one_format() -> None:
    said = sentences(made({"a": (0.6, 0.58, 0.62)}))
    assert said[0] == "a is the one format audited: AUC 0.600 [0.580, 0.620] under cm-mia t, where 0.5 is no leak."
    assert said[1] == "The leakage is significant: the AUC interval lies above 0.5."


def test_equal_formats_are_not_ranked() -> None:
    said = sentences(made({"a": (0.6, 0.58, 0.62), "b": (0.6, 0.58, 0.62)}))
    assert said[0].startswith("All 2 formats leak alike")


def test_what_the_rate_means() -> None:
    audit = made({"a": (0.7, 0.68, 0.72)}, row("a", "tpr@fpr=0.01", (0.12, 0.093, 0.151)))
    assert (
        "An attacker who queries a and accepts a false positive rate of 1% identifies 12% of the training records "
        "(95% interval 9.3% to 15%); guessing identifies 1%."
    ) in sentences(audit)


def test_a_rate_that_cannot_be_resolved_says_why() -> None:
    audit = made({"a": (0.7, 0.68, 0.72)}, row("a", "tpr@fpr=0.01", None, "only 40 nonmembers"))
    assert "The leakage of a at a false positive rate of 1% is not resolvable here (only 40 nonmembers)." in sentences(
        audit
    )


def test_unresolved_formats_are_not_ranked() -> None:
    said = sentences(made({"a": None, "b": (0.6, 0.58, 0.62)}))
    assert said[0].startswith("b is the one format")
    assert sentences(made({"a": None}))[0] == "No attack has an AUC on all records, so the formats cannot be ranked."


def test_failed_formats_are_unknown_and_not_safe() -> None:
    said = sentences(made({"a": (0.6, 0.58, 0.62)}, failed=("b", "c")))
    assert said[-1] == "b and c failed and were not audited; nothing is known about them."
    said = sentences(made({}, failed=("b",)))
    assert said[0] == "No format could be audited, so nothing is known about leakage."


def test_a_missing_budget_is_reported() -> None:
    assert "No budget was set, so no format was judged." in sentences(made({}))


def judged(*verdicts: str) -> Verdict:
    budgets = tuple(
        Budget.model_validate({
            "metric": "auc", "level": "error", "limit": "max 0.6", "format": f"f{n}", "attack": "cm-mia t",
            "subset": "all", "verdict": verdict, "value": 0.5, "low": 0.4, "high": 0.6,
        })
        for n, verdict in enumerate(verdicts)
    )  # fmt: skip
    return Verdict(outcome="budget exceeded", exit_code=1, reasons=("too much", "and more"), budgets=budgets)


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        (("pass", "pass"), "met by all 2 formats it applies to."),
        (("pass",), "met by the one format it applies to."),
        (("fail", "pass", "inconclusive"), "exceeded by f0, inconclusive for f2; met by the other 1."),
        (("fail", "fail"), "exceeded by f0 and f1."),
    ],
)
def test_budget_verdicts_in_words(verdicts: tuple[str, ...], text: str) -> None:
    said = sentences(made({}, verdict=judged(*verdicts)))
    assert f"Budget auc, max 0.6 (this file, cm-mia t, level error): {text}" in said


def budget(format_id: str, verdict: str, decided_by: str, high: float | None, **more: Any) -> Budget:
    value = None if high is None else high - 0.02
    attacks = [
        {"attack": name, "subset": "all", "value": value, "low": 0.5, "high": high} for name in ("lira/x", "yeom/loss")
    ]
    fields = {"metric": "auc", "level": "error", "limit": "<= 0.6", "format": format_id, "attack": decided_by,
              "subset": "all", "verdict": verdict, "value": value, "low": 0.5, "high": high, "attacks": attacks,
              "decided_by": decided_by}  # fmt: skip
    return Budget.model_validate(fields | more)


def test_a_budget_is_one_line_with_scope_and_the_attack_that_decided() -> None:
    held, open_ = budget("a", "pass", "yeom/loss", 0.59), budget("b", "inconclusive", "lira/x", 0.62)
    pipeline = budget("a", "pass", "yeom/loss", 0.58, scope="pipeline")
    verdict = Verdict(outcome="inconclusive", exit_code=3, reasons=("open",), budgets=(held, open_, pipeline))
    assert budget_lines(made({}, verdict=verdict)) == [
        "auc <= 0.6 (this file, 2 attacks, level error): undecided on b, decided by lira/x 0.600 [0.500, 0.620]",
        "auc <= 0.6 (this pipeline, 2 attacks, level error): holds on a, decided by yeom/loss 0.560 [0.500, 0.580]",
    ]


def test_the_worst_attack_outside_a_named_set_is_printed() -> None:
    outside = {"attack": "gap/label", "subset": "all", "value": 0.71, "low": 0.7, "high": 0.72}
    short = budget("a", "pass", "yeom/loss", 0.59, worst_outside=outside)
    verdict = Verdict(outcome="within budget", exit_code=0, reasons=("held",), budgets=(short,))
    (line,) = budget_lines(made({}, verdict=verdict))
    assert line.endswith("outside the set gap/label 0.710")


def test_who_set_the_limits_is_a_sentence() -> None:
    limits = LimitsOrigin(
        file="audit.yaml", sha256="0123456789abcdef", read="2026-03-14T09:26:53+00:00", measured=False
    )
    held = budget("a", "pass", "yeom/loss", 0.59, reason="preset recommended")
    verdict = Verdict(outcome="within budget", exit_code=0, reasons=("held",), budgets=(held,), limits=limits)
    assert sentences(made({}, verdict=verdict))[-1] == (
        "Limits are those of audit.yaml (preset recommended), SHA-256 0123456789ab, read 2026-03-14T09:26:53+00:00 "
        "before any figure was known."
    )
    late = verdict.model_copy(update={"limits": limits.model_copy(update={"file": None, "measured": True})})
    assert limits_sentence(late) == (
        "Limits are those of the Python interface (preset recommended), SHA-256 0123456789ab, read "
        "2026-03-14T09:26:53+00:00 when figures were known already."
    )


def test_an_invalid_audit_says_so_first() -> None:
    invalid = Verdict(outcome="invalid", exit_code=3, reasons=("control failed: shift",), budgets=())
    audit = made({"a": (0.6, 0.58, 0.62)}, verdict=invalid)
    controls = [
        Control(name="shift: labels", status="failed", statement="label counts differ"),
        Control(name="null target", status="failed", statement="members were found", format="a"),
        Control(name="null target", status="failed", statement="members were found", format="b"),
        Control(name="duplicates", status="holds", statement="none"),
    ]
    said = sentences(audit.model_copy(update={"controls": tuple(controls)}))[0]
    assert said.startswith("A control of this audit failed (shift: labels and null target): the figures below are no")


def test_verdict_line() -> None:
    assert verdict_line(made({}, verdict=judged("fail"))) == "BUDGET EXCEEDED (exit code 1): too much (and 1 more)"
    doubts = "controls that warn: resolution, tie mass"
    assert verdict_line(made({})) == f"WITHIN BUDGET (exit code 0): all well; {doubts}"
    unsaid = made({}).model_copy(update={"controls": (Control("known", "undecided", "?"), Control("a", "holds", "!"))})
    assert verdict_line(unsaid) == "WITHIN BUDGET (exit code 0): all well; controls that are undecided: known"
    assert verdict_line(unsaid.model_copy(update={"controls": ()})) == "WITHIN BUDGET (exit code 0): all well"


def test_the_last_line_names_what_a_pass_does_not_cover() -> None:
    """An exceeded limit of level warn, and a stronger attack that the budget's own set leaves out."""
    (one,) = judged("pass").budgets
    outside = JudgedAttack(attack="cm-mia/t", subset="all", value=0.764, low=0.7, high=0.8)
    budgets = (
        one.model_copy(update={"limit": "<= 0.65", "worst_outside": outside}),
        one.model_copy(update={"limit": "<= 0.9", "worst_outside": outside}),
        one.model_copy(
            update={"limit": "<= 0.6", "level": "warn", "verdict": "fail", "decided_by": "yeom/loss on class:9"}
        ),
    )
    passed = Verdict(outcome="within budget", exit_code=0, reasons=("all well",), budgets=budgets)
    assert verdict_line(made({}, verdict=passed).model_copy(update={"controls": ()})) == (
        "WITHIN BUDGET (exit code 0): all well; exceeded, level warn: auc <= 0.6 (yeom/loss on class:9); "
        "beyond the limit outside the attack set: auc <= 0.65 (cm-mia/t)"
    )


def test_an_undecided_control_is_said_first(audit: Audit) -> None:
    controls = (Control("members known", "undecided", "no gap", format="a"), Control("duplicates", "holds", "none"))
    said = sentences(audit.model_copy(update={"controls": controls}))[0]
    assert said.startswith("A control of this audit is undecided (members known): low figures below are no evidence")


def test_another_headline_where_cm_mia_was_not_run() -> None:
    lira = replace(row("a", "auc", (0.6, 0.58, 0.62)), attack="lira", variant="offline-global")
    audit = made({"a": None}).model_copy(update={"leakage": (lira,)})
    assert "under lira offline-global" in sentences(audit)[0]


def test_several_targets_are_ranked_by_their_means() -> None:
    several = sample.audit()
    said = sentences(several)
    assert said[0].startswith(
        "Of 12 formats, nncf-pruned-70 leaks most and nncf-pruned-90 least under cm-mia calibrated, mean of 5 targets: "
    )
    assert said[1].startswith("On the first target: leakage is not significant in nncf-pruned-90")
    assert said[2].startswith("An attacker who queries nncf-pruned-70 on the first target and accepts")


def test_differences_between_formats_are_reported_with_their_test() -> None:
    several = sample.audit()
    said = sentences(several)[3]
    assert said.startswith("Compared with torch-fp32, nncf-pruned-50, nncf-pruned-70 and nncf-pruned-70-int8 leak more")
    assert "(AUC of cm-mia calibrated, paired over 5 targets, Holm-adjusted p at most 0.05)" in said
    # The price of a smaller leak stands beside it.
    price = "73.1% with nncf-pruned-90, against 88.4% with torch-fp32."
    assert said.endswith(price)
    assert "nncf-pruned-70" not in said[said.index("Test accuracy") :]  # it leaks more
    rows = tuple(replace(r, adjusted_p=0.2) for r in several.comparisons)
    assert sentences(several.model_copy(update={"comparisons": rows}))[3].startswith(
        "No difference from torch-fp32 was found in any other format (AUC of cm-mia calibrated"
    )
