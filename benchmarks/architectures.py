"""Which architecture goes through which toolchain; writes docs/models.md.

    python benchmarks/architectures.py --write docs/models.md           # everything: half an hour on two cores
    python benchmarks/architectures.py --only lstm,gru --write out/models.md

Each architecture is small, trained on scikit-learn's digits for a few epochs, and put through each format's passes and
runtime, as an audit does with its target. A cell has the relative RMS error of the answers, or the reason why an audit
refuses the pair. Results are kept in the folder of `--cache`, one file for each architecture, and are not measured
again while edgeaudit's code and the installed packages are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeaudit.digests import file_sha256
from edgeaudit.errors import EdgeAuditError, MissingToolchain
from edgeaudit.exporters import ExportJob, PassResult, find_pass
from edgeaudit.filetypes.agreement import comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact, Manifest, PassRecord, TensorSpec
from edgeaudit.formats.presets import FORMATS, Format, tolerance_of
from edgeaudit.recipes.base import Recipe, Training, module_from_manifest
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.runtimes.registry import default_runtime, find_runtime

if TYPE_CHECKING:
    from torch import nn

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

ROOT = Path(__file__).resolve().parent.parent
MODULE = Path(__file__).stem
MEMBERS, OTHERS, CALIBRATION = 300, 128, 96
_SHOWN = 150

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "ONNX": {"torch": "onnx-fp32", "sklearn": "sklearn-onnx"},
    "ONNX int8 static": {"torch": "onnx-int8-static"},
    "ONNX int8 dynamic": {"torch": "onnx-int8-dynamic"},
    "LiteRT": {"torch": "litert-fp32", "keras": "tflite-fp32"},
    "LiteRT int8": {"torch": "litert-int8", "keras": "tflite-int8"},
    "LiteRT int8 dynamic": {"torch": "litert-int8-dynamic", "keras": "tflite-int8-dynamic"},
    "OpenVINO": {"torch": "openvino-fp32"},
    "OpenVINO int8": {"torch": "openvino-int8-nncf"},
    "ExecuTorch": {"torch": "executorch-fp32"},
    "ExecuTorch int8": {"torch": "executorch-int8"},
    "channels pruned": {"torch": "channels-pruned-50-onnx"},
}
"""Column -> framework -> the format that stands for it."""


@dataclass(frozen=True)
class Architecture:
    """A row. recipe, options: as in audit.yaml's `model`. records: how digits are shaped (see `RECORDS`)."""

    name: str
    title: str
    recipe: str
    records: str = "image"
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 15
    lr: float = 0.003


@dataclass(frozen=True)
class Cell:
    """error: relative RMS error of the answers. refused: the reason instead. seconds: of the passes, wall time."""

    error: float | None = None
    refused: str | None = None
    seconds: float = 0.0


def squeeze_excite(shape: tuple[int, ...], n: int) -> nn.Module:
    """Depthwise-separable blocks with squeeze-and-excitation and hard-swish."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.deep = nn.Sequential(nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs), nn.BatchNorm2d(inputs))
            self.squeeze = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, 8, 1), nn.ReLU(), nn.Conv2d(8, inputs, 1), nn.Hardsigmoid()
            )
            self.out = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.Hardswish())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.deep(x)
            answer: torch.Tensor = self.out(x * self.squeeze(x))
            return answer

    first = nn.Sequential(nn.Conv2d(shape[0], 16, 3, 1, 1), nn.BatchNorm2d(16), nn.Hardswish())
    return nn.Sequential(first, Block(16, 24), Block(24, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, n))


def transformer(shape: tuple[int, ...], n: int) -> nn.Module:
    """nn.TransformerEncoder on a sequence: [1, steps, features]."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.place = nn.Linear(shape[2], 32), nn.Parameter(torch.randn(1, shape[1], 32) * 0.02)
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
            self.encoder, self.out = nn.TransformerEncoder(layer, 2), nn.Linear(32, n)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.out(self.encoder(self.enter(x[:, 0]) + self.place).mean(1))
            return answer

    return Net()


