"""TensorFlow Lite Converter: Keras models to TFLite, in float or quantised after training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.read_back import read_back
from edgeaudit.host.quiet import quiet
from edgeaudit.settings import Settings

__all__ = ["Convert"]

_FILE = "model.tflite"
_STATIC = ("int8", "int16x8")
_WEIGHTS = {"float32": None, "float16": "float16", "dynamic-int8": "int8", "int8": "int8", "int16x8": "int8"}


class Convert(Pass):
    """keras -> TFLite, by tf.lite.TFLiteConverter.

    precision: `float32`; `float16` (weights); `dynamic-int8` (weights; activations are quantised at each inference,
    record
        by record); `int8` and `int16x8` (weights int8, activations int8 or int16, by min-max ranges of the calibration
        records, which is the only way that the converter has). The last two are strict: an operator without an integer
        kernel is an error and not left float.
    softmax: `inside` appends a softmax to the logits.
    interface: of a full-integer file: `integer` (int8 or int16), `uint8` (int8 files only), or `float`, where the file
        quantises its input and dequantises its output itself. Other precisions have float interfaces whatever it says.
    per_channel: a weight scale for each output channel, also of fully connected layers, as is the converter's default;
        or one for each tensor, which old interpreters and some accelerators need.

    The batch stays dynamic in the file. TensorFlow 2.21 gives the same bytes for the same model.

    Models with recurrent layers are converted with a fixed batch of 1, as TensorFlow's guide to the conversion of RNNs
    advises: with a dynamic one the converter has no operator for the list of their steps (TensorListReserve). In float
    and dynamic-int8 files the steps are a loop. The converter calibrates loops by a crash of its process (TensorFlow
    2.21, segmentation fault), so that full-integer files have the layers unrolled, a few operators for each step: 128
    steps of an LSTM of 16 units took 46 s and 1.3 MB.

    Records that the model casts to integers itself (token ids into an Embedding) enter full-integer files as float32:
    a scale would round most of them to another id.
    """

    spec = PassSpec(
        name="tflite.convert",
        extra="tensorflow",
        packages=("tensorflow-cpu", "keras"),
        consumes="keras",
        produces="tflite",
        summary="TensorFlow Lite Converter: float32, float16, dynamic range, full integer int8 or int16x8",
        calibrates=True,
        defaults={"precision": "float32", "softmax": "outside", "interface": "integer", "per_channel": True},
        choices={
            "precision": tuple(_WEIGHTS),
            "softmax": ("outside", "inside"),
            "interface": ("integer", "uint8", "float"),
        },
        code=("edgeaudit.host.tensorflow",),
        typical_seconds=1.5,
        isolation="tensorflow",
    )

    def precision(self, params: Settings) -> str | None:
        """Precision of the weights in the file."""
        return _WEIGHTS[params["precision"]]

    def calibrates(self, params: Settings) -> bool:
        """Only full-integer files have ranges."""
        return params["precision"] in _STATIC

    def _apply(self, job: ExportJob) -> PassResult:
        from edgeaudit.host.tensorflow import tensorflow
        from edgeaudit.recipes.keras_models import keras, load_keras, recurrent_layers

        inside = job.params["softmax"] == "inside"
        if job.params["interface"] == "uint8" and job.params["precision"] == "int16x8":
            raise ToolchainError(
                "an int16x8 file has an int16 or a float interface; leave 'interface' integer or float"
            )
        model = load_keras(job.source, job.model_recipe())
        recurrent = recurrent_layers(model)
        with quiet():
            if recurrent:
                model = _one_at_a_time(model, unrolled=self.calibrates(job.params))
            if inside:
                entry = keras().Input(batch_shape=model.inputs[0].shape)
                layers = keras().layers
                head = layers.Activation("sigmoid") if job.sigmoid else layers.Softmax()
                model = keras().Model(entry, head(model(entry)))
            content = _converted(tensorflow(), model, job, self.calibrates(job.params))
            (job.workdir / _FILE).write_bytes(content)
        result = read_back(job, "tflite", _FILE, softmax_inside=inside)
        if not recurrent or result.input is None:
            return result
        return replace(result, input=replace(result.input, shape=(1, *result.input.shape[1:])))


def _one_at_a_time(model: Any, *, unrolled: bool) -> Any:
    """The model with a fixed batch of 1, and its recurrent layers unrolled or as a loop."""
    from edgeaudit.recipes.keras_models import keras, recurrent_layers

    if unrolled:
        for layer in recurrent_layers(model):
            layer.unroll = True  # read when the layer is called below
    entry = keras().Input(batch_shape=(1, *model.input_shape[1:]))
    return keras().Model(entry, model(entry))


def _converted(tf: Any, model: Any, job: ExportJob, calibrates: bool) -> bytes:  # noqa: FBT001
    from edgeaudit.recipes.keras_models import takes_ids

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    precision, sets = job.params["precision"], tf.lite.OpsSet
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if not job.params["per_channel"]:
        # The converter has no other switch for it (2.21); the second is for fully connected layers.
        converter._experimental_disable_per_channel = True  # noqa: SLF001
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001
    if calibrates:
        integers = {
            "int8": sets.TFLITE_BUILTINS_INT8,
            "int16x8": sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        integer = tf.int8 if precision == "int8" else tf.int16
        interface = {"integer": integer, "uint8": tf.uint8, "float": tf.float32}[job.params["interface"]]
        converter.target_spec.supported_ops = [integers[precision]]
        converter.inference_input_type = converter.inference_output_type = interface
        if takes_ids(model):
            converter.inference_input_type = tf.float32
        converter.representative_dataset = _one_by_one(job)
    content: bytes = converter.convert()
    return content


def _one_by_one(job: ExportJob) -> Callable[[], Iterator[list[npt.NDArray[np.float32]]]]:
    """The calibration records as the converter reads them: one per step, images channels last."""
    from edgeaudit.recipes.keras_models import as_keras_takes_them

    records = as_keras_takes_them(job.calibration_records())

    def steps() -> Iterator[list[npt.NDArray[np.float32]]]:
        for i in range(len(records)):
            yield [records[i : i + 1]]

    return steps
