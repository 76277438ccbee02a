"""Operators that only one vendor's hardware computes: their files run nowhere else, so they are refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.errors import ArtifactError

__all__ = ["Accelerator", "accelerator_of", "require_portable"]


@dataclass(frozen=True)
class Accelerator:
    """name: of the hardware. made_by: the compiler. before: the file that it compiled."""

    name: str
    made_by: str
    before: str = "the .tflite file that it was compiled from"


_TPU = Accelerator("the Edge TPU (Coral)", "edgetpu_compiler")
_ETHOS = Accelerator("an Ethos-U NPU", "Vela")
_NEUTRON = Accelerator("NXP's eIQ Neutron NPU", "the Neutron converter")
_EP = Accelerator("one execution provider", "ONNX Runtime's EPContext", "the .onnx file without the compiled context")
_VENDORS: Mapping[str, Accelerator] = {
    "edgetpu-custom-op": _TPU,
    "ethos-u": _ETHOS,
    "NeutronGraph": _NEUTRON,
    "neutronGraph": _NEUTRON,
    "nbg-op": Accelerator("a VeriSilicon NPU", "TIM-VX"),
    "vsi-npu": Accelerator("a VeriSilicon NPU", "TIM-VX"),
    "TIDL": Accelerator("a Texas Instruments C7x NPU", "TIDL"),
    "STMicroelectronics.ATON": Accelerator("ST's Neural-ART NPU", "ST Edge AI"),
    "MTKEXT": Accelerator("a MediaTek NPU", "Neuron"),
    "DISPATCH_OP": Accelerator("one vendor's NPU", "LiteRT's compiler plugin"),
    "QnnContextBinary": Accelerator("a Qualcomm NPU", "QNN", "the .onnx file that it was compiled from"),
    "com.microsoft.EPContext": _EP,
    "EPContext": _EP,
    "TRT_TensorRT": Accelerator("one NVIDIA GPU", "TensorRT", "the .onnx file without the engine"),
    "HailoOp": Accelerator("a Hailo NPU", "the Hailo compiler", "the .onnx file that it was compiled from"),
    "HailoNet": Accelerator("a Hailo NPU", "the Hailo compiler", "the .onnx file that it was compiled from"),
    # ExecuTorch names a delegate in place of its operators.
    "EthosUBackend": Accelerator("an Ethos-U NPU", "ExecuTorch's Arm backend", "a .pte file for XNNPACK"),
    "ArmBackend": Accelerator("an Ethos-U NPU", "ExecuTorch's Arm backend", "a .pte file for XNNPACK"),
    "QnnBackend": Accelerator("a Qualcomm NPU", "ExecuTorch's QNN backend", "a .pte file for XNNPACK"),
    "CoreMLBackend": Accelerator("Apple's Core ML", "ExecuTorch's Core ML backend", "a .pte file for XNNPACK"),
    "MPSBackend": Accelerator("an Apple GPU", "ExecuTorch's MPS backend", "a .pte file for XNNPACK"),
    "NeuropilotBackend": Accelerator("a MediaTek NPU", "ExecuTorch's MediaTek backend", "a .pte file for XNNPACK"),
    "VulkanBackend": Accelerator("a GPU with Vulkan", "ExecuTorch's Vulkan backend", "a .pte file for XNNPACK"),
    "EnnBackend": Accelerator("a Samsung NPU", "ExecuTorch's Samsung backend", "a .pte file for XNNPACK"),
    "NeutronBackend": Accelerator("NXP's eIQ Neutron NPU", "ExecuTorch's NXP backend", "a .pte file for XNNPACK"),
}
"""Operator, or delegate, as a file names it -> the hardware that alone computes it."""


def accelerator_of(operators: Iterable[str]) -> tuple[str, Accelerator] | None:
    """The first operator of a file that only one vendor's hardware computes, with that hardware; None if none does.

    Examples:
        >>> accelerator_of(["CONV_2D", "edgetpu-custom-op"])[1].name
        'the Edge TPU (Coral)'
    """
    return next(((name, _VENDORS[name]) for name in operators if name in _VENDORS), None)


def require_portable(path: Path, operators: Iterable[str]) -> None:
    """Raise `ArtifactError` for a file that was compiled for hardware that no runtime here has."""
    found = accelerator_of(operators)
    if found is None:
        return
    name, accelerator = found
    raise ArtifactError(
        f"{path} is compiled for {accelerator.name} by {accelerator.made_by} (operator {name}), which no runtime here "
        f"can compute; audit {accelerator.before}, or query the hardware behind an inference server (devices)"
    )
