"""What a toolchain's error means for the user: the operator or line that is the cause, and what to do.

Converters raise pages of which the first line seldom names the cause. The whole trace is kept in the log by the worker.
"""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

__all__ = ["explained"]

_OTHER = "write that layer with other operators, or choose a format of another toolchain"
_BRANCH = (
    "the model's forward branches on values of the records, or takes a size from them, which a file cannot; compute "
    "both ways and select (torch.where)"
)
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"Exporting the operator '([^']+)' to ONNX opset version (\d+) is not supported",
        f"ONNX opset {{1}} has no counterpart of {{0}}; {_OTHER}",
    ),
    (r"No conversion rule found for operations: ([^\n]+)", f"OpenVINO has no counterpart of {{0}}; {_OTHER}"),
    (r"Lowering not found: ([^\s\n]+)", f"LiteRT has no counterpart of {{0}}; {_OTHER}"),
    (r"failed to legalize operation '([^']+)'", f"LiteRT has no counterpart of {{0}}; {_OTHER}"),
    (r"(tf\.\w+) op is neither a custom op nor a flex op", f"TensorFlow Lite has no counterpart of {{0}}; {_OTHER}"),
    (r"Missing out variants: \{([^}]+)\}", f"ExecuTorch has no kernel for {{0}}; {_OTHER}"),
    (r"Operator (\S+) is not (?:Aten Canonical|part of)", f"ExecuTorch has no kernel for {{0}}; {_OTHER}"),
    (r"Could not find an implementation for (\w+)", f"ONNX Runtime has no kernel for {{0}}; {_OTHER}"),
    (r"Could not (?:guard|extract specialized integer) (?:on|from) data-dependent expression", _BRANCH),
    (r"Dynamic control flow is not supported", _BRANCH),
)
"""What in an error's text tells the cause -> the sentence, with the groups that were found."""
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]+\n\s*([^\n]+)')


def explained(exc: BaseException) -> str:
    """One or two sentences: the known cause, or else the first line, with the line of the user's code that was run."""
    text = "\n".join(_texts(exc))
    sentence = next((told.format(*found.groups()) for known, told in _KNOWN if (found := re.search(known, text))), None)
    if sentence is None:
        sentence = (str(exc).strip().splitlines() or ["no message"])[0]
    return f"{type(exc).__name__}: {sentence}{_place(exc, text)}"


def _texts(exc: BaseException) -> Iterator[str]:
    """The error's message and notes, and those of the errors that it came from."""
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield str(current)
        yield from getattr(current, "__notes__", ())
        current = current.__cause__ or current.__context__


def _place(exc: BaseException, text: str) -> str:
    """Where in the user's code it happened, as ` (model.py, line 12: x = x / x.std())`; "" where it was not in it."""
    frames = [
        (frame.filename, frame.lineno or 0, frame.line or "") for frame in traceback.extract_tb(exc.__traceback__)
    ]
    # torch.export tells of the user's line in its message, since its own code runs the model.
    told = [(path, int(line), source) for path, line, source in _FRAME.findall(text)]
    for path, line, source in (*reversed(frames), *reversed(told)):
        if _is_users(path):
            code = " ".join((linecache.getline(path, line) or source).split())
            return f" ({Path(path).name}, line {line}: {code})" if code else ""
    return ""


def _is_users(path: str) -> bool:
    own = Path(__file__).resolve().parents[1]
    resolved = Path(path).resolve()
    parts = set(resolved.parts)
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    return (
        path.endswith(".py")
        and not path.startswith("<")
        and not parts & {"site-packages", "dist-packages"}
        and not resolved.is_relative_to(standard)
        and not (resolved.is_relative_to(own / "edgeaudit") or resolved.is_relative_to(own / "exporters"))
    )
