"""Which input and output of a model file are meant, and how records and labels fit them. Nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgeaudit.errors import ArtifactError, did_you_mean
from edgeaudit.filetypes.artifact import Layout, TensorSpec
from edgeaudit.filetypes.base import Contract

__all__ = ["ChosenOutput", "choose_output", "fitting_layouts", "only_input", "require_labels", "width", "with_layout"]

_LAYOUTS: Mapping[int, tuple[Layout, ...]] = {4: ("NCHW", "NHWC"), 3: ("HW", "flat"), 2: ("flat",)}


@dataclass(frozen=True)
class ChosenOutput:
    """The output with the scores: [records, values], or -1 values where the file does not say how many.

    place: among the file's outputs. note: why it is this one; "" where there is no other.
    """

    tensor: TensorSpec
    place: int
    note: str


def only_input(contract: Contract, name: str) -> TensorSpec:
    """The single input of a file called `name`."""
    if len(contract.inputs) != 1:
        state = ""
        if {tensor.shape for tensor in contract.inputs[1:]} & {tensor.shape for tensor in contract.outputs}:
            state = " (a state that goes in and out at each call, perhaps: export it so that it starts anew at each)"
        raise ArtifactError(
            f"target.artifact: {name} has {len(contract.inputs)} inputs ({_listed(contract.inputs)}), not one; export "
            f"a file that takes records alone{state}"
        )
    return contract.inputs[0]


def choose_output(
    contract: Contract, wish: str | None, labels: int, outputs: Sequence[int] | None, name: str
) -> ChosenOutput:
    """The output with the scores of the labels.

    wish: its name in the file, or in the file's signature, as `target.output` gives it; None to take the only one with
    a score per label. labels: of the data. outputs: the indices in `target.outputs`, of which it must have the last.
    """
    known = contract.outputs
    if wish is not None:
        places = [n for n, tensor in enumerate(known) if wish in _names(tensor)]
        if not places:
            names = [alias for tensor in known for alias in _names(tensor)]
            raise ArtifactError(
                f"target.output: {name} has no output '{wish}'.{did_you_mean(wish, names)} It has: {_listed(known)}"
            )
        if width(known[places[0]]) is None:
            raise ArtifactError(
                f"target.output: '{wish}' of {name} has no scores: {_listed([known[places[0]]])}. Name the output with "
                f"a score per label; it has: {_listed(known)}"
            )
        return ChosenOutput(_flat(known[places[0]]), places[0], f"output '{wish}', as declared")
    if len(known) == 1:
        if width(known[0]) is None:
            raise ArtifactError(
                f"target.artifact: {name} returns {_listed(known)}; an audit needs a score per class, [records, 2 or "
                "more], or one of two classes, [records, 1]"
            )
        return ChosenOutput(_flat(known[0]), 0, "")
    fitting = [n for n, tensor in enumerate(known) if _has_scores(tensor, labels, outputs)]
    if len(fitting) != 1:
        found = "none has" if not fitting else "several have"
        raise ArtifactError(
            f"target.artifact: {name} has {len(known)} outputs ({_listed(known)}), of which {found} a score for each "
            f"of the data's {labels} labels; name the one that is meant: target.output: <name>"
        )
    note = f"output '{known[fitting[0]].name}' of {len(known)}: the only one with a score per label"
    return ChosenOutput(_flat(known[fitting[0]]), fitting[0], note)


def width(tensor: TensorSpec) -> int | None:
    """Values per record of an output, -1 where the file leaves them open; None for what cannot be scores."""
    if not (tensor.dtype.startswith(("float", "bfloat")) or tensor.scale is not None):
        return None
    sizes = [size for size in tensor.shape[1:] if size != 1]
    if len(sizes) > 1:
        return None
    return sizes[0] if sizes else (1 if tensor.shape else -1)


def require_labels(
    values: int, requested: Sequence[int] | None, labels: int, name: str
) -> tuple[tuple[int, ...] | None, bool]:
    """The outputs that hold the labels' scores (None for all, in order), and whether one value stands for two labels.

    values: per record. requested: `target.outputs`. labels: of the data.
    """
    single = values == 1
    if single and labels != 2:
        raise ArtifactError(
            f"target.artifact: {name} returns one value per record, like a regression or a single sigmoid, which is of "
            f"two labels; the data has {labels}. An audit needs a score per class"
        )
    classes = 2 if single else values
    if requested is None:
        if classes == labels:
            return None, single
        first = "" if classes < labels else _subset(classes, labels)
        raise ArtifactError(
            f"target.artifact: {name} returns {classes} scores, but the data has {labels} labels. {first}A classifier "
            "of other data cannot be audited with this data"
        )
    if len(requested) != labels or len(set(requested)) != labels or max(requested) >= classes:
        raise ArtifactError(
            f"target.outputs: {labels} different indices from 0 to {classes - 1} are needed, one for each label of the "
            f"data; got {list(requested)}"
        )
    return None if tuple(requested) == tuple(range(classes)) else tuple(requested), single


def _subset(classes: int, labels: int) -> str:
    offset = ", or, where output 0 is of no label, 1, 2, ..." if classes == labels + 1 else ""
    return (
        f"If the labels are some of the outputs, list them: target.outputs: [{labels} indices from 0 to {classes - 1}"
        f"{offset}]; `edgeaudit inspect` finds which. "
    )


def with_layout(input_: TensorSpec, record: tuple[int, ...], name: str) -> tuple[TensorSpec, str]:
    """The input with the layout in which records of shape `record` fit, and the reason."""
    fitting = fitting_layouts(input_, record)
    if not fitting:
        raise ArtifactError(
            f"target.artifact: {name} takes records of shape {list(input_.shape[1:])}, but the data's records have "
            f"{list(record)} (channels first). Resize or crop the data to that shape, or set data.layout"
        )
    layout = fitting[0]
    shape = (input_.shape[0], *_native(record, layout))
    if len(fitting) == 1:
        return replace(input_, shape=shape, layout=layout), f"layout {layout}: the only one in which the records fit"
    raise ArtifactError(
        f"target.artifact: records of shape {list(record)} fit {name} with channels first and with channels last; "
        "export it for another size, or set data.layout: flat"
    )


def fitting_layouts(input_: TensorSpec, record: tuple[int, ...]) -> tuple[Layout, ...]:
    """The layouts in which records of a shape fit an input."""
    layouts = _LAYOUTS.get(len(input_.shape), ())
    return tuple(layout for layout in layouts if _fits(input_.shape[1:], record, layout))


def _native(record: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    if layout == "NHWC":
        return (*record[1:], record[0])
    return record[1:] if layout == "HW" else record


def _fits(sizes: tuple[int, ...], record: tuple[int, ...], layout: Layout) -> bool:
    """Whether the sizes in the file (-1: any) match a record in that layout."""
    native = _native(record, layout)
    if (len(record) == 3) == (layout == "flat") or (layout == "HW" and record[0] != 1) or len(native) != len(sizes):
        return False
    return all(size in (-1, expected) for size, expected in zip(sizes, native, strict=True))


def _has_scores(tensor: TensorSpec, labels: int, outputs: Sequence[int] | None) -> bool:
    values = width(tensor)
    if values is None:
        return False
    if values == -1:
        return True
    if outputs is not None:
        return max(outputs) < values
    return values == labels or (values == 1 and labels == 2)


def _flat(tensor: TensorSpec) -> TensorSpec:
    """The output as [records, values]; axes of length 1 are dropped."""
    values = width(tensor)
    return replace(tensor, shape=(tensor.shape[0] if tensor.shape else -1, -1 if values is None else values))


def _names(tensor: TensorSpec) -> list[str]:
    return [tensor.name, *([tensor.alias] if tensor.alias else [])]


def _listed(tensors: Sequence[TensorSpec]) -> str:
    return (
        ", ".join(f"{' = '.join(_names(tensor))}: {tensor.dtype} {list(tensor.shape)}" for tensor in tensors) or "none"
    )
