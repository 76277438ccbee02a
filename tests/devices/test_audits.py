"""A whole audit on an emulated device: what saturates there is asked there, and what does not is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.stages.query import QueryResult
from tests.e2e.conftest import Workbench, jobs_run

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("emulated_cache")]

DEVICE = "intel-haswell"
SATURATING, EXACT = "onnx-int8-static", "onnx-int8-reduced"
"""Weights of 8 bits, whose sums of products do not fit into 16 bits where AVX2 adds them, and of 7, whose do."""

RECORDS = 600


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, emulated_cache: None) -> tuple[Workbench, dict[str, Any]]:
    bench = Workbench(tmp_path_factory.mktemp("bench"))
    done = bench.audit(
        "haswell", formats=[SATURATING, EXACT], threat={"shadows": 2}, devices={"local": None, "old-pc": DEVICE}
    )
    assert done.code == 0, done.stderr
    return bench, done.audit


def test_saturating_sums_change_answers_there_and_seven_bits_do_not(
    audited: tuple[Workbench, dict[str, Any]],
) -> None:
    found = {row["format"]: row for row in audited[1]["same_file"]}
    assert found[EXACT]["rows"] == 0
    assert found[SATURATING]["rows"] > RECORDS / 4
    assert found[SATURATING]["max_abs"] > 0.05
    (device,) = audited[1]["devices"]
    assert (device["profile"], device["via"], device["verified"]) == (DEVICE, "emulated", "emulated")
    assert device["isa"] == ["sse4_2", "avx", "avx2", "fma"]
    asked = {one["format"]: one for one in device["formats"]}
    assert asked[SATURATING]["shadows"] == "device"
    assert asked[EXACT]["shadows"] == "this machine"
    for one in asked.values():
        assert one["fingerprint"]["probes"]["int8"]["kernels"] == "saturating"
        assert [c["records"] for c in one["equivalence"]] == [RECORDS, 256]  # the target, then a shadow
        assert one["asked"] == RECORDS + 32
    assert not [row for row in audited[1]["latency"] if row["device"] != "local"]  # never from emulation


def test_shadows_are_those_of_the_device_where_it_differs(audited: tuple[Workbench, dict[str, Any]]) -> None:
    bench, _ = audited
    for entry in bench.folder.glob(".edgeaudit/query/*/entry.json"):
        about = json.loads(entry.read_text("utf-8"))
        stand_in = about["inputs"].get("stand_in")
        if stand_in is None:
            continue
        query = QueryResult.load(entry.parent)
        native = QueryResult.load(bench.folder / ".edgeaudit" / Path(*stand_in["native"]))
        assert query.stood_in == np.array_equal(query.responses, native.responses)


def test_it_is_not_queried_twice(audited: tuple[Workbench, dict[str, Any]]) -> None:
    bench, first = audited
    again = bench.run("run", "haswell.yaml", "--out", "out-again", out="out-again")
    assert again.code == 0, again.stderr
    assert jobs_run(again.stdout)[0] == 0
    assert again.audit["leakage"] == first["leakage"]
