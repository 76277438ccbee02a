"""Every error that edgeaudit raises on purpose.

::

    EdgeAuditError
    ├── SpecError            audit.yaml is not valid
    ├── DataError            records cannot be read
    │   └── SplitError       there are too few records for the requested split
    ├── RecipeError          a model cannot be built
    │   └── TrainingError    training a model failed
    ├── ToolchainError       a converter or quantiser failed
    │   ├── MissingToolchain it is not installed; carries the pip line
    │   └── MissingEnvironment  a separate environment is missing; carries the command
    ├── ArtifactError        a runtime cannot serve the artifact
    │   └── AgreementError   the artifact's answers differ from the model's
    ├── DeviceError          a device or its agent cannot be reached, or rejects a request
    │   ├── DeviceLost       the connection is lost; retrying later may help
    │   └── ProtocolError    a message does not follow the Open Inference Protocol
    ├── AttackError          an attack cannot run on these responses
    ├── BudgetError          a budget refers to something that does not exist
    ├── StoreError           the store cannot be written or read
    │   └── UnusableEntry    an entry cannot be used; it is computed again
    │       ├── DamagedEntry     one of its files is damaged
    │       └── OutdatedEntry    a file that its code read was changed since
    ├── SeveralErrors        more than one of these, of independent checks
    ├── JobCrashed           the worker process of a job crashed, or exceeded a limit
    ├── RunError             a finished run cannot be read
    └── AttestationError     signed evidence, a key or a file to verify cannot be read

Each message names the key, file or record, and the remedy. The command line
prints the message and exits with 2; nothing else is caught there.
"""

from __future__ import annotations

import difflib
import errno
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

__all__ = [
    "AgreementError",
    "ArtifactError",
    "AttackError",
    "AttestationError",
    "BudgetError",
    "DamagedEntry",
    "DataError",
    "DeviceError",
    "DeviceLost",
    "EdgeAuditError",
    "JobCrashed",
    "MissingEnvironment",
    "MissingToolchain",
    "OutdatedEntry",
    "Problems",
    "ProtocolError",
    "RecipeError",
    "RunError",
    "SeveralErrors",
    "SpecError",
    "SplitError",
    "StoreError",
    "ToolchainError",
    "TrainingError",
    "UnusableEntry",
    "did_you_mean",
    "harmless",
    "pip_line",
    "reason_of",
    "store_errors",
    "toolchain_errors",
    "unquoted",
]

