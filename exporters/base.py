"""Base class of passes: a frozen spec, a final `apply`, and one inner method to implement."""

from __future__ import annotations

import importlib
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import EdgeAuditError, ToolchainError, pip_line, toolchain_errors
from edgeaudit.exporters.explaining import explained
from edgeaudit.exporters.plain_weights import make_plain
from edgeaudit.filetypes.artifact import Kind, TensorSpec
from edgeaudit.host.isolation import IsolationGroup
from edgeaudit.host.packages import installed_versions, package_versions, providing_distribution
from edgeaudit.recipes.base import Recipe
from edgeaudit.settings import Settings, checked_settings
from edgeaudit.tasks import TaskName

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ExportJob", "Pass", "PassResult", "PassSpec", "Product"]

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class PassSpec:
    """Description of a pass, readable without importing its toolchain.

    name: `toolchain.step`, as written in a format.
    extra: the pip extra with the toolchain, of the distribution that provides the pass.
    packages: the distributions whose versions decide the output. Part of the job's key; unless the pass trains, with
        the distributions that they require.
    companions: distributions that those call where they are installed, and do not require. Part of the key, too.
    consumes, produces: artifact kinds.
    calibrates: reads calibration records. trains: changes weights with the model's own training records.
    trainings: for a pass that trains, its approximate cost as a fraction of one training of the recipe.
    defaults: every parameter with its default. An unknown parameter, or a value of another type than the default's, is
        an error.
    choices: the allowed values of parameters that are an enumeration.
    precision: of the weights in the output file; None if unchanged.
    batch: the required batch size, if the file's outputs depend on it.
    code: modules in addition to the pass's own whose source decides the output; part of the job's key.
    typical_seconds: CPU seconds on a small CNN once the toolchain is imported, for the estimate of `edgeaudit plan`;
        measured with 128 calibration records, and 5 epochs of fine-tuning on 300 records.
    isolation: of the worker processes that can import the toolchain.
    """

    name: str
    extra: str
    packages: tuple[str, ...]
    consumes: Kind
    produces: Kind
    summary: str
    calibrates: bool = False
    trains: bool = False
    trainings: float = 0.2
    defaults: Mapping[str, object] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    precision: str | None = None
    batch: int | None = None
    code: tuple[str, ...] = ()
    typical_seconds: float = 0.1
    isolation: IsolationGroup = "torch"
    companions: tuple[str, ...] = ()

    def installed(self) -> dict[str, str | None]:
        """Version of each package, None if it is missing."""
        return installed_versions(self.packages)

    @property
    def remedy(self) -> str:
        """The command that installs what is missing."""
        return pip_line(self.extra, self._provider())

    def versions(self) -> dict[str, str]:
        """Installed version of each package; raises `MissingToolchain` with the pip command."""
        return package_versions(f"the pass '{self.name}'", self.packages, self.extra, self._provider)

    def _provider(self) -> str:
        return providing_distribution(self, "edgeaudit.exporters")


@dataclass(frozen=True)
class ExportJob:
    """Everything a pass may use.

    source: the file that the previous pass made (torch: a .safetensors state dict).
    workdir: an empty folder for this job; the pass writes its file there.
    params: the spec's defaults, overridden by the format.
    input_shape: of one record without the batch axis: (C, H, W) or (d,).
    calibration: float32 [n, *input_shape], or None if the spec does not calibrate.
    module: builds the torch module with the source's weights, in eval mode (torch sources only).
    finetune: (module, epochs) -> None; trains in place on the model's own training records with the recipe's
        training loop, seeded by the job.
    recipe: of the source (trained models only), which builds the module for the source's weights.
    n_classes: outputs of the model: classes (or one logit of two), labels or values.
    training_records: -> the model's own training records, float32 [m, *input_shape], and what its task compares answers
        with: int64 [m], classes, or float32 [m, outputs] (passes that train).
    task: what the model is for. source_inside: the source answers with probabilities.
    """

    source: Path
    workdir: Path
    params: Settings
    input_shape: tuple[int, ...]
    n_classes: int
    seed: int
    calibration: npt.NDArray[np.float32] | None = None
    module: Callable[[], nn.Module] | None = None
    finetune: Callable[[nn.Module, int], None] | None = None
    recipe: Recipe | None = None
    training_records: Callable[[], tuple[npt.NDArray[np.float32], npt.NDArray[Any]]] | None = None
    task: TaskName = "classification"
    source_inside: bool = False

    def torch_module(self) -> nn.Module:
        """The source as a torch module in eval mode."""
        if self.module is None:
            raise ToolchainError(f"{self.source.name} is not a torch model")
        return self.module()

    def module_to_export(self) -> nn.Module:
        """The source in eval mode with plain weights, followed by a softmax if the parameter `softmax` is `inside`.

        See `sigmoid` for the probabilities that are not of a softmax.
        """
        module = make_plain(self.torch_module())
        if self.params["softmax"] == "outside":
            return module
        from torch import nn

        return nn.Sequential(module, nn.Sigmoid() if self.sigmoid else nn.Softmax(dim=1)).eval()

    @property
    def sigmoid(self) -> bool:
        """Whether probabilities are those of a sigmoid: of one logit of two classes, and of several labels."""
        return self.task == "multi-label" or (self.task == "classification" and self.n_classes == 1)

    @property
    def answers_inside(self) -> bool | None:
        """Whether the file answers with probabilities; None where its last operator tells, as a sigmoid does not.

        Networks end in sigmoids for other reasons, too, so it is what this pass or an earlier one was asked for.
        """
        if not self.sigmoid:
            return None
        return self.params["softmax"] == "inside" if "softmax" in self.params else self.source_inside

    def train_on(self, module: nn.Module, epochs: int) -> None:
        """Fine-tune in place, see `finetune`; 0 epochs change nothing. `Pass.apply` restores torch's random state."""
        if epochs == 0:
            return
        if self.finetune is None:
            raise ToolchainError(f"{epochs} epochs of fine-tuning were requested, but this recipe cannot fine-tune")
        import torch

        torch.manual_seed(self.seed)  # for dropout
        self.finetune(module, epochs)

    def save_weights(self, state: Mapping[str, Tensor]) -> str:
        """Write a state dict into `workdir`, as contiguous copies; returns the file's name."""
        from safetensors.torch import save_file

        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        save_file(tensors, self.workdir / _WEIGHTS)
        return _WEIGHTS

    def torch_recipe(self) -> Recipe:
        """The recipe of the source."""
        return self.model_recipe()

    def model_recipe(self) -> Recipe:
        """The recipe of the source, of any framework."""
        if self.recipe is None:
            raise ToolchainError(f"{self.source.name} has no recipe to build its module")
        return self.recipe

    def share(self, name: str) -> float:
        """The number parameter `name`, which must be between 0 and 1."""
        value = float(self.params[name])
        if not 0 < value < 1:
            raise ToolchainError(f"the parameter '{name}' is {value}; it must be between 0 and 1")
        return value

    def calibration_records(self) -> npt.NDArray[np.float32]:
        """The calibration records, float32 [n, *input_shape]."""
        if self.calibration is None or len(self.calibration) == 0:
            raise ToolchainError("this pass calibrates, but the job has no calibration records")
        if self.calibration.shape[1:] != self.input_shape:
            raise ToolchainError(
                f"calibration records have shape {self.calibration.shape[1:]}, but the model takes {self.input_shape}"
            )
        return np.ascontiguousarray(self.calibration, np.float32)


