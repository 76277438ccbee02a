"""Recompute the figures of an audit from its evidence, with numpy alone.

    python recompute.py evidence.npz audit.json

`edgeaudit export` writes evidence.npz (docs/evidence.md describes its arrays). This program imports nothing of
edgeaudit, and no scipy. It recomputes
 1. the scores of LiRA and RMIA, of every target, from the answers of target and shadows;
 2. from the scores of every attack: AUC, TPR at an FPR, balanced accuracy, advantage and PPV, with their intervals;
 3. the means over targets;
compares 1 with the scores in the file and 2 and 3 with audit.json, and prints how many numbers agree. Exit code 0: all
do, to 1e-9; 1: some do not; 2: a file cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray
Figure = tuple[float | None, float | None, float | None, float | None]  # value, low, high, realised FPR
UNKNOWN: Figure = (None, None, None, None)
TOLERANCE, LEVEL, TAIL = 1e-9, 0.95, 0.025
FPR_LEVELS, PRIORS = (0.05, 0.01, 0.001), (0.5, 0.1, 0.01)  # 5%: of canaries
METRICS = ("auc", "tpr@", "balanced_accuracy", "advantage", "ppv@prior=")
FEWEST_GROUPS = FEWEST_IN_SLICE = 20  # on each side; no figure with fewer
RMIA_A = {"offline-0.3": 0.3, "offline-0": 0.0, "offline-0.6": 0.6}
log_gamma = np.vectorize(math.lgamma, otypes=[float])


# ---- Distributions -------------------------------------------------------------------------------------------------


def beta_cdf(a: Array, b: Array, x: Array) -> Array:
    """I_x(a, b), the regularised incomplete beta function; a point mass at 0 for a <= 0, at 1 for b <= 0.

    By the continued fraction of DLMF 8.17.22 (Lentz's method), on the side of the mean where it converges quickly.
    """
    a, b, x = np.broadcast_arrays(*(np.asarray(one, float) for one in (a, b, x)))
    at_zero, at_one = a <= 1e-9, b <= 1e-9
    a, b = (np.where(at_zero | at_one, 1.0, one) for one in (a, b))
    mirrored = x > (a + 1) / (a + b + 2)
    p, q, y = np.where(mirrored, (b, a, 1 - x), (a, b, x))
    front = np.exp(p * np.log(y) + q * np.log1p(-y) + log_gamma(p + q) - log_gamma(p) - log_gamma(q)) / p
    c, d = np.ones_like(y), 1 / (1 - (p + q) * y / (p + 1))
    fraction = d
    for m in range(1, 100_000):
        for term in (
            m * (q - m) * y / ((p + 2 * m - 1) * (p + 2 * m)),
            -(p + m) * (p + q + m) * y / ((p + 2 * m) * (p + 2 * m + 1)),
        ):
            d, c = 1 / (1 + term * d), 1 + term / c
            fraction = fraction * c * d
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    value = np.where(mirrored, 1 - front * fraction, front * fraction)
    return np.where(at_zero, 1.0, np.where(at_one, 0.0, value))


def quantiles(cdf: Callable[[Array], Array], probabilities: Array) -> Array:
    """The x in [0, 1] with cdf(x) = probability, by bisection."""
    low, high = np.zeros(len(probabilities)), np.ones(len(probabilities))
    for _ in range(50):
        x = (low + high) / 2
        below = cdf(x) < probabilities
        low, high = np.where(below, x, low), np.where(below, high, x)
    return (low + high) / 2


@cache
def t_quantile(df: float) -> float:
    """Of Student's t at 1 - TAIL: P[|T| < t] = I_y(1/2, df/2), y = t^2 / (df + t^2)."""
    y = quantiles(lambda x: beta_cdf(0.5, df / 2, x), np.array([LEVEL]))[0]
    return math.sqrt(df * y / (1 - y))


def rate_intervals(pairs: list[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Clopper-Pearson intervals of (hits, trials, tail of each end): Beta quantiles."""
    hits, trials, tail = (np.array(one, float) for one in zip(*pairs, strict=True))
    a, b = np.concatenate((hits, hits + 1)), np.concatenate((trials - hits + 1, trials - hits))
    ends = quantiles(lambda x: beta_cdf(a, b, x), np.concatenate((tail, 1 - tail)))
    ends = np.where(a <= 0, 0.0, np.where(b <= 1e-12, 1.0, ends))
    return list(zip(ends[: len(hits)].tolist(), ends[len(hits) :].tolist(), strict=True))


@cache
def threshold_ranks(n: int, alpha: float) -> tuple[Array, Array]:
    """How many of n nonmembers lie above the population's threshold, Bin(n, alpha): counts, and their probabilities."""
    k = np.arange(n + 1)
    log_choose = math.lgamma(n + 1) - log_gamma(k + 1) - log_gamma(n - k + 1)
    weight = np.exp(log_choose + k * math.log(alpha) + (n - k) * math.log1p(-alpha))
    kept = (np.cumsum(weight) >= 1e-9) & (np.cumsum(weight[::-1])[::-1] > 1e-9)  # the rest is negligible
    return k[kept], weight[kept] / weight[kept].sum()


# ---- Figures of scores ---------------------------------------------------------------------------------------------


class Side:
    """Members or nonmembers, in groups of related records (each its own without groups)."""

    def __init__(self, groups: Array) -> None:
        self.group = np.unique(groups, return_inverse=True)[1]
        self.sizes = np.bincount(self.group)
        self.n, self.count = len(groups), len(self.sizes)

    def squares(self, values: Array) -> Array:
        """Each group's term in the variance of the mean: (sum of deviations / n)^2."""
        return (np.bincount(self.group, weights=values - values.mean()) / self.n) ** 2

    def variance(self, values: Array) -> float:
        """Of the mean: G/(G-1) times the sum over groups of their terms (Obuchowski 1997)."""
        return float(self.count / (self.count - 1) * self.squares(values).sum())

    def noise(self, values: Array) -> float:
        """The variance of that variance, a sum over groups as well."""
        return float(self.count * self.squares(values).var())

    def effective(self, flags: Array) -> float:
        """Independent records that know the rate of `flags` as well: n / design effect (Rao & Scott 1992)."""
        if self.count == self.n:
            return float(self.n)
        rate = flags.mean()
        if not 0 < rate < 1 or self.count < 2:
            return float(self.n**2 / (self.sizes.astype(float) ** 2).sum())
        return float(self.n / max(1.0, self.variance(flags) / (rate * (1 - rate) / self.n)))


def figures(scores: Array, members: Array, threshold: float | None, groups: Array) -> dict[str, Figure]:
    """All figures of scores, higher = member. threshold: member where score >= threshold."""
    x, y = scores[members], scores[~members]
    if not len(x) or not len(y):
        return {}
    both = Side(groups[members]), Side(groups[~members])
    grouped = any(side.count < side.n for side in both)
    if grouped and min(side.count for side in both) < FEWEST_GROUPS:
        return {}
    found = {"auc": auc(x, y, both)}
    for alpha in FPR_LEVELS:
        found[f"tpr@fpr={alpha:g}"] = tpr_at_fpr(x, y, both, alpha)
    return found if threshold is None else found | at_threshold(x >= threshold, y >= threshold, both)


def auc(x: Array, y: Array, both: tuple[Side, Side]) -> Figure:
    """P[member > nonmember] + P[equal] / 2, DeLong's variance, Student's t interval on the logit scale."""

    def share_below(values: Array, others: Array) -> Array:
        others = np.sort(others)
        return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / 2 / len(others)

    of_members, of_nonmembers = share_below(x, y), 1 - share_below(y, x)
    value, fewest = float(of_members.mean()), min(side.count for side in both)
    if fewest == 1:
        return value, 0.0, 1.0, None
    if np.ptp(of_members) == 0 and np.ptp(of_nonmembers) == 0:  # all pairs alike: as if `fewest` pairs were seen
        q = TAIL ** (1 / fewest)
        return value, q * value, min(1.0, q * value + 1 - q), None
    levels = np.unique(np.concatenate((x, y)))
    if len(levels) == 2:  # AUC = (1 + TPR - FPR) / 2
        low, high = rate_difference(x == levels[1], y == levels[1], both)
        return value, (1 + low) / 2, (1 + high) / 2, None
    variance = both[0].variance(of_members) + both[1].variance(of_nonmembers)
    logit = math.log(value / (1 - value))
    # Satterthwaite's degrees of freedom: 2 variance^2 / (variance of the variance), at most those of the smaller side.
    noise = both[0].noise(of_members) + both[1].noise(of_nonmembers)
    freedom = max(1.0, min(fewest - 1, 2 * variance**2 / noise)) if noise > 0 else fewest - 1
    half = t_quantile(freedom) * math.sqrt(variance) / (value * (1 - value))
    return value, 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit)), None


def tpr_at_fpr(x: Array, y: Array, both: tuple[Side, Side], alpha: float) -> Figure:
    """Share of members above the r-th largest nonmember, r = floor(alpha (n + 1)); ties averaged over random orders.

    Interval: with N ~ Bin(n, alpha) nonmembers above the population's threshold, the members above it number between
    K[N] and K[N + 1], K[r] = members above the r-th largest nonmember. Ends: quantiles of the mixtures over N of
    Beta(K[N], m - K[N] + 1) and Beta(K[N + 1] + 1, m - K[N + 1]).
    """
    m, n = len(x), len(y)
    x_sorted, y_sorted = np.sort(x), np.sort(y)
    top = y_sorted[::-1]
    first, last = np.searchsorted(y_sorted, top, "left"), np.searchsorted(y_sorted, top, "right")
    above = m - np.searchsorted(x_sorted, top, "right")
    tied = m - above - np.searchsorted(x_sorted, top, "left")
    place = np.arange(1, n + 1) - (n - last)  # 1 to the size of the tied group
    K = np.concatenate(([0.0], above + tied * place / (last - first + 1), [float(m)]))  # noqa: N806  as in the formula
    rank = max(r for r in range(int(alpha * (n + 1)) + 2) if r / (n + 1) <= alpha)
    threshold = top[max(rank, 1) - 1]
    m_e, n_e = (s.effective((v > threshold) + 0.5 * (v == threshold)) for s, v in zip(both, (x, y), strict=True))
    trials = max(1, round(n_e))
    count, weight = threshold_ranks(trials, alpha)
    scale = n / trials
    lower = K[np.floor(count * scale + 1e-9).astype(int)] * m_e / m
    upper = K[np.minimum(np.ceil((count + 1) * scale - 1e-9), n + 1).astype(int)] * m_e / m
    a, b = np.stack((lower, upper + 1)), np.stack((m_e - lower + 1, m_e - upper))
    low, high = quantiles(lambda p: beta_cdf(a, b, p[:, None]) @ weight, np.array([TAIL, 1 - TAIL])).tolist()
    return (K[rank] / m, low, high, (rank - 1) / n) if rank else (None, low, high, None)


def rate_difference(hits: Array, alarms: Array, both: tuple[Side, Side]) -> tuple[float, float]:
    """Interval of TPR - FPR: Clopper-Pearson's of each rate, squared and added (Zou & Donner 2008)."""
    m, n = (side.effective(flags.astype(float)) for side, flags in zip(both, (hits, alarms), strict=True))
    tpr, fpr = hits.mean(), alarms.mean()
    (t_low, t_high), (f_low, f_high) = rate_intervals([(tpr * m, m, TAIL), (fpr * n, n, TAIL)])
    low = tpr - fpr - math.hypot(tpr - t_low, f_high - fpr)
    high = tpr - fpr + math.hypot(t_high - tpr, fpr - f_low)
    return max(-1.0, low), min(1.0, high)


def at_threshold(hits: Array, alarms: Array, both: tuple[Side, Side]) -> dict[str, Figure]:
    """Balanced accuracy (1 + TPR - FPR) / 2, advantage TPR - FPR, and PPV, whose ends take opposite ends of the rates.

    PPV = prior TPR / (prior TPR + (1 - prior) FPR); each rate's interval has half the error (Bonferroni).
    """
    tpr, fpr = float(hits.mean()), float(alarms.mean())
    low, high = rate_difference(hits, alarms, both)
    found: dict[str, Figure] = {
        "balanced_accuracy": ((1 + tpr - fpr) / 2, (1 + low) / 2, (1 + high) / 2, fpr),
        "advantage": (tpr - fpr, low, high, fpr),
    }
    m, n = (side.effective(flags.astype(float)) for side, flags in zip(both, (hits, alarms), strict=True))
    (t_low, t_high), (f_low, f_high) = rate_intervals([(tpr * m, m, TAIL / 2), (fpr * n, n, TAIL / 2)])
    for prior in PRIORS:

        def ppv(t: float, f: float, prior: float = prior) -> float | None:
            return prior * t / (prior * t + (1 - prior) * f) if prior * t + (1 - prior) * f > 0 else None

        known = tpr > 0 or fpr > 0
        ends = (ppv(t_low, f_high), ppv(t_high, f_low)) if known else (None, None)
        found[f"ppv@prior={prior:g}"] = (ppv(tpr, fpr), *ends, fpr)
    return found


# ---- Scores from answers -------------------------------------------------------------------------------------------


def true_probability(answers: Array, labels: Array, floor: float, *, softmax: bool) -> Array:
    """The label's probability, clipped to [floor, 1 - floor]. softmax: answers are probabilities, not logits."""
    p = np.asarray(answers, float)
    if not softmax:
        p = np.exp(p - p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    return np.clip(p[np.arange(len(labels)), labels], floor, 1 - floor)


def margin(answers: Array, labels: Array, exposure: str, floor: float, *, softmax: bool) -> Array:
    """Log p / (1 - p) of the clipped probability; where logits are exposed, z_y - log sum of exp of the others."""
    if exposure == "probabilities":
        p = true_probability(answers, labels, floor, softmax=softmax)
        return np.log(p) - np.log1p(-p)
    rows, z = np.arange(len(labels)), np.array(answers, float)
    true = z[rows, labels].copy()
    z[rows, labels] = -np.inf
    return true - z.max(axis=1) - np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1))


