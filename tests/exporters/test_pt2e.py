"""PT2E: what is quantised in torch is what the file answers, and a bias in another scale is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import pt2e
from edgeaudit.filetypes.agreement import agreement
from edgeaudit.runtimes.registry import find_runtime
from tests.exporters.toys import apply, sealed, toy

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize(
    ("name", "runtime", "batch"), [("executorch.static-int8", "executorch", 60), ("litert.pt2e-int8", "litert", 1)]
)
def test_the_file_answers_like_the_quantised_graph(
    monkeypatch: pytest.MonkeyPatch, name: str, runtime: str, batch: int
) -> None:
    """Torch runs the graph with its quantise and dequantise steps in floats; the file, in integers, is a step off."""
    graphs = []

    def kept(*given: Any, **named: Any) -> torch.nn.Module:
        graphs.append(quantised(*given, **named))
        return graphs[-1]

    quantised = pt2e.quantised
    monkeypatch.setattr(pt2e, "quantised", kept)
    subject, use = toy("cnn-8x8x1"), PassEntry(name)
    served = sealed(apply(subject, use, subject.state), [use])
    answers = find_runtime(runtime)(served).query(subject.queries)
    records = subject.queries
    if served.manifest.input.layout == "NHWC":
        records = np.ascontiguousarray(records.transpose(0, 2, 3, 1))
    (graph,) = graphs
    with torch.no_grad():
        expected = np.concatenate(
            [graph(torch.from_numpy(records[i : i + batch])).numpy() for i in range(0, len(records), batch)]
        )
    step = np.diff(np.unique(expected)).min()
    assert np.abs(answers - expected).max() < 2.01 * step
    assert agreement(expected, answers).rel_rms < 0.02
    assert 0.02 < agreement(subject.logits, answers).rel_rms < 0.06


def test_a_bias_in_another_scale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """litert-torch 0.10 writes such a file for a network with dropout before its last layer, if dropout stays."""
    monkeypatch.setattr(pt2e, "_drop_dropout", lambda _: None)
    subject = toy("cnn-8x8x1")
    with pytest.raises(ToolchainError, match=r"the converter gave the bias .* the model has no-op operators"):
        apply(subject, PassEntry("litert.pt2e-int8"), subject.state)