@dataclass(frozen=True)
class PassResult:
    """The result of a pass: a file in `workdir`, and, for deployable file types, its input and output.

    companions: names of further files in `workdir` that belong to it.
    recipe: of the module for the file's weights, if it differs from the source's (torch only).
    said: sentences for the report on what the pass did to this model, where its name does not tell.
    """

    file: str
    input: TensorSpec | None = None
    output: TensorSpec | None = None
    softmax_inside: bool = False
    notes: Mapping[str, object] = field(default_factory=dict)
    companions: tuple[str, ...] = ()
    recipe: Recipe | None = None
    said: tuple[str, ...] = ()


Product = PassResult  # the former name, for passes of other packages


@contextmanager
def _random_states_kept(*, imports_torch: bool) -> Iterator[None]:
    """Restore the global random states of Python, numpy and torch (if it is imported or will be)."""
    plain = random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002  # the global generator is what is being protected
    torch = importlib.import_module("torch") if imports_torch else sys.modules.get("torch")
    torch_state = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch:
            torch.set_rng_state(torch_state)


@contextmanager
def _attention_as_written(*, imports_torch: bool) -> Iterator[None]:
    """Turn off the fused kernel of torch's attention layers, which converters cannot trace.

    In eval mode nn.TransformerEncoderLayer and nn.MultiheadAttention call `aten::_transformer_encoder_layer_fwd` and
    `aten::_native_multi_head_attention` (torch 2.14.1), which ONNX, OpenVINO and LiteRT do not have. What replaces
    them differs in the last bits.
    """
    if not imports_torch:
        yield
        return
    mha = importlib.import_module("torch.backends.mha")
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(value=False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


class Pass(ABC):
    """One toolchain step. Subclasses set `spec` and implement `_apply`, which contains all heavy imports."""

    spec: ClassVar[PassSpec]

    @final
    def parameters(self, values: Mapping[str, object]) -> Settings:
        """Defaults overridden by `values`; `ToolchainError` for an unknown parameter or an invalid value."""
        spec = self.spec
        owner = f"the pass '{spec.name}'"
        return checked_settings(owner, "parameter", values, spec.defaults, ToolchainError, spec.choices)

    def precision(self, params: Settings) -> str | None:  # noqa: ARG002  # for overrides
        """Precision of the weights in the output file, given all parameters; None if unchanged."""
        return self.spec.precision

    def calibrates(self, params: Settings) -> bool:  # noqa: ARG002  # for overrides
        """Whether it reads calibration records, given all parameters."""
        return self.spec.calibrates

    @final
    def apply(self, job: ExportJob) -> PassResult:
        """Run the step; any exception of the toolchain becomes a `ToolchainError` that names the pass and the cause.

        Restores the process's random states afterwards: importing litert-torch 0.10 draws from numpy's and torch's, so
        a job would otherwise depend on earlier jobs of the same worker.
        """
        self.spec.versions()
        torch = "torch" in self.spec.packages
        with (
            toolchain_errors(f"the pass '{self.spec.name}'"),
            _random_states_kept(imports_torch=torch),
            _attention_as_written(imports_torch=torch),
        ):
            try:
                result = self._apply(job)
            except (EdgeAuditError, ImportError, OSError):
                raise
            except Exception as exc:
                raise ToolchainError(f"the pass '{self.spec.name}' failed: {explained(exc)}") from exc
        for name in (result.file, *result.companions):
            if not (job.workdir / name).is_file():
                raise ToolchainError(f"the pass '{self.spec.name}' ended without writing {name}")
        return result

    @abstractmethod
    def _apply(self, job: ExportJob) -> PassResult:
        """Implement the step: read `job.source`, write one file (and its companions) into `job.workdir`."""