def vit(shape: tuple[int, ...], n: int) -> nn.Module:
    """A vision transformer with a class token, pre-norm and GELU."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.token = nn.Conv2d(shape[0], 32, 8, 8), nn.Parameter(torch.zeros(1, 1, 32))
            self.place = nn.Parameter(torch.randn(1, (shape[1] // 8) ** 2 + 1, 32) * 0.02)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm, self.out = nn.LayerNorm(32), nn.Linear(32, n)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
            answer: torch.Tensor = self.out(self.norm(self.encoder(x))[:, 0])
            return answer

    return Net()


def recurrent(shape: tuple[int, ...], n: int, kind: str = "LSTM", convolved: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """An LSTM or GRU on a sequence [1, steps, features]; after a one-dimensional convolution if `convolved`."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Conv1d(shape[2], 16, 3, padding=1) if convolved else None
            self.rnn = getattr(nn, kind)(16 if convolved else shape[2], 24, batch_first=True)
            self.out = nn.Linear(24, n)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x[:, 0]
            if self.before is not None:
                x = self.before(x.transpose(1, 2)).relu().transpose(1, 2)
            answer: torch.Tensor = self.out(self.rnn(x)[0][:, -1])
            return answer

    return Net()


def conv1d(shape: tuple[int, ...], n: int) -> nn.Module:
    """A 1-D CNN with BatchNorm after ReLU and a grouped convolution, on windows [d]."""
    from torch import nn

    return nn.Sequential(
        nn.Unflatten(1, (1, shape[0])),
        nn.Conv1d(1, 16, 9, 2), nn.ReLU(), nn.BatchNorm1d(16),
        nn.Conv1d(16, 32, 5, 2, groups=4), nn.BatchNorm1d(32), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, n),
    )  # fmt: skip


def auxiliary(shape: tuple[int, ...], n: int) -> nn.Module:
    """Logits and those of an auxiliary head while it trains, as GoogLeNet has it."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(shape[0], 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
            self.rest = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.out, self.aux = nn.Linear(32, n), nn.Linear(16, n)

        def forward(self, x: torch.Tensor) -> Any:
            x = self.body(x)
            answer = self.out(self.rest(x))
            return (answer, self.aux(x.mean((2, 3)))) if self.training else answer

    return Net()


def weight_norms(shape: tuple[int, ...], n: int) -> nn.Module:
    """weight_norm and spectral_norm."""
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm, weight_norm

    return nn.Sequential(
        weight_norm(nn.Conv2d(shape[0], 16, 3, 2, 1)), nn.ReLU(), weight_norm(nn.Conv2d(16, 32, 3, 2, 1)), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), spectral_norm(nn.Linear(128, n)),
    )  # fmt: skip


def norms(shape: tuple[int, ...], n: int) -> nn.Module:
    """GroupNorm, InstanceNorm, GELU and Mish."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.GELU(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.InstanceNorm2d(32, affine=True), nn.Mish(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, n),
    )  # fmt: skip


def token_ids(_: tuple[int, ...], n: int) -> nn.Module:
    """A text classifier: ids into a table, their mean, a layer."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(1088, 16), nn.Linear(16, n)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.out(self.words(x.long()).mean(1))
            return answer

    return Net()


def keras_recurrent(shape: tuple[int, ...], n: int, kind: str = "LSTM") -> Any:
    """A Keras LSTM or GRU on a sequence [steps, features, 1]."""
    import keras

    layers = keras.layers
    steps = [keras.Input(shape), layers.Reshape(shape[:2]), getattr(layers, kind)(16), layers.Dense(n)]
    return keras.Sequential(steps)


def pipeline(_: tuple[int, ...], __: int) -> Any:
    """A scikit-learn pipeline."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=10))


def _own(function: Callable[..., Any], prefix: str = "") -> str:
    return f"{prefix}{MODULE}:{function.__name__}"


