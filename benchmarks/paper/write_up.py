"""results/*.json -> docs/benchmark.md and its plots: `python benchmarks/paper/write_up.py`.

What the results mean is written by hand in findings.md and put in front; every number below it comes from the results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.targets import TargetDifference, mean_over_targets, paired_over_targets

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NAMES = {
    "location30": "Location-30",
    "letter": "Letter",
    "uci-har": "UCI HAR",
    "fashion-mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
}
REFERENCE = "torch-fp32"
PILOT = ("onnx-int8-static", "litert-int8", "nncf-pruned-70-int8")
OURS = ("cm-mia/calibrated", "cm-mia/t")
PAPER = ("cm-mia/pchip", "cm-mia/ecdf")
PAPER_ERA = (
    "yeom/loss", "song-mittal/per-class", "shokri/classifier", "ml-leaks/top-3", "watson/loss", "gap/label",
)  # fmt: skip
LIRA = ("lira/offline-global", "lira/offline-per-record")
RMIA = ("rmia/offline-0", "rmia/offline-0.3", "rmia/offline-0.6")
METRICS = {
    "auc": "AUC", "tpr@fpr=0.01": "TPR at 1% realised FPR", "tpr@fpr=0.001": "TPR at 0.1% realised FPR",
}  # fmt: skip
SUBSETS = {"abnormal:fraction": "distance", "abnormal:alpha-beta": "alpha-beta", "abnormal:hardness": "hardness"}

Results = dict[str, dict[str, Any]]
Values = Sequence[float | None]


def load() -> Results:
    """Data set -> its results, in the order of `NAMES`."""
    found = {name: HERE / "results" / f"{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}


def values(data: Mapping[str, Any], run: str, form: str, series: str, metric: str, subset: str = "all") -> Values:
    """A figure on every target; empty where it was not measured."""
    found: Values = data["runs"][run]["formats"].get(form, {}).get(series, {}).get(subset, {}).get(metric, [])
    return found


def mean(found: Values) -> str:
    """`.893 ± .004`: mean and its standard error over targets."""
    over = mean_over_targets(found) if found else None
    if over is None or over.value is None:
        return "-"
    return short(over.value) + (f" ± {short(over.se)}" if over.se is not None else "")


def average(found: Iterable[Values]) -> float | None:
    """Mean over formats of the means over targets; None where no format has one."""
    known = [m for v in found if v and (m := mean_over_targets(v).value) is not None]
    return float(np.mean(known)) if known else None


def averaged(found: Iterable[Values]) -> str:
    """`average` in three digits."""
    value = average(found)
    return "-" if value is None else short(value)


def said(found: TargetDifference | None) -> str:
    """`signed`, or a dash."""
    return "-" if found is None else signed(found)


def short(value: float) -> str:
    """.893, -.012."""
    return f"{value:+.3f}".replace("0.", ".").replace("+", "") if abs(value) < 1 else f"{value:.3f}"


def signed(found: TargetDifference) -> str:
    """`+.031 ± .004`, bold where Holm's p is below 5%."""
    if found.value is None:
        return "-"
    text = f"{found.value:+.3f}".replace("0.", ".") + (f" ± {short(found.se)}" if found.se is not None else "")
    p = found.adjusted_p if found.adjusted_p is not None else found.p_value
    return f"**{text}**" if p is not None and p < 0.05 else text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty without rows."""
    body = ["| " + " | ".join(row) + " |" for row in rows]
    if not body:
        return ""
    rule = "|---" * len(head) + "|"
    return "\n".join(["| " + " | ".join(head) + " |", rule, *body]) + "\n"


def best(data: Mapping[str, Any], run: str, form: str, names: Sequence[str], metric: str, subset: str = "all") -> str:
    """The series of `names` with the largest mean; the first where none has one."""
    ranked = [
        (mean_over_targets(v).value if (v := values(data, run, form, s, metric, subset)) else None) for s in names
    ]
    return max(zip(names, ranked, strict=True), key=lambda pair: -1.0 if pair[1] is None else pair[1])[0]


def formats(data: Mapping[str, Any], run: str = "matched-64") -> list[str]:
    """Ids, in the audit's order."""
    return list(data["runs"][run]["formats"])


