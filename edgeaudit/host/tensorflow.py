"""Import TensorFlow once, silently and with one thread. All users of it import it from here."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from edgeaudit.host.isolation import require_apart
from edgeaudit.host.quiet import quiet

__all__ = ["tensorflow"]

# Read by keras on import, before ~/.keras/keras.json, which may name torch; and kept set, since keras 3.15 reads it
# again in lazily loaded layers.
_BACKEND = {"KERAS_BACKEND": "tensorflow"}
_UNSET = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def tensorflow() -> Any:
    """The module `tensorflow`, with Keras 3 on top of it: one thread, deterministic operators, no GPU.

    Without `enable_op_determinism` some gradients are summed in the order in which threads finish. TensorFlow's oneDNN
    kernels sum in another order than Eigen's (as 2.21 itself warns) and are disabled, so that results are reproducible
    on one CPU. Raises `ToolchainError` in a process that has imported torch.
    """
    require_apart("tensorflow")
    return _imported()


@cache
def _imported() -> Any:
    os.environ.update(_BACKEND)
    for name, value in _UNSET.items():
        os.environ.setdefault(name, value)
    with quiet():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
    return tf
