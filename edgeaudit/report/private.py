"""What a report does not show: folders, the user's name, names of machines. Every text of audit.json passes through.

Reports are mailed, published and checked in; what a later command needs to find data and models again is in spec.json
(`edgeaudit.pipeline.recorded`), which stays with its owner.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from edgeaudit.report.model import Audit

__all__ = ["Private", "machine_names", "without_private"]

_ROOTS = frozenset(
    ("Users", "Volumes", "data", "etc", "home", "media", "mnt", "opt", "private", "root", "run", "sdcard", "srv",
     "storage", "tmp", "usr", "var", "workspace")
)  # fmt: skip
"""First parts of absolute paths, also on devices. Names of tensors such as /features/0/Conv look like paths, too."""
_PART = r"""[^\s/'"`<>|:;,()\[\]{}*?]+"""
_QUOTED = re.compile(r"""(?P<quote>['"`])(?P<path>~?/[^'"`\n:]*)(?P=quote)""")
_PATH = re.compile(rf"(?:file://|(?<![\w./~-]))(?P<path>(?:~[\w.-]*)?(?:/{_PART})+/?)")
_REST = rf"(?P<rest>(?:/{_PART})*)/?"
_HOMES = ("/home", "/Users")
_NOBODY = frozenset(("root", "localhost"))
"""Names of users and hosts that every machine has."""
_IMAGE = "data:image/png;base64,"
_SHORTEST = 3
"""Letters of a name that is looked for as a word."""


@dataclass(frozen=True)
class Private:
    """What is replaced in texts.

    paths: as they are written in messages -> what stands for them; what is below one of them keeps its last part.
    words: texts -> what stands for them, such as addresses of devices. users, hosts: names that are replaced as words.
    """

    paths: Mapping[str, str]
    words: Mapping[str, str]
    users: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    def clean(self, text: str) -> str:
        """The text without folders, users and machines."""
        if text.startswith(_IMAGE):
            return text
        for pattern, name in self._words:
            text = pattern.sub(lambda _, name=name: name, text)  # type: ignore[misc]
        if "/" in text or "~" in text:
            text = _QUOTED.sub(self._unquoted, text)
            text = self._known.sub(self._named, text) if self._known is not None else text
            text = _PATH.sub(lambda found: _last(found["path"], found[0]), text)
        for pattern, name in self._accounts:
            text = pattern.sub(name, text)
        if not re.search(r"\s", text):
            return text  # a name that audit.json refers to, such as that of a format
        for pattern, name in self._names:
            text = pattern.sub(name, text)
        return text

    @cached_property
    def _known(self) -> re.Pattern[str] | None:
        """Paths that are known, the longest first: they may have spaces, and be relative."""
        if not self.paths:
            return None
        spelled = "|".join(re.escape(path) for path in sorted(self.paths, key=len, reverse=True))
        return re.compile(rf"(?:file://|(?<![\w/~-])(?:\./)?)(?P<known>{spelled})(?![\w-]){_REST}")

    def _unquoted(self, found: re.Match[str]) -> str:
        return found["quote"] + self.paths.get(found["path"], _last(found["path"])) + found["quote"]

    def _named(self, found: re.Match[str]) -> str:
        rest = found["rest"].rstrip(".")
        end = found["rest"][len(rest) :]
        return (PurePosixPath(rest).name if rest else self.paths[found["known"]]) + end

    @cached_property
    def _words(self) -> list[tuple[re.Pattern[str], str]]:
        longest = sorted(self.words, key=len, reverse=True)
        return [(re.compile(rf"(?<![\w.@-]){re.escape(word)}(?![\w-])"), self.words[word]) for word in longest]

    @cached_property
    def _accounts(self) -> list[tuple[re.Pattern[str], str]]:
        users = [(re.compile(rf"(?<![\w.-]){re.escape(name)}@[\w.-]+"), "user@host") for name in sorted(self.users)]
        return [*users, *((re.compile(rf"@{re.escape(name)}(?![\w-])"), "@host") for name in sorted(self.hosts))]

    @cached_property
    def _names(self) -> list[tuple[re.Pattern[str], str]]:
        # A name that is a word of reports says nothing about anybody, and reports could not be read without it.
        return [
            (re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE), instead)
            for names, instead in ((self.users, "user"), (self.hosts, "host"))
            for name in sorted(names, key=len, reverse=True)
            if len(name) >= _SHORTEST and name.lower() not in _vocabulary()
        ]


def without_private(audit: Audit, private: Private) -> Audit:
    """The same audit; every string in it is without folders, users and machines. Keys of tables stay."""
    return Audit.model_validate(_cleaned(audit.model_dump(), private))


def _cleaned(value: Any, private: Private) -> Any:
    if isinstance(value, str):
        return private.clean(value)
    if isinstance(value, Mapping):
        return {key: _cleaned(one, private) for key, one in value.items()}
    if isinstance(value, list | tuple):
        # Curves and histograms are long and have no strings.
        return value if all(type(one) is float for one in value) else [_cleaned(one, private) for one in value]
    return value


def _last(path: str, whole: str | None = None) -> str:
    """The last part of an absolute path; `~` for a home. Text that only looks like a path stays as it is."""
    whole = path if whole is None else whole
    plain = path.rstrip(".")
    end = path[len(plain) :]
    parts = PurePosixPath(plain).parts
    if not plain.startswith("~") and (len(parts) < 2 or parts[1] not in _roots()):
        return whole
    if len(parts) == 1 or (len(parts) == 3 and "".join(parts[:2]) in _HOMES):
        return "~" + end
    return parts[-1] + end


@cache
def _roots() -> frozenset[str]:
    try:
        return _ROOTS | frozenset(os.listdir("/"))  # noqa: PTH208  names alone
    except OSError:
        return _ROOTS


@cache
def _vocabulary() -> frozenset[str]:
    """Words of audit.json, as its schema has them."""
    text = (resources.files("edgeaudit.report") / "audit.schema.json").read_text(encoding="utf-8")
    return frozenset(re.findall(r"[a-z]+", text.lower()))


def machine_names() -> tuple[frozenset[str], frozenset[str]]:
    """Names of the user and of this machine, as messages may have them."""
    try:
        users = {getpass.getuser()}
    except (OSError, KeyError):  # a container may run under a number without a name
        users = set()
    host = socket.gethostname()
    return _named(users), _named({host, host.partition(".")[0]})


def _named(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if name) - _NOBODY