ARCHITECTURES: Mapping[str, Architecture] = {
    each.name: each
    for each in (
        Architecture("cnn", "CNN with BatchNorm (`cnn`)", "cnn", "image"),
        Architecture("resnet8", "ResNet-8 (`resnet8`)", "resnet8", "image", {"width": 8}),
        Architecture("ds-cnn", "depthwise-separable CNN (`ds-cnn`)", "ds-cnn", "image", {"width": 32, "blocks": 2}),
        Architecture("se", "depthwise blocks with squeeze-and-excitation", _own(squeeze_excite)),
        Architecture("mobilenetv3", "`timm:mobilenetv3_small_050`", "timm:mobilenetv3_small_050"),
        Architecture("mobilenetv4", "`timm:mobilenetv4_conv_small_035`", "timm:mobilenetv4_conv_small_035"),
        Architecture("efficientnet", "EfficientNet (`timm:test_efficientnet`)", "timm:test_efficientnet"),
        Architecture("vit", "ViT of nn.TransformerEncoder", _own(vit)),
        Architecture("transformer", "nn.TransformerEncoder on sequences", _own(transformer), "sequence"),
        Architecture("lstm", "nn.LSTM, 8 steps", _own(recurrent), "sequence", {"kind": "LSTM"}),
        Architecture("gru", "nn.GRU, 8 steps", _own(recurrent), "sequence", {"kind": "GRU"}),
        Architecture(
            "conv-lstm", "Conv1d, then nn.LSTM", _own(recurrent), "sequence", {"kind": "LSTM", "convolved": True}
        ),
        Architecture("conv1d", "Conv1d, grouped, BatchNorm1d", _own(conv1d), "row"),
        Architecture("auxiliary", "auxiliary head", _own(auxiliary)),
        Architecture("weight-norm", "weight_norm and spectral_norm", _own(weight_norms)),
        Architecture("norms", "GroupNorm, InstanceNorm, GELU, Mish", _own(norms)),
        Architecture("token-ids", "nn.Embedding of token ids", _own(token_ids), "ids", lr=0.02),
        Architecture("keras-lstm", "Keras LSTM, 8 steps", _own(keras_recurrent, "keras:"), "sequence"),
        Architecture("keras-gru", "Keras GRU, 8 steps", _own(keras_recurrent, "keras:"), "sequence", {"kind": "GRU"}),
        Architecture("forest", "RandomForestClassifier", "sklearn:RandomForestClassifier", "row", {"n_estimators": 30}),
        Architecture("pipeline", "pipeline: StandardScaler, GradientBoosting", _own(pipeline, "sklearn:"), "row"),
        Architecture("lightgbm", "LGBMClassifier", "sklearn:LGBMClassifier", "row", {"n_estimators": 20}),
        Architecture("xgboost", "XGBClassifier", "sklearn:XGBClassifier", "row", {"n_estimators": 20}),
    )
}


