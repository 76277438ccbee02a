"""Separate Python environments, for runtimes whose packages conflict with those of this one.

An environment is a folder in the user's cache with pinned packages, created by `edgeaudit environments prepare NAME`.
Its name contains a digest of the pins, so changed pins never use an old folder. It is filled under a temporary name and
renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from edgeaudit.devices.folders import cache_root
from edgeaudit.errors import MissingEnvironment, ToolchainError, store_errors

__all__ = ["ENVIRONMENTS", "Environment", "find_environment"]

_ABOUT = "edgeaudit.json"
_ROOT = "EDGEAUDIT_ENVIRONMENTS"


@dataclass(frozen=True)
class Environment:
    """An isolated set of packages.

    requirements: pins, for pip. pythons: the Python versions that have wheels, preferred first. imports: the module
    that must be importable after installation.
    """

    name: str
    requirements: tuple[str, ...]
    pythons: tuple[tuple[int, int], ...]
    imports: str
    why: str

    @property
    def folder(self) -> Path:
        """Its folder, whether or not it exists."""
        text = json.dumps([self.requirements, self.imports])
        return cache_root(_ROOT, "environments") / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def remedy(self) -> str:
        """The command that creates it."""
        return f"edgeaudit environments prepare {self.name}"

    @property
    def prepared(self) -> bool:
        """Whether it exists."""
        return (self.folder / _ABOUT).is_file()

    def python(self) -> Path:
        """Its interpreter; `MissingEnvironment` if it does not exist."""
        self._require()
        return self.folder / "bin" / "python"

    def installed(self, packages: tuple[str, ...]) -> dict[str, str | None]:
        """Version of each package in it, None if the package or the environment is missing."""
        if not self.prepared:
            return dict.fromkeys(packages)
        return {package: _installed_version(str(self.folder), package) for package in packages}

    def versions(self, packages: tuple[str, ...]) -> dict[str, str]:
        """Version of each package; `MissingEnvironment` if the environment or one of them is missing."""
        self._require()
        versions = {package: version for package, version in self.installed(packages).items() if version is not None}
        if missing := sorted(set(packages) - set(versions)):
            raise MissingEnvironment(
                f"the environment '{self.name}' in {self.folder} lacks '{missing[0]}'. Recreate it: "
                f"edgeaudit environments remove {self.name}; {self.remedy}"
            )
        return versions

    def prepare(self, python: Path | None = None) -> Path:
        """Create it if it does not exist; returns its folder.

        python: the interpreter to create it with; by default the first of `pythons` on the PATH. Raises
        `ToolchainError` with the remedy if there is none, or if pip fails.
        """
        final = self.folder
        if self.prepared:
            return final
        base = python or self._interpreter()
        with store_errors(f"the folder of environments {final.parent}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{self.name}-"))
        try:
            self._fill(base, draft)
            with store_errors(f"the folder of environments {final.parent}"):
                (draft / _ABOUT).write_text(json.dumps({"requirements": self.requirements}), encoding="utf-8")
                self._land(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _installed_version.cache_clear()
        return final

    def remove(self) -> bool:
        """Remove it; returns whether it existed."""
        existed = self.folder.exists()
        with store_errors(f"the environment {self.folder}"):
            shutil.rmtree(self.folder, ignore_errors=not existed)
        _installed_version.cache_clear()
        return existed

    def _fill(self, base: Path, draft: Path) -> None:
        python = str(draft / "bin" / "python")
        _run([str(base), "-I", "-m", "venv", str(draft)], f"creating an environment with {base}")
        pip = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "--only-binary=:all:", *self.requirements], f"installing {' '.join(self.requirements)}")
        _run([python, "-I", "-c", f"import {self.imports}"], f"importing {self.imports}")

    def _land(self, draft: Path, final: Path) -> None:
        if final.exists() and not self.prepared:
            shutil.rmtree(final)
        try:
            draft.rename(final)
        except OSError:
            if not self.prepared:  # otherwise another process created it first, with the same packages
                raise

    def _require(self) -> None:
        if not self.prepared:
            raise MissingEnvironment(
                f"the environment '{self.name}' ({', '.join(self.requirements)}) does not exist yet. Create it with: "
                f"{self.remedy}"
            )

    def _interpreter(self) -> Path:
        if sys.version_info[:2] in self.pythons:
            return Path(sys.executable)
        names = [f"python{major}.{minor}" for major, minor in self.pythons]
        python = next((path for name in names if (path := shutil.which(name))), None)
        if python is None:
            raise ToolchainError(
                f"the environment '{self.name}' needs one of {', '.join(names)}, but none is on the PATH. Install one, "
                f"or give its path: {self.remedy} --python /path/to/{names[0]}"
            )
        return Path(python)


ENVIRONMENTS: Mapping[str, Environment] = {
    environment.name: environment
    for environment in (
        Environment(
            "tflite-runtime",
            ("tflite-runtime==2.14.0", "numpy==1.26.4"),
            ((3, 11), (3, 10), (3, 9)),
            "tflite_runtime.interpreter",
            "tflite-runtime 2.14 needs numpy 1, and the converters need numpy 2",
        ),
    )
}


def find_environment(name: str) -> Environment:
    """The environment called `name`; `ToolchainError` with the known names if it is unknown."""
    if name not in ENVIRONMENTS:
        raise ToolchainError(f"there is no environment '{name}'; there are: {', '.join(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


@cache
def _installed_version(folder: str, package: str) -> str | None:
    paths = [str(path) for path in Path(folder).glob("lib/python3*/site-packages")]
    distribution = next(iter(metadata.distributions(name=package, path=paths)), None)
    return None if distribution is None else distribution.version


def _run(command: list[str], what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603  ours
    except OSError as exc:
        raise ToolchainError(f"{what} failed: {exc.strerror or exc}") from exc
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise ToolchainError(f"{what} failed: {lines[-1]}")
