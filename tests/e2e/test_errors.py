"""What a user does wrong, and what goes wrong around him: one message, exit 2, finished work kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import Workbench, jobs_run

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ["onnx-int8-statc"]}, "'onnx-int8-statc' is not known. Did you mean 'onnx-int8-static'?"),
        ({"attacks": ["cm-mia", "rmai"]}, "there is no attack 'rmai'. Did you mean 'rmia'?"),
        ({"modle": {}}, "'modle' is not a known key; did you mean 'model'?"),
        ({"data": {"members": 900, "nonmembers": 900}}, "data: 900 members, 900 nonmembers and 400 reference"),
        ({"data": {"members": 500, "nonmembers": 500, "reference": 400}}, "at least 101 more are needed"),
        ({"data": {"source": "npz", "path": "none.npz"}}, "none.npz does not exist"),
        (
            {"data": {"calibration": {"records": 380}}},
            "80 are missing; lower data.calibration.records, or raise data.ref",
        ),
        ({"model": {"recipe": "resnet9"}}, "model.recipe: 'resnet9' is not known"),
        ({"model": {"recipe": "nowhere:make"}}, "'nowhere' cannot be found"),
        ({"model": {"recipe": "nowhere.models:make"}}, "'nowhere.models' cannot be found"),
        ({"model": {"recipe": "./mine.py:make"}}, "'./mine.py' cannot be found; write module:function"),
        ({"attacks": ["cm-mia"], "cm-mia": {"cutoffs": [0.05]}}, "cutoff 0.05 needs at least 19 shadows"),
        ({"budgets": {"auc": ["error", {"max": 0.7, "formats": ["litert-int8"]}]}}, "'litert-int8' is not in this"),
        (
            {"attacks": ["cm-mia"], "budgets": {"auc": ["error", {"max": 0.7, "subset": "abnormal"}]}},
            "unknown subset 'abnormal'",
        ),
    ],
)
def test_one_clear_message_and_exit_2(shared_bench: Workbench, changes: dict[str, Any], message: str) -> None:
    done = shared_bench.refused(**changes)
    assert message in done.stderr
    assert done.stderr.count("error:") == 1


def test_all_that_is_wrong_is_said_at_once(shared_bench: Workbench) -> None:
    done = shared_bench.refused(
        formats=["onnx-int8-statc", "onnx-fp32", "litert-int9"],
        attacks=["rmai"],
        data={"source": "npz", "path": "none.npz"},
        budgets={"auc": ["error", {"max": 0.7, "formats": ["litert-int8"]}]},
        report={"writers": ["pdf"]},
    )
    said = done.stderr
    assert "error: 6 problems:\n- " in said
    for message in (
        "'litert-int8' is not in this",
        "'pdf'",
        "'onnx-int8-statc' is not known",
        "'litert-int9' is not known",
        "there is no attack 'rmai'",
        "none.npz does not exist",
    ):
        assert said.count(message) == 1, (message, said)


def test_each_module_that_is_missing_is_named_with_its_key(shared_bench: Workbench) -> None:
    done = shared_bench.refused(
        model={"recipe": "nets:make", "train": "loops:fit"},
        data={"source": "records:read", "groups": "persons:of", "slices": {"site": "sites:of"}},
    )
    for key, module in (
        ("model.recipe", "nets"),
        ("model.train", "loops"),
        ("data.source", "records"),
        ("data.groups", "persons"),
        ("data.slices.site", "sites"),
    ):
        assert done.stderr.count(f"- {key}: the module '{module}' cannot be found") == 1, done.stderr
    assert "error: 5 problems:\n- " in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"recipe": "torchvision:resnet18", "options": {}}}, "cannot take records of shape (1, 8, 8)"),
        ({"model": {"lr": 1e20}}, "lower model.lr"),
    ],
)
def test_errors_found_in_training_are_one_message_too(
    shared_bench: Workbench, changes: dict[str, Any], message: str
) -> None:
    done = shared_bench.audit("wrong", **changes)
    assert done.code == 2
    assert message in done.stderr
    assert done.stderr.count("error:") == 1


def test_an_unusable_output_folder_is_reported_before_the_work(bench: Workbench) -> None:
    (bench.folder / "taken").touch()
    done = bench.call("run", bench.write("a"), "--out", "taken/out")
    assert done.code == 2
    assert "the output folder taken/out: Not a directory" in done.stderr
    assert not list((bench.folder / ".edgeaudit").glob("train/*"))


def test_a_missing_run_folder(bench: Workbench) -> None:
    done = bench.run("check", "nowhere")
    assert done.code == 2
    assert "nowhere" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system of its own needs root to mount")
def test_a_full_disk_keeps_finished_work(bench: Workbench) -> None:
    small = bench.folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        spec = bench.write("full", threat={"shadows": 12}, model={"epochs": 8})
        done = bench.run("run", spec, "--out", "out", "--store", small)
        assert done.code == 2
        assert "disk is full" in done.stderr + done.stdout
        kept = list(small.glob("*/*/entry.json"))
        assert kept
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
        again = bench.run("run", spec, "--out", "out", "--store", small)
        assert again.code == 0, again.stderr
        executed, total = jobs_run(again.stdout)
        assert executed < total
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_ctrl_c_stops_at_once_and_reports_what_is_kept(bench: Workbench) -> None:
    spec = bench.write("a", threat={"shadows": 30})
    command = [sys.executable, "-m", "edgeaudit", "run", str(spec), "--out", "out"]
    # A shell's background jobs ignore SIGINT, and so would this one where the tests are such a job.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=bench.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    while not list((bench.folder / ".edgeaudit").glob("query/*/entry.json")):
        assert process.poll() is None
        time.sleep(0.1)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)  # a loaded machine is slow to end processes, too
    assert process.returncode == 130
    assert "finished work is kept" in stderr
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_an_audit_killed_anywhere_and_run_again_is_the_same(bench: Workbench, without_times: Any) -> None:
    """SIGKILL to the main process at several moments; its workers must go with it, and the last run must agree.

    The undisturbed run has one worker and the others two, which may change nothing either.
    """
    formats = ["torch-fp32", "onnx-int8-static", "nncf-pruned-50"]
    undisturbed = bench.run("run", bench.write("a", formats=formats), "--out", "whole", "--store", "one", out="whole")
    assert undisturbed.code == 0
    spec = bench.write("a", formats=formats)
    command = [sys.executable, "-m", "edgeaudit", "run", str(spec), "--out", "resumed", "--store", "two"]
    for entries in (0, 3, 9, 20, 34):
        process = subprocess.Popen(command, cwd=bench.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.7)
        while len(list((bench.folder / "two").glob("*/*/entry.json"))) < entries:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # or it was done before
    resumed = bench.run("run", spec, "--out", "resumed", "--store", "two", out="resumed")
    assert resumed.code == 0
    assert without_times(resumed.audit) == without_times(undisturbed.audit)
    assert not list((bench.folder / "two" / ".tmp").iterdir())
