"""CM-MIA's test of integer outputs, in which every margin is interval-censored by rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, Grid, IntArray, ShadowAnswers
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.errors import AttackError
from edgeaudit.tasks.classification import true_class_margin

__all__ = ["Cells", "CensoredNull", "CensoredTest", "shadow_cells", "target_cells"]

# Neighbouring deviations differ by a quarter or less: finer than 64 shadows can resolve.
_RATIO = 1.25
_MOST_DEVIATIONS = 24
_PRIOR_ROUNDS = 100
_NEWTON_ROUNDS = 40
# In deviations. Newton's method converges quadratically, so the mode is then accurate to 1e-8, its density more so.
_NEWTON_STEP = 1e-4
_BLOCK = 2048
# A cell narrower than this, in standard deviations, is treated as a point: differences of tails would lose precision.
_POINT = 1e-5
_FAR = 12.0


@dataclass(frozen=True)
class Cells:
    """Intervals that contain the margins before rounding, in nats: float64 [n] or [K, n]; -inf and inf where open."""

    low: FloatArray
    high: FloatArray

    def point(self) -> FloatArray:
        """Return a finite value for each cell: its middle, or its finite end, or 0."""
        low = np.where(np.isfinite(self.low), self.low, self.high)
        high = np.where(np.isfinite(self.high), self.high, low)
        low = np.where(np.isfinite(low), low, high)
        return np.where(np.isfinite(low), (low + high) / 2, 0.0)


def target_cells(evidence: Evidence) -> Cells:
    """Return the cells [n] of the target's margins; see `_cells`."""
    return _cells(evidence.target, evidence, _grid(evidence), 0)


def shadow_cells(answers: ShadowAnswers) -> Cells:
    """Return the cells [K, n] of the shadows' margins, computed one model at a time."""
    low, high, grid = np.empty(answers.out.shape), np.empty(answers.out.shape), _grid(answers)
    for k, shadow in enumerate(answers.shadows):
        cells = _cells(shadow, answers, grid, k)
        low[k], high[k] = cells.low, cells.high
    return Cells(low, high)


def _grid(answers: ShadowAnswers | Evidence) -> Grid:
    if answers.grid is None:
        raise AttackError("the test of integer outputs needs answers on a grid; these answers are continuous")
    return answers.grid


def _cells(answers: FloatArray, source: ShadowAnswers | Evidence, grid: Grid, model: int) -> Cells:
    """Return the intervals of margins that rounding maps to the model's answers.

    A grid of probabilities: phi = logit p_y, and p_y lies within half a step of the answer. The cells of all values
    tile the line; the outermost are open, since an output clips at its ends.

    A grid of logits: the statistic is phi = z_y - logsumexp over j != y of the *rounded* z_j, with z_y before rounding.
    So phi lies within half a step of the margin of the answer, and beyond it where z_y is at an end of the grid. Given
    the other logits, these cells also tile the line. The bound on the margin of all unrounded logits would be a whole
    step to either side, but such intervals overlap by half: the rounding of the other logits would count as uncertainty
    of the target's answer and again as variance of the shadows' answers, which have it, too.

    Probabilities beyond [floor, 1 - floor] are in open cells: values that `true_class_margin` clips are censored here,
    so that no format has an advantage from values that are clipped in others.
    """
    step, low, high = float(grid.step[model]), float(grid.low[model]), float(grid.high[model])
    true = np.asarray(answers[np.arange(len(source.labels)), source.labels], dtype=np.float64)
    if source.exposure == "logits":
        phi = true_class_margin(answers, source.labels, "logits", source.floor)
        return _open(Cells(phi - step / 2, phi + step / 2), true <= low + step / 4, true >= high - step / 4)
    floor = source.floor
    if grid.of == "logits":
        phi = special.logit(np.clip(true, floor, 1 - floor))
        return _open(Cells(phi - step / 2, phi + step / 2), true < floor, true > 1 - floor)
    lowest, highest = np.clip(true - step / 2, 0.0, 1 - floor), np.clip(true + step / 2, floor, 1.0)
    bottom, top = (true < floor) | (true <= low + step / 4), (true > 1 - floor) | (true >= high - step / 4)
    return _open(Cells(special.logit(lowest), special.logit(highest)), bottom, top)


def _open(cells: Cells, below: BoolArray, above: BoolArray) -> Cells:
    return Cells(np.where(below, -np.inf, cells.low), np.where(above, np.inf, cells.high))


@dataclass(frozen=True)
class CensoredTest:
    """Result of the censored test.

    p_value: P[Phi >= low end of the target's cell], so ties count fully against the attacker. score: signed log mid-p.
    deviations: float64 [S], the candidate standard deviations. weights: float64 [S], their estimated shares of records.
    """

    p_value: FloatArray
    score: FloatArray
    deviations: FloatArray
    weights: FloatArray


