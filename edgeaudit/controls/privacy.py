"""Privacy: which files have the differential privacy that the target was trained with.

What is done to a model afterwards keeps its privacy as long as it reads none of the records that the model trained on
(Dwork & Roth, "The Algorithmic Foundations of Differential Privacy", 2014, proposition 2.1: post-processing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeaudit.controls.base import Control

__all__ = ["NAME", "privacy"]

NAME = "privacy"


def privacy(epsilon: float, delta: float, reads: Mapping[str, Sequence[str]]) -> list[Control]:
    """Return one finding a format: a warning where something after the training read its records again.

    epsilon, delta: what the training of the first target spent. reads: by format, what read them, in words.
    """
    spent = f"epsilon {epsilon:.3g} at delta {delta:g}"
    return [
        Control(
            NAME,
            "warning",
            f"{' and '.join(again)} read the training records again, without noise: the training spent {spent}, and "
            "this file has no such bound",
            format=name,
        )
        if again
        else Control(
            NAME,
            "holds",
            f"{spent}, for each training record, by noise from the audit's seed: a model that is released with this "
            "bound must draw its noise from a secret source",
            format=name,
        )
        for name, again in reads.items()
    ]
