"""Figures of one attack on one deployment, and the curve and records that go with them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

__all__ = [
    "CANARIES", "Accuracy", "CalibrationLeak", "Curve", "ExposedRecord", "Figure", "LeakageRow", "Place", "Series",
    "TargetFigure",
]  # fmt: skip

CANARIES = "canaries"
"""The subset of the rows on canaries."""


@dataclass(frozen=True)
class Accuracy:
    """Share of records whose largest output is the label, of the first target.

    shadow_*: mean over the shadows, on the records that each did and did not train on; null without shadows.
    """

    train: float
    test: float
    shadow_train: float | None = None
    shadow_test: float | None = None


@dataclass(frozen=True)
class Place:
    """A deployment (a format on a device) and its shadow-target match (`matched`: compressed like the target)."""

    format: str
    device: str
    shadow_match: str


@dataclass(frozen=True)
class Series:
    """One variant of an attack on one deployment, at one exposure."""

    place: Place
    attack: str
    variant: str
    exposure: str

    @property
    def name(self) -> str:
        """`attack/variant`."""
        return f"{self.attack}/{self.variant}"

    def row(self, subset: str, figure: Figure) -> LeakageRow:
        """Return the row of a figure of these scores on a subset of the records."""
        return LeakageRow(
            format=self.place.format,
            device=self.place.device,
            attack=self.attack,
            variant=self.variant,
            exposure=self.exposure,
            subset=subset,
            shadow_match=self.place.shadow_match,
            **asdict(figure),
        )


@dataclass(frozen=True)
class Figure:
    """One figure with its interval. value is None where it cannot be resolved, and note gives the reason.

    metric: see `LeakageRow`. low, high: 95% interval. realised_fpr: the FPR at the threshold; None for the AUC.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n_members: int
    n_nonmembers: int
    realised_fpr: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class _LeakageColumns:
    """What a figure is of: the columns before its own."""

    format: str
    device: str
    attack: str
    variant: str
    exposure: str
    subset: str
    shadow_match: str


@dataclass(frozen=True)
class LeakageRow(Figure, _LeakageColumns):
    """One figure. `value` is null where the records or shadows cannot resolve it, and `note` says why.

    metric: auc, tpr@fpr=0.01, tpr@fpr=0.001, of canaries tpr@fpr=0.05, balanced_accuracy, advantage, ppv@prior=0.5 ...;
    for verdicts of CM-MIA: coverage@0.05, ppv@0.05, recall@0.05, fpr@0.05, forced_accuracy@0.05 (number = cutoff on the
    conformal p-value), coverage@nominal=0.05 ... (the paper's rule: cutoff on what `ecdf` or `pchip` call a p-value);
    for claims at a false discovery rate: claimed@by=0.05, fdp@by=0.05, recall@by=0.05 (bh: Benjamini-Hochberg, by:
    Benjamini- Yekutieli); epsilon_lower, epsilon_one_run, mu_one_run: 95% lower bounds, which have no upper end.
    low, high: 95% interval. realised_fpr: at the threshold that was used.
    subset: all, abnormal:<selection>, uncalibrated (without the records that the quantiser was calibrated on),
    canaries (planted against held-out ones, in place of members and nonmembers), or a slice: class:<label>, <column of
    data.slices>:<value>. Canaries and slices have rows of each attack's first headline variant that ran.
    """

    def with_note(self, text: str) -> LeakageRow:
        """Return the row with `text` appended to its note."""
        return replace(self, note=text if self.note is None else f"{self.note}; {text}")

    @property
    def figure(self) -> tuple[str, str, str, str]:
        """(attack, variant, subset, metric), the key that joins the rows of several targets."""
        return self.attack, self.variant, self.subset, self.metric

    @property
    def of_canaries(self) -> bool:
        """Whether the row is of planted and held-out canaries."""
        return self.subset == CANARIES

    @property
    def of_slice(self) -> bool:
        """Whether the row is of a slice: a class, or a value of the user's column."""
        return ":" in self.subset and not self.subset.startswith("abnormal:")

    def of_target(self) -> TargetFigure:
        """Return the columns that are stored for targets beyond the first."""
        return TargetFigure(*self.figure, self.value, self.realised_fpr)


@dataclass(frozen=True)
class TargetFigure:
    """A figure of a target beyond the first, as in `LeakageRow`."""

    attack: str
    variant: str
    subset: str
    metric: str
    value: float | None
    realised_fpr: float | None

    @property
    def figure(self) -> tuple[str, str, str, str]:
        """(attack, variant, subset, metric), the key that joins the rows of several targets."""
        return self.attack, self.variant, self.subset, self.metric


@dataclass(frozen=True)
class Curve:
    """A ROC curve, thinned to what a plot can show; first point (0, 0), last (1, 1)."""

    format: str
    device: str
    attack: str
    variant: str
    subset: str
    shadow_match: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True)
class ExposedRecord:
    """A record that the headline attack ranks among the most likely members: a ranking, no claim (`ClaimedRecord`).

    record: its id in the population. p_value: in this format alone, not adjusted for the number of records. calibrated:
    the target's quantiser was calibrated on it, which can expose a record that the training never used. name: of its
    file; null if it has none.
    """

    format: str
    device: str
    rank: int
    record: int
    label: int
    score: float
    p_value: float | None
    member: bool
    calibrated: bool = False
    name: str | None = None


@dataclass(frozen=True)
class CalibrationLeak:
    """Calibration records of one side against the others of that side: a leak of the calibration set.

    value: AUC of the attack's score, above 0.5 where calibration records look more like members; low, high: DeLong's
    95% interval. p_value: two-sided, of AUC = 0.5, not adjusted. n_seen, n_others: calibration records, and others.
    """

    format: str
    device: str
    attack: str
    variant: str
    shadow_match: str
    exposure: str
    side: Literal["members", "nonmembers"]
    value: float
    low: float
    high: float
    p_value: float | None
    n_seen: int
    n_others: int
