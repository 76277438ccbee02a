"""Silence toolchains and runtimes: warnings, log records, and C++ output on the terminal."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edgeaudit.scratch import scratch

__all__ = ["NO_TELEMETRY", "quiet"]

NO_TELEMETRY = {"NNCF_CI": "1", "CI": "true", "ORT_DISABLE_TELEMETRY": "1"}
"""Disables the usage statistics that nncf, openvino and onnxruntime send on import or when they run. Read on import,
and by openvino 2026.4 also at every conversion; its only alternative is a file in the user's home. onnxruntime 1.32
writes an id and a database into the user's cache without it, also after `disable_telemetry_events()`."""

# litert-torch 0.10 prints a progress log, its converter announces oneDNN and operation counts.
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "LITERT_TORCH_SHOW_PROGRESS": "n"}

_INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
"""torch 2.14 makes this folder when it exports a model; by default `torchinductor_<user>` among temporary files."""


@contextmanager
def quiet(environment: dict[str, str] | None = None) -> Iterator[None]:
    """Silence the block, and restore the state of the process.

    Sources of output, by version: torch 2.14.1 (the legacy ONNX exporter's DeprecationWarning, "No CUDA runtime is
    found"), torchao 0.18 (a warning about Enum subclasses on import), onnxruntime 1.32 (root-logger warnings while
    quantising), ai-edge-litert 2.3 ("INFO: Created TensorFlow Lite XNNPACK delegate", from C++, no switch; a
    UserWarning about preserve_all_tensors), litert-converter 0.5 (operation counts, from C++), nncf 3.4 (its own
    logger), torch-pruning 1.6 (warnings about parameters outside of known layers), executorch 1.5.1 (an
    ExperimentalWarning on import; detected CPU features, and why it rejects a file, from C++). C++ can be silenced only
    at the file descriptors, so these point at a temporary file meanwhile. If the block fails, the end of the output
    becomes a note on the exception. `sys.stdout` and `sys.stderr` stay: handlers made in the block (nncf's) would keep
    a stream that is closed after it.

    Toolchains that keep compiled code among temporary files keep it in a folder that is removed after the block.

    Logging is restored too, because toolchains change it globally: nncf sets the logger class on import,
    litert-torch's conversion adds a handler to the root logger. So is the environment: torch.export sets
    TORCHINDUCTOR_CACHE_DIR, executorch's runtime OPENVINO_LIB_PATH.

    environment: additional variables to set within the block.
    """
    before = dict(os.environ)
    logger_class, handlers, disabled = (
        logging.getLoggerClass(),
        list(logging.root.handlers),
        logging.root.manager.disable,
    )
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), scratch() as folder:
            os.environ.update({**_ENVIRONMENT, _INDUCTOR: before.get(_INDUCTOR, str(folder)), **(environment or {})})
            with _terminal_to_file():
                warnings.simplefilter("ignore")
                yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        logging.setLoggerClass(logger_class)
        logging.root.handlers[:] = handlers
        logging.disable(disabled)


@contextmanager
def _terminal_to_file() -> Iterator[None]:
    """Point file descriptors 1 and 2 at a temporary file."""
    with tempfile.TemporaryFile() as output:
        _flush()
        kept = {fd: copy for fd in (1, 2) if (copy := _duplicate(fd)) is not None}
        for fd in kept:
            os.dup2(output.fileno(), fd)
        try:
            yield
        except Exception as exc:
            _flush()
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - 2000))
            text = output.read().decode(errors="replace").strip()
            if text and sys.version_info >= (3, 11):  # a board's Python may be older, and has no notes
                exc.add_note(f"output before the failure:\n{text}")
            raise
        finally:
            _flush()
            for fd, copy in kept.items():
                os.dup2(copy, fd)
                os.close(copy)


def _duplicate(fd: int) -> int | None:
    try:
        return os.dup(fd)
    except OSError:  # a daemon may run with its terminal closed
        return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or None in a windowless process
            stream.flush()