@dataclass(frozen=True)
class CensoredNull:
    """Null distribution of a record's margin under interval censoring, fitted to the OUT shadows.

    Model: OUT margins of record i are N(mu_i, sigma_i^2). mu_i has a normal prior with the mean and variance of the
    records' averages. sigma_i is one of a ladder of deviations, each weighted by its estimated share of records
    (nonparametric empirical Bayes: a moderated variance whose prior has no assumed shape). For every deviation, mu_i is
    fitted by Newton's method to the interval-censored likelihood, which is log-concave in mu_i, and integrated out by
    Laplace's approximation. Then Phi, the margin of a model that did not train on the record, is distributed as the sum
    over s of P[sigma_s | OUT cells] N(mu_is, sigma_s^2 + 1 / information_is).

    deviations, weights: float64 [S]. mean, variance, log_posterior: float64 [S, n], of Phi under each deviation, and
    that deviation's log weight.

    Source: our own design. Interval-censored likelihood: Turnbull (1976); mixing distribution by EM: Kiefer and
    Wolfowitz (1956).
    """

    deviations: FloatArray
    weights: FloatArray
    mean: FloatArray
    variance: FloatArray
    log_posterior: FloatArray

    @classmethod
    def fit(cls, shadows: Cells, out: BoolArray) -> CensoredNull:
        """Fit to the OUT shadows.

        Args:
            shadows: cells [K, n]; those of IN shadows are ignored.
            out: bool [K, n]; one or more OUT shadows per record, and two on at least one record.

        Raises:
            AttackError: a record has no OUT shadow, or no record has two.
        """
        moments = out_statistics(shadows.point(), out)
        if (moments.count == 0).any() or not (moments.count > 1).any():
            raise AttackError(
                "the test of integer outputs needs an OUT shadow for every record, and two for some record; add shadows"
            )
        deviations = _ladder(moments.variance[moments.count > 1], shadows, out)
        centre, width = float(moments.mean.mean()), _prior_width(moments.mean, deviations)
        n, size = len(moments.mean), len(deviations)
        evidence, mean, variance = np.empty((size, n)), np.empty((size, n)), np.empty((size, n))
        distinct = _Distinct.of(shadows, out)
        order = np.argsort(distinct.count, kind="stable")
        for start in range(0, n, _BLOCK):
            part = order[start : start + _BLOCK]
            block = distinct.take(part)
            mu = moments.mean[part]
            for s in range(size - 1, -1, -1):
                mu, information, log_likelihood = block.fit(float(deviations[s]), mu, centre, width)
                mean[s, part], variance[s, part] = mu, deviations[s] ** 2 + 1 / information
                evidence[s, part] = log_likelihood - np.log(information) / 2
        weights, log_posterior = _mixing_weights(evidence)
        return cls(deviations, weights, mean, variance, log_posterior)

    def test(self, target: Cells) -> CensoredTest:
        """Test the target's margins, cells [n]; one-sided, high = member.

        p = P[Phi >= low], score = +-log(2 q) with q = (P[Phi >= low] + P[Phi >= high]) / 2, which is p minus half of
        the mass of the target's cell. A target in an open top cell that holds most of its OUT shadows has p near 1 and
        a score near 0: it is neither dropped nor called a member.
        """
        spread = np.sqrt(self.variance)
        log_above = [_mixed(self.log_posterior, -(edge - self.mean) / spread) for edge in (target.low, target.high)]
        log_below = [_mixed(self.log_posterior, (edge - self.mean) / spread) for edge in (target.low, target.high)]
        upper, lower = np.logaddexp(*log_above), np.logaddexp(*log_below)
        # Both are log(2 q); the smaller of the two tails is precise.
        score = np.where(upper < lower, -np.minimum(upper, 0.0), np.minimum(lower, 0.0))
        return CensoredTest(np.exp(np.minimum(log_above[0], 0.0)), score, self.deviations, self.weights)