def digits(shape: str) -> tuple[FloatArray, IntArray]:
    """scikit-learn's digits as models take them, float32, and their labels.

    shape: `image` [n, 3, 32, 32]; `sequence` [n, 1, 8, 8]; `row` [n, 64]; `ids` [n, 64], a word for each place and ink.
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[: MEMBERS + OTHERS]
    x, y = x[order], y[order].astype(np.int64)
    if shape == "ids":
        return (np.arange(64) * 17 + x).astype(np.float32), y
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    if shape == "row":
        return x, y
    x = x.reshape(-1, 1, 8, 8)
    return (np.repeat(np.kron(x, np.ones((1, 1, 4, 4), np.float32)), 3, axis=1) if shape == "image" else x), y


class Trained:
    """An architecture, trained, as the artifact that formats start from."""

    def __init__(self, model: Architecture, folder: Path) -> None:
        x, y = digits(model.records)
        self.x, self.y = x[:MEMBERS], y[:MEMBERS]
        self.checked = np.concatenate([x[: CALIBRATION // 2], x[-OTHERS:]])
        training = Training(epochs=model.epochs, batch=32, lr=model.lr, optimizer="adam", weight_decay=0.0)
        self.recipe = Recipe(model.recipe, x.shape[1:], int(y.max()) + 1, dict(model.options), training)
        self.kind = framework_of(model.recipe).kind
        loop = framework_of(model.recipe).loop()
        trained = loop.build(self.recipe, 0)
        loop.train(trained, self.x, self.y, self.recipe, 0)
        self.artifact = Artifact(folder, self._saved(trained, folder))
        self.logits: FloatArray = loop.logits(trained, self.checked)

    def _saved(self, model: Any, folder: Path) -> Manifest:
        if self.kind == "keras":
            from edgeaudit.recipes.keras_models import save_keras
            from edgeaudit.stages.train_keras import keras_manifest

            save_keras(model, folder / "model.keras")
            return keras_manifest(self.recipe, folder / "model.keras", self.recipe.n_classes)
        if self.kind == "sklearn":
            from edgeaudit.recipes.sklearn_models import save_model
            from edgeaudit.stages.train_sklearn import sklearn_manifest

            save_model(model, folder / "model.pickle")
            return sklearn_manifest(self.recipe, folder / "model.pickle")
        from safetensors.torch import save_file

        from edgeaudit.stages.train_torch import torch_manifest

        state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        return torch_manifest(self.recipe, folder / "model.safetensors", self.recipe.n_classes)

    def through(self, form: Format, folder: Path) -> Cell:
        """One format: its passes, its runtime, and the agreement as an audit requires it."""
        artifact, logits, started, precision = self.artifact, self.logits, time.perf_counter(), "float32"
        for place, use in enumerate(form.passes):
            step, workdir = find_pass(use.name), folder / f"{form.id}-{place}"
            params = step.parameters(use.params)
            if step.spec.consumes not in ("torch", "keras", "sklearn") and step.precision(params) is not None:
                answers = default_runtime(step.spec.consumes)(artifact).query(self.checked)
                self._require(answers, artifact, logits, tolerance_of(precision), f"the float file before {use.name}")
            workdir.mkdir()
            artifact = self._applied(artifact, use.name, params, workdir)
            precision = step.precision(params) or precision
            if artifact.manifest.kind == "torch":
                from edgeaudit.recipes.training import logits as answered

                logits = answered(module_from_manifest(artifact.manifest.recipe, artifact.path), self.checked)
        seconds = time.perf_counter() - started
        answers = find_runtime(form.runtime)(artifact, form.runtime_options).query(self.checked)
        tolerances = {"tolerance": form.tolerance, "range_tolerance": form.range_tolerance}
        return Cell(self._require(answers, artifact, logits, what="it", **tolerances), None, seconds)

    def _applied(self, source: Artifact, name: str, params: Any, workdir: Path) -> Artifact:
        recipe = Recipe.from_dict(source.manifest.recipe)

        def finetune(module: nn.Module, epochs: int) -> None:
            from edgeaudit.recipes.training import train

            train(module, self.x, self.y, recipe, 1, epochs)

        job = ExportJob(
            source.path,
            workdir,
            params,
            recipe.input_shape,
            recipe.n_classes,
            seed=0,
            calibration=self.checked[:CALIBRATION],
            module=lambda: module_from_manifest(source.manifest.recipe, source.path),
            finetune=finetune,
            recipe=recipe,
            training_records=lambda: (self.x, self.y),
        )
        return _artifact(find_pass(name).apply(job), source, name, params, workdir)

    def _require(
        self,
        answers: FloatArray,
        artifact: Artifact,
        logits: FloatArray,
        tolerance: float,
        what: str,
        range_tolerance: float = 0.15,
    ) -> float:
        expected = comparable(logits, softmax_inside=artifact.manifest.softmax_inside)
        return require_agreement(
            expected, answers, what=what, tolerance=tolerance, range_tolerance=range_tolerance
        ).rel_rms


def _artifact(result: PassResult, source: Artifact, name: str, params: Any, folder: Path) -> Artifact:
    file = folder / result.file
    passes = (*source.manifest.passes, PassRecord(name, dict(params), {}))
    if result.input is None or result.output is None:
        from edgeaudit.stages.train_torch import torch_manifest

        recipe = result.recipe or Recipe.from_dict(source.manifest.recipe)
        return Artifact(folder, replace(torch_manifest(recipe, file, recipe.n_classes), passes=passes))
    entry: TensorSpec = result.input
    manifest = Manifest(
        find_pass(name).spec.produces, file.name, file_sha256(file), file.stat().st_size, entry, result.output,
        result.softmax_inside, passes, recipe=source.manifest.recipe,
    )  # fmt: skip
    return Artifact(folder, manifest)


def measured(model: Architecture, columns: Sequence[str]) -> dict[str, Cell]:
    """Those of the columns that there are for the architecture's framework."""
    found: dict[str, Cell] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = Trained(model, folder)
        for column in columns:
            form = COLUMNS[column][trained.kind]
            try:
                found[column] = trained.through(FORMATS[form], folder)
            except MissingToolchain as exc:
                raise SystemExit(str(exc)) from exc
            except EdgeAuditError as exc:
                found[column] = Cell(None, " ".join(str(exc).split()))
            print(f"  {model.name}, {column}: {_cell(found[column])}", flush=True)
    return found


