"""What a SavedModel's graph would do, before TensorFlow loads it: it may read and write files and run Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeaudit.errors import RecipeError

__all__ = ["require_harmless"]

_LARGEST = 1 << 30
_OF_MODELS = frozenset({
    "AnonymousHashTable", "AnonymousMutableHashTable", "Assert", "AssignAddVariableOp", "AssignSubVariableOp",
    "AssignVariableOp", "Case", "CheckNumerics", "CheckNumericsV2", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "DeepCopy",
    "DestroyResourceOp", "DisableCopyOnRead", "Empty", "HashTable", "HashTableV2", "If", "InitializeTableV2",
    "LookupTableFindV2", "LookupTableImportV2", "LookupTableInsertV2", "LookupTableRemoveV2", "LookupTableSizeV2",
    "Multinomial", "MutableDenseHashTableV2", "MutableHashTableV2", "ParameterizedTruncatedNormal", "RandomGamma",
    "RandomPoissonV2", "RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "ReadVariableOp",
    "ResourceGather", "ResourceGatherNd", "ResourceScatterAdd", "ResourceScatterNdAdd", "ResourceScatterNdUpdate",
    "ResourceScatterUpdate", "RngReadAndSkip", "RngSkip", "StatefulPartitionedCall", "StatefulStandardNormalV2",
    "StatefulTruncatedNormal", "StatefulUniform", "StatefulUniformFullInt", "StatefulUniformInt",
    "StatelessRandomGetAlg", "TensorArrayCloseV3", "TensorArrayConcatV3", "TensorArrayGatherV3", "TensorArrayReadV3",
    "TensorArrayScatterV3", "TensorArraySizeV3", "TensorArraySplitV3", "TensorArrayV3", "TensorArrayWriteV3",
    "TruncatedNormal", "VarHandleOp", "VarIsInitializedOp", "VariableShape", "While",
})  # fmt: skip
"""Operators with a state that models have: variables, tables in memory, random numbers, control flow."""
_NOT_OF_MODELS = re.compile(r"File|Dataset|PyFunc|^Debug|Snapshot|Reader|LookupTableExport|^TPU|Summary")
"""Operators that TensorFlow calls stateless and that reach beyond the graph, or that no model has."""
_OF_SAVING = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "ShardedFilespec"})


def require_harmless(path: Path, what: str) -> None:
    """Raise `RecipeError` for a SavedModel whose graph has operators that no model needs.

    Allowed are operators without a state and those that keep one in memory; refused by name are all others, among them
    those that read or write files (`ReadFile`, `WriteFile`, `PrintV2`), call Python (`PyFunc`) or talk to other
    machines, wherever they stand in the graph. Functions that save and restore a checkpoint, which nothing else calls,
    may do so: loading does not run them.

    path: the folder. what: the key and the file, for messages. Checked with TensorFlow 2.21.
    """
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    file, saved = path / "saved_model.pb", saved_model_pb2.SavedModel()
    if file.stat().st_size > _LARGEST:
        raise RecipeError(f"{what}: its graph has more than {_LARGEST >> 30} GB, which no model's has")
    saved.ParseFromString(file.read_bytes())
    found: set[str] = set()
    for graph in saved.meta_graphs:
        for operator, only_saves in _operators(graph):
            definition = op_def_registry.get(operator)
            harmless = operator in _OF_MODELS or (
                definition is not None and not definition.is_stateful and not _NOT_OF_MODELS.search(operator)
            )
            if not harmless and not (only_saves and operator in _OF_SAVING):
                found.add(operator)
    if found:
        names = sorted(found)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise RecipeError(
            f"{what}: its graph has operators that a model does not need and that reach beyond it, to files, Python or "
            f"other machines: {shown}. It was not loaded; export the model alone, with model.export"
        )


def _operators(graph: Any) -> Iterator[tuple[str, bool]]:
    """Every operator of a MetaGraphDef, and whether it stands in a function that only the saver calls."""
    functions = {one.signature.name: list(one.node_def) for one in graph.graph_def.library.function}
    given = graph.saver_def
    entries = (given.save_tensor_name, given.restore_op_name, given.filename_tensor_name)
    saver = {name.partition(":")[0] for name in entries}
    nodes = list(graph.graph_def.node)
    others = [node for node in nodes if node.name not in saver]
    named = [name for name in graph.object_graph_def.concrete_functions if name in functions]
    by_saver = _called([node for node in nodes if node.name in saver], functions)
    # A function that is called by nothing is not the saver's either.
    by_others = _called(others, functions) | _closure(named, functions)
    by_others |= _closure(set(functions) - by_saver, functions)
    for node in nodes:
        yield node.op, False
    for name, body in functions.items():
        for node in body:
            yield node.op, name not in by_others


def _called(nodes: Iterable[Any], functions: Mapping[str, list[Any]]) -> set[str]:
    """The functions that nodes call, and those that these call."""
    return _closure((name for node in nodes for name in _names(node) if name in functions), functions)


def _closure(names: Iterable[str], functions: Mapping[str, list[Any]]) -> set[str]:
    found, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [inner for node in functions[name] for inner in _names(node) if inner in functions]
    return found


def _names(node: Any) -> Iterator[str]:
    """Functions that a node may call: its own operator, and those among its attributes."""
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (one.name for one in value.list.func)
