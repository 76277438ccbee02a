"""Formatting of figures and names, shared by tables, sentences and plots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from edgeaudit.endpoint import LOCAL
from edgeaudit.report.model import Budget, JudgedAttack, LeakageRow

__all__ = [
    "NOT_RESOLVABLE",
    "about",
    "attack_figure",
    "budget_figure",
    "chance",
    "counted",
    "difference",
    "difference_interval",
    "figure",
    "figure_and_interval",
    "file_size",
    "interval",
    "judged_figure",
    "listed",
    "metric_name",
    "milliseconds",
    "percent",
    "place_name",
    "printable",
    "shown",
]

NOT_RESOLVABLE = "not resolvable"
_PROCEDURES = {"bh": "BH", "by": "BY"}

_SHARES = (
    "tpr", "fpr", "fdp", "claimed", "ppv", "recall", "coverage", "accuracy", "balanced_accuracy", "forced_accuracy",
)  # fmt: skip
_NAMES = {
    "auc": "AUC",
    "tpr": "TPR",
    "fpr": "FPR",
    "ppv": "PPV",
    "balanced_accuracy": "balanced accuracy",
    "forced_accuracy": "forced-guess accuracy",
    "fdp": "false discovery proportion",
    "epsilon_lower": "epsilon, lower bound",
    "epsilon_one_run": "epsilon, one-run lower bound",
    "mu_one_run": "mu of Gaussian DP, one-run lower bound",
}


def percent(value: float) -> str:
    """A share with one decimal: 0.1234 -> 12.3%. Below 0.1% two digits are kept, so that small is not zero."""
    if 0 < abs(value) < 0.001:
        return f"{value * 100:.2g}%"
    return f"{value * 100:.1f}%"


def about(value: float) -> str:
    """A share for a sentence, two digits at most: 0.1234 -> 12%, 0.0345 -> 3.4%, 0.998 -> 99.8%."""
    if 0.1 <= value < 0.99 or value in {0, 1}:
        return f"{value * 100:.0f}%"
    return percent(value)


def figure(metric: str, value: float) -> str:
    """A value as its metric is usually written: shares in percent, AUC and advantage as decimals."""
    return percent(value) if metric.startswith(_SHARES) else f"{value:.3f}"


def figure_and_interval(
    metric: str, value: float, low: float | None, high: float | None, limits: Sequence[float] = ()
) -> tuple[str, str]:
    """A value and its interval, as `figure` and `interval`, with the digits that keep them on their side of limits."""
    scale = 2 if metric.startswith(_SHARES) else 0
    usual = 1 if scale else 3
    ends = [end for end in (value, low, high) if end is not None]
    digits = _digits(ends, limits, usual, scale)
    if digits == usual:
        return figure(metric, value), interval(metric, low, high)
    first, *both = [f"{_scaled(end, scale):.{digits}f}" for end in ends]
    return first + ("%" if scale else ""), f"[{', '.join(both)}]" if low is not None and high is not None else ""


_MOST_DIGITS = 9


def _scaled(number: float, scale: int) -> Decimal:
    """A number times a power of ten, exactly as its shortest decimal says."""
    return Decimal(repr(number)).scaleb(scale)


def _digits(numbers: Sequence[float], limits: Sequence[float], usual: int, scale: int = 0) -> int:
    """Decimals with which a number that is above a limit is above it as written, too, and one within is within."""
    for digits in range(usual, _MOST_DIGITS + 1):
        written = [Decimal(f"{_scaled(number, scale):.{digits}f}") for number in numbers]
        if all(
            (number > limit) == (text > _scaled(limit, scale))
            for number, text in zip(numbers, written, strict=True)
            for limit in limits
        ):
            return digits
    return _MOST_DIGITS


def interval(metric: str, low: float | None, high: float | None) -> str:
    """The 95% interval in brackets, in the unit of its value, or nothing where there is none: 6.8% [5.2, 8.6]."""
    if low is None or high is None:
        return ""
    return f"[{figure(metric, low)}, {figure(metric, high)}]".replace("%", "")


def difference(metric: str, value: float) -> str:
    """A difference of two figures: AUC +0.012, of shares in percentage points +1.2 pp."""
    number, unit = (f"{value * 100:+.1f}", " pp") if metric.startswith(_SHARES) else (f"{value:+.3f}", "")
    # What is zero as written has no sign.
    return (number if number.strip("+-0.") else number[1:]) + unit


def difference_interval(metric: str, low: float | None, high: float | None) -> str:
    """The 95% interval of a difference in brackets, in its unit, or nothing where there is none."""
    if low is None or high is None:
        return ""
    return f"[{difference(metric, low)}, {difference(metric, high)}]".replace(" pp", "")


def chance(p_value: float) -> str:
    """A p-value for a table: 0.0234 -> 0.023, tiny ones as < 0.001."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}" if p_value < 0.995 else "1"


