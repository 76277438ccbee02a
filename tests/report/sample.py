"""A made-up audit of realistic size: 13 formats, 5 targets, 4 subsets, two shadow settings, one failed format."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import beta, norm
from scipy.stats import t as student

from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.p_calibration import calibration_over_targets
from edgeaudit.leakage.roc import FloatArray
from edgeaudit.leakage.rows import PKind, PSource
from edgeaudit.report.model import (
    Accuracy,
    AcrossTargets,
    Agreement,
    ArtifactInfo,
    Audit,
    Budget,
    Comparison,
    Control,
    Curve,
    Environment,
    ExposedRecord,
    FormatResult,
    Latency,
    LeakageRow,
    NullHistogram,
    Outputs,
    PassInfo,
    PCalibration,
    PopulationInfo,
    Quality,
    RuntimeInfo,
    ToolInfo,
    Verdict,
)

DEVICE = "local"
MEMBERS = NONMEMBERS = 900
FAILED = "litert-int8-dynamic"
ERROR = (
    "aeq.dynamic-int8 failed: RuntimeError: tensor 'arith.constant7' has no min/max; "
    "the quantiser cannot quantise FULLY_CONNECTED without calibration"
)


class Shape(NamedTuple):
    """How a made-up format behaves: separation of members under the strongest attack, size, test accuracy, error."""

    separation: float
    size: int
    test: float
    error: float
    precision: str
    summary: str


FORMATS = {
    "torch-fp32": Shape(0.83, 314_880, 0.884, 0.0, "float32", "the trained model itself, the reference"),
    "onnx-fp32": Shape(0.83, 316_412, 0.884, 2e-7, "float32", "ONNX, ONNX Runtime"),
    "onnx-int8-dynamic": Shape(0.81, 84_190, 0.883, 0.011, "int8", "ONNX, weights int8, activations per query"),
    "onnx-int8-static": Shape(0.80, 98_231, 0.881, 0.024, "int8", "ONNX QDQ, per channel, u8s8"),
    "onnx-int8-qop": Shape(0.77, 91_017, 0.876, 0.041, "int8", "ONNX QOperator, per tensor, u8s8"),
    "litert-fp32": Shape(0.83, 312_604, 0.884, 3e-7, "float32", "LiteRT (TFLite), XNNPACK"),
    "litert-fp16": Shape(0.83, 159_984, 0.884, 4e-4, "float16", "LiteRT, weights float16"),
    FAILED: Shape(0.0, 0, 0.0, 0.0, "int8", "LiteRT, weights int8, activations per query"),
    "litert-int8": Shape(0.74, 93_472, 0.874, 0.052, "int8", "LiteRT, full integer"),
    "nncf-pruned-50": Shape(0.92, 316_412, 0.879, 1e-7, "float32", "50% of the weights pruned, fine-tuned, ONNX"),
    "nncf-pruned-70": Shape(1.08, 316_412, 0.868, 1e-7, "float32", "70% of the weights pruned, fine-tuned, ONNX"),
    "nncf-pruned-90": Shape(0.04, 316_412, 0.731, 1e-7, "float32", "90% of the weights pruned, fine-tuned, ONNX"),
    "nncf-pruned-70-int8": Shape(1.05, 98_231, 0.866, 0.027, "int8", "70% pruned, fine-tuned, then ONNX QDQ int8"),
}
ATTACKS = {  # (attack, variant): share of the separation that it gets
    ("cm-mia", "t"): 0.98,
    ("cm-mia", "calibrated"): 1.0,
    ("cm-mia", "ecdf"): 0.93,
    ("cm-mia", "pchip"): 0.92,
    ("gap", ""): 0.35,
    ("yeom", ""): 0.62,
    ("lira", "offline-global"): 0.97,
    ("rmia", "offline-0.3"): 0.95,
}
SUBSETS = {  # share of the records, gain in separation
    "all": (1.0, 1.0),
    "abnormal:fraction": (0.1, 1.9),
    "abnormal:alpha-beta": (0.06, 2.0),
    "abnormal:hardness": (0.1, 2.2),
}
CUTOFFS = (0.01, 0.02, 0.05, 0.1)
FEW = "0 false positives in {n} nonmembers cannot bound this rate: at least 1 / {rate} nonmembers are needed"
K = 64
TARGETS = 5


def audit(**changes: Any) -> Audit:
    """The sample, with top-level fields changed as asked."""
    return Audit(**(_fields() | changes))


TPR = "tpr@fpr=0.01"


@functools.cache
def _fields() -> dict[str, Any]:
    return {
        "tool": ToolInfo(version="0.1.0"),
        "created": "2026-03-14T09:26:53Z",
        "name": "resnet8 on digits, Raspberry Pi 5",
        "seed": 7,
        "spec": {
            "model": {"recipe": "resnet8", "epochs": 60},
            "data": {"source": "digits"},
            "formats": list(FORMATS),
            "attacks": sorted({attack for attack, _ in ATTACKS}),
            "budgets": {TPR: ["error", {"max": 0.12, "use": "upper"}]},
        },
        "environment": Environment(
            python="3.11.9",
            os="Linux 6.1.0-aarch64",
            cpu="Cortex-A76",
            isa=("neon", "fp16", "dotprod"),
            packages={"torch": "2.9.1", "onnxruntime": "1.24.0", "ai-edge-litert": "2.3.0", "nncf": "3.4.0"},
            foreign_files="opened in processes of their own, without network",
        ),
        "population": PopulationInfo(
            source="digits",
            sha256=_sha("digits"),
            records=5620,
            members=MEMBERS,
            nonmembers=NONMEMBERS,
            reference=3820,
            classes=10,
            input_shape=(1, 8, 8),
            duplicates=12,
            conflicting_labels=1,
            notes=("12 records repeat an earlier one; all copies were put on one side of the split",),
        ),
        "threat": {"mode": "adversary", "exposure": "probabilities", "shadows": K, "targets": TARGETS},
        "controls": tuple(_controls()),
        "formats": tuple(_format(name, shape) for name, shape in FORMATS.items()),
        "leakage": tuple(_leakage()),
        "curves": tuple(_curves()),
        "null_p_values": tuple(_histograms()),
        "p_calibration": _p_calibration(),
        "across_targets": tuple(_across_targets()),
        "comparisons": tuple(_comparisons()),
        "exposed": tuple(_exposed()),
        "latency": tuple(_latency()),
        "verdict": verdict(),
        "timings": {"train": 812.4, "export": 96.1, "query": 143.9, "attack": 21.3},
    }


def _controls() -> Iterator[Control]:
    shift = "the strongest of 4 tests; p-value after Holm over 7 tests"
    yield Control(
        name="shift: blind classifier", status="holds", value=0.513, low=0.475, high=0.551, p_value=1.0, n=900,
        statement="a boosted classifier of raw inputs does not separate members from nonmembers", note=shift,
    )  # fmt: skip
    yield Control(
        name="duplicates", status="holds", value=0.0, low=0.0, high=0.0041, n=NONMEMBERS,
        statement="no nonmember is an exact copy of a member", note="12 of 5620 records are exact copies of another",
    )  # fmt: skip
    for name in _audited():
        yield Control(
            name="null target", status="holds", format=name, value=0.508, low=0.481, high=0.535, p_value=1.0,
            n=MEMBERS + NONMEMBERS, note="p-value after Holm over 12 tests",
            statement="cm-mia calibrated finds no members of null-target, which trained on none of the audited records",
        )  # fmt: skip
    said = f"TPR at 0.1% FPR: {NONMEMBERS} nonmembers cannot resolve it; at least 1,000 are needed"
    yield Control(name="resolution", status="warning", statement=said, n=NONMEMBERS)
    yield Control(
        name="tie mass", status="warning", format="litert-int8", value=0.41, n=MEMBERS + NONMEMBERS,
        statement="219 distinct answers to 1,800 records",
    )  # fmt: skip


def verdict() -> Verdict:
    """Budget exceeded by the pruned formats, inconclusive for one."""
    budgets = tuple(_budgets())
    over = [b.format for b in budgets if b.verdict == "fail" and b.level == "error"]
    return Verdict(
        outcome="budget exceeded",
        exit_code=1,
        reasons=(
            f"{TPR} of {', '.join(over)} may be above 12% (upper end of the 95% interval)",
            f"{FAILED} could not be made and was not audited",
        ),
        budgets=budgets,
    )


def _budgets() -> Iterator[Budget]:
    for name in _audited():
        value, low, high = _rate(_tpr(FORMATS[name].separation, 0.01), MEMBERS)
        passed: Literal["pass", "fail"] = "pass" if high <= 0.12 else "fail"
        yield Budget(
            metric=TPR, level="error", limit="max 0.12, upper end", format=name, attack="cm-mia calibrated",
            subset="all", verdict=passed if name != "litert-int8" else "inconclusive", value=value, low=low, high=high,
            note="tie mass 0.41: the threshold cannot be set finely enough" if name == "litert-int8" else None,
        )  # fmt: skip
    for name in _audited():
        gain = _auc(FORMATS[name].separation) - _auc(0.83)
        yield Budget(
            metric="auc", level="warn", limit="max increase 0.02 against torch-fp32", format=name,
            attack="cm-mia calibrated", subset="all", verdict="fail" if gain > 0.02 else "pass",
            value=gain, low=gain - 0.012, high=gain + 0.012,
        )  # fmt: skip


def _audited() -> list[str]:
    return [name for name in FORMATS if name != FAILED]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _format(name: str, shape: Shape) -> FormatResult:
    if name == FAILED:
        return FormatResult(
            id=name, device=DEVICE, status="failed", summary=shape.summary, precision=shape.precision, error=ERROR
        )
    lite = name.startswith("litert")
    runtime = ("torch", "2.9.1") if name == "torch-fp32" else ("litert", "2.3.0") if lite else ("onnxruntime", "1.24.0")
    quantised = "int8" in name and "dynamic" not in name
    return FormatResult(
        id=name,
        device=DEVICE,
        status="ok",
        summary=shape.summary,
        precision=shape.precision,
        passes=tuple(_passes(name)),
        runtime=RuntimeInfo(name=runtime[0], version=runtime[1], options={"threads": 1, "batch": 1 if lite else 64}),
        artifact=ArtifactInfo(
            file=f"{name}.tflite" if lite else f"{name}.pt" if name == "torch-fp32" else f"{name}.onnx",
            sha256=_sha(name),
            bytes=shape.size,
            softmax_inside=lite,
            calibration_policy="disjoint" if quantised else None,
            calibration_records=128 if quantised else 0,
        ),
        accuracy=Accuracy(train=min(1.0, shape.test + 0.114), test=shape.test, shadow_train=0.997, shadow_test=0.88),
        outputs=Outputs(distinct=219 if name == "litert-int8" else 1763, tie_mass=0.41 if name == "litert-int8" else 0),
        agreement=Agreement(
            records=256, max_abs=shape.error * 7, rel_rms=shape.error, top1=1 - shape.error / 3, range_ratio=1.0,
            worst_class=shape.error * 2, worst_shadow_rel_rms=shape.error * 1.8, worst_shadow_top1=1 - shape.error,
        ),
        quality=_quality(name, shape),
    )  # fmt: skip


def _pruned(name: str) -> float:
    return int(name.split("-")[2]) / 100 if name.startswith("nncf") else 0.0


def _quality(name: str, shape: Shape) -> Quality:
    weights = 78_000
    zeros = round(_pruned(name) * weights)
    packed = round(shape.size * (0.93 - 0.8 * _pruned(name)))
    if name == "litert-fp16":
        return Quality(
            compressed_bytes=packed, compression="deflate, level 9", weights=None, zeros=None, sparsity=None,
            note="the tensor 'conv1' is stored sparsely, which is not read here",
        )  # fmt: skip
    return Quality(
        compressed_bytes=packed, compression="deflate, level 9", weights=weights, zeros=zeros, sparsity=zeros / weights
    )


def _latency() -> Iterator[Latency]:
    for name in _audited():
        shape = FORMATS[name]
        for batch in (1, 32):
            head = {"format": name, "device": DEVICE, "batch": batch, "threads": 1}
            if name == "onnx-int8-dynamic" and batch == 32:
                yield Latency.model_validate(head | {"note": "the format takes 1 at a time"})
                continue
            spread = float(_drawn("latency", name).uniform(0.8, 1.3))
            median = spread * (0.2 + 3e-6 * shape.size) * batch**0.8
            yield Latency.model_validate(
                head
                | {"n": 200, "median_ms": median, "median_low": median * 0.99, "median_high": median * 1.01}
                | {"p95_ms": median * 1.2, "p95_low": median * 1.15, "p95_high": median * 1.5}
                | {"record_ms": median / batch, "cpu_share": 0.6 if name == "litert-fp32" else 0.998}
            )


def _passes(name: str) -> Iterator[PassInfo]:
    if name.startswith("nncf"):
        ratio = int(name.split("-")[2]) / 100
        yield PassInfo(name="nncf.prune", params={"ratio": ratio, "epochs": 10}, versions={"nncf": "3.4.0"})
    if name.startswith("litert"):
        yield PassInfo(name="litert.export", params={}, versions={"litert-torch": "0.10.0"})
    elif name != "torch-fp32":
        yield PassInfo(name="onnx.export", params={"opset": 18}, versions={"onnx": "1.20.0", "torch": "2.9.1"})
    if "int8" in name:
        yield PassInfo(name="static-int8", params={"per_channel": True}, versions={"onnxruntime": "1.24.0"})


def _auc(separation: float) -> float:
    return float(norm.cdf(separation / np.sqrt(2)))


def _tpr(separation: float, fpr: float) -> float:
    return float(norm.cdf(separation + norm.ppf(fpr)))


def _rate(rate: float, count: int) -> tuple[float, float, float]:
    """A rate that `count` records can show, with its Clopper-Pearson interval."""
    hits = round(rate * count)
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return hits / count, low, high


def _leakage() -> Iterator[LeakageRow]:
    for name in _audited():
        for (attack, variant), share in ATTACKS.items():
            for subset, (part, gain) in SUBSETS.items():
                n = round(MEMBERS * part)
                separation = FORMATS[name].separation * share * gain
                common = {"format": name, "attack": attack, "variant": variant, "subset": subset, "n": n}
                yield from _figures(common, "matched", separation)
                if attack in {"cm-mia", "lira", "rmia"} and subset == "all":
                    yield from _figures(common, "fp32", separation * _loss(name))
                if attack == "cm-mia":
                    yield from _verdicts(common, separation)


def _row(common: dict[str, Any], shadow_match: str, metric: str, **figures: Any) -> LeakageRow:
    names = {key: common[key] for key in ("format", "attack", "variant", "subset")}
    n = common["n"]
    return LeakageRow(
        **names, device=DEVICE, exposure="probabilities", shadow_match=shadow_match, metric=metric,
        n_members=n, n_nonmembers=n, **figures,
    )  # fmt: skip


def _null(common: dict[str, Any], shadow_match: str, metric: str, note: str) -> LeakageRow:
    return _row(common, shadow_match, metric, value=None, low=None, high=None, note=note)


def _figures(common: dict[str, Any], shadow_match: str, separation: float) -> Iterator[LeakageRow]:
    n, auc = common["n"], _auc(separation)
    error = 1.96 * 0.42 * np.sqrt(1 / n)
    yield _row(common, shadow_match, "auc", value=auc, low=max(0, auc - error), high=min(1, auc + error))
    for fpr in (0.01, 0.001):
        metric = f"tpr@fpr={fpr}"
        if common["attack"] == "gap":
            yield _null(common, shadow_match, metric, "2 distinct scores: no threshold has an FPR this low")
        elif n < 1 / fpr:
            yield _null(common, shadow_match, metric, FEW.format(n=n, rate=fpr))
        else:
            value, low, high = _rate(_tpr(separation, fpr), n)
            realised = int(fpr * n) / n
            yield _row(common, shadow_match, metric, value=value, low=low, high=high, realised_fpr=realised)
    balanced, low, high = _rate(float(norm.cdf(separation / 2)), 2 * n)
    yield _row(common, shadow_match, "balanced_accuracy", value=balanced, low=low, high=high)
    yield _row(common, shadow_match, "advantage", value=2 * balanced - 1, low=2 * low - 1, high=2 * high - 1)


def _verdicts(common: dict[str, Any], separation: float) -> Iterator[LeakageRow]:
    n, ranks = common["n"], common["variant"] in {"ecdf", "pchip"}
    rules = [f"{cutoff}" for cutoff in CUTOFFS] + ([f"nominal={cutoff}" for cutoff in CUTOFFS] if ranks else [])
    for rule in rules:
        cutoff = float(rule.removeprefix("nominal="))
        if rule.startswith("nominal=") and cutoff < 1 / (K + 1):
            note = f"{K} shadows cannot resolve a cutoff of {cutoff}: the smallest p-value is 1/{K + 1}"
            for metric in ("coverage", "ppv", "recall", "fpr", "forced_accuracy"):
                yield _null(common, "matched", f"{metric}@{rule}", note)
            continue
        fpr = cutoff * (2.5 if rule.startswith("nominal=") else 1.0)
        tpr = _tpr(separation, fpr)
        rates = {
            "coverage": (tpr + fpr) / 2,
            "ppv": tpr / (tpr + fpr),
            "recall": tpr * n / MEMBERS,
            "fpr": fpr,
            "forced_accuracy": (1 + tpr - fpr) / 2,
        }
        for metric, rate in rates.items():
            value, low, high = _rate(rate, n)
            yield _row(common, "matched", f"{metric}@{rule}", value=value, low=low, high=high)


def _curves() -> Iterator[Curve]:
    fpr = np.concatenate([[0.0], np.geomspace(1 / NONMEMBERS, 1, 120)])
    for name in _audited():
        for n, ((attack, variant), share) in enumerate(ATTACKS.items()):
            separation = FORMATS[name].separation * share
            noise = np.random.default_rng(n).normal(0, 0.02, len(fpr)).cumsum() * np.sqrt(fpr)
            tpr = np.clip(np.maximum.accumulate(norm.cdf(separation + noise + norm.ppf(fpr))), 0, 1)
            tpr[-1] = 1.0
            if attack == "gap":
                at = _tpr(separation, 0.12)
                tpr = np.where(fpr < 0.12, at * fpr / 0.12, at + (1 - at) * (fpr - 0.12) / 0.88)
            yield Curve(
                format=name, device=DEVICE, attack=attack, variant=variant, subset="all", shadow_match="matched",
                fpr=tuple(fpr.tolist()), tpr=tuple(tpr.tolist()),
            )  # fmt: skip


def _histograms() -> Iterator[NullHistogram]:
    for n, name in enumerate(_audited()):
        rng = np.random.default_rng(n)
        even: dict[tuple[str, PKind], FloatArray] = {
            (test, "conformal"): rng.uniform(size=NONMEMBERS) for test in ("t", "ecdf", "calibrated")
        }
        tails: dict[tuple[str, PKind], FloatArray] = {
            (test, "nominal"): rng.beta(0.8, 0.9, size=NONMEMBERS) for test in ("t", "ecdf")
        }
        for (test, kind), p in (even | tails).items():
            counts, _ = np.histogram(p, bins=20, range=(0, 1))
            yield NullHistogram(
                format=name, device=DEVICE, test=test, kind=kind, shadow_match="matched", counts=tuple(counts.tolist())
            )


def _exposed() -> Iterator[ExposedRecord]:
    records = np.random.default_rng(3).permutation(1800)[:24]
    for n, name in enumerate(_audited()):
        order = np.random.default_rng(n).permutation(24)[:10]
        for rank, record in enumerate(records[np.sort(order)], start=1):
            yield ExposedRecord(
                format=name, device=DEVICE, rank=rank, record=int(record), label=int(record) % 10,
                score=6.2 - 0.31 * rank, p_value=1 / (K + 1), member=bool(record % 7),
            )  # fmt: skip


def _drawn(*names: str) -> np.random.Generator:
    """The same numbers for the same names, in every process."""
    return np.random.default_rng(list(hashlib.sha256("/".join(names).encode()).digest()[:8]))


def _per_target(separation: float, metric: str, *names: str, spread: float = 0.02) -> list[float]:
    """A figure of every target."""
    found = separation + _drawn("target", *names).normal(0, spread, TARGETS)
    return [_figure(s, metric) for s in found]


def _figure(separation: float, metric: str) -> float:
    if metric == "auc":
        return _auc(separation)
    if metric == "balanced_accuracy":
        return float(norm.cdf(separation / 2))
    return _tpr(separation, float(metric.partition("=")[2]))


def _t_interval(values: list[float]) -> tuple[float, float, float, float]:
    """Mean, standard error and interval."""
    mean, se = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(student.ppf(0.975, len(values) - 1)) * se
    return mean, se, mean - half, mean + half


def _across_targets() -> Iterator[AcrossTargets]:
    few = f"0 of {TARGETS} targets have a value"
    for name in _audited():
        for (attack, variant), share in ATTACKS.items():
            for metric in ("auc", TPR, "tpr@fpr=0.001", "balanced_accuracy"):
                head: dict[str, Any] = {
                    "format": name, "device": DEVICE, "shadow_match": "matched", "attack": attack, "variant": variant,
                    "subset": "all", "metric": metric,
                }  # fmt: skip
                if metric == "tpr@fpr=0.001" or (attack == "gap" and metric == TPR):
                    nothing: dict[str, Any] = dict.fromkeys(("value", "se", "low", "high"))
                    yield AcrossTargets(**head, **nothing, targets=0, missing=TARGETS, note=few)
                    continue
                separation = FORMATS[name].separation * share
                mean, se, low, high = _t_interval(_per_target(separation, metric, name, attack, variant))
                yield AcrossTargets(**head, value=mean, se=se, low=low, high=high, targets=TARGETS, missing=0)


class _Pair(NamedTuple):
    """Two things to be compared: their names, and the separation of each."""

    head: dict[str, Any]
    first: str
    second: str
    separations: tuple[float, float]


def _family(pairs: list[_Pair], metric: str) -> Iterator[Comparison]:
    """Paired over the targets: what the two share of a target's luck cancels."""
    rows: list[dict[str, Any]] = []
    p_values: list[float] = []
    for pair in pairs:
        names = (*pair.head.values(), pair.second)
        one, other = (np.array(_per_target(s, metric, *names)) for s in pair.separations)
        noise = _drawn("noise", *names).normal(0, 0.004, TARGETS)
        value, se, low, high = _t_interval(list(one - other + noise))
        p_values.append(float(2 * student.sf(abs(value / se), TARGETS - 1)))
        rows.append(
            {**pair.head, "metric": metric, "first": pair.first, "second": pair.second}
            | {"first_value": float(one.mean()), "second_value": float(other.mean())}
            | {"value": value, "low": low, "high": high, "p_value": p_values[-1], "targets": TARGETS}
        )
    for row, adjusted in zip(rows, holm(np.array(p_values)).tolist(), strict=True):
        yield Comparison(**row, adjusted_p=adjusted)


