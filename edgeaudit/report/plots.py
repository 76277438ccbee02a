"""Plots as inline SVG that follows the page: neutral parts and series are CSS variables, text is text.

Each function draws one panel, so that a page can lay panels out in a grid that folds on a narrow screen. The bytes
depend on the arguments alone: no date, fixed id salt, matplotlib's own defaults whatever the user's matplotlibrc says.
No text of an audit is drawn; names belong into the page, where they wrap and are escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from edgeaudit.report.model import Curve
from edgeaudit.report.mpl import Axes, Figure, mpl

__all__ = [
    "DASHES", "SERIES", "Point", "PointKind", "null_panel", "pareto_panel", "roc_floor", "roc_overlay", "roc_panel",
]  # fmt: skip

PointKind = Literal["kept", "dominated", "reference"]

# Stand-ins that matplotlib draws with; each becomes a CSS variable of report.css.
_INK, _LINE, _ACCENT, _BAND, _BAR = "#010203", "#010204", "#010205", "#010206", "#010207"
SERIES = tuple(f"#0102{n:02x}" for n in range(16, 23))
DASHES = ("", "5 2", "1.5 1.5", "7 2 1.5 2", "3 1.5", "9 3", "1 3")
_VARIABLES = {
    _INK: "var(--plot-ink)",
    _LINE: "var(--plot-line)",
    _ACCENT: "var(--plot-accent)",
    _BAND: "var(--plot-band)",
    _BAR: "var(--plot-bar)",
    **{stand_in: f"var(--series-{n})" for n, stand_in in enumerate(SERIES)},
}
FloatArray = npt.NDArray[np.float64]


class Point(NamedTuple):
    """A format in a plot of leakage (with an interval) against cost."""

    x: float
    low: float
    value: float
    high: float
    number: str
    kind: PointKind


def roc_floor(nonmembers: int) -> float:
    """Return the smallest FPR that can be shown: one false positive among the nonmembers."""
    return 1 / max(nonmembers, 10)


def roc_panel(curve: Curve, others: Sequence[Curve], floor: float, name: str, label: str) -> str:
    """One ROC curve on log-log axes, over the range that `others` span. name: unique on the page; label: read aloud."""
    grid = np.geomspace(floor, 1, 80)
    with _panel(name, label, (2.55, 2.2)) as (ax, svg):
        _roc_axes(ax, floor, (0.215, 0.2, 0.73, 0.76), ("FPR", "TPR"))
        if others:
            all_tpr = np.array([_tpr_at(c, grid) for c in others])
            low, high = np.clip(all_tpr.min(axis=0), floor, 1), np.clip(all_tpr.max(axis=0), floor, 1)
            ax.fill_between(grid, low, high, color=_BAND, linewidth=0)
        _draw(ax, curve, floor, _ACCENT, "", 1.6)
    return svg()


def roc_overlay(curves: Sequence[Curve], floor: float, name: str, label: str) -> str:
    """Several ROC curves on one pair of log-log axes; the n-th has colour and dashes n of `SERIES` and `DASHES`."""
    with _panel(name, label, (5.2, 4.1)) as (ax, svg):
        _roc_axes(ax, floor, (0.125, 0.115, 0.84, 0.865), ("false-positive rate", "true-positive rate"))
        for n in reversed(range(len(curves))):
            _draw(ax, curves[n], floor, SERIES[n % len(SERIES)], DASHES[n % len(DASHES)], 1.5)
    return svg()


def null_panel(counts: Sequence[int], name: str, label: str, axis: str = "p-value") -> str:
    """p-values of nonmembers in equal bins; dashed: the level of a calibrated test; band: 95% of its bins."""
    total, bins = sum(counts), len(counts)
    with _panel(name, label, (2.55, 1.75)) as (ax, svg):
        ax.set_position((0.17, 0.255, 0.775, 0.695))
        low, high = binom.interval(0.95, total, 1 / bins)
        ax.axhspan(float(low), float(high), color=_BAND, linewidth=0)
        colors = [_ACCENT, *[_BAR] * (bins - 1)]
        ax.bar((np.arange(bins) + 0.5) / bins, counts, 0.84 / bins, color=colors, linewidth=0)
        ax.axhline(total / bins, color=_INK, linewidth=0.9, dashes=(4, 2))
        for edge in (low, high):
            ax.axhline(float(edge), color=_INK, linewidth=0.5, alpha=0.6)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, max(*counts, float(high), 1) * 1.08)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        ax.locator_params(axis="y", nbins=4, integer=True)
        ax.set_xlabel(axis, labelpad=2)
    return svg()


def pareto_panel(points: Sequence[Point], cost: str, name: str, label: str, *, log: bool) -> str:
    """AUC against a cost. Filled: kept; hollow: dominated; square: the reference. log: of the cost's axis."""
    with _panel(name, label, _PARETO_INCHES) as (ax, svg):
        ax.set_position((0.15, 0.165, 0.82, 0.81))
        xs = np.array([p.x for p in points])
        if log:
            ax.set_xscale("log")
        ax.set_xlim(*_spread(xs, log=log))
        ax.set_ylim(*_spread(np.array([[p.low, p.high] for p in points]).ravel(), log=False))
        _cost_ticks(ax, share=not log)
        ax.grid(color=_LINE, linewidth=0.4)
        for point in sorted(points, key=lambda p: p.kind == "kept"):
            _draw_point(ax, point)
        _number(ax, points)
        ax.set_xlabel(cost, labelpad=2)
        ax.set_ylabel("AUC", labelpad=2)
    return svg()


