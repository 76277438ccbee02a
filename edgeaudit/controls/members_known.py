"""Members known: does the target answer its members otherwise than nonmembers, as a model does that trained on them?

A list of members that the model never trained on gives attacks nothing to find, and every budget would pass. What a
model trained on shows in its answers: it is right more often, and surer. Where a target shows none of that although its
shadows do, the list or the shadows are wrong; where there are no shadows, nothing says which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from edgeaudit.controls.base import ALARM, Control, Status
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.rows import Behaviour, Gap, Gaps, NullControlRow

__all__ = ["CLEAR", "LEVEL", "NAME", "Known", "Origin", "members_known"]

NAME = "members known"

Origin = Literal["trained here", "declared", "given"]
"""Why the list of members may be right: edgeaudit trained the model on it; the target's stated accuracies on members
and on other records are those measured; or it is only given."""

CLEAR = 3.09
"""Standard errors from which on a gap of the shadows is clear, a one-sided 0.1%."""
LEVEL = 0.001
"""Significance of the target's gap being smaller than theirs."""
_MEASURES: Mapping[str, tuple[str, int]] = {
    "accuracy": ("accuracy", 1),
    "loss": ("mean loss", -1),
    "margin": ("mean margin", 1),
}
"""Measure -> its name in words, and the sign that turns a gap into members minus nonmembers."""


@dataclass(frozen=True)
class Known:
    """One format's evidence. attacks: AUCs of attacks on the first target, on all records."""

    behaviour: Behaviour
    attacks: Sequence[NullControlRow] = ()


@dataclass(frozen=True)
class _Contrast:
    """A measure in which the shadows' gap is clear, and the target's beside it.

    distance: between the two, in standard errors. p_value: one-sided, of the target's gap not being smaller.
    """

    measure: str
    target: float
    shadows: float
    distance: float
    p_value: float

    def __str__(self) -> str:
        words, sign = _MEASURES[self.measure]
        return (
            f"{words} on members differs by {sign * self.target:+.3f} from that on nonmembers, and that of its shadows "
            f"by {sign * self.shadows:+.3f} on what they trained on from that on the rest"
        )


def members_known(formats: Mapping[str, Known], origin: Origin) -> list[Control]:
    """Return one finding a format.

    It holds where the target knows its members: one of the tests of accuracy, loss and attacks is significant at 1%
    after Holm. Else it is undecided where the shadows have a clear gap and the target's is significantly smaller (both
    at 0.1%), and a warning where the records are too few to tell. Without shadows it is undecided where the list is
    only given.

    A target that was drawn as its shadows were meets all conditions at once in at most 0.12% of simulated audits (2 to
    16 shadows, gaps of 3 to 20 standard errors) where the gaps of models differ by up to a fifth, and in at most 1.2%
    where they differ by a third. A list of other records is found in 92% and more from 4 shadows and gaps of 8 standard
    errors on, where they differ by a tenth.

    p_value of the finding: that of the tests that the target knows its members; where shadows contradict it, that of
    its gap being as large as theirs.
    """
    return [
        _with_shadows(name, known) if known.behaviour.shadows else _alone(name, known, origin)
        for name, known in formats.items()
    ]


def _holds(name: str, known: Known, p: float) -> Control:
    said = "the target answers its members better than nonmembers"
    return Control(NAME, "holds", f"{said}: {_gap_words(known.behaviour.target)}", p_value=p, format=name)


def _no_better(known: Known) -> str:
    words = _gap_words(known.behaviour.target)
    return f"the target answers its members not significantly better than nonmembers: {words}"


def _with_shadows(name: str, known: Known) -> Control:
    p, contrast = _evidence(known), _contrast(known.behaviour)
    if p < ALARM:
        return _holds(name, known, p)
    if contrast is None:
        statement = f"{_no_better(known)}, and so do its shadows on their own"
        return Control(NAME, "holds", statement, p_value=p, format=name)
    if contrast.p_value >= LEVEL:
        few = "its shadows do on their own, and these records are too few to tell whether it should"
        return Control(NAME, "warning", f"{_no_better(known)}; {few}", p_value=contrast.p_value, format=name)
    statement = f"the target does not know its members: is the list of members right? Its {contrast}"
    note = (
        f"{contrast.distance:.1f} standard errors apart; if the list is right, shadows are trained unlike the target "
        "(recipe, epochs, augmentation, records)"
    )
    return Control(NAME, "undecided", statement, p_value=contrast.p_value, format=name, note=note)


def _alone(name: str, known: Known, origin: Origin) -> Control:
    p = _evidence(known)
    if p < ALARM:
        return _holds(name, known, p)
    status, why = _WITHOUT_SHADOWS[origin]
    return Control(NAME, status, f"{_no_better(known)}{why}", p_value=p, format=name)


_WITHOUT_SHADOWS: Mapping[Origin, tuple[Status, str]] = {
    "trained here": ("holds", "; edgeaudit trained it on these members"),
    "declared": (
        "warning",
        "; that the list of members is right is assumed, from accuracies as stated in target.accuracy",
    ),
    "given": (
        "undecided",
        ", as if the list of members were wrong; train shadows (model.recipe), or state target.accuracy: {train, test}",
    ),
}


def _evidence(known: Known) -> float:
    """Return the smallest p-value, after Holm, of the tests that the target knows its members."""
    attacks = [one_sided for row in known.attacks if (one_sided := _above_half(row)) is not None]
    tests = [known.behaviour.p_accuracy, known.behaviour.p_loss, *attacks]
    return float(holm(np.array(tests, dtype=np.float64)).min())


def _above_half(row: NullControlRow) -> float | None:
    if row.p_value is None:
        return None
    return row.p_value / 2 if row.value > 0.5 else 1 - row.p_value / 2


def _contrast(behaviour: Behaviour) -> _Contrast | None:
    """Return the measure in which target and shadows contrast most; None where the shadows have no clear gap."""
    found = [
        contrast
        for name in _MEASURES
        if (contrast := _contrast_in(name, getattr(behaviour.target, name), _all(behaviour.shadows, name))) is not None
    ]
    return min(found, key=lambda contrast: contrast.p_value, default=None)


def _all(shadows: Sequence[Gaps], name: str) -> list[Gap]:
    return [getattr(gaps, name) for gaps in shadows]


def _contrast_in(measure: str, target: Gap, shadows: Sequence[Gap]) -> _Contrast | None:
    """Compare by a normal test.

    The shadows' whole spread counts for the target, beside the variance of its records, although records are part of
    that spread, too: an estimate of the models' own part from few shadows can be 0 by chance.
    """
    values, count = np.array([gap.value for gap in shadows]), len(shadows)
    drawn = float(np.mean([gap.variance for gap in shadows]))
    spread = max(float(values.var(ddof=1)), drawn) if count > 1 else drawn
    mean = float(values.mean())
    if spread == 0 or mean < CLEAR * math.sqrt(spread / count):
        return None
    distance = (mean - target.value) / math.sqrt(target.variance + spread * (1 + 1 / count))
    return _Contrast(measure, target.value, mean, distance, float(scipy.stats.norm.sf(distance)))


def _gap_words(gaps: Gaps) -> str:
    return f"accuracy {gaps.accuracy.value * 100:+.1f} points, mean loss {-gaps.loss.value:+.3f}"