def _comparisons() -> Iterator[Comparison]:
    place = {"device": DEVICE, "shadow_match": "matched"}
    own = "cm-mia/calibrated"
    formats = [
        _Pair({"kind": "format", "format": name, **place, "series": own}, name, "torch-fp32",
              (FORMATS[name].separation, FORMATS["torch-fp32"].separation))
        for name in _audited()[1:]
    ]  # fmt: skip
    for metric in ("auc", TPR):
        yield from _family(formats, metric)
    pairs = [
        _Pair({"kind": "format pair", "format": a, **place, "series": own}, a, b,
              (FORMATS[a].separation, FORMATS[b].separation))
        for a, b in combinations(_audited()[1:], 2)
    ]  # fmt: skip
    yield from _family(pairs, "auc")
    for pair in formats:
        nothing: dict[str, Any] = dict.fromkeys(
            ("first_value", "second_value", "value", "low", "high", "p_value", "adjusted_p")
        )
        head = pair.head | {"first": pair.first, "second": pair.second, "metric": "tpr@fpr=0.001"}
        note = f"{TARGETS} of {TARGETS} pairs have no value"
        yield Comparison(**head, **nothing, targets=0, note=note)
    for (attack, variant), share in ATTACKS.items():
        matches = [
            _Pair({"kind": "shadow match", "format": name, "device": DEVICE, "shadow_match": "-",
                   "series": f"{attack}/{variant}"}, "matched", "fp32",
                  (FORMATS[name].separation * share, FORMATS[name].separation * share * _loss(name)))
            for name in _audited()[1:]
        ]  # fmt: skip
        if attack in {"cm-mia", "lira", "rmia"}:
            for metric in ("auc", TPR):
                yield from _family(matches, metric)
    for name in _audited():
        others = [
            _Pair({"kind": "attack", "format": name, **place, "series": own}, own, f"{attack}/{variant}",
                  (FORMATS[name].separation, FORMATS[name].separation * share))
            for (attack, variant), share in ATTACKS.items() if f"{attack}/{variant}" != own
        ]  # fmt: skip
        for metric in ("auc", TPR):
            yield from _family(others, metric)