_PARETO_INCHES = (3.7, 3.0)


def _spread(values: FloatArray, *, log: bool) -> tuple[float, float]:
    """The values' range with room at both ends."""
    scaled = np.log10(values) if log else values
    low, high = float(scaled.min()), float(scaled.max())
    room = 0.09 * (high - low) or (0.1 if log else 0.02)
    return (10 ** (low - room), 10 ** (high + room)) if log else (low - room, high + room)


def _cost_ticks(ax: Axes, *, share: bool) -> None:
    if share:
        ax.locator_params(axis="x", nbins=5)
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    else:
        low, high = ax.get_xlim()
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        steps = (1, 2, 5) if high / low < 100 else (1,)
        ticks = [k * 10.0**d for d in decades for k in steps if low <= k * 10.0**d <= high]
        if len(ticks) < 2:
            ticks = [float(f"{t:.2g}") for t in np.geomspace(low, high, 5)[1:-1]]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.locator_params(axis="y", nbins=6)


def _draw_point(ax: Axes, point: Point) -> None:
    color = {"kept": _ACCENT, "dominated": _BAR, "reference": _INK}[point.kind]
    ax.plot([point.x, point.x], [point.low, point.high], color=color, linewidth=0.9, alpha=0.65)
    ax.plot(
        [point.x], [point.value], color=color, markersize=5.5, markeredgewidth=1.2, linestyle="",
        marker="s" if point.kind == "reference" else "o",
        markerfacecolor=color if point.kind == "kept" else "none", markeredgecolor=color,
    )  # fmt: skip


def _number(ax: Axes, points: Sequence[Point]) -> None:
    """Place each point's number where it overlaps no point and no other number, as far as there is room."""
    box = ax.get_position()
    scale = np.array([_PARETO_INCHES[0] * box.width, _PARETO_INCHES[1] * box.height]) * 72
    to_points = ax.transData + ax.transAxes.inverted()
    dots = np.array([to_points.transform((p.x, p.value)) for p in points]) * scale
    taken = [(dot, 4.0) for dot in dots]
    offsets = [(r * np.cos(a), r * np.sin(a)) for r, a in product((9, 14, 19, 25), np.arange(8) * np.pi / 4 + 0.5)]
    for dot, point in zip(dots, points, strict=True):
        at = max((dot + o for o in offsets), key=lambda p: _room(p, taken, scale))
        taken.append((at, 5.5))
        if np.hypot(*(at - dot)) > 10:
            ax.plot(*np.array([dot, at]).T / scale[:, None], color=_LINE, linewidth=0.5, transform=ax.transAxes)
        color = _ACCENT if point.kind == "kept" else _INK
        x, y = at / scale
        ax.text(x, y, point.number, color=color, fontsize=8, ha="center", va="center", transform=ax.transAxes)


def _room(at: FloatArray, taken: Sequence[tuple[FloatArray, float]], scale: FloatArray) -> float:
    """Points of free space around a number, as far as it matters: one that is free enough is as good as any."""
    inside = float(min(*at, *(scale - at)))
    free = min(float(np.hypot(*(at - other))) - radius - 5.0 for other, radius in taken)
    return min(free, inside - 4, 0.0)


