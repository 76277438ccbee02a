"""What jobs share that ask an artifact: the runtime, opened where the query job's inputs say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from edgeaudit.devices.asking import Ledger, Pace, one_at_a_time
from edgeaudit.devices.device_runtime import MODEL, DeviceRuntime, on_device
from edgeaudit.devices.transport import Reach
from edgeaudit.errors import StoreError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import JobContext
from edgeaudit.graph.store import content_key
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["asked_artifact", "asked_inputs", "described", "open_asked", "opened", "told_by"]


def asked_artifact(context: JobContext, query: Sequence[str]) -> Artifact:
    """The artifact that a query job asked. query: (kind, key)."""
    kind, key = query
    source_kind, source_key = context.store.entry(kind, key).about["inputs"]["source"]
    return Artifact.load(context.store.entry(source_kind, source_key).folder)


def described(artifact: Artifact, role: str) -> str:
    """What was asked, for messages: `onnx.export + ort.static-int8 (target)`; several formats may share it."""
    if artifact.manifest.foreign:
        return f"{artifact.manifest.file} ({role})"
    return f"{' + '.join(step.name for step in artifact.manifest.passes) or artifact.manifest.kind} ({role})"


def asked_inputs(context: JobContext, query: Sequence[str]) -> Mapping[str, Any]:
    """The inputs of a query job; those of the one on this machine where that stood in for a device."""
    kind, key = query
    about = context.store.entry(kind, key).about
    if about["facts"].get("stood_in"):
        return asked_inputs(context, about["inputs"]["stand_in"]["native"])
    inputs: Mapping[str, Any] = about["inputs"]
    return inputs


@contextmanager
def opened(context: JobContext, inputs: Mapping[str, Any], artifact: Artifact) -> Iterator[Runtime]:
    """An artifact in the runtime of a query job's inputs: here, or on the device that they name.

    That device is asked at the pace of the job's hints; where it is one thing, nobody else asks it meanwhile.
    """
    if (changed := artifact.changed()) is not None:
        raise StoreError(f"{changed} is not the file that its manifest describes; remove that folder, run again")
    name, device = inputs["runtime"], inputs["device"]
    if "reach" not in device:
        runtime = find_runtime(name)(artifact, inputs["options"])
        try:
            yield runtime
        finally:
            runtime.close()
        return
    reach, asking = Reach.from_dict(device["reach"]), context.hints["asking"]
    pace = Pace(**asking["pace"])
    folder = context.store.devices()
    with ExitStack() as stack:
        if asking["alone"]:
            lock = content_key("device", {"via": reach.via})
            stack.enter_context(one_at_a_time(folder / f"{lock}.lock"))
        ledger = Ledger(folder / f"{asking['ledger']}.json", context.key, pace)
        asked = on_device(reach, name, pace, ledger)(artifact, inputs["options"])
        stack.callback(asked.close)
        yield asked


@contextmanager
def open_asked(context: JobContext, query: Sequence[str]) -> Iterator[Runtime]:
    """The runtime of a query job with its artifact loaded. That they agree with the torch model, the query job saw."""
    with opened(context, asked_inputs(context, query), asked_artifact(context, query)) as runtime:
        yield runtime


def told_by(runtime: Runtime) -> dict[str, Any] | None:
    """What a device tells of itself and of how it was asked; None for a runtime in this process."""
    if not isinstance(runtime, DeviceRuntime):
        return None
    patient = runtime.patient
    return {
        "fingerprint": dict(patient.serving.fingerprint()),
        "engaged": list(runtime.engaged()),
        "engines": list(patient.facts(MODEL).get("engines", ())),
        "asked": patient.asked,
        "restored": patient.restored,
    }