def gaussians(phi: Array, kept: Array, *, per_record: bool) -> tuple[Array, Array]:
    """Mean and variance of each record's margins over the shadows in `kept`; global: the pooled variance."""
    count = kept.sum(axis=0)
    first = phi[kept.argmax(axis=0), np.arange(phi.shape[1])]  # subtracted, so that equal margins vary by exactly 0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(kept, phi - first, 0.0).sum(axis=0) / count
        variance = np.where(kept, (phi - first - mean) ** 2, 0.0).sum(axis=0) / (count - 1)
    known = count > 1
    pooled = float(np.average(variance[known], weights=count[known] - 1)) or 1.0
    if not per_record:
        return first + mean, np.full(len(count), pooled)
    positive = variance[known & (variance > 0)]
    least = 1e-5 * (float(np.median(positive)) if len(positive) else 1.0)
    return first + mean, np.where(known, np.maximum(variance, least), pooled)


def lira(phi: Array, shadow_phi: Array, out: Array, variant: str) -> Array:
    """Carlini et al. 2022. Offline: (phi - mean) / deviation of OUT; online: log density of IN over that of OUT."""
    per_record = variant.endswith("per-record")
    mean, variance = gaussians(shadow_phi, out, per_record=per_record)
    if variant.startswith("offline"):
        return (phi - mean) / np.sqrt(variance)
    in_mean, in_variance = gaussians(shadow_phi, ~out, per_record=per_record)
    densities = [-((phi - m) ** 2 / v + np.log(v)) / 2 for m, v in ((in_mean, in_variance), (mean, variance))]
    return densities[0] - densities[1]


