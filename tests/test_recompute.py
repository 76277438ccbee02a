"""examples/recompute.py, an implementation of its own in numpy, against edgeaudit's figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from edgeaudit.leakage.metrics import figures

FloatArray = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def recompute(root_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("recompute", root_folder / "examples" / "recompute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_incomplete_beta_function_is_scipys(recompute: ModuleType) -> None:
    rng = np.random.default_rng(0)
    a, b = 10 ** rng.uniform(-1, 5, 2000), 10 ** rng.uniform(-1, 5, 2000)
    # Points where it is neither 0 nor 1: around its mean.
    x = np.clip(stats.beta(a, b).ppf(rng.uniform(0.001, 0.999, 2000)), 1e-300, 1 - 1e-12)
    np.testing.assert_allclose(recompute.beta_cdf(a, b, x), special.betainc(a, b, x), rtol=1e-8, atol=1e-10)
    assert recompute.beta_cdf(np.array([0.0, 1.0]), np.array([1.0, 0.0]), 0.5).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("df", [1, 2, 5, 30, 999, 100_000])
def test_students_quantile_is_scipys(recompute: ModuleType, df: int) -> None:
    assert recompute.t_quantile(df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


def _scores(law: str, n: int, rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    members = rng.random(n) < 0.5
    members[:2] = True, False
    continuous = rng.normal(size=n) + members
    found = {
        "continuous": continuous,
        "ties": np.round(continuous),
        "two values": (continuous > 0.5).astype(float),
        "one value": np.zeros(n),
        "separated": continuous + 100 * members,
        "many at the top": np.minimum(continuous, 0.5),
    }
    return found[law], members


@pytest.mark.parametrize("law", ["continuous", "ties", "two values", "one value", "separated", "many at the top"])
@pytest.mark.parametrize("n", [4, 60, 500, 5000])
@pytest.mark.parametrize("related", ["independent", "groups", "across sides", "few groups"])
def test_figures_are_those_of_the_audit(recompute: ModuleType, law: str, n: int, related: str) -> None:
    rng = np.random.default_rng(n)
    scores, members = _scores(law, n, rng)
    groups = {
        "independent": np.arange(n),
        "groups": (np.arange(n) // 3) * 2 + members,
        "across sides": np.arange(n) // 4,
        "few groups": np.arange(n) % 7,
    }[related]
    threshold = 0.7 if law != "one value" else 1.0  # above all: nothing is accused
    found = recompute.figures(scores, members, threshold, groups)
    for row in figures(scores, members, threshold, groups=groups):
        expected = [row.value, row.low, row.high, row.realised_fpr]
        mine = found.get(row.metric, recompute.UNKNOWN)
        assert [one is None for one in mine] == [one is None for one in expected], row
        np.testing.assert_allclose(
            [one for one in mine if one is not None], [one for one in expected if one is not None], rtol=0, atol=1e-9
        )


def test_a_subset_is_found_by_its_name(recompute: ModuleType) -> None:
    rng = np.random.default_rng(0)
    n, labels = 300, rng.integers(0, 3, 300)
    labels[:30] = 3
    members = np.arange(n) % 2 == 0
    scores = rng.normal(size=n) + members
    seen, chosen = rng.random(n) < 0.2, rng.random(n) < 0.5
    file = {
        "audited": np.ones(n, bool), "labels": labels, "members": members[None], "scores": scores[None, None],
        "thresholds": np.array([[0.5]]), "calibrated": seen[None], "subsets": np.array(["abnormal:x"]),
        "subset_records": chosen[None], "slices/side": np.where(rng.random(n) < 0.5, "left", "right"),
    }  # fmt: skip
    about = {key: key for key in ("scores", "thresholds", "calibrated", "subsets", "subset_records")}
    masks = {
        "all": file["audited"], "uncalibrated": ~seen, "abnormal:x": chosen, "class:2": labels == 2,
        "side:left": file["slices/side"] == "left",
    }  # fmt: skip
    for subset, mask in masks.items():
        area = figures(scores[mask], members[mask], 0.5)[0]
        found = recompute.figures_of(file, about, 0, 0, subset)["auc"]
        np.testing.assert_allclose(np.array(found[:3]), np.array([area.value, area.low, area.high], float), atol=1e-9)
    assert recompute.figures_of(file, about, 0, 0, "class:3") == {}  # 15 members and nonmembers, of 20