def family(pairs: Mapping[Any, tuple[Values, Values]]) -> dict[Any, TargetDifference]:
    """Paired differences over targets, Holm-adjusted together."""
    from dataclasses import replace

    rows = {key: paired_over_targets(a, b) for key, (a, b) in pairs.items() if a and b}
    p = np.array([1.0 if r.p_value is None else r.p_value for r in rows.values()])
    adjusted = holm(p) if len(p) else p
    return {key: replace(row, adjusted_p=float(q)) for (key, row), q in zip(rows.items(), adjusted, strict=True)}


def setting(results: Results) -> Iterator[str]:
    """What was audited."""
    yield "## What was run\n"
    rows = []
    for name, data in results.items():
        about, accuracy = data["population"], data["accuracy"][REFERENCE]
        targets = len(values(data, "matched-64", REFERENCE, "cm-mia/t", "auc"))
        rows.append([
            NAMES[name], f"{about['members']} / {about['nonmembers']} / {about['reference']}", str(targets),
            f"{accuracy['train']:.0%} / {accuracy['test']:.0%}", f"{data['queries']:,}",
            " + ".join(f"{data['timings'].get(k, 0) / 60:.0f}" for k in ("train", "compress", "query", "measure")),
        ])  # fmt: skip
    yield table(
        ["data set", "members / nonmembers / reference", "targets", "train / test accuracy", "queries",
         "minutes of a worker: train + compress + query + attack"], rows,
    )  # fmt: skip
    yield (
        "Minutes are on the clock, of workers with one thread each on two cores that other work shared: they are upper "
        "bounds, and so is what the section on H3 makes of them. Attack: the main run with all its variants and "
        "targets, without ablations.\n"
    )


def operating_points(results: Results) -> Iterator[str]:
    """What the FPRs of these results are, of nonmembers that did not choose the threshold."""
    yield "### Operating points\n"
    yield (
        "The thresholds of these results let through as many nonmembers as 1% (0.1%) of them, rounded down: that is "
        "the *realised* FPR. Other nonmembers exceed such a threshold more often, with k of n let through in "
        "(k + 1) / (n + 1) of cases on average, the *expected* FPR, which reports of audits hold at 1% and 0.1% since. "
        "TPRs below are larger than those of such a report by the difference. All attacks on a data set have the same "
        "points, so what is said of their order stands; the figures at 0.1% are at .15 to .2%.\n"
    )
    rows = []
    for name, data in results.items():
        n, cells = int(data["population"]["nonmembers"]), []
        for alpha in (0.01, 0.001):
            let_through = math.floor(alpha * n + 1e-9)
            known = let_through > 0
            cells += [str(let_through), f"{(let_through + 1) / (n + 1):.2%}"] if known else ["0", "not resolvable"]
        rows.append([NAMES[name], f"{n:,}", *cells])
    yield table(["data set", "nonmembers", "1%: let through", "expected", "0.1%: let through", "expected"], rows)


def baselines(results: Results) -> Iterator[str]:
    """H1 on all records."""
    yield "## H1: CM-MIA against the other attacks, all records\n"
    yield (
        "Mean ± standard error over targets, 64 matched shadows. LiRA is the better of its two variances, RMIA the "
        "best of a in {0, .3, .6}, each chosen for the figure at hand, so both are favoured. `t` is the paper's test "
        "made "
        "fine enough for low FPR; `calibrated` is ours.\n"
    )
    for metric, title in METRICS.items():
        yield f"### {title}\n"
        rows = []
        for name, data in results.items():
            for form in formats(data):
                paper = best(data, "matched-64", form, PAPER_ERA, metric)
                cells = [values(data, "matched-64", form, s, metric) for s in OURS]
                cells.append(values(data, "matched-64", form, best(data, "matched-64", form, LIRA, metric), metric))
                cells.append(values(data, "matched-64", form, best(data, "matched-64", form, RMIA, metric), metric))
                cells.append(values(data, "matched-64", form, paper, metric))
                rows.append([NAMES[name], form, *(mean(c) for c in cells), paper.split("/")[0]])
        yield table(["data set", "format", "calibrated", "t", "LiRA", "RMIA", "best paper-era", "which"], rows)