def rmia(p: Array, shadow_p: Array, out: Array, audited: Array, known: Array, variant: str, gamma: float) -> Array:
    """Zarifzadeh et al. 2024: the share of known nonmembers z with (p_x / p(x)) / (p_z / p(z)) > gamma.

    Offline p(x) = ((1 + a) p_out + 1 - a) / 2, online (p_in + p_out) / 2, with means over the shadows. The order of the
    operations is that of edgeaudit, since a rounding error would decide ties.
    """

    def mean(kept: Array) -> Array:
        total = np.zeros(shadow_p.shape[1])
        for row, one in zip(shadow_p, kept, strict=True):
            total += np.where(one, row, 0.0)
        count = kept.sum(axis=0)
        return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)

    p_out = mean(out)
    if variant == "online":
        p_in = mean(~out)
        average = np.where(np.isnan(p_in), p_out, (p_in + p_out) / 2)
    else:
        average = ((1 + RMIA_A[variant]) * p_out + 1 - RMIA_A[variant]) / 2
    ratio = p / average
    z = np.sort(ratio[known & out.any(axis=0)])
    return np.searchsorted(z, ratio[audited] / gamma, side="left") / len(z)


AT_COMMON_FLOOR = " at common floor"


def scores_from_answers(file: Mapping[str, Array], about: Mapping[str, Any], t: int) -> Iterator[tuple[str, Array]]:
    """LiRA's and RMIA's scores of target t in one deployment, of the variants that ran, at both probability floors."""
    labels, audited, out = file["labels"], file["audited"], ~file["shadow_trained"]
    exposure = about["exposure"]
    target, own = file[about["targets"]][t], bool(file[about["targets_softmax"]][t])
    shadows = list(zip(file[about["shadows"]], file[about["shadows_softmax"]].tolist(), strict=True))
    known = ~audited & ~file["target_trained"][t]
    gamma = about["attack_settings"].get("rmia", {}).get("gamma", 2.0)

    @cache
    def signals(floor: float) -> tuple[Array, Array, Array, Array]:
        phi = margin(target, labels, exposure, floor, softmax=own)
        shadow_phi = np.array([margin(one, labels, exposure, floor, softmax=inside) for one, inside in shadows])
        p = true_probability(target, labels, floor, softmax=own)
        shadow_p = np.array([true_probability(one, labels, floor, softmax=inside) for one, inside in shadows])
        return phi, shadow_phi, p, shadow_p

    for name, stored in zip(file[about["attacks"]].tolist(), file[about["scores"]][t], strict=True):
        attack, _, variant = name.removesuffix(AT_COMMON_FLOOR).partition("/")
        if np.isnan(stored).any() or "+" in variant:
            continue  # did not run, or also read answers on transformed records, which are not in the file
        common = name.endswith(AT_COMMON_FLOOR)
        floor = float(about["common_floor"] if common else file[about["floors"]][t])
        phi, shadow_phi, p, shadow_p = signals(floor)
        if attack == "lira":
            yield name, lira(phi[audited], shadow_phi[:, audited], out[:, audited], variant)
        elif attack == "rmia":
            yield name, rmia(p, shadow_p, out, audited, known, variant, gamma)


