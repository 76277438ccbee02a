"""scikit-learn, LightGBM and XGBoost to ONNX, by skl2onnx and the converters of onnxmltools."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.read_back import read_back
from edgeaudit.host.quiet import quiet

__all__ = ["Export"]

_FILE = "model.onnx"
_OPSET = {"": 17, "ai.onnx.ml": 3}


class Export(Pass):
    """sklearn -> ONNX with the operators of ai.onnx.ml; one output, the probabilities.

    skl2onnx 1.20 writes labels beside them, and probabilities as a list of maps (ZipMap) unless told otherwise; the
    former are taken off here. Records that are images are flattened in the file. Classes that the estimator never saw
    have the probability 0, as in `predict_proba` of edgeaudit's reference.

    Thresholds of trees are float32 in the file, where scikit-learn and LightGBM compare in float64: records next to one
    may take another branch.
    """

    spec = PassSpec(
        name="skl2onnx.export",
        extra="sklearn",
        packages=("skl2onnx", "onnx", "scikit-learn"),
        companions=("onnxmltools", "lightgbm", "xgboost", "xgboost-cpu"),
        consumes="sklearn",
        produces="onnx",
        summary="ONNX opset 17 and ai.onnx.ml 3, by skl2onnx and onnxmltools",
        code=("edgeaudit.recipes.sklearn_models",),
        typical_seconds=0.3,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        from edgeaudit.recipes.sklearn_models import load_model

        model = load_model(job.source, job.model_recipe())
        with quiet():
            import onnx

            graph = _one_output(_converted(model, int(np.prod(job.input_shape))), model.classes_, job)
            onnx.checker.check_model(graph)
            onnx.save(graph, job.workdir / _FILE)
        return read_back(job, "onnx", _FILE, softmax_inside=True)


def _converted(model: Any, columns: int) -> Any:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    _register()
    # The last step decides about ZipMap; an estimator's own id is how skl2onnx names its options.
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    return skl2onnx.to_onnx(
        model,
        initial_types=[("input", FloatTensorType([None, columns]))],
        options={id(last): {"zipmap": False}},
        target_opset=_OPSET,
    )


def _register() -> None:
    """Tell skl2onnx of the boosters that are installed; their converters are in onnxmltools."""
    from importlib.util import find_spec

    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as shapes

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if find_spec("lightgbm"):
        from lightgbm import LGBMClassifier
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(LGBMClassifier, "LightGbmLGBMClassifier", shapes, convert_lightgbm, options=options)
    if find_spec("xgboost"):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier

        update_registered_converter(XGBClassifier, "XGBoostXGBClassifier", shapes, convert_xgboost, options=options)


def _one_output(model: Any, classes: Any, job: ExportJob) -> Any:
    """The graph with the records' own shape as input and the probabilities of all classes as its one output."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    found = graph.output[-1].name
    del graph.output[:]
    if len(classes) < job.n_classes:
        spread = np.zeros((len(classes), job.n_classes), np.float32)
        spread[np.arange(len(classes)), np.asarray(classes, np.int64)] = 1
        graph.initializer.append(numpy_helper.from_array(spread, "class_places"))
        graph.node.append(helper.make_node("MatMul", [found, "class_places"], ["all_probabilities"]))
        found = "all_probabilities"
    graph.output.append(helper.make_tensor_value_info(found, TensorProto.FLOAT, ["batch", job.n_classes]))
    if len(job.input_shape) > 1:
        rows = "rows"
        for node in graph.node:
            node.input[:] = [rows if name == "input" else name for name in node.input]
        graph.node.insert(0, helper.make_node("Flatten", ["input"], [rows], axis=1))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *job.input_shape]))
    _drop_unused(graph)
    return model


def _drop_unused(graph: Any) -> None:
    """Remove what only the labels needed."""
    read = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if read & set(node.output):
            read |= set(node.input)
        else:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
