"""Layers that toolchains have trouble with, in real files: attention, recurrent layers, Conv1d, ids, norms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import ExportJob, PassResult, find_pass
from edgeaudit.filetypes.agreement import agreement
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.recipes.base import Recipe, Training, build, module_from_manifest
from edgeaudit.recipes.training import logits, train
from edgeaudit.runtimes.registry import default_runtime

FloatArray = npt.NDArray[np.float32]

pytestmark = pytest.mark.toolchain

CLASSES, RECORDS = 4, 96


class Attention(nn.Module):
    def __init__(self, steps: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, CLASSES)
        self.place = nn.Parameter(torch.randn(1, steps, 8) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.out(self.encoder(x[:, 0] + self.place).mean(1))
        return answer


class Recurrent(nn.Module):
    """With `convolved`, the recurrent layer reads the channels of a convolution, which has another reader, too."""

    def __init__(self, kind: str, *, convolved: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 16, 3, padding=1) if convolved else None
        self.rnn = getattr(nn, kind)(16 if convolved else 8, 12, batch_first=True)
        self.hidden, self.out = nn.Linear(12, 32), nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0]
        if self.conv is not None:
            x = self.conv(x.transpose(1, 2)).relu().transpose(1, 2)
        answer: torch.Tensor = self.out(self.hidden(self.rnn(x)[0][:, -1]).relu())
        return answer


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(700, 8), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.out(self.words(x.long()).mean(1))
        return answer


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 32)
        self.out, self.other = nn.Linear(32, CLASSES), nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.first(x).relu()
        answer = self.out(self.second(x).relu())
        return (answer, self.other(x)) if self.training else answer


def attention(shape: tuple[int, ...], _: int) -> nn.Module:
    return Attention(shape[1])


def recurrent(_: tuple[int, ...], __: int, kind: str, *, convolved: bool = False) -> nn.Module:
    return Recurrent(kind, convolved=convolved)


def words(_: tuple[int, ...], __: int) -> nn.Module:
    return Words()


def heads(_: tuple[int, ...], __: int) -> nn.Module:
    return Heads()


def windows(shape: tuple[int, ...], _: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, shape[0])), nn.Conv1d(1, 8, 5, 2), nn.ReLU(), nn.BatchNorm1d(8),
        nn.Conv1d(8, 16, 3, groups=2, padding="same"), nn.BatchNorm1d(16), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, CLASSES),
    )  # fmt: skip


def norms(shape: tuple[int, ...], _: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3), nn.InstanceNorm2d(16, affine=True), nn.ReLU(), nn.Flatten(), nn.Linear(576, CLASSES)
    )


def computed(shape: tuple[int, ...], _: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], 32), nn.ReLU(), spectral_norm(nn.Linear(32, CLASSES)))


class Model:
    """One of them, trained to tell records that are not hard to tell."""

    def __init__(self, function: str, shape: tuple[int, ...], folder: Path, **options: Any) -> None:
        draws = np.random.default_rng(0)
        self.y = np.arange(RECORDS, dtype=np.int64) % CLASSES
        shift = self.y.reshape(-1, *(1 for _ in shape)) / 2
        self.x = (draws.normal(size=(RECORDS, *shape)) + shift).astype(np.float32)
        if function == "words":
            self.x = (draws.integers(0, 150, (RECORDS, *shape)) + 170 * self.y[:, None]).astype(np.float32)
        training = Training(epochs=40, batch=32, lr=0.01, optimizer="adam")
        self.recipe = Recipe(f"{__name__}:{function}", shape, CLASSES, options, training)
        module = build(self.recipe, 0)
        train(module, self.x, self.y, self.recipe, 0)
        self.folder, self.state, self.logits = folder, folder / "model.safetensors", logits(module, self.x)
        save_file({name: value.contiguous().clone() for name, value in module.state_dict().items()}, self.state)

    def applied(self, name: str, source: Path | None = None, recipe: Recipe | None = None, **params: Any) -> PassResult:
        step, made = find_pass(name), recipe or self.recipe
        at = source or self.state
        folder = self.folder / name
        folder.mkdir()
        return step.apply(
            ExportJob(
                at, folder, step.parameters(params), made.input_shape, CLASSES, 0, self.x,
                lambda: module_from_manifest(made.to_dict(), at),
                lambda module, epochs: void(train(module, self.x, self.y, made, 1, epochs)), made,
                lambda: (self.x, self.y),
            )
        )  # fmt: skip

    def error(self, *names: str) -> float:
        """Relative RMS error of the answers of the file that the passes make."""
        source, result = self.state, PassResult(self.state.name)
        for name in names:
            result = self.applied(name, source)
            source = self.folder / name / result.file
        assert result.input is not None
        assert result.output is not None
        kind = find_pass(names[-1]).spec.produces
        size = source.stat().st_size
        manifest = Manifest(
            kind, source.name, file_sha256(source), size, result.input, result.output, result.softmax_inside,
            companions={name: file_sha256(source.parent / name) for name in result.companions},
        )  # fmt: skip
        answers = default_runtime(kind)(Artifact(source.parent, manifest)).query(self.x)
        return agreement(self.logits, answers).rel_rms


def void(_: object) -> None:
    """For a callback that returns nothing."""


def test_attention_is_exported_without_torchs_fused_kernel(tmp_path: Path) -> None:
    model = Model("attention", (1, 6, 8), tmp_path)
    before = torch.backends.mha.get_fastpath_enabled()
    assert model.error("openvino.export") < 1e-3
    assert model.error("onnx.export", "ort.static-int8") < 0.1
    assert torch.backends.mha.get_fastpath_enabled() is before is True


def test_residual_sums_and_normalisations_of_attention_stay_in_float(tmp_path: Path) -> None:
    import onnx

    model = Model("attention", (1, 6, 8), tmp_path)
    source = tmp_path / "onnx.export" / model.applied("onnx.export").file
    readers = {}
    for operators in ("auto", "all", "products"):
        name = "ort.static-int8"
        result = model.applied(name, source, operators=operators)
        graph = onnx.load(tmp_path / name / result.file).graph
        (tmp_path / name).rename(tmp_path / operators)
        dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        readers[operators] = {node.op_type for node in graph.node if dequantised & set(node.input)}
        assert bool(result.said) is (operators == "auto")
    assert readers["auto"] == readers["products"]
    assert "LayerNormalization" in readers["all"] - readers["auto"]


@pytest.mark.parametrize(("kind", "convolved"), [("LSTM", False), ("GRU", False), ("LSTM", True), ("GRU", True)])
def test_channel_pruning_leaves_recurrent_layers_whole_and_says_so(kind: str, convolved: bool, tmp_path: Path) -> None:
    model = Model("recurrent", (1, 6, 8), tmp_path, kind=kind, convolved=convolved)
    result = model.applied("torch-pruning.structured")
    assert result.said == (f"channel pruning leaves recurrent and attention layers as they are: {kind} 'rnn'",)
    assert result.recipe is not None
    pruned = module_from_manifest(result.recipe.to_dict(), tmp_path / "torch-pruning.structured" / result.file)
    shapes = {name: tuple(value.shape) for name, value in pruned.state_dict().items()}
    gates = 4 if kind == "LSTM" else 3
    # The hidden layer loses half of its 32; the convolution, whose channels the recurrent layer reads, none of its 16.
    assert shapes["hidden.weight"] == (16, 12)
    assert shapes["rnn.weight_ih_l0"] == (12 * gates, 16 if convolved else 8)
    assert shapes.get("conv.weight", (16,))[0] == 16
    assert logits(pruned, model.x).shape == (RECORDS, CLASSES)


def test_channel_pruning_leaves_attention_whole(tmp_path: Path) -> None:
    model = Model("attention", (1, 6, 8), tmp_path)
    result = model.applied("torch-pruning.structured")
    assert "MultiheadAttention 'encoder.layers.0.self_attn'" in result.said[0]
    assert result.recipe is not None
    pruned = module_from_manifest(result.recipe.to_dict(), tmp_path / "torch-pruning.structured" / result.file)
    shapes = {name: tuple(value.shape) for name, value in pruned.state_dict().items()}
    assert shapes["encoder.layers.0.linear1.weight"] == (8, 8)  # half of 16
    assert shapes["out.weight"] == (CLASSES, 8)


def test_pruning_names_heads_that_it_does_not_reach(tmp_path: Path) -> None:
    model = Model("heads", (8,), tmp_path)
    with pytest.raises(
        ToolchainError, match=r"fails in training mode at the pruned widths: .* such as auxiliary heads"
    ):
        model.applied("torch-pruning.structured")
    assert model.error("onnx.export") < 1e-3


def test_channels_of_instance_norm_and_of_words_are_pruned(tmp_path: Path) -> None:
    for name, function, shape in (("norms", "norms", (3, 8, 8)), ("words", "words", (12,))):
        (tmp_path / name).mkdir()
        model = Model(function, shape, tmp_path / name)
        result = model.applied("torch-pruning.structured")
        assert result.recipe is not None
        pruned = module_from_manifest(result.recipe.to_dict(), model.folder / "torch-pruning.structured" / result.file)
        assert logits(pruned, model.x).shape == (RECORDS, CLASSES)


def test_computed_weights_are_exported_as_plain_ones(tmp_path: Path) -> None:
    model = Model("computed", (8,), tmp_path)
    assert model.error("onnx.export") < 1e-3
    for name in ("torch-pruning.structured", "nncf.prune", "nncf.qat"):
        with pytest.raises(ToolchainError, match="the weight of the layer '2' is computed from others"):
            model.applied(name)


def test_ids_are_not_quantised(tmp_path: Path) -> None:
    """700 ids in 256 steps would become others: answers were off by half of their spread."""
    model = Model("words", (12,), tmp_path)
    assert model.error("litert.export", "aeq.static-int8") < 0.1


def test_conv1d_in_executorch_int8(tmp_path: Path) -> None:
    model = Model("windows", (40,), tmp_path)
    assert model.error("executorch.static-int8") < 0.1