def state() -> str:
    """A digest of edgeaudit's code, of this file and of the installed packages."""
    total = hashlib.sha256()
    for file in sorted([*ROOT.glob("edgeaudit/**/*.py"), *ROOT.glob("exporters/*.py"), Path(__file__)]):
        total.update(file.read_bytes())
    total.update("\n".join(sorted(f"{one.name} {one.version}" for one in metadata.distributions())).encode())
    return total.hexdigest()


def results(names: Sequence[str], columns: Sequence[str], cache: Path, *, again: bool) -> dict[str, dict[str, Cell]]:
    """The rows, from the cache where it has them; Keras's in a process of their own, since TensorFlow needs one."""
    cache.mkdir(parents=True, exist_ok=True)
    now, found = state(), {}
    for name in names:
        file, model = cache / f"{name}.json", ARCHITECTURES[name]
        known: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"state": now, "cells": {}}
        if again and known["state"] != now:
            known = {"state": now, "cells": {}}
        framework = framework_of(model.recipe)
        missing = [one for one in columns if framework.kind in COLUMNS[one] and one not in known["cells"]]
        if missing and framework.isolation == "tensorflow" and "tensorflow" not in sys.argv:
            arguments = [__file__, "--only", name, "--columns", ",".join(columns), "--cache", str(cache)]
            again_too = ["--again"] if again else []
            subprocess.run([sys.executable, *arguments, "--group", "tensorflow", *again_too], check=True)
            known = json.loads(file.read_text())
        elif missing:
            print(model.title, flush=True)
            known["cells"] |= {column: asdict(cell) for column, cell in measured(model, missing).items()}
            file.write_text(json.dumps(known, indent=1))
        found[name] = {column: Cell(**cell) for column, cell in known["cells"].items()}
    return found


def page(found: Mapping[str, Mapping[str, Cell]]) -> Iterator[str]:
    """The page's lines."""
    yield "# Models\n"
    yield from textwrap.wrap(
        "Which architecture goes through which toolchain. Made by `python benchmarks/architectures.py --write "
        "docs/models.md`: small models of each kind, trained on scikit-learn's digits, put through each toolchain, and "
        "compared with the trained model as an audit does it. A number is the relative RMS error of the answers "
        "(accepted up to .001 for float files, .2 for integers, .05 for trees); a letter stands for the reason below "
        "why an audit refuses the pair; a dash for a toolchain that does not take models of that framework.",
        130,
    )
    yield "\n| architecture | " + " | ".join(COLUMNS) + " |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    reasons: dict[str, str] = {}
    for name, cells in found.items():
        kind = framework_of(ARCHITECTURES[name].recipe).kind
        told = [_lettered(cells.get(column), reasons, there=kind in COLUMNS[column]) for column in COLUMNS]
        yield f"| {ARCHITECTURES[name].title} | {' | '.join(told)} |"
    yield ""
    for reason, letter in reasons.items():
        yield f"- **{letter}**: {reason}"
    yield "\n## What is done for them\n\n| models | what edgeaudit does |\n|---|---|"
    for models, done in _DONE.items():
        yield f"| {models} | {done} |"
    yield ""
    yield from textwrap.wrap(_MORE, 130)
    yield ""


def _lettered(cell: Cell | None, reasons: dict[str, str], *, there: bool) -> str:
    if cell is None:
        return "not measured" if there else "-"
    if cell.refused is None:
        return _cell(cell)
    return reasons.setdefault(cell.refused.replace("|", "\\|"), _letter(len(reasons)))


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else f"a{chr(ord('a') + place - 26)}"


