from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from edgeaudit.report import plots
from edgeaudit.report.model import Audit, Curve
from edgeaudit.report.plots import DASHES, SERIES, Point, null_panel, pareto_panel, roc_floor, roc_overlay, roc_panel


def curve(fpr: tuple[float, ...] = (0.0, 0.1, 1.0), tpr: tuple[float, ...] = (0.0, 0.4, 1.0)) -> Curve:
    return Curve(
        format="a", device="d", attack="cm-mia", variant="t", subset="all", shadow_match="matched", fpr=fpr, tpr=tpr
    )


def test_is_well_formed_and_labelled() -> None:
    svg = roc_panel(curve(), [curve(), curve()], 0.001, "p", 'a "quoted" <label>')
    root = ET.fromstring(svg)  # noqa: S314 - our own output
    assert root.attrib["aria-label"] == 'a "quoted" <label>'
    assert root.attrib["role"] == "img"


def test_same_arguments_same_bytes() -> None:
    assert null_panel([3, 4, 5], "p", "l") == null_panel([3, 4, 5], "p", "l")
    assert roc_overlay([curve()], 0.01, "p", "l") == roc_overlay([curve()], 0.01, "p", "l")


def test_the_users_matplotlibrc_changes_nothing_and_is_not_changed() -> None:
    expected = roc_panel(curve(), [], 0.01, "p", "l")
    with mpl.rc_context({"lines.linewidth": 9, "axes.grid": True, "font.size": 20, "svg.fonttype": "path"}):
        assert roc_panel(curve(), [], 0.01, "p", "l") == expected
        assert mpl.rcParams["lines.linewidth"] == 9


def test_ids_carry_the_name_so_that_plots_can_share_a_page() -> None:
    svg = null_panel([1, 2], "mine", "l")
    ids = re.findall(r'id="([^"]*)"', svg)
    assert ids
    assert all(name.startswith("mine-") for name in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', svg)) <= set(ids)


def test_colours_follow_the_page() -> None:
    svg = roc_overlay([curve()] * 3, 0.01, "p", "l")
    assert "#0102" not in svg
    assert "#" not in svg.replace("url(#", "").replace('href="#', "")
    assert all(f"var(--series-{n})" in svg for n in range(3))


def test_the_legends_dashes_are_the_curves_dashes() -> None:
    css = Path(plots.__file__).with_name("report.css").read_text(encoding="utf-8")
    for n, dashes in enumerate(DASHES):
        rule = re.search(rf"\.s{n} line {{([^}}]*)}}", css)
        assert rule, n
        assert f"var(--series-{n})" in rule[1]
        assert (f"stroke-dasharray: {dashes};" in rule[1]) == bool(dashes)


def test_more_curves_than_colours_still_draw() -> None:
    assert roc_overlay([curve()] * (len(SERIES) + 2), 0.01, "p", "l")


def test_curves_start_at_one_false_positive() -> None:
    """Axes start at the floor: the smallest tick is the first decade on it."""
    svg = roc_panel(curve(), [], roc_floor(50), "p", "l")
    assert ">10%<" in svg
    assert ">1%<" not in svg
    assert roc_floor(50) == 0.02
    assert roc_floor(0) == 0.1


def test_vertical_start_of_a_curve_is_kept() -> None:
    steep = curve((0.0, 0.0, 0.5, 1.0), (0.0, 0.3, 0.8, 1.0))
    assert roc_panel(steep, [steep, curve()], 0.01, "p", "l")


def test_a_curve_of_no_true_positives_draws() -> None:
    flat = curve((0.0, 0.999, 1.0), (0.0, 0.0, 1.0))
    assert roc_panel(flat, [flat, curve()], 0.001, "p", "l")


@pytest.mark.parametrize("counts", [[1], [0, 0, 7], [100_000] * 20])
def test_histograms_of_any_size_draw(counts: list[int]) -> None:
    assert null_panel(counts, "p", "l").startswith("<svg")


def test_plot_text_is_text_and_numbers_are_short(audit: Audit) -> None:
    svg = roc_panel(audit.curves[0], audit.curves[:6], 0.001, "p", "l")
    assert ">TPR</text>" in svg
    assert not re.search(r"\d\.\d{3,}", svg)
    assert len(svg) < 20_000
    assert np.isfinite([float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", svg)]).all()


def test_numbers_of_a_pareto_panel_are_complete_and_do_not_overlap() -> None:
    # Nine formats of the same size and nearly the same AUC: their numbers must not lie on one another.
    crowd = [Point(100.0, 0.7, 0.75 + n / 500, 0.8, str(n), "kept" if n else "dominated") for n in range(9)]
    svg = pareto_panel([*crowd, Point(900.0, 0.5, 0.55, 0.6, "99", "reference")], "size, kB", "p", "l", log=True)
    root = ET.fromstring(svg)  # noqa: S314 - our own output
    texts = {"".join(e.itertext()): e for e in root.iter() if e.tag.endswith("text")}
    assert {str(n) for n in range(9)} | {"99"} <= set(texts)
    places = []
    for n in range(9):
        style = texts[str(n)].attrib
        found = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", style.get("transform", ""))
        places.append((float(found[1]), float(found[2])) if found else (float(style["x"]), float(style["y"])))
    gaps = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(places) for b in places[:i]]
    assert min(gaps) > 8


@pytest.mark.parametrize("log", [True, False])
def test_a_pareto_panel_of_equal_points_draws(log: bool) -> None:
    points = [Point(0.5, 0.5, 0.5, 0.5, str(n), "kept") for n in range(3)]
    assert pareto_panel(points, "x", "p", "l", log=log).startswith("<svg")
