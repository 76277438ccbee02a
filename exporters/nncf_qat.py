"""Quantisation-aware training with Intel's NNCF: the result is a torch model that rounds like the int8 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.finetune import zeros_kept
from edgeaudit.exporters.nncf_ptq import CALIBRATIONS, PRESETS, settings
from edgeaudit.exporters.plain_weights import require_plain
from edgeaudit.host.quiet import NO_TELEMETRY, quiet

if TYPE_CHECKING:
    from torch import nn

    from edgeaudit.exporters.fake_quantised import Rounding

__all__ = ["QuantisationAware"]


class QuantisationAware(Pass):
    """Round weights (int8, per channel, symmetric) and activations (uint8, one scale) in the forward, and train on.

    epochs: of fine-tuning with the recipe's training loop, at a tenth of its learning rate; NNCF trains the scales with
    it. calibration, preset: of the ranges that training starts from, as for `nncf.ptq-openvino`.

    nncf 3.4's API for torch is `nncf.quantize`, training, and `nncf.strip`; the configuration files and
    controllers of nncf 2 are gone. How it is used here, and why:

    * BatchNorm is folded first (`fake_quantised.hookable`), so that the weights trained with rounding are those
      of the file. Folding freezes the statistics.
    * After training, `StripFormat.NATIVE` returns the scales for torch's operators. ONNX Runtime refuses
      what NNCF's own quantisers export to (a FakeQuantize of OpenVINO's domain), and `StripFormat.DQ` refuses
      quantisers of activations and of narrow range. torch's operators are exported as QuantizeLinear and
      DequantizeLinear to ONNX and as FakeQuantize to OpenVINO, by the same passes as every other module, and the files
      are compared with the rounding torch model.
    * Activations have one scale each: NNCF gives those before a depthwise convolution one for each channel, for which
      ONNX Runtime has no integer kernel.
    * NNCF's C++ extension is not compiled, its formulas run in torch: results must not depend on
      an installed compiler, and an audit must not write into ~/.cache. An epoch of a small CNN takes about twice that
      of the float one.

    Pruned weights stay zero, as in the pass `finetune`.
    """

    spec = PassSpec(
        name="nncf.qat",
        extra="nncf",
        packages=("nncf", "torch"),
        consumes="torch",
        produces="torch",
        summary="NNCF quantisation-aware training, int8; export it to ONNX or OpenVINO",
        calibrates=True,
        trains=True,
        trainings=0.4,
        defaults={"epochs": 5, "calibration": "min-max", "preset": "mixed"},
        choices={"calibration": CALIBRATIONS, "preset": PRESETS},
        precision="int8",
        code=("edgeaudit.exporters.fake_quantised", "edgeaudit.exporters.finetune", "edgeaudit.exporters.nncf_ptq"),
        typical_seconds=0.8,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        epochs = int(job.params["epochs"])
        if epochs < 1:
            raise ToolchainError(f"the parameter 'epochs' is {epochs}; it must be an integer from 1")
        from edgeaudit.exporters import fake_quantised

        original = job.torch_module()
        require_plain(original, "quantisation-aware training")
        weights = original.state_dict()
        quantised = _quantised(fake_quantised.hookable(original), job)
        with zeros_kept(quantised), _without_extension():
            job.train_on(quantised, epochs)
        roundings = _roundings(quantised, job)
        trained = fake_quantised.put_in(quantised, roundings)
        recipe = fake_quantised.recipe_of(
            job.torch_recipe(), weights, [rounding.spec for rounding in roundings.values()]
        )
        kinds = [place.partition("_")[0] for place in roundings]
        notes = {"weights": kinds.count("pre"), "activations": kinds.count("post")}
        return PassResult(job.save_weights(trained.state_dict()), notes=notes, recipe=recipe)


def _quantised(module: nn.Module, job: ExportJob) -> nn.Module:
    """The module with NNCF's quantisers in its forward, ranges found on every calibration record."""
    import torch

    records = torch.from_numpy(job.calibration_records())
    with quiet(NO_TELEMETRY), _without_extension():
        import nncf
        from nncf.quantization.advanced_parameters import QuantizationParameters

        nncf.set_log_level(40)  # logging.ERROR
        dataset = nncf.Dataset([records[i : i + 1] for i in range(len(records))])
        chosen = settings(job.params["calibration"], job.params["preset"], "none", len(records))
        chosen["advanced_parameters"].activations_quantization_params = QuantizationParameters(per_channel=False)
        quantised: nn.Module = nncf.quantize(module, dataset, **chosen)
    return quantised


def _roundings(quantised: nn.Module, job: ExportJob) -> dict[str, Rounding]:
    """Take NNCF's quantisers out of the module, by their places; weights stay clamped to their quantisation range."""
    import torch

    from edgeaudit.exporters.fake_quantised import Rounding, RoundingSpec

    with quiet(NO_TELEMETRY):
        import nncf
        from nncf.torch.function_hook.wrapper import get_hook_storage

        example = torch.zeros(1, *job.input_shape)
        with _without_extension():
            nncf.strip(quantised.eval(), do_copy=False, strip_format=nncf.StripFormat.NATIVE, example_input=example)
    storage, roundings = get_hook_storage(quantised), {}
    for place, hook in list(storage.named_hooks()):
        axis = hook.ch_axis if hook.is_per_channel else None
        roundings[place] = Rounding(RoundingSpec(place, hook.quant_min, hook.quant_max, axis, hook.scale.numel()))
        roundings[place].scale.copy_(hook.scale.reshape(roundings[place].scale.shape))
        roundings[place].zero_point.copy_(hook.zero_point.reshape(roundings[place].zero_point.shape))
        storage.delete_hook(place)
    if not roundings:
        raise ToolchainError("NNCF quantises nothing in this model")
    return roundings


@contextmanager
def _without_extension() -> Iterator[None]:
    """NNCF's own formulas in plain torch instead of its C++ extension, and instead of torch.compile of them."""
    from nncf.torch.quantization import quantize_functions
    from nncf.torch.quantization.reference import torch_executor

    functions: Any = quantize_functions.QuantizedFunctionsCPU
    before = functions._loaded_namespace  # noqa: SLF001  # there is no switch; nncf 3.4 compiles at the first forward
    functions._loaded_namespace = SimpleNamespace(  # noqa: SLF001
        Quantize_forward=torch_executor.forward, Quantize_backward=torch_executor.backward
    )
    try:
        yield
    finally:
        functions._loaded_namespace = before  # noqa: SLF001