# ---- Comparison ----------------------------------------------------------------------------------------------------


class Tally:
    """Numbers compared and the largest difference, by deployment and quantity."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[float]] = {}

    def compare(self, where: str, what: str, found: Any, expected: Any) -> None:
        """Compare two numbers, Nones or arrays."""
        row = self.rows.setdefault((where, what), [0, 0.0, 0])
        a, b = (np.atleast_1d(np.array(one, float)) for one in (found, expected))  # None becomes NaN
        with np.errstate(invalid="ignore"):
            difference = np.abs(a - b) / np.maximum(1.0, np.abs(b))
        difference = np.where(np.isnan(a) & np.isnan(b), 0.0, np.where(np.isnan(difference), np.inf, difference))
        row[0] += len(difference)
        row[1] = max(row[1], float(difference.max()))
        row[2] += int((difference > TOLERANCE).sum())

    def show(self) -> int:
        """Print the table; return the exit code."""
        print(f"{'deployment':44}{'quantity':28}{'compared':>9}{'largest difference':>20}")
        for (where, what), (count, worst, wrong) in self.rows.items():
            print(f"{where:44}{what:28}{count:9,}{worst:20.1e}{'  DIFFERS: ' + str(wrong) if wrong else ''}")
        count, wrong = (int(sum(row[i] for row in self.rows.values())) for i in (0, 2))
        print(f"{count:,} numbers compared, {wrong:,} differ by more than {TOLERANCE:g}")
        return 1 if wrong or not count else 0


def figures_of(file: Mapping[str, Array], about: Mapping[str, Any], t: int, v: int, subset: str) -> dict[str, Figure]:
    """The figures of variant v on target t in a subset."""
    scores, threshold = file[about["scores"]][t, v], float(file[about["thresholds"]][t, v])
    members, audited, names = file["members"][t], file["audited"], file[about["subsets"]].tolist()
    kept = ~np.isnan(scores)
    if subset == "uncalibrated":
        kept &= ~file[about["calibrated"]][t]
    elif subset in names:
        kept &= file[about["subset_records"]][names.index(subset)]
    elif subset != "all":  # a slice: `class:<label>`, or `<column>:<value>`
        column, _, value = subset.partition(":")
        values = file["labels"] if column == "class" else file[f"slices/{column}"]
        kept &= values[audited].astype(str) == value
        if min(members[kept].sum(), (~members[kept]).sum()) < FEWEST_IN_SLICE:
            return {}
    groups = file["groups"][audited] if "groups" in file else np.arange(len(scores))
    known = None if math.isnan(threshold) else threshold
    return figures(scores[kept], members[kept], known, groups[kept])


def canary_figures(file: Mapping[str, Array], about: Mapping[str, Any], name: str) -> dict[str, Figure]:
    """The figures of a variant on canaries, planted ones in place of members, of the first target."""
    ran = file[about["canary_attacks"]].tolist() if "canary_attacks" in about else []
    if name not in ran:
        return {}
    scores = file[about["canary_scores"]][ran.index(name)]
    return figures(scores, file["canaries_planted"], None, np.arange(len(scores)))


def compare_figures(
    tally: Tally, file: Mapping[str, Array], about: Mapping[str, Any], audit: Mapping[str, Any]
) -> None:
    """Compare the figures of one deployment with audit.json, and their means over targets."""
    place, attacks = deployment(about), file[about["attacks"]].tolist()
    targets = np.flatnonzero(~file["null_targets"]).tolist()

    @cache
    def found(t: int, name: str, subset: str) -> dict[str, Figure]:
        if subset == "canaries":
            return canary_figures(file, about, name)
        return figures_of(file, about, t, attacks.index(name), subset) if name in attacks else {}

    for row in audit["leakage"] + audit["across_targets"]:
        name, metric = f"{row['attack']}/{row['variant']}", row["metric"]
        if deployment(row) != place or not metric.startswith(METRICS):
            continue
        if "targets" not in row:
            expected = [row[key] for key in ("value", "low", "high", "realised_fpr")]
            tally.compare(place, metric, found(0, name, row["subset"]).get(metric, UNKNOWN), expected)
            continue
        values = [found(t, name, row["subset"]).get(metric, UNKNOWN)[0] for t in targets]
        present = [value for value in values if value is not None]
        mean = sum(present) / len(present) if present else None
        tally.compare(place, "means over targets", [mean, len(present)], [row["value"], row["targets"]])


def deployment(row: Mapping[str, Any]) -> str:
    """A format on a device, against its kind of shadows."""
    return f"{row['format']} on {row['device']}, {row['shadow_match']}"


def main(evidence: Path, audit_json: Path) -> int:
    """Compare; return the exit code."""
    with np.load(evidence, allow_pickle=False) as archive:
        file = {name: archive[name] for name in archive.files}
    if str(file["format"]) != "edgeaudit-evidence/1":
        raise ValueError(f"{evidence} has the format {file['format']}")
    text = audit_json.read_bytes()
    manifest, audit, tally = json.loads(str(file["manifest"])), json.loads(text), Tally()
    same = hashlib.sha256(text).hexdigest() == manifest["audit_json_sha256"]
    tally.compare("audit.json", "is the one exported from", same, expected=True)
    for about in manifest["deployments"]:
        attacks = file[about["attacks"]].tolist()
        for t in range(len(file["targets"])) if about["shadows"] in file else ():
            for name, scores in scores_from_answers(file, about, t):
                expected = file[about["scores"]][t, attacks.index(name)]
                tally.compare(deployment(about), f"scores {name}", scores, expected)
        compare_figures(tally, file, about, audit)
    if any(about["shadows"] not in file for about in manifest["deployments"]):
        print("There are no answers of shadows in the file: scores are taken as they are.")
    return tally.show()


if __name__ == "__main__":
    try:
        sys.exit(main(*map(Path, sys.argv[1:])))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        sys.stderr.write(f"error: {type(exc).__name__}: {exc}\nusage: python recompute.py evidence.npz audit.json\n")
        sys.exit(2)
