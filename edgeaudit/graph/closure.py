"""The source closure of code: every module that it can import, ours, the user's or a plugin's, found without importing.

A job's key holds the digest of the closure of the code that does its work, so that changed code never meets an old
result, and no list of modules is kept anywhere. Imports are read from the syntax tree, those inside functions too,
since they run when the function does. Left out are imports under `if TYPE_CHECKING:`, which never run, and names that
are only known at run time: a registry's table of "module:Class" is a border that the closure does not cross, so a job
names the plugins that it uses itself (`Job.code`).

Followed are edgeaudit, the packages of the modules that one starts from, and whatever is not installed into
site-packages: modules beside audit.yaml, editable installs, folders of PYTHONPATH. Of other packages the closure has
the names, and a key their versions. The engine (`edgeaudit.graph`) is no part of it: it moves results, computes none.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path

from edgeaudit.errors import RecipeError

__all__ = ["Closure", "closure", "current_closure", "distribution_versions", "installed_state", "module_file"]

_OWN = "edgeaudit"
_ENGINE = "edgeaudit.graph"


@dataclass(frozen=True)
class Closure:
    """files: module name -> the file it is read from, sorted. packages: top-level names of other packages, sorted."""

    files: tuple[tuple[str, Path], ...]
    packages: tuple[str, ...]

    @property
    def modules(self) -> frozenset[str]:
        """Names of the modules whose source is in the digest."""
        return frozenset(name for name, _ in self.files)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over module names and the bytes of their files; where the files lie does not matter."""
        total = hashlib.sha256()
        for name, path in self.files:
            total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class _Kept:
    closure: Closure
    states: tuple[tuple[Path, tuple[int, int]], ...]


_kept: dict[tuple[tuple[str, ...], ...], _Kept] = {}
"""A cache, whose entries are checked against the files when they are used."""


def closure(roots: Iterable[str]) -> Closure:
    """The closure of the modules called `roots`.

    Raises `RecipeError` where one of the roots cannot be found. Of what they import, what is missing is left out: an
    optional import of something that is not installed is no part of what runs.
    """
    names = sorted(set(roots))
    followed = frozenset({_OWN, *(name.partition(".")[0] for name in names)})
    for name in names:
        _require_found(name)
    files: dict[str, Path] = {}
    packages: set[str] = set()
    queue = list(names)
    seen: set[str] = set()
    while queue:
        name = queue.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names or name == _ENGINE or name.startswith(f"{_ENGINE}."):
            continue
        seen.add(name)
        if top not in followed and _is_installed(top):
            packages.add(top)
            continue
        path = module_file(name)
        if path is None:
            continue
        files[name] = path
        queue += _parents(name)
        if path.suffix == ".py":
            queue += _imports(path, name, *_state(path))
    return Closure(tuple(sorted(files.items())), tuple(sorted(packages)))


def _require_found(name: str) -> None:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or (
        module_file(name) is None and (len(parts) > 1 or _spec(name, None) is None)
    ):
        raise RecipeError(
            f"the module '{name}' cannot be found; write module:function, the module in audit.yaml's folder or "
            "installed"
        )


def current_closure(roots: Iterable[str]) -> Closure:
    """The closure of the modules; found again only where one of its files has changed: a notebook runs for long."""
    names = tuple(sorted(set(roots)))
    # Two audits of one process may have modules of the same name in different folders.
    known = (names, (str(Path.cwd()), *sys.path))
    kept = _kept.get(known)
    if kept is None or any(_state(path) != state for path, state in kept.states):
        found = closure(names)
        kept = _kept[known] = _Kept(found, tuple((path, _state(path)) for _, path in found.files))
    return kept.closure


def module_file(name: str) -> Path | None:
    """The file that a module would be loaded from; None where it is not found, or is a folder without `__init__`.

    Nothing is imported, which `importlib.util.find_spec` does with the packages above a module.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    top, *rest = name.split(".")
    spec = _spec(top, None)
    if not rest or spec is None:
        return _origin(spec)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for index, part in enumerate(rest):
        found = _file_in(folders, part)
        if found is None:
            folders = [folder / part for folder in folders if (folder / part).is_dir()]  # a namespace package
            if not folders:
                return _origin(_spec(name, spec.submodule_search_locations))  # as an editable install maps it
        elif index == len(rest) - 1:
            return found
        else:
            folders = [found.parent] if found.stem == "__init__" else []
    return None


def distribution_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Distribution -> version for top-level names of packages; name -> None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        distributions = _distributions(name)
        found |= {one: metadata.version(one) for one in distributions} if distributions else {name: None}
    return dict(sorted(found.items()))


def installed_state() -> tuple[int, ...]:
    """When packages were last installed or removed, as far as the folders' times tell: ns since the epoch."""
    return tuple(_state(folder)[0] for folder in _installed_folders())


def _spec(name: str, path: Iterable[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        with suppress(KeyError):  # namespace packages below others look their parents up in sys.modules
            spec = find(name, None if path is None else list(path)) if find is not None else None
            if spec is not None:
                found: ModuleSpec = spec
                return found
    return None


def _origin(spec: ModuleSpec | None) -> Path | None:
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _file_in(folders: Iterable[Path], name: str) -> Path | None:
    for folder in folders:
        for path in (folder / name / "__init__.py", *(folder / f"{name}{suffix}" for suffix in all_suffixes())):
            if path.is_file():
                return path
    return None


def _is_installed(top: str) -> bool:
    """Whether a top-level module is of another package: in site-packages, or missing."""
    spec = _spec(top, None)
    if spec is None:
        return True
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return any(folder in Path(place).resolve().parents for place in places for folder in _installed_folders())


def _installed_folders() -> tuple[Path, ...]:
    return _resolved(*sysconfig.get_paths().values(), *sys.path)


@cache
def _resolved(*entries: str) -> tuple[Path, ...]:
    found = {Path(entry).resolve() for entry in entries if entry.endswith(("site-packages", "dist-packages"))}
    return tuple(sorted(found))


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


@cache
def _imports(path: Path, name: str, mtime_ns: int, size: int) -> tuple[str, ...]:  # noqa: ARG001
    """Names of the modules that a file may import; names imported from a package may be modules or not."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):  # whoever imports it gets the error that says where
        return ()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return tuple(sorted(set(_imported(tree, package))))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for other in node.orelse:
                yield from _imported_by(other, package)
        else:
            yield from _imported_by(node, package)


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, package)
        if base:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
    else:
        if isinstance(node, ast.Call):
            yield from _import_module(node)
        yield from _imported(node, package)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _import_module(node: ast.Call) -> Iterator[str]:
    """`import_module("torch")`: the name is in the text, so the import is as plain as any."""
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called == "import_module" and node.args and isinstance(node.args[0], ast.Constant):
        value = node.args[0].value
        if isinstance(value, str) and not value.startswith("."):
            yield value


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _distributions(package: str) -> tuple[str, ...]:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return tuple(sorted(set(_by_package(installed_state()).get(package, ()))))
    return (package,)


@cache
def _by_package(installed: tuple[int, ...]) -> dict[str, list[str]]:  # noqa: ARG001  see `installed_state`
    return dict(metadata.packages_distributions())