def success(results: Results) -> Iterator[str]:
    """The paper's own figure: attack success rate."""
    yield "### Attack success rate\n"
    yield (
        "Balanced accuracy at thresholds learned from shadows. On all records every attack must answer for every "
        "record. On the abnormal tenth (distance) every attack answers for the same records. Averaged over "
        "the formats.\n"
    )
    series = {**dict.fromkeys((*OURS, *PAPER)), LIRA[0]: None, RMIA[1]: None, **dict.fromkeys(PAPER_ERA)}
    for subset, title in (("all", "all records"), ("abnormal:fraction", "abnormal tenth")):
        rows = []
        for name, data in results.items():
            cells = []
            for s in series:
                found = [values(data, "matched-64", f, s, "balanced_accuracy", subset) for f in formats(data)]
                cells.append(averaged(found))
            rows.append([NAMES[name], *cells])
        yield table([title, *(s.replace("/", " ") for s in series)], rows)


def abnormal(results: Results) -> Iterator[str]:
    """H1 on the abnormal subset, and which selection is best."""
    yield "## The abnormal subset, and how to select it\n"
    yield (
        "AUC of each attack on the same records, averaged over the formats. Abnormal records are easy for every "
        "attack, which is why no attack may be compared on a subset with another on all records.\n"
    )
    shown = ("cm-mia/calibrated", "cm-mia/t", "lira/offline-global", "rmia/offline-0.3", "yeom/loss")
    rows = []
    for name, data in results.items():
        for subset, title in {"all": "all records", **SUBSETS}.items():
            cells = []
            for s in shown:
                found = [values(data, "matched-64", f, s, "auc", subset) for f in formats(data)]
                cells.append(averaged(found))
            rows.append([NAMES[name], title, *cells])
    yield table(["data set", "records", *(s.replace("/", " ") for s in shown)], rows)


def coverage(results: Results) -> Iterator[str]:
    """PPV at matched coverage."""
    yield "### At matched coverage\n"
    yield (
        "Share of members among the records that an attack is surest of, as many records for each attack; averaged "
        "over the formats.\n"
    )
    shown = (*OURS, *PAPER, "lira/offline-global", "rmia/offline-0.3", *PAPER_ERA)
    for level in ("0.01", "0.05"):
        rows = []
        for name, data in results.items():
            cells = []
            for s in shown:
                found = [values(data, "matched-64", f, "coverage", f"ppv@coverage={level}", s) for f in formats(data)]
                cells.append(averaged(found))
            rows.append([NAMES[name], *cells])
        yield table([f"coverage {float(level):.0%}", *(s.replace("/", " ") for s in shown)], rows)


def head_to_head(results: Results) -> Iterator[str]:
    """The calibrated test against offline LiRA and RMIA with 32 shadows."""
    yield "## `calibrated` against offline LiRA and offline RMIA, 32 matched shadows\n"
    yield (
        "Paired differences over targets ± standard error; bold: p < 5%, paired t, Holm over a data set's rows and "
        "columns. LiRA: the better variance of two; RMIA: the best of a in {0, .3, .6}; both chosen by the "
        "mean of the "
        "very figure that is compared.\n"
    )
    rows = []
    for name, data in results.items():
        run, pairs = "matched-32", {}
        for form in PILOT:
            for metric in ("tpr@fpr=0.01", "tpr@fpr=0.001"):
                ours = values(data, run, form, "cm-mia/calibrated", metric)
                for label, rivals in (("LiRA", LIRA), ("RMIA", RMIA)):
                    pairs[form, metric, label] = (
                        ours,
                        values(data, run, form, best(data, run, form, rivals, metric), metric),
                    )
        found = family(pairs)
        for form in PILOT:
            cells = []
            for metric in ("tpr@fpr=0.01", "tpr@fpr=0.001"):
                cells.append(mean(values(data, run, form, "cm-mia/calibrated", metric)))
                cells += [
                    signed(found[form, metric, rival]) if (form, metric, rival) in found else "-"
                    for rival in ("LiRA", "RMIA")
                ]
            rows.append([NAMES[name], form, str(len(values(data, run, form, "cm-mia/t", "auc"))), *cells])
    yield table(
        [
            "data set",
            "format",
            "targets",
            "TPR at 1%",
            "less LiRA",
            "less RMIA",
            "TPR at 0.1%",
            "less LiRA",
            "less RMIA",
        ],
        rows,
    )