def _loss(name: str) -> float:
    """What is left of the separation with shadows that were not compressed."""
    return 0.8 if "pruned" in name else 0.99


def _p_calibration() -> tuple[PCalibration, ...]:
    tests: set[tuple[str, str, PKind]] = {
        ("cm-mia", "t", "nominal"), ("cm-mia", "calibrated", "conformal"), ("cm-mia", "ecdf", "conformal"),
        ("lira", "offline-global", "nominal"),
    }  # fmt: skip
    sources: dict[PSource, tuple[int, int]] = {
        "nonmembers": (TARGETS, NONMEMBERS),
        "null target": (1, MEMBERS + NONMEMBERS),
    }
    found = []
    for name in _audited():
        for attack, variant, kind in sorted(tests):
            valid = kind == "conformal"
            for source, (targets, n) in sources.items():
                rng = _drawn("p", name, attack, variant, source)
                p = rng.uniform(size=(targets, n)) if valid else rng.beta(0.75, 0.9, size=(targets, n))
                if valid:
                    # Among 500 known nonmembers; of a rank among K shadows, whose ties leave K + 1 values.
                    steps = K + 1 if variant == "ecdf" else 501
                    p = np.ceil(p * steps) / steps
                found += [
                    PCalibration(
                        format=name,
                        device=DEVICE,
                        shadow_match="matched",
                        attack=attack,
                        variant=variant,
                        kind=kind,
                        source=source,
                        is_p_value=valid,
                        **asdict(row),
                    )
                    for row in calibration_over_targets(list(p), known=[500] * targets if valid else None)
                ]
    return tuple(found)