def _tpr_at(curve: Curve, fpr: FloatArray) -> FloatArray:
    """TPR at given FPRs, linear between the curve's points; at a vertical step the upper end."""
    x, y = np.asarray(curve.fpr), np.asarray(curve.tpr)
    last = np.append(np.diff(x) > 0, True)
    return np.asarray(np.interp(fpr, x[last], y[last]), np.float64)


def _draw(ax: Axes, curve: Curve, floor: float, color: str, dashes: str, width: float) -> None:
    """Draw from the floor on: an FPR below it would be less than one false positive."""
    x = np.asarray(curve.fpr)
    start = float(max((t for f, t in zip(curve.fpr, curve.tpr, strict=True) if f <= floor), default=0.0))
    right = x > floor
    fpr = np.append(floor, x[right])
    tpr = np.append(start, np.asarray(curve.tpr)[right])
    seen = tpr > 0
    style = (0, tuple(float(part) for part in dashes.split())) if dashes else "-"
    ax.plot(fpr[seen], tpr[seen], color=color, linewidth=width, linestyle=style, solid_capstyle="round")


def _roc_axes(ax: Axes, floor: float, box: tuple[float, float, float, float], names: tuple[str, str]) -> None:
    ax.set_position(box)
    decades = [10.0**k for k in range(int(np.floor(np.log10(floor) + 1e-9)), 1)]
    ticks = [d for d in decades if d >= floor * 0.999] or [1.0]
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(floor, 1)
    ax.set_ylim(floor, 1)
    ax.set_xticks(ticks, [_percent_tick(t) for t in ticks])
    ax.set_yticks(ticks, [_percent_tick(t) for t in ticks])
    ax.minorticks_off()
    ax.grid(color=_LINE, linewidth=0.5)
    ax.plot([floor, 1], [floor, 1], color=_INK, linewidth=0.9, linestyle=(0, (1, 2)))
    ax.set_xlabel(names[0], labelpad=2)
    ax.set_ylabel(names[1], labelpad=1)


def _percent_tick(value: float) -> str:
    return f"{value * 100:g}%"


@contextmanager
def _panel(name: str, label: str, inches: tuple[float, float]) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """A figure with one pair of axes, and what gives its SVG once the block is done. Leaves no global state behind."""
    done: list[str] = []
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=inches)
        ax = figure.add_axes((0, 0, 1, 1))
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        yield ax, done.pop
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
        done.append(_inline(buffer.getvalue(), name, label))


_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgeaudit",
    "font.size": 9,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
}


def _inline(document: str, name: str, label: str) -> str:
    """Cut a matplotlib SVG document down to an <svg> element that can stand in a page beside others."""
    body = document[document.index(">", document.index("<svg")) + 1 :].strip()
    viewbox = re.search(r'viewBox="([^"]+)"', document)
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="(?![mp][0-9a-f]{10}")[^"]*"', "", body)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(?:xlink:)?href="#([^"]*)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r"-?\d+\.\d{2,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), body)
    body = re.sub(r'style="([^"]*)"', _attributes, body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*"', "", body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    body = re.sub(r"\s+", " ", body).replace("> <", "><").replace(' "/>', '"/>').replace(" >", ">")
    body = _without_bare_groups(body.replace("<defs></defs>", ""))
    box = viewbox[1] if viewbox else "0 0 100 100"
    return f'<svg class="plot" viewBox="{box}" role="img" aria-label="{escape(label)}">{body}'


def _attributes(match: re.Match[str]) -> str:
    """A style as presentation attributes, which a content security policy without inline styles lets through.

    The font's size is kept; its family is the page's.
    """
    found = []
    for declaration in filter(None, (part.strip() for part in match[1].split(";"))):
        key, value = (part.strip() for part in declaration.split(":", 1))
        if key == "font":  # size, then family
            key, value = "font-size", value.split()[0]
        if key != "font-family":
            found.append(f'{key}="{escape(value)}"')
    return " ".join(found)


def _without_bare_groups(body: str) -> str:
    """Remove groups without attributes, of which matplotlib makes one an artist."""
    kept: list[bool] = []

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "</g>":
            return match[0] if kept.pop() else ""
        kept.append(match[0] != "<g>")
        return match[0] if kept[-1] else ""

    return re.sub(r"<g\b[^>]*>|</g>", replaced, body)