def matching(results: Results) -> Iterator[str]:
    """H2."""
    yield "## H2: what matching the shadows is worth\n"
    yield (
        "AUC with shadows compressed like the target, less AUC with uncompressed shadows (GMIA is CM-MIA "
        "with these); "
        "paired over targets ± standard error; bold: p < 5%, Holm over all formats of a data set and attack.\n"
    )
    shown = ("cm-mia/calibrated", "cm-mia/t", "cm-mia/ecdf", "lira/offline-global", "rmia/offline-0.3")
    rows = []
    for name, data in results.items():
        found: dict[tuple[str, str], TargetDifference] = {}
        for s in shown:
            pairs = {
                (form, s): (values(data, "matched-64", form, s, "auc"), values(data, "fp32-64", form, s, "auc"))
                for form in formats(data, "fp32-64")
            }
            found |= family(pairs)
        for form in formats(data, "fp32-64"):
            cells = [said(found.get((form, s))) for s in shown]
            rows += [[NAMES[name], form, *cells]]
    yield table(["data set", "format", *(s.replace("/", " ") for s in shown)], rows)


def by_format(results: Results) -> Iterator[str]:
    """Leakage by format."""
    yield "## Leakage by format\n"
    yield (
        "Each format less torch-fp32, by `calibrated`, paired over targets ± standard error; bold: p < 5%, Holm over "
        "the formats of a data set.\n"
    )
    rows = []
    for name, data in results.items():
        found: dict[tuple[str, str], TargetDifference] = {}
        for metric in ("auc", "tpr@fpr=0.01"):
            base = values(data, "matched-64", REFERENCE, "cm-mia/calibrated", metric)
            pairs = {
                (f, metric): (values(data, "matched-64", f, "cm-mia/calibrated", metric), base)
                for f in formats(data)[1:]
            }
            found |= family(pairs)
        for form in formats(data)[1:]:
            test = data["accuracy"][form]["test"] - data["accuracy"][REFERENCE]["test"]
            cells = [said(found.get((form, m))) for m in ("auc", "tpr@fpr=0.01")]
            rows.append([NAMES[name], form, *cells, f"{test:+.1%}"])
    yield table(["data set", "format", "AUC", "TPR at 1% FPR", "test accuracy (first target)"], rows)


def shadows(results: Results) -> Iterator[str]:
    """How many shadows are enough."""
    yield "## How many shadows are enough\n"
    yield "litert-int8, matched shadows: mean over targets ± standard error.\n"
    for metric in ("auc", "tpr@fpr=0.01"):
        rows = []
        for name, data in results.items():
            for s in ("cm-mia/calibrated", "cm-mia/t", "lira/offline-global", "rmia/offline-0.3"):
                cells = [mean(values(data, f"matched-{k}", "litert-int8", s, metric)) for k in (8, 16, 32, 64)]
                rows.append([NAMES[name], s.replace("/", " "), *cells])
        yield f"### {METRICS[metric]}\n"
        yield table(["data set", "attack", "K = 8", "16", "32", "64"], rows)


