"""The source closure of code: every module that it can import, ours, the user's or a plugin's, found without importing.

A job's key contains the digest of the closure of the code that it runs, so that changed code never reuses an old
result, and no list of modules has to be maintained. Imports are read from the syntax tree, those inside functions too,
since they run when the function does. Imports under `if TYPE_CHECKING:` never run and are left out. Names that are
only known at run time are left out, too: the closure does not follow a registry's table of "module:Class", so a job
lists the modules of the plugins that it uses (`Job.code`).

Followed are edgeaudit and whatever is of no installed distribution: modules beside audit.yaml, editable installs,
folders of PYTHONPATH, modules that somebody copied into site-packages. For other packages the closure has the names,
and a key their versions. A root module of an installed distribution, as of a plugin, stands for the distribution: its
files' digests are those that it was installed with, so that no thousand files of a large one are parsed. The engine
(`edgeaudit.graph`) is left out: it moves results and computes none.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path

from edgeaudit.errors import RecipeError
from edgeaudit.graph.distributions import (
    content_digest,
    distributions_of,
    installed_folders,
    installed_state,
    is_vendored,
    standard_folders,
)

__all__ = ["Closure", "closure", "current_closure", "imports_of", "module_file"]

_OWN = "edgeaudit"
_ENGINE = "edgeaudit.graph"
_ISOLATION = "edgeaudit.host.isolation"


@dataclass(frozen=True)
class Closure:
    """files: module name -> the file it is read from, sorted. packages: top-level names of other packages, sorted.

    roots: the installed distributions that root modules are of, sorted.
    """

    files: tuple[tuple[str, Path], ...]
    packages: tuple[str, ...]
    roots: tuple[str, ...] = ()

    @property
    def modules(self) -> frozenset[str]:
        """Names of the modules whose source is in the digest."""
        return frozenset(name for name, _ in self.files)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and contents of modules and root distributions; independent of the files' locations."""
        total = hashlib.sha256()
        for name, path in self.files:
            total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        for name in self.roots:
            total.update(f"{name}\0{content_digest(name)}\n".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class _Cached:
    closure: Closure
    states: tuple[tuple[Path, tuple[int, int]], ...]


_cache: dict[tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]], _Cached] = {}
"""A cache; its entries are checked against the files on use."""


def closure(roots: Iterable[str]) -> Closure:
    """The closure of the modules called `roots`.

    Raises `RecipeError` where one of the roots cannot be found. Missing modules further down are left out: an
    optional import of a package that is not installed does not run.
    """
    names = sorted(set(roots))
    for name in names:
        require_found(name)
    files: dict[str, Path] = {}
    packages: set[str] = set()
    queue = list(names)
    seen: set[str] = set()
    while queue:
        name = queue.pop()
        top = name.partition(".")[0]
        if name in seen or _is_standard(top, tuple(sys.path)) or name == _ENGINE or name.startswith(f"{_ENGINE}."):
            continue
        seen.add(name)
        if top != _OWN and _is_installed(top):
            packages.add(top)
            continue
        path = module_file(name)
        if path is None:
            continue
        files[name] = path
        queue += _parents(name)
        queue += imports_of(name, path)
    roots = {one for name in names if (top := name.partition(".")[0]) in packages for one in distributions_of(top)}
    return Closure(tuple(sorted(files.items())), tuple(sorted(packages)), tuple(sorted(roots)))


def require_found(name: str) -> None:
    """Raise `RecipeError` where a module cannot be found; nothing is imported."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or (
        module_file(name) is None and (len(parts) > 1 or _spec(name, None) is None)
    ):
        raise RecipeError(
            f"the module '{name}' cannot be found; write module:function, the module in audit.yaml's folder or "
            "installed"
        )
    _require_one(parts[0])


def _require_one(top: str) -> None:
    """Raise `RecipeError` where a module of the user's has the name of an installed one, which is imported instead."""
    if not _is_standard(top, tuple(sys.path)) and not _is_installed(top):
        return
    places = {*installed_folders(), *standard_folders()}
    for entry in sys.path:
        folder = Path(entry or ".").resolve()
        own = _file_in([folder], top) if folder not in places else None
        if own is not None and own != module_file(top):
            raise RecipeError(f"the module '{top}' is the installed one, not {own}: rename your file")


def current_closure(roots: Iterable[str]) -> Closure:
    """The closure of the modules, cached until one of its files changes, since a notebook may run for days."""
    names = tuple(sorted(set(roots)))
    # Two audits of one process may have modules of the same name in different folders.
    known = (names, (str(Path.cwd()), *sys.path), installed_state())
    cached = _cache.get(known)
    if cached is None or any(_state(path) != state for path, state in cached.states):
        current = closure(names)
        cached = _cache[known] = _Cached(current, tuple((path, _state(path)) for _, path in current.files))
    return cached.closure


