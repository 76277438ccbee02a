"""How emulated devices answer: the tables of docs/devices-emulated.md.

    python -m benchmarks.emulated raspberry-pi-4 raspberry-pi-5 intel-haswell

Two small trained networks of the test suite, files of several quantisers, the same 240 records (half of them training
records) on this machine and on each device. Devices have to be prepared (`edgeaudit devices emulate`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeaudit.config.entries import PassEntry
from edgeaudit.devices.registry import find_transport
from edgeaudit.devices.transport import InferenceSession
from edgeaudit.endpoint import EMULATED, Endpoint
from edgeaudit.errors import EdgeAuditError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.host.fingerprint import cpu_flags, cpu_name
from edgeaudit.runtimes.registry import find_runtime
from tests.exporters.toys import artifact, toy

Answers = npt.NDArray[np.float32]

NETWORKS = ("cnn-8x8x1", "residual-32x32x3")
_ONNX, _LITERT = PassEntry("onnx.export"), PassEntry("litert.export")
FILES: Mapping[str, tuple[PassEntry, ...]] = {
    "onnx fp32": (_ONNX,),
    "onnx u8s8": (_ONNX, PassEntry("ort.static-int8")),
    "onnx s8s8": (_ONNX, PassEntry("ort.static-int8", {"activation_type": "s8"})),
    "onnx u8s8 reduce_range": (_ONNX, PassEntry("ort.static-int8", {"reduce_range": True})),
    "onnx u8u8": (_ONNX, PassEntry("ort.static-int8", {"weight_type": "u8", "per_channel": False})),
    "onnx dynamic": (_ONNX, PassEntry("ort.dynamic-int8")),
    "tflite int8": (_LITERT, PassEntry("aeq.static-int8")),
    "openvino fp32": (PassEntry("openvino.export"),),
}

PAIRS = (("as edgeaudit asks", "batch 32"), ("XNNPACK", "no XNNPACK"), ("XNNPACK", "tflite-runtime"), ("f32", "f16"))
"""Settings that are compared on each device."""


class Setting(NamedTuple):
    """One way to serve some of the files."""

    name: str
    runtime: str
    files: tuple[str, ...]
    options: Mapping[str, Any]


_ORT = tuple(name for name in FILES if name.startswith("onnx"))
SETTINGS = (
    Setting("as edgeaudit asks", "onnxruntime", _ORT, {"batch": 1}),
    Setting("as it comes", "onnxruntime", _ORT, {"batch": 1, "session": {}}),
    Setting("batch 32", "onnxruntime", ("onnx u8s8", "onnx dynamic"), {"batch": 32}),
    Setting("XNNPACK", "litert", ("tflite int8",), {"batch": 1}),
    Setting("no XNNPACK", "litert", ("tflite int8",), {"batch": 1, "xnnpack": False}),
    Setting("tflite-runtime", "tflite-runtime", ("tflite int8",), {"batch": 1}),
    Setting("f32", "openvino", ("openvino fp32",), {"batch": 1}),
    Setting("f16", "openvino", ("openvino fp32",), {"batch": 1, "precision": "f16"}),
)


def native(served: Mapping[str, Artifact], setting: Setting) -> dict[str, Answers]:
    """Name of the artifact -> this machine's answers."""
    cls = find_runtime(setting.runtime)
    return {name: cls(one, setting.options).query(records(name)) for name, one in served.items()}


def on_device(profile: str, served: Mapping[str, Artifact], setting: Setting) -> dict[str, Answers]:
    """The same under QEMU; says how fast."""
    begun = time.monotonic()
    folders = {name: one.folder for name, one in served.items()}
    session = find_transport(Endpoint(EMULATED, profile)).serve(setting.runtime, folders, setting.options)
    started = time.monotonic()
    try:
        found = {name: _asked(session, name, one) for name, one in served.items()}
    finally:
        session.close()
    rate = sum(len(answers) for answers in found.values()) / (time.monotonic() - started)
    print(f"<!-- {profile} {setting.name}: start {started - begun:.1f} s, {rate:.0f} records/s -->", flush=True)
    return found


def _asked(session: InferenceSession, name: str, one: Artifact) -> Answers:
    """Scaled and transposed here, by the code that does it for this machine's runtimes, and answered there."""

    def answer_all(_: object, native: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return session.infer(name, native, "1")

    cls = find_runtime({"tflite": "litert", "onnx": "onnxruntime"}.get(one.manifest.kind, one.manifest.kind))
    far: Any = type("Far", (cls,), {"_open": lambda _: None, "_answer_all": answer_all})
    answers: Answers = far(one, {}).query(records(name))
    return answers


def records(name: str) -> Answers:
    """The 240 records of the network that an artifact's name begins with."""
    return toy(name.partition(".")[0]).queries


def compared(a: Answers, b: Answers) -> str:
    """Rows that differ, the largest difference, top classes that changed."""
    rows = (a != b).any(axis=1)
    if not rows.any():
        return "equal"
    top = int((a.argmax(axis=1) != b.argmax(axis=1)).sum())
    return f"{rows.mean():.0%}, {np.abs(a - b).max():.3g}, {top}"


def _lines(profiles: list[str]) -> Iterator[str]:
    kept: dict[str, dict[str, dict[str, Answers]]] = {}
    yield f"Native: {cpu_name()} ({' '.join(cpu_flags())}).\n"
    yield f"| network | file | setting | {' | '.join(profiles)} | the first two with each other |"
    yield f"|---|---|---|{'---|' * (len(profiles) + 1)}"
    for setting in SETTINGS:
        served = {
            f"{network}.{name.replace(' ', '-')}": artifact(toy(network), FILES[name])
            for network in NETWORKS
            for name in setting.files
        }
        for one in served.values():
            one.save()
        answers: dict[str, dict[str, Answers]] = {}
        for who in ("native", *profiles):
            try:
                answers[who] = native(served, setting) if who == "native" else on_device(who, served, setting)
            except EdgeAuditError as exc:
                print(f"<!-- {who} {setting.name}: {exc} -->", flush=True)
        for name in served:
            cells = [_cell(answers, "native", who, name) for who in profiles]
            network, _, file = name.partition(".")
            both = _cell(answers, profiles[0], profiles[min(1, len(profiles) - 1)], name)
            yield f"| {network} | {file} | {setting.name} | {' | '.join(cells)} | {both} |"
        kept[setting.name] = answers
    yield "\n| network | file | settings | native | " + " | ".join(profiles) + " |"
    yield f"|---|---|---|---|{'---|' * len(profiles)}"
    for first, second in PAIRS:
        for name in kept[second].get("native") or next(iter(kept[second].values())):
            network, _, file = name.partition(".")
            cells = [
                compared(kept[first][who][name], kept[second][who][name])
                if who in kept[first] and who in kept[second]
                else "cannot"
                for who in ("native", *profiles)
            ]
            yield f"| {network} | {file} | {first} / {second} | {' | '.join(cells)} |"


def _cell(answers: Mapping[str, Mapping[str, Answers]], a: str, b: str, name: str) -> str:
    if a not in answers or b not in answers:
        return "cannot"
    return compared(answers[a][name], answers[b][name])


if __name__ == "__main__":
    for line in _lines(sys.argv[1:]):
        print(line, flush=True)