_KEPT = "\n\t"
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of text, so that it reads otherwise than it is."""
_LONGEST, _LONGEST_REASON = 4000, 200
_LINE_ENDS = re.compile(r"\s*[\r\n]\s*")


class EdgeAuditError(Exception):
    """Base of all errors a user can cause and fix.

    Messages quote files, servers and toolchains. So here, in one place, they become one line, what would control a
    terminal becomes `?`, and they end after 4,000 characters.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(self._shown(one) if isinstance(one, str) else one for one in arguments))

    def _shown(self, text: str) -> str:
        if "\n" in text or "\r" in text:
            text = _LINE_ENDS.sub(" ", text).strip()
        return harmless(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


class SpecError(EdgeAuditError):
    """audit.yaml is not valid."""


class DataError(EdgeAuditError):
    """A data source cannot be read."""


class SplitError(DataError):
    """The population is too small, or its member lists contradict each other."""


class RecipeError(EdgeAuditError):
    """A recipe cannot build its model for these records."""


class TrainingError(RecipeError):
    """A model did not train, for instance because its loss became NaN."""


class ToolchainError(EdgeAuditError):
    """A converter, pruner or quantiser failed on a model."""


class MissingToolchain(ToolchainError):
    """A package that a format or runtime needs is not installed.

    extra: of the plugin's distribution, "" if none of its extras installs the package.
    """

    def __init__(self, what: str, package: str, extra: str, distribution: str = "edgeaudit") -> None:
        super().__init__(
            f"{what} needs the package '{package}', which is not installed. "
            f"Install it with: {pip_line(extra, distribution)}"
        )
        self._args = (what, package, extra, distribution)

    def __reduce__(self) -> tuple[type[MissingToolchain], tuple[str, str, str, str]]:
        # Errors cross process boundaries; the default would call __init__ with the message alone.
        return type(self), self._args


class MissingEnvironment(ToolchainError):
    """The separate environment of a runtime is missing; the message has the command that creates it."""


class ArtifactError(EdgeAuditError):
    """A runtime cannot load or run an artifact."""


class AgreementError(ArtifactError):
    """An artifact's answers disagree with the torch model it came from."""


class DeviceError(EdgeAuditError):
    """A device or its agent cannot be reached, or rejects a request."""


class DeviceLost(DeviceError):
    """The connection to a device is lost, or it cannot be reached at present; retrying later may help.

    after: seconds to wait before a retry, if the device requested that.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class ProtocolError(DeviceError):
    """A message does not follow the Open Inference Protocol."""


class AttackError(EdgeAuditError):
    """An attack cannot run, or cannot resolve a requested rate."""


class BudgetError(EdgeAuditError):
    """A budget names a format, metric or attack that the audit does not have."""


class StoreError(EdgeAuditError):
    """The store cannot be read or written."""


class UnusableEntry(StoreError):
    """An entry of the store cannot be used, because of a file.

    The scheduler drops the entry and computes it again; the error is raised only if that is not possible.
    """

    problem: ClassVar[str]

    def __init__(self, kind: str, key: str, file: str, folder: str) -> None:
        super().__init__(f"store entry {folder}: {self.problem.format(file)}; remove that folder and run again")
        self.kind, self.key, self.file = kind, key, file
        self._args = (kind, key, file, folder)

    def __reduce__(self) -> tuple[type[UnusableEntry], tuple[str, str, str, str]]:
        # Errors cross process boundaries; the default would call __init__ with the message alone.
        return type(self), self._args


class DamagedEntry(UnusableEntry):
    """A file of the entry is missing or was changed. file: relative to the entry's folder."""

    problem: ClassVar[str] = "{} is missing or damaged"


class OutdatedEntry(UnusableEntry):
    """A file that the entry's code read was changed since. file: an absolute path."""

    problem: ClassVar[str] = "{}, which its code read, was changed"


class JobCrashed(EdgeAuditError):
    """The worker process of a job crashed (in native code, or killed), or exceeded a limit of time or memory.

    retries: further attempts: 0 beyond a limit, 1 for a crash, which concurrent jobs may have caused, more if the
    process was killed from outside.
    """

    def __init__(self, message: str, retries: int = 0) -> None:
        super().__init__(message)
        self.retries = retries

    def __reduce__(self) -> tuple[type[JobCrashed], tuple[str, int]]:
        # Errors cross process boundaries; the default would call __init__ with the message alone.
        return type(self), (str(self), self.retries)


class RunError(EdgeAuditError):
    """A run folder is missing, unfinished or unreadable."""


class AttestationError(EdgeAuditError):
    """Signed evidence, a key, or a file that is to be verified, cannot be read or used."""


class SeveralErrors(EdgeAuditError):
    """Independent errors of one audit.yaml, found before anything runs. errors: at least two, in the order found."""

    def __init__(self, errors: Sequence[EdgeAuditError]) -> None:
        super().__init__("\n".join([f"{len(errors)} problems:", *(f"- {error}" for error in errors)]))
        self.errors = tuple(errors)

    def _shown(self, text: str) -> str:
        return text  # of messages that are shown already

    def __reduce__(self) -> tuple[type[SeveralErrors], tuple[tuple[EdgeAuditError, ...]]]:
        # Errors cross process boundaries; the default would call __init__ with the message alone.
        return type(self), (self.errors,)


class Problems:
    """Collects the errors of independent checks, so that all of them can be mended at once."""

    def __init__(self) -> None:
        self._found: list[EdgeAuditError] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep an error that is raised inside the block; the same sentence is kept once."""
        try:
            yield
        except SeveralErrors as several:
            self._keep(*several.errors)
        except EdgeAuditError as error:
            self._keep(error)

    def _keep(self, *errors: EdgeAuditError) -> None:
        told = {str(error) for error in self._found}
        self._found += [error for error in errors if str(error) not in told]

    def raise_found(self) -> None:
        """Raise the error, or `SeveralErrors`, if there is any."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise SeveralErrors(self._found)


def harmless(text: str) -> str:
    r"""Replace by `?` what moves a cursor, colours, sets a title or turns the direction of text.

    Examples:
        >>> harmless("\x1b[2Jwithin\u202e budget\n")
        '?[2Jwithin? budget\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("?" if _is_control(letter) else letter for letter in text)


def _is_control(letter: str) -> bool:
    return letter not in _KEPT and (letter in _TURNS or unicodedata.category(letter) in {"Cc", "Cs"})


def unquoted(exc: BaseException) -> str:
    """What a reader says of a file, without the bytes and texts of the file that it quotes.

    Examples:
        >>> unquoted(ValueError("File name in directory 'x.npy' and header b'secret' differ."))
        'ValueError: File name in directory'
    """
    said = (str(exc).strip().splitlines() or [""])[0]
    said = re.split(r"""\bb["']|["']|: |[^\x20-\x7e]""", said, maxsplit=1)[0].rstrip(" :(")
    return f"{type(exc).__name__}: {said[:_LONGEST_REASON]}" if said else type(exc).__name__


def pip_line(extra: str, distribution: str = "edgeaudit") -> str:
    """The command that installs a distribution with an extra; "" for no extra."""
    return f"pip install '{distribution}[{extra}]'" if extra else f"pip install '{distribution}'"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question ` Did you mean 'x'?` for an unknown name in a message, or "" if no known name is similar.

    Examples:
        >>> did_you_mean("litert-int9", ["litert-int8", "onnx-int8-static"])
        " Did you mean 'litert-int8'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


@contextmanager
def toolchain_errors(step: str) -> Iterator[None]:
    """Turn any exception of a toolchain inside the block into a `ToolchainError` that names `step`.

    Converters raise anything from ValueError to their own C++ exceptions, so this is the one place outside
    the command line where `Exception` is caught.
    """
    try:
        yield
    except EdgeAuditError:
        raise
    except ImportError as exc:
        raise ToolchainError(
            f"{step} failed to import {exc.name or exc}: {exc}. `edgeaudit doctor` shows what is installed"
        ) from exc
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise StoreError(f"{step}: the disk is full; free some space and run again") from exc
        raise ToolchainError(f"{step} failed: {type(exc).__name__}: {exc}") from exc
    except Exception as exc:
        first_line = (str(exc).strip().splitlines() or ["no message"])[0]
        raise ToolchainError(f"{step} failed: {type(exc).__name__}: {first_line}") from exc


def reason_of(exc: Exception) -> str:
    """Return what went wrong, without the number and the path that an `OSError` repeats."""
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Turn an `OSError` inside the block into a `StoreError` that names `where` and the remedy."""
    try:
        yield
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise StoreError(
                f"{where}: the disk is full. Finished work is kept; free some space and run again"
            ) from exc
        raise StoreError(f"{where}: {exc.strerror or exc}") from exc
