"""tflite-runtime 2.14, served by the agent from an environment of its own: answers, refusals, and how it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.config.entries import PassEntry, RuntimeEntry
from edgeaudit.config.formats import FormatUse
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.environment_runtimes import EnvironmentRuntime, TfliteRuntimeElsewhere
from edgeaudit.devices.environments import Environment
from edgeaudit.digests import file_sha256
from edgeaudit.errors import AgreementError, ArtifactError, DeviceError, MissingEnvironment, SpecError
from edgeaudit.filetypes.agreement import require_agreement
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.formats.presets import FORMATS
from edgeaudit.formats.resolve import find_format
from edgeaudit.recipes.base import Recipe
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.train import Train
from tests.exporters.toys import artifact, pushed, sealed, toy
from tests.runtimes.served import tflite_artifact

RECORDS = np.array([[1, 0], [0, 1], [0.5, -0.5]], np.float32)
EXPECTED = np.array([[10, 0], [0, -1], [5, 0.5]], np.float32)


def test_a_missing_environment_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEAUDIT_ENVIRONMENTS", str(tmp_path))
    spec = find_runtime("tflite-runtime").spec
    assert spec.installed() == {"tflite-runtime": None, "numpy": None}
    assert spec.remedy == "edgeaudit environments prepare tflite-runtime"
    with pytest.raises(
        MissingEnvironment, match=r"does not exist yet\. Create it with: edgeaudit environments prepare tfl"
    ):
        spec.versions()


def test_an_incompatible_pair_is_refused_before_anything_runs() -> None:
    reason = r"formats: 'mine': `aeq.dynamic-int8` in `tflite-runtime`: .* layer's bias"
    with pytest.raises(SpecError, match=reason):
        find_format(FormatUse(format="litert-int8-dynamic", name="mine", runtime=RuntimeEntry("tflite-runtime")))
    with pytest.raises(SpecError, match=reason):
        passes = (PassEntry("litert.export"), PassEntry("aeq.dynamic-int8"))
        find_format(FormatUse(name="mine", passes=passes, runtime=RuntimeEntry("tflite-runtime")))


def test_the_agents_code_is_part_of_job_keys() -> None:
    drawn = DrawPopulation(content={}, seed=0, data=DataSpec(source="digits"))
    query = Query(
        population=drawn,
        source=Train(population=drawn, role="target", seed=0, recipe=Recipe("mlp", (2,), 2), check=128),
        role="target",
        runtime="tflite-runtime",
        options=Settings({}),
        tolerance=None,
        range_tolerance=None,
        versions={},
        machine={},
    )
    assert {
        "edgeaudit.agent.main", "edgeaudit.agent.server", "edgeaudit.agent.served", "edgeaudit.devices.agent_process",
        "edgeaudit.devices.oip.client", "edgeaudit.runtimes.tflite_runtime", "edgeaudit.runtimes.litert",
    } <= query.closure().modules  # fmt: skip


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def opened(served: Artifact, **options: object) -> EnvironmentRuntime:
    runtime = find_runtime("tflite-runtime")(served, options)
    assert isinstance(runtime, TfliteRuntimeElsewhere)
    return runtime


def process(runtime: EnvironmentRuntime) -> AgentProcess:
    session = runtime.session.inner
    assert isinstance(session, AgentProcess)
    return session


@pytest.mark.toolchain
@pytest.mark.usefixtures("tflite_environment")
class TestServed:
    def test_it_answers(self, tmp_path: Path) -> None:
        runtime = opened(tflite_artifact(tmp_path), batch=2)
        np.testing.assert_allclose(runtime.query(RECORDS), EXPECTED, rtol=1e-6)
        assert runtime.engaged() == ("XNNPACK", "built-in kernels")
        assert runtime.options == {"batch": 2, "xnnpack": True}
        assert runtime.spec.versions() == {"tflite-runtime": "2.14.0", "numpy": "1.26.4"}

    def test_requests_of_whole_batches_change_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two records of 8 bytes a request, instead of all."""
        whole = opened(tflite_artifact(tmp_path, int8=True), batch=2)
        monkeypatch.setattr("edgeaudit.devices.device_runtime._REQUEST_BYTES", 1)
        small = opened(whole.artifact, batch=2)
        assert (small._step, whole._step) == (2, 2 * (8 << 20) // 4)
        np.testing.assert_array_equal(small.query(RECORDS), whole.query(RECORDS))

    def test_the_current_manifest_is_served(self, tmp_path: Path) -> None:
        served = tflite_artifact(tmp_path, int8=True)
        lying = replace(served.manifest, input=replace(served.manifest.input, dtype="uint8"))
        with pytest.raises(ArtifactError, match=r"has a int8 tensor .*, but its manifest says uint8"):
            opened(Artifact(served.folder, lying))

    def test_an_invalid_file(self, tmp_path: Path) -> None:
        served = tflite_artifact(tmp_path)
        served.path.write_bytes(b"not a model")
        with pytest.raises(ArtifactError, match="does not match its manifest"):
            opened(served)
        damaged = Artifact(served.folder, replace(served.manifest, sha256=file_sha256(served.path)))
        with pytest.raises(ArtifactError, match=f"tflite-runtime cannot load {served.path}: "):
            opened(damaged)
        assert not [child for child in children() if "agent" in " ".join(child.cmdline())]

    def test_it_exits_with_the_object_and_leaves_no_zombie(self, tmp_path: Path) -> None:
        before = {child.pid for child in children()}
        runtime = opened(tflite_artifact(tmp_path))
        (started,) = {child.pid for child in children()} - before
        assert psutil.Process(started).num_threads() < 5  # listening, reading standard input, one connection
        arguments = " ".join(psutil.Process(started).cmdline())
        token = process(runtime).client._token
        assert token is not None
        assert token not in arguments
        assert token not in str(psutil.Process(started).environ())
        del runtime
        gc.collect()
        assert not psutil.pid_exists(started)

    def test_a_dead_agent_is_one_clear_error(self, tmp_path: Path) -> None:
        runtime = opened(tflite_artifact(tmp_path))
        runtime.query(RECORDS)
        os.kill(process(runtime).pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match=r"http://127\.0\.0\.1:"):
            runtime.query(RECORDS)
        runtime.close()

    def test_it_exits_when_this_process_is_killed(self, tmp_path: Path) -> None:
        served = tflite_artifact(tmp_path)
        code = (
            "import sys, time; from pathlib import Path; from edgeaudit.filetypes.artifact import Artifact\n"
            "from edgeaudit.runtimes.registry import find_runtime\n"
            "runtime = find_runtime('tflite-runtime')(Artifact.load(Path(sys.argv[1])), {})\n"
            "print(runtime.session.inner.pid, flush=True); time.sleep(600)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(served.folder)], stdout=subprocess.PIPE, text=True
        ) as one:
            assert one.stdout is not None
            agent = psutil.Process(int(one.stdout.readline()))
            assert agent.is_running()
            one.kill()
        for _ in range(100):
            # Its new parent may be an init process that asks for nobody's exit code.
            if not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the agent lives on")

    @pytest.mark.parametrize("name", ["mlp", "cnn-8x8x1"])
    def test_dynamic_range_files_are_refused_by_content(self, name: str) -> None:
        subject, passes = toy(name), FORMATS["litert-int8-dynamic"].passes
        with pytest.raises(ArtifactError, match=r"does not serve files of 'aeq\.dynamic-int8': .* one per channel"):
            opened(artifact(subject, passes))
        nameless = replace(artifact(subject, passes).manifest, passes=())
        with pytest.raises(ArtifactError, match=r"model\.tflite cannot be served here: .* serve the file with LiteRT"):
            opened(Artifact(artifact(subject, passes).folder, nameless))

    def test_what_is_refused_is_really_wrong(self, tflite_environment: Environment, tmp_path: Path) -> None:
        """Past both refusals, in tflite-runtime itself: the last layer's bias for every record."""
        subject = toy("mlp")
        made, product = pushed(subject, FORMATS["litert-int8-dynamic"].passes)
        served = sealed((made, product), FORMATS["litert-int8-dynamic"].passes)
        np.save(tmp_path / "records.npy", subject.queries)
        code = (
            "import sys, numpy as np; from tflite_runtime.interpreter import Interpreter\n"
            "one = Interpreter(sys.argv[1], num_threads=1); records = np.load(sys.argv[2])\n"
            "source, answer = one.get_input_details()[0]['index'], one.get_output_details()[0]['index']\n"
            "one.resize_tensor_input(source, records.shape); one.allocate_tensors()\n"
            "one.set_tensor(source, records); one.invoke(); np.save(sys.argv[3], one.get_tensor(answer))\n"
        )
        out = tmp_path / "answers.npy"
        python = str(tflite_environment.python())
        subprocess.run(
            [python, "-I", "-c", code, str(served.path), str(tmp_path / "records.npy"), str(out)], check=True
        )
        answers = np.load(out)
        bias = subject.module(subject.state)[-1].bias.detach().numpy()  # type: ignore[index]
        np.testing.assert_allclose(answers, np.broadcast_to(bias, answers.shape), atol=1e-5)
        with pytest.raises(AgreementError, match="does not agree with the trained model"):
            require_agreement(subject.logits, answers, what="dynamic", tolerance=0.2)

    @pytest.mark.parametrize(
        ("name", "differ"),
        [("mlp", 0.017), ("cnn-8x8x1", 0.854), ("residual-32x32x3", 0.842), ("separable-32x32x3", 0.492)],
    )
    def test_against_litert_on_the_same_full_integer_file(self, name: str, differ: float) -> None:
        """docs/agent.md has the figures: equal to LiteRT without XNNPACK, at most one step from LiteRT with it."""
        subject = toy(name)
        served = artifact(subject, FORMATS["litert-int8"].passes)
        answers = opened(served).query(subject.queries)
        built_in, xnnpack = (
            find_runtime("litert")(served, {"xnnpack": x}).query(subject.queries) for x in (False, True)
        )
        np.testing.assert_array_equal(answers, built_in)
        np.testing.assert_array_equal(opened(served, xnnpack=False).query(subject.queries), built_in)
        step = served.manifest.output.scale
        assert step is not None
        assert np.abs(answers - xnnpack).max() == pytest.approx(step, rel=1e-3)  # float32 multiples of the step
        # Training differs in the last bits between machines, and with it which answers are near a step's middle.
        assert (answers != xnnpack).any(axis=1).mean() == pytest.approx(differ, abs=0.2)

    @pytest.mark.parametrize("passes", [("aeq.weight-only-int8",), ("aeq.static-int16x8",)], ids=lambda p: p[0])
    def test_other_files_of_ai_edge_quantizer(self, passes: tuple[str, ...]) -> None:
        subject = toy("separable-32x32x3")
        served = artifact(subject, [PassEntry("litert.export"), *map(PassEntry, passes)])
        require_agreement(subject.logits, opened(served).query(subject.queries), what=passes[0], tolerance=0.2)