def _mixed(log_posterior: FloatArray, z: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.asarray(special.logsumexp(log_posterior + special.log_ndtr(z), axis=0), dtype=np.float64)


def _ladder(variance: FloatArray, shadows: Cells, out: BoolArray) -> FloatArray:
    """Return candidate standard deviations, ascending, a factor of 1.25 apart (more where 24 do not cover the range).

    They run from a quarter of the lowest decile of the records' deviations (of records whose answers vary) to 2.5 times
    the largest, and not below an eighth of the median closed cell, since variation within a cell is not observable.
    Where no answers vary, they lie around the width of the median cell (or around 1).
    """
    widths = (shadows.high - shadows.low)[out & np.isfinite(shadows.low) & np.isfinite(shadows.high)]
    cell = float(np.median(widths)) if len(widths) else 0.0
    varied = np.sqrt(variance[variance > 0])
    if len(varied):
        low, high = max(float(np.quantile(varied, 0.1)) / 4, cell / 8), 2.5 * float(varied.max())
    else:
        low, high = (cell or 1.0) / 4, (cell or 1.0) * 4
    high = max(high, 4 * low)
    size = min(_MOST_DEVIATIONS, 1 + int(np.ceil(np.log(high / low) / np.log(_RATIO))))
    return np.geomspace(low, high, size)


def _prior_width(means: FloatArray, deviations: FloatArray) -> float:
    """Return the sd of the prior of mu: that of the records' averages, but at least the largest deviation."""
    return max(float(means.std()), float(deviations[-1]))


def _mixing_weights(evidence: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the shares [S] of the deviations among records, estimated by EM, and log P[deviation | record] [S, n].

    evidence: log P[cells | deviation], [S, n]. A pseudo-record with equal shares is added, so that no share becomes 0.
    """
    size, n = evidence.shape
    likelihood = np.exp(evidence - evidence.max(axis=0))
    weights = np.full(size, 1 / size)
    for _ in range(_PRIOR_ROUNDS):
        joint = likelihood * weights[:, None]
        weights = ((joint / joint.sum(axis=0)).sum(axis=1) + 1 / size) / (n + 1)
    log_joint = evidence + np.log(weights)[:, None]
    return weights, log_joint - special.logsumexp(log_joint, axis=0)


@dataclass(frozen=True)
class _Distinct:
    """Each record's distinct OUT cells, ascending, and the number of shadows in each: [most distinct cells, n].

    Saturated records have few distinct cells, and Newton's method takes longest on these, so merging equal cells saves
    time. Rows beyond a record's `count` [n] hold no shadow.
    """

    low: FloatArray
    high: FloatArray
    shadows: FloatArray
    count: IntArray

    @classmethod
    def of(cls, cells: Cells, out: BoolArray) -> _Distinct:
        """Merge the equal cells of the OUT shadows. cells: [K, n]; those of IN shadows are replaced by open cells."""
        low, high = np.where(out, cells.low, -np.inf), np.where(out, cells.high, np.inf)
        order = np.lexsort((high, low), axis=0)
        low, high, kept = (np.take_along_axis(part, order, axis=0) for part in (low, high, out))
        first = np.ones(out.shape, dtype=np.bool_)
        first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        row, record = np.cumsum(first, axis=0) - 1, np.broadcast_to(np.arange(out.shape[1]), out.shape)
        size = int(row.max()) + 1, out.shape[1]
        lows, highs, shadows = np.full(size, -np.inf), np.full(size, np.inf), np.zeros(size)
        lows[row, record], highs[row, record] = low, high
        np.add.at(shadows, (row, record), kept)
        return cls(lows, highs, shadows, np.asarray(row[-1] + 1, dtype=np.int64))

    def take(self, records: IntArray) -> _Distinct:
        """Return the cells of these records only, with no more rows than they need."""
        count = self.count[records]
        rows = slice(0, int(count.max()))
        return _Distinct(self.low[rows, records], self.high[rows, records], self.shadows[rows, records], count)

    def fit(
        self, sigma: float, start: FloatArray, centre: float, width: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the mode of mu [n] under a normal prior, and the information and log posterior density there."""
        mu, moving = start.copy(), np.arange(len(start))
        information, log_density = np.empty(len(mu)), np.empty(len(mu))
        low, high, shadows = self.low, self.high, self.shadows
        for _ in range(_NEWTON_ROUNDS):
            at = mu[moving]
            log_mass, pull, kept = (
                shadows * part for part in _truncated((low - at) / sigma, (high - at) / sigma, sigma)
            )
            off = at - centre
            information[moving] = kept.sum(axis=0) / sigma**2 + 1 / width**2
            log_density[moving] = log_mass.sum(axis=0) - (off / width) ** 2 / 2
            # A step can overshoot only from deep inside an open cell, where the likelihood is flat; later steps
            # correct it.
            step = (pull.sum(axis=0) / sigma - off / width**2) / information[moving]
            mu[moving] += np.clip(step, -8 * sigma, 8 * sigma)
            going = np.abs(step) > _NEWTON_STEP * sigma
            if not going.any():
                break
            moving, low, high, shadows = moving[going], low[:, going], high[:, going], shadows[:, going]
        return mu, information, log_density


def _truncated(a: FloatArray, b: FloatArray, sigma: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the log mass, mean, and 1 - variance (the share of information kept) of a standard normal on [a, b].

    The log mass omits a constant. Cells narrower than 1e-5 have mean a and share 1; for those of zero width the density
    per unit of the margin replaces the mass. Mills ratios R = P[Z > t] / density(t), on the cell's side of 0, prevent
    underflow; a lower end beyond 12 deviations counts as 12.
    """
    with np.errstate(invalid="ignore"):  # from cells that are open to both sides, as those of IN shadows are
        flip = a + b < 0
    near, far = np.maximum(np.where(flip, -b, a), -_FAR), np.where(flip, -a, b)
    is_open = np.isinf(far)
    end = np.where(is_open, 0.0, far)
    width = end - near
    point = ~is_open & (width < _POINT)
    fall = np.where(is_open, -np.inf, -width * (end + near) / 2)
    ratio = np.exp(fall)
    mass = np.where(point, np.where(width > 0, width, 1 / sigma), _mills(near) - ratio * _mills(end))
    mean = np.where(point, near, -np.expm1(fall) / mass)
    kept = np.where(point, 1.0, (end * ratio - near) / mass + mean**2)
    return np.log(mass) - near**2 / 2, np.where(flip, -mean, mean), np.clip(kept, 0.0, 1.0)


def _mills(t: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.pi / 2) * special.erfcx(t / np.sqrt(2)), dtype=np.float64)