def module_file(name: str) -> Path | None:
    """The file that a module would be loaded from; None for a missing module or a folder without `__init__`.

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
        path = _file_in(folders, part)
        if path is None:
            folders = [folder / part for folder in folders if (folder / part).is_dir()]  # a namespace package
            if not folders:
                return _origin(_spec(name, spec.submodule_search_locations))  # an editable install may map it
        elif index == len(rest) - 1:
            return path
        else:
            folders = [path.parent] if path.stem == "__init__" else []
    return None


def _spec(name: str, path: Iterable[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if type(finder).__module__ == _ISOLATION:  # a worker refuses packages that the main process finds
            continue
        find = getattr(finder, "find_spec", None)
        with suppress(KeyError):  # nested namespace packages look up their parents in sys.modules
            spec = find(name, None if path is None else list(path)) if find is not None else None
            if spec is not None and not is_vendored(spec.origin or ""):
                module_spec: ModuleSpec = spec
                return module_spec
    return None


def _origin(spec: ModuleSpec | None) -> Path | None:
    """The file, or the archive that it is in."""
    if spec is None or not spec.has_location or not spec.origin:
        return None
    path = Path(spec.origin)
    return next((one for one in (path, *path.parents) if one.is_file()), None)


def _file_in(folders: Iterable[Path], name: str) -> Path | None:
    for folder in folders:
        for path in (folder / name / "__init__.py", *(folder / f"{name}{suffix}" for suffix in all_suffixes())):
            if path.is_file():
                return path
    return None


def _is_installed(top: str) -> bool:
    """Whether a top-level module is of another package: in site-packages and of a distribution, or missing."""
    spec = _spec(top, None)
    if spec is None:
        return True
    locations = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    inside = any(folder in Path(at).resolve().parents for at in locations for folder in installed_folders())
    return inside and bool(distributions_of(top))


@cache
def _is_standard(top: str, path: tuple[str, ...]) -> bool:  # noqa: ARG001  another path may have a module of that name
    """Whether a top-level module is of the standard library; a file of the user's may have the same name."""
    if top not in sys.stdlib_module_names:
        return False
    spec = _spec(top, None)
    if spec is None or not spec.has_location or not spec.origin:
        return True
    return any(folder in Path(spec.origin).resolve().parents for folder in standard_folders())


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


def imports_of(name: str, path: Path) -> tuple[str, ...]:
    """Names of the modules that a module of Python source may import, and of what it imports from them."""
    return _imports(path, name, *_state(path)) if path.suffix == ".py" else ()


@cache
def _imports(path: Path, name: str, mtime_ns: int, size: int) -> tuple[str, ...]:  # noqa: ARG001
    """Names of the modules that a file may import; names imported from a package may be modules or not."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):  # importing the module reports the error with its position
        return ()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set(_Imports(tree, package))
    if path.name == "__init__.py" and package.partition(".")[0] != _OWN and _imports_lazily(tree):
        found |= set(_submodules(path.parent, package))
    return tuple(sorted(found))


def _imports_lazily(tree: ast.Module) -> bool:
    """Whether a package imports its submodules when their names are used, or names them for `import *`."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    targets = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return bool(names & {"__getattr__", "__all__"})


def _submodules(folder: Path, package: str) -> Iterator[str]:
    for path in folder.iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            yield f"{package}.{path.stem}"
        elif (path / "__init__.py").is_file():
            yield f"{package}.{path.name}"


class _Imports:
    """Names of modules that a syntax tree may import."""

    def __init__(self, tree: ast.AST, package: str) -> None:
        self._tree, self._package = tree, package
        self._calls = {"import_module", "__import__", *self._renamed()}

    def _renamed(self) -> Iterator[str]:
        """Other names of `import_module`."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ImportFrom) and node.module == "importlib":
                yield from (one.asname for one in node.names if one.name == "import_module" and one.asname)

    def __iter__(self) -> Iterator[str]:
        return self._below(self._tree)

    def _below(self, tree: ast.AST) -> Iterator[str]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.If) and _is_type_checking(node.test):
                for other in node.orelse:
                    yield from self._of(other)
            else:
                yield from self._of(node)

    def _of(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = self._absolute(node.module or "", node.level)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        else:
            if isinstance(node, ast.Call):
                yield from self._called(node)
            yield from self._below(node)

    def _called(self, node: ast.Call) -> Iterator[str]:
        """`import_module("torch")`: the name is a literal, so it counts as an import."""
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        given = [*node.args[:1], *(one.value for one in node.keywords if one.arg == "name")]
        if name not in self._calls or not given or not isinstance(given[0], ast.Constant):
            return
        value = given[0].value
        if isinstance(value, str) and value.strip("."):
            module = value.lstrip(".")
            yield self._absolute(module, len(value) - len(module))

    def _absolute(self, module: str, level: int) -> str:
        if not level:
            return module
        parts = self._package.split(".")
        above = parts[: len(parts) - level + 1]
        return ".".join([*above, *([module] if module else [])])


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
