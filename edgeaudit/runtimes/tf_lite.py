"""TFLite files in TensorFlow's own interpreter, `tf.lite`: the runtime of applications that still install TensorFlow.

It is deprecated: TensorFlow 2.21 warns at every use that it will be removed and refers to LiteRT, which has the same
code. But its kernels are of another release and may give other outputs, so it is a separate runtime.
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
        summary="TensorFlow's TFLite interpreter (tf.lite, deprecated), one thread, XNNPACK by default",
        defaults={"batch": 64, "xnnpack": True},
        isolation="tensorflow",
    )

    @classmethod
    def _library(cls) -> Any:
        tf = tensorflow()
        return SimpleNamespace(Interpreter=tf.lite.Interpreter, OpResolverType=tf.lite.experimental.OpResolverType)
