"""Import TensorFlow once, silently and with one thread. All users of it import it from here."""

from __future__ import annotations

import linecache
import os
import sys
from functools import cache
from itertools import count
from types import ModuleType
from typing import Any

from edgeaudit.homes import nothing_in_home
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
    with quiet(), nothing_in_home():
        import keras  # noqa: F401  which TensorFlow would import at some later time
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
        _compile_in_memory()
    return tf


def _compile_in_memory() -> None:
    """Let AutoGraph compile what it generates without a file.

    TensorFlow 2.21 writes `__autograph_generated_file*.py` into the temporary folder for every function that it
    converts, and removes them, without their compiled forms in `__pycache__`, when the interpreter exits, which a
    worker process that is ended does not do.
    """
    from tensorflow.python.autograph.pyct import loader

    numbers = count()

    def load_source(source: str, delete_on_exit: bool) -> tuple[ModuleType, str]:  # noqa: ARG001, FBT001  as theirs
        module = ModuleType(f"__autograph_generated_{next(numbers)}")
        module.__file__ = file = f"{module.__name__}.py"
        # Without a time the lines stay although there is no such file; tracebacks and `inspect` read them.
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102  what TensorFlow would import from the file
        sys.modules[module.__name__] = module
        return module, file

    loader.load_source = load_source