def shown(row: LeakageRow | None) -> str:
    """Value and interval of a row in one line; `not resolvable` where it has no value."""
    if row is None:
        return "-"
    if row.value is None:
        return NOT_RESOLVABLE
    return f"{figure(row.metric, row.value)} {interval(row.metric, row.low, row.high)}".rstrip()


def judged_figure(value: float | None, low: float | None, high: float | None, *limits: float | None) -> str:
    """A figure that a budget judges, with its 95% interval; a figure that has one end alone is told by that end.

    It has three digits, and more where these would put it, or an end, on the other side of a limit.
    """
    known = [one for one in (value, low, high) if one is not None]
    digits = _digits(known, [limit for limit in limits if limit is not None], 3)
    texts = [f"{one:.{digits}f}" for one in known]
    if value is not None:
        return texts[0] if low is None or high is None else f"{texts[0]} [{texts[1]}, {texts[2]}]"
    if high is not None:
        return f"at most {texts[-1]}"
    return NOT_RESOLVABLE if low is None else f"at least {texts[0]}"


def attack_figure(one: JudgedAttack, budget: Budget) -> str:
    """An attack's figure as a budget judges it; where its whole interval is beyond the limit, why that is no fail."""
    limit = budget.bound
    text = judged_figure(one.value, one.low, one.high, limit)
    if budget.verdict != "inconclusive" or limit is None or one.low is None or one.low <= limit:
        return text
    if one.taught:
        return f"{text}, by which no budget fails"
    if one.low_corrected is None:
        return f"{text}, whose corrected lower end is not known"
    return f"{text}, lower end corrected for the other figures {judged_figure(one.low_corrected, None, None, limit)}"


def budget_figure(budget: Budget) -> str:
    """The figure on which a budget's verdict rests, as `attack_figure`."""
    deciding = next((one for one in budget.attacks if one.name == budget.decided_by), None)
    if deciding is None:
        return judged_figure(budget.value, budget.low, budget.high, budget.bound)
    return attack_figure(deciding, budget)


def metric_name(metric: str) -> str:
    """A metric's key in words: tpr@fpr=0.01 -> TPR at 1% FPR, ppv@prior=0.1 -> PPV at prior 0.1."""
    name, _, at = metric.partition("@")
    key, _, number = at.rpartition("=")
    name = _NAMES.get(name, name.replace("_", " "))
    if not at:
        return name
    if key == "fpr" and re.fullmatch(r"0?\.\d+", number):
        return f"{name} at {float(number) * 100:g}% FPR"
    if key in _PROCEDURES:
        return f"{name} at FDR {number} ({_PROCEDURES[key]})"
    return f"{name} at {f'{key} {number}'.strip()}"


def file_size(count: int) -> str:
    """Bytes in decimal units: 78312 -> 78.3 kB."""
    if count < 1000:
        return f"{count} B"
    kilo = count / 1e3
    return f"{kilo:.1f} kB" if kilo < 999.95 else f"{kilo / 1e3:.1f} MB"


def milliseconds(value: float) -> str:
    """Three digits, without a unit: 0.01234 -> 0.0123, 12.34 -> 12.3, 1234.5 -> 1,234."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 format, 2 formats."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(items: list[str]) -> str:
    """Items as a phrase: a; a and b; a, b and c."""
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), *items[-1:]])


def place_name(format_id: str, device: str | None) -> str:
    """A format on a device: `litert-int8 @ pi4`; on this machine, its id alone."""
    return format_id if device in {None, LOCAL} else f"{format_id} @ {device}"


def printable(text: str) -> str:
    """One line without control characters: toolchain messages carry newlines and colour codes."""
    plain = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())