def cost(results: Results) -> Iterator[str]:
    """H3."""
    yield "## H3: what testing only abnormal records saves, and what it loses\n"
    yield (
        "Asking the target about a tenth of the records saves 90% of its queries, and nothing else: shadows are "
        "trained and asked all the same, since the selection is made from their answers. Lost is the recall "
        "of the members "
        "that are not abnormal: recall at p <= .05 (`calibrated`), over all members, when every record may "
        "be claimed "
        "and when only the abnormal tenth may. Break-even: the seconds that one query must take for the "
        "saved ones to "
        "outweigh all the work that remains; below it the saving is not noticed.\n"
    )
    rows = []
    for name, data in results.items():
        about, time = data["population"], data["timings"]
        audited = about["members"] + about["nonmembers"]
        forms = formats(data)
        targets = len(values(data, "matched-64", REFERENCE, "cm-mia/t", "auc"))
        work = (time["train"] + time["compress"] + time["query"]) / len(forms)
        recalls = []
        for subset in ("all", "abnormal:fraction"):
            found = [values(data, "matched-64", f, "cm-mia/calibrated", "recall@0.05", subset) for f in forms]
            recall = average(found)
            recalls.append("-" if recall is None else f"{recall:.1%}")
        per_query = time["query"] / data["queries"] * 1000
        rows.append([
            NAMES[name], f"{audited:,} to {round(audited / 10):,}", f"{per_query:.2f} ms", *recalls,
            f"{1000 * work / (0.9 * audited * targets):.0f} ms",
        ])  # fmt: skip
    yield table(
        [
            "data set",
            "queries of a target",
            "a query here",
            "recall, all",
            "recall, abnormal tenth",
            "break-even a query",
        ],
        rows,
    )


def p_values(results: Results) -> Iterator[str]:
    """Whether p-values hold."""
    yield "## Do the p-values hold?\n"
    yield (
        "Observed rate of p <= nominal on a null target (which trained on none of the audited records), its [95% "
        "interval] (over its records; over null targets where there are several) and, for conformal p-values, {the "
        "band} where the rate of a valid test lies with 95%: it holds the draw of the known nonmembers, too, which the "
        "interval does not "
        "(docs/how-to-read-a-leakage-number.md). `!`: above the band (of a nominal tail: the interval lies above), "
        "anti-conservative; `c`: below, conservative; `t`: conservative because of ties; `n`: not resolvable.\n"
    )
    yield "### Conformal p-values: every format, every test\n"
    yield (
        "The test's score ranked among those of reference records that the target did not train on. A test is printed "
        "as a p-value in a format where no level, on null targets or on the targets' own nonmembers, lies above the "
        "band widened for all of them at once; elsewhere it is a ranking, and the last column says so.\n"
    )
    yield _counted(results)
    rows = []
    for name, data in results.items():
        for form, variant, by_level in _null_rates(data, "conformal"):
            printed = "p-value" if by_level[0.05]["is_p_value"] else "ranking"
            rows.append([NAMES[name], form, variant, *(_rate(by_level[a]) for a in (0.05, 0.01)), printed])
    yield table(["data set", "format", "test", "nominal .05", "nominal .01", "printed as"], rows)
    yield "### All levels\n"
    levels = (0.001, 0.01, 0.02, 0.05, 0.1)
    for kind, title in (("conformal", "conformal"), ("nominal", "nominal tail: a ranking, not a p-value")):
        for variant in TESTS:
            rows = [
                [NAMES[name], form, *(_rate(by_level[level]) for level in levels)]
                for name, data in results.items()
                for form, test, by_level in _null_rates(data, kind)
                if test == variant
            ]
            if rows:
                yield f"#### `{variant}` ({title})\n"
                yield table(["data set", "format", *(f"nominal {level:g}" for level in levels)], rows)
    yield "### Over targets\n"
    yield (
        "The same on the nonmembers of all targets of a data set together, with an interval over targets (t) and a "
        "band that holds what targets share, known nonmembers and audited records: one row a test, the worst format "
        "at nominal .05.\n"
    )
    rows = []
    for name, data in results.items():
        for kind in ("conformal", "nominal"):
            for variant in TESTS:
                own = [
                    r for r in data["p_calibration"]
                    if (r["variant"], r["attack"], r["source"], r["nominal"]) == (variant, "cm-mia", "nonmembers", 0.05)
                    and _kind(r) == kind
                ]  # fmt: skip
                if own:
                    worst = max(own, key=lambda r: r["observed"])
                    rows.append([NAMES[name], variant, kind, worst["format"], _rate(worst), worst["status"]])
    yield table(["data set", "test", "p", "worst format", "observed at .05", "status"], rows)


TESTS = ("calibrated", "t", "ecdf", "pchip", "discrete")


