"""Folders with a sub-folder for each class: which file is of which class, in any usual arrangement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.digests import files_below
from edgeaudit.errors import DataError

__all__ = ["ClassFiles", "class_files", "excluded"]

_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
_SHOWN = 3


@dataclass(frozen=True)
class ClassFiles:
    """Files and what their folders say of them.

    files: in order. labels: the class of each. names: the path of each, relative to the folder. folders: the folder of
    each, relative to that of its class, `.` for none. splits: `train` and so on of each, "" where there are none.
    notes: what was left out, in words.
    """

    files: tuple[Path, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    folders: tuple[str, ...]
    splits: tuple[str, ...]
    notes: tuple[str, ...]


def excluded(options: Mapping[str, object]) -> tuple[str, ...]:
    """The names in `data.options.exclude`: one, or a list. Raises `DataError` for anything else."""
    value = options.get("exclude", ())
    names = value if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(name, str | int) for name in names):
        raise DataError(f"data.options: exclude is {value!r}; it must be a folder's name, or a list of names")
    return tuple(map(str, names))


def class_files(root: Path, suffixes: tuple[str, ...], noun: str, exclude: Sequence[str] = ()) -> ClassFiles:
    """Every file with one of the suffixes, by class, in sorted order of split, class and path.

    A class is a sub-folder, with its files at any depth. Where all sub-folders have names of splits (train, val, test)
    and contain folders, classes are the folders in them, and the splits' records are one pool. Hidden files and folders
    are passed over, and so are folders that would be classes and are in `exclude`.

    Raises:
        DataError: no sub-folders, no files, a class without any, and a name in `exclude` that is no class.
    """
    every = list(_classes(root))
    unknown = sorted(set(exclude) - {label for _, label, _ in every})
    if unknown:
        raise DataError(f"data.options: exclude has '{unknown[0]}', which is no class of {root}")
    found = [(split, label, folder) for split, label, folder in every if label not in exclude]
    if not found:
        raise DataError(f"{root} has no sub-folders; it needs one for each class, with the {noun} inside")
    files: list[Path] = []
    labels: list[str] = []
    splits: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    for split, label, folder in found:
        before = len(files)
        for file in _listed(folder):
            if file.suffix.lower() not in suffixes:
                others.append(str(file.relative_to(root)))
                continue
            files.append(file)
            labels.append(label)
            splits.append(split)
            folders.append(str(file.parent.relative_to(folder)))
        if len(files) == before:
            what = f"files ending in {', '.join(suffixes)}"
            raise DataError(f"{folder} is a class without {noun} ({what}); remove the folder, or put them there")
    return ClassFiles(
        tuple(files),
        tuple(labels),
        tuple(str(file.relative_to(root)) for file in files),
        tuple(folders),
        tuple(splits),
        tuple(_notes(root, splits, others, noun)),
    )


def _classes(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Split, class and folder."""
    inside = _folders(root)
    if inside and all(folder.name.lower() in _SPLITS and _folders(folder) for folder in inside):
        for split in inside:
            yield from ((split.name, folder.name, folder) for folder in _folders(split))
    else:
        yield from (("", folder.name, folder) for folder in inside)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as exc:
        raise DataError(f"data.path: {folder} cannot be read: {exc.strerror}") from exc


def _listed(folder: Path) -> Iterator[Path]:
    try:
        yield from files_below(folder, hidden=False)
    except OSError as exc:
        raise DataError(f"data.path: {exc.filename or folder} cannot be read: {exc.strerror}") from exc


def _notes(root: Path, splits: list[str], others: list[str], noun: str) -> Iterator[str]:
    named = sorted(set(splits) - {""})
    if named:
        yield (
            f"{' and '.join(named)} were read as one pool of records; for a model that was trained on one of them, "
            f"write data.members: {{path: {root.name}/{named[-1]}}} and data.nonmembers with another"
        )
    if others:
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        yield f"{len(others):,} files that are no {noun} were passed over: {shown}"