def _cell(cell: Cell) -> str:
    if cell.error is None:
        return f"refused: {(cell.refused or '')[:_SHOWN]}"
    return "0" if cell.error == 0 else f"{cell.error:.1g}"


_DONE: Mapping[str, str] = {
    "attention (nn.TransformerEncoder, nn.MultiheadAttention)": (
        "torch's fused kernel, which no converter has, is off while exporting; where ONNX Runtime's symbolic "
        "shape inference fails, its quantisers get ONNX's own; its static quantiser leaves all but Conv, Gemm and "
        "MatMul in float where there is a LayerNormalization"
    ),
    "weight_norm, spectral_norm, masks of torch.nn.utils.prune": (
        "computed weights become plain ones before export; passes that would change them (pruning, "
        "quantisation-aware training) refuse by the layer's name"
    ),
    "recurrent layers in torch": (
        "ONNX and OpenVINO have operators for them; LiteRT and ExecuTorch unroll them, some operators for "
        "each step, so that long windows take minutes. Channel pruning leaves them, attention, and the "
        "layers that they read as they are, and the report says so"
    ),
    "recurrent layers in Keras": (
        "TFLite files have a fixed batch of 1; in full-integer files the layers are unrolled"
    ),
    "BatchNorm after another layer than a convolution, such as a ReLU": (
        "ExecuTorch's int8 has it as a depthwise convolution; XNNPACK's own way of writing it cannot be quantised"
    ),
    "1x1 convolutions with a stride and fewer than 16 input channels, as shortcuts of a pruned ResNet": (
        "trained with channels first: oneDNN's gradient of their weights is wrong with channels last (its issue 6035)"
    ),
    "token ids": (
        "a model that casts its input to integers (`x.long()`, keras.layers.Embedding) gets it in float32 in "
        "int8 files, too"
    ),
    "auxiliary heads": ("trained by the weighted sum of losses (`model.auxiliary_weight`); files have the main answer"),
    "scikit-learn, LightGBM, XGBoost": (
        "`sklearn:<classifier>` or `sklearn:module:function`; files are ONNX by skl2onnx with the "
        "probabilities as their one output"
    ),
    "answers that depend on the batch, on chance, or on the order of records": (
        "refused once for all formats, before any shadow trains"
    ),
    "a softmax or sigmoid at the end of a torch module": ("refused by name; a Keras softmax is taken off"),
}
"""Models -> what edgeaudit does with them."""
_MORE = (
    "Float files are compared with the trained model before they are quantised, since the limit for "
    "integers would hide a wrong conversion. Where a toolchain fails, the message names the operator, or "
    "the line of your model, and where its whole trace is."
)


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, separated by commas: " + ", ".join(ARCHITECTURES))
    parser.add_argument("--columns", help="toolchains, separated by commas: " + ", ".join(COLUMNS))
    parser.add_argument("--write", type=Path, help="the page")
    parser.add_argument("--cache", type=Path, default=Path("out/architectures"))
    parser.add_argument("--cached", action="store_true", help="measure nothing; what is missing is said to be so")
    parser.add_argument("--again", action="store_true", help="measure rows of other code or packages again")
    parser.add_argument("--group", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    names = list(ARCHITECTURES) if chosen.only is None else chosen.only.split(",")
    if unknown := [name for name in names if name not in ARCHITECTURES]:
        parser.error(f"there is no architecture '{unknown[0]}'; there are: {', '.join(ARCHITECTURES)}")
    if chosen.cached:
        chosen.columns = ""
    columns = list(COLUMNS) if chosen.columns is None else [one for one in chosen.columns.split(",") if one]
    if unknown := [column for column in columns if column not in COLUMNS]:
        parser.error(f"there is no toolchain '{unknown[0]}'; there are: {', '.join(COLUMNS)}")
    found = results(names, columns, chosen.cache, again=chosen.again)
    if chosen.write is not None:
        chosen.write.parent.mkdir(parents=True, exist_ok=True)
        chosen.write.write_text("\n".join(page(found)), encoding="utf-8")
        print(f"{chosen.write} written")


if __name__ == "__main__":
    main()