def _counted(results: Results) -> str:
    """How many of the rates lie above where they should."""
    cells = [by_level for data in results.values() for _, _, by_level in _null_rates(data, "conformal")]
    said = []
    for level in (0.05, 0.01):
        rows = [by_level[level] for by_level in cells]
        above = sum(row["status"] == "anti-conservative" for row in rows)
        over = sum(row["low"] > level for row in rows)
        said.append(f"at {level:g} {above} lie above the band and {over} have an interval above {level:g}")
    count, printed = len(cells), sum(by_level[0.05]["is_p_value"] for by_level in cells)
    return (
        f"{count} pairs of format and test: {'; '.join(said)}. Of valid tests {0.025 * count:.1f} are expected above "
        "the band, by chance and in clusters, since formats share records and shadows. "
        f"{printed} of {count} are printed as p-values.\n"
    )


def _kind(row: dict[str, Any]) -> str:
    """Results from before tests had conformal p-values do not say; there only `calibrated` had them."""
    return str(row.get("kind", "conformal" if row["variant"] == "calibrated" else "nominal"))


def _null_rates(data: dict[str, Any], kind: str) -> Iterator[tuple[str, str, dict[float, dict[str, Any]]]]:
    """Format, test of CM-MIA, and its rows on null targets by nominal level."""
    own = [
        r for r in data["p_calibration"]
        if (r["attack"], r["source"], r["shadow_match"], _kind(r)) == ("cm-mia", "null target", "matched", kind)
    ]  # fmt: skip
    for form in dict.fromkeys(r["format"] for r in own):
        for variant in TESTS:
            by_level = {r["nominal"]: r for r in own if (r["format"], r["variant"]) == (form, variant)}
            if by_level:
                yield form, variant, by_level


def _rate(row: dict[str, Any]) -> str:
    marks = {"anti-conservative": " !", "conservative": " c", "not resolvable": " n"}
    mark = marks.get(row["status"], "")
    if mark == " c" and "ties:" in (row.get("note") or ""):
        mark = " t"
    said = f"{row['observed']:.4f} [{row['low']:.3f}, {row['high']:.3f}]"
    if row.get("band_high") is not None:
        said += f" {{{row['band_low']:.3f}, {row['band_high']:.3f}}}"
    return said + mark


def plot(results: Results, folder: Path) -> None:
    """TPR at 1% realised FPR by format, one panel a data set; bars are standard errors."""
    shown = {
        "cm-mia/calibrated": "#1b6ca8",
        "cm-mia/t": "#74b3d8",
        "lira/offline-global": "#e08e45",
        "rmia/offline-0.3": "#8a8a8a",
    }
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), squeeze=False)
    for axis, (name, data) in zip(axes.flat, results.items(), strict=False):
        forms = formats(data)
        for index, (series, colour) in enumerate(shown.items()):
            over = [mean_over_targets(values(data, "matched-64", f, series, "tpr@fpr=0.01") or [None]) for f in forms]
            heights = [o.value or 0 for o in over]
            errors = [o.se or 0 for o in over]
            places = np.arange(len(forms)) + (index - 1.5) * 0.2
            axis.bar(
                places, heights, 0.2, yerr=errors, color=colour, label=series.replace("/", " "), error_kw={"lw": 0.8}
            )
        axis.set_title(NAMES[name], fontsize=10)
        axis.set_xticks(range(len(forms)), [f.replace("nncf-", "") for f in forms], rotation=35, ha="right", fontsize=7)
        axis.tick_params(axis="y", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(results) :]:
        axis.set_visible(False)
    axes[0][0].legend(fontsize=7, frameon=False)
    figure.supylabel("TPR at 1% realised FPR", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / "benchmark-tpr.svg", metadata={"Date": None})
    plt.close(figure)


SECTIONS: tuple[Callable[[Results], Iterator[str]], ...] = (
    setting, operating_points, baselines, success, abnormal, coverage, head_to_head, matching, by_format, shadows, cost,
    p_values,
)  # fmt: skip


def main() -> None:
    """Write docs/benchmark.md and docs/images/benchmark-tpr.svg."""
    mpl.rcParams["svg.hashsalt"] = "edgeaudit"
    results = load()
    plot(results, ROOT / "docs" / "images")
    parts = [(HERE / "findings.md").read_text(encoding="utf-8")]
    parts += [block for section in SECTIONS for block in section(results)]
    (ROOT / "docs" / "benchmark.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
