"""ExecuTorch programs (.pte), parsed as flatbuffers, so that a damaged file cannot crash the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Contract, FileType, FileTypeSpec

__all__ = ["ExecuTorch"]

_METHOD = "forward"
_IDENTIFIER = b"ET12"  # at byte 4; executorch 1.5.1 reads no other
_DTYPES = {
    "BYTE": "uint8", "CHAR": "int8", "SHORT": "int16", "INT": "int32", "LONG": "int64", "HALF": "float16",
    "FLOAT": "float32", "DOUBLE": "float64", "BOOL": "bool", "BFLOAT16": "bfloat16",
}  # fmt: skip
_DELEGATE = "lie packed in its XNNPACK delegate, whose layout has no public reader"


class ExecuTorch(FileType):
    """A program with the method `forward`. What a delegate computes is one operator, named after the delegate.

    The batch in a file is the largest that it takes, which may be the only one.
    """

    spec = FileTypeSpec(
        name="executorch",
        title="ExecuTorch",
        suffixes=(".pte",),
        extra="executorch",
        packages=("executorch",),
        unreadable={
            "weights": f"the weights of a .pte file {_DELEGATE}",
            "softmax": f"the last operators of a .pte file {_DELEGATE}",
            "traits": f"the quantised operators of a .pte file {_DELEGATE}",
        },
    )

    def _contract(self, path: Path) -> Contract:
        plan = _plan(path)
        return Contract(
            tuple(_tensor(f"input {n}", plan.values[index].val) for n, index in enumerate(plan.inputs)),
            tuple(_tensor(f"output {n}", plan.values[index].val) for n, index in enumerate(plan.outputs)),
        )

    def _operators(self, path: Path) -> Iterator[str]:
        from executorch.exir.schema import DelegateCall, KernelCall

        plan = _plan(path)
        for call in (instruction.instr_args for chain in plan.chains for instruction in chain.instructions):
            if isinstance(call, DelegateCall):
                yield plan.delegates[call.delegate_index].id
            elif isinstance(call, KernelCall):
                yield plan.operators[call.op_index].name

    def _state(self, path: Path) -> Iterator[str]:
        """Buffers that the program writes at the end of a call (`copy_`) and reads at the start of the next one.

        Files of executorch 1.5 have no names for them.
        """
        plan = _plan(path)
        for call in _kernel_calls(plan):
            if plan.operators[call.op_index].name == "aten::copy_":
                yield f"buffer {call.args[0]}"


def _kernel_calls(plan: Any) -> Iterator[Any]:
    from executorch.exir.schema import KernelCall

    for chain in plan.chains:
        yield from (step.instr_args for step in chain.instructions if isinstance(step.instr_args, KernelCall))


def _plan(path: Path) -> Any:
    """The execution plan of the method `forward`."""
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ArtifactError(f"cannot read {path} as ExecuTorch: it does not start like a .pte file")
    from executorch.exir._serialize._program import deserialize_pte_binary

    plans = {plan.name: plan for plan in deserialize_pte_binary(content).program.execution_plan}
    if _METHOD not in plans:
        raise ArtifactError(f"{path} has no method '{_METHOD}' (it has: {', '.join(plans) or 'none'}); export it again")
    return plans[_METHOD]


def _tensor(name: str, value: Any) -> TensorSpec:
    """value: an exir `Tensor`, or a number or list that the method takes in its place."""
    if not hasattr(value, "scalar_type"):
        return TensorSpec(name, (), type(value).__name__)
    kind = value.scalar_type.name
    return TensorSpec(name, tuple(value.sizes), _DTYPES.get(kind, kind.lower()))
