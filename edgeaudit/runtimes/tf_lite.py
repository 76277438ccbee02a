"""TFLite files in TensorFlow's own interpreter, `tf.lite`: the runtime of applications that still install TensorFlow.

It is deprecated: TensorFlow 2.21 warns at every use that it goes away and points to LiteRT, whose code it is. The
kernels are those of another release, though, and may answer otherwise, so it is a runtime of its own.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgeaudit.host.tensorflow import tensorflow
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.litert import LiteRT

__all__ = ["TfLite"]


class TfLite(LiteRT):
    """TensorFlow's TFLite interpreter; `batch` and `xnnpack` as of `litert`."""

    spec = RuntimeSpec(
        name="tf-lite",
        extra="tensorflow",
        packages=("tensorflow-cpu",),
        serves="tflite",
        summary="TensorFlow's TFLite interpreter (tf.lite, deprecated), one thread, XNNPACK unless told otherwise",
        defaults={"batch": 64, "xnnpack": True},
        isolation="tensorflow",
    )

    @classmethod
    def _library(cls) -> Any:
        tf = tensorflow()
        return SimpleNamespace(Interpreter=tf.lite.Interpreter, OpResolverType=tf.lite.experimental.OpResolverType)
