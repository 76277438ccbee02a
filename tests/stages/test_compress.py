"""A file is compared with its model before a pass rounds it: the limit of integers would hide a wrong conversion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import AgreementError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import make_plan
from edgeaudit.stages.compress import Compress
from edgeaudit.stages.population import DrawPopulation

pytestmark = pytest.mark.toolchain


def _compressions(tmp_path: Path) -> Iterator[tuple[Compress, Store]]:
    """The target's export and its quantisation, after what they need has run."""
    spec = AuditSpec.model_validate({
        "data": {"reference": 200, "members": 100, "nonmembers": 100, "calibration": {"records": 48}},
        "model": {"batch": 16, "epochs": 10, "options": {"hidden": [16]}},
        "threat": {"shadows": 2},
        "formats": ["onnx-int8-static", "onnx-int8-qat"],
        "controls": {"null-targets": 0, "shift": False},
    })  # fmt: skip
    store = Store(tmp_path / "store")
    drawn = DrawPopulation(content={"test": 1}, seed=spec.seed, data=spec.data)
    assert execute(drawn, store).error is None
    plan = make_plan(spec, store.read(drawn), drawn, choose_attacks(spec))
    for planned in plan.formats:
        job = planned.artifact
        assert isinstance(job, Compress)
        yield job, store


def test_a_wrong_float_file_is_not_quantised(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    (quantise, store), (qat, _) = _compressions(tmp_path)
    assert quantise.source_tolerance == 0.001
    assert qat.source_tolerance is None  # an export of a model that rounds already, from torch
    export = quantise.source
    assert execute(export.source, store).error is None  # type: ignore[attr-defined]
    assert execute(export, store).error is None
    # The last bias is one twentieth of the answers' spread off, which the .2 of integers would let pass.
    file = store.read(export).artifact.path
    model = onnx.load(file)
    (bias,) = [one for one in model.graph.initializer if list(one.dims) == [10]]
    wrong = numpy_helper.to_array(bias) + np.float32(0.3) * (np.arange(10) == 0)
    bias.CopyFrom(numpy_helper.from_array(wrong.astype(np.float32), bias.name))
    changed = tmp_path / "wrong.onnx"
    onnx.save(model, changed)
    artifact = store.read(export).artifact
    population = store.read(quantise.population)
    quantise._require_faithful(artifact, population)
    (tmp_path / artifact.manifest.file).write_bytes(changed.read_bytes())
    (tmp_path / "check.npz").write_bytes((artifact.folder / "check.npz").read_bytes())
    off = type(artifact)(tmp_path, artifact.manifest)
    message = r"onnx\.export \(target\), before 'ort\.static-int8', does not agree with the trained model: .* 0\.001"
    with pytest.raises(AgreementError, match=message):
        quantise._require_faithful(off, population)
    assert execute(quantise, store).error is None
