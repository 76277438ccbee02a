from __future__ import annotations

import numpy as np

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.yeom import Yeom


def test_score_is_minus_the_loss_without_any_shadow() -> None:
    evidence = Evidence(
        np.array([[0.5, 0.5], [0.9, 0.1]]),
        np.empty((0, 2, 2)),
        np.empty((0, 2), dtype=np.bool_),
        np.array([0, 1]),
        "probabilities",
    )
    # log .5 and log .1; the record with the lower loss scores higher.
    np.testing.assert_allclose(Yeom().score(evidence, "loss").score, np.log([0.5, 0.1]))
