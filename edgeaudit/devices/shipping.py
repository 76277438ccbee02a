"""The part of an artifact that leaves this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeaudit.filetypes.artifact import Artifact

__all__ = ["shipped"]


def shipped(artifact: Artifact, folder: Path) -> Path:
    """Fill the folder with what a device gets: the files, and a manifest without training details.

    Returns the folder.
    """
    artifact.verify()
    manifest = replace(artifact.manifest, calibration_ids=(), calibration_policy=None, recipe={})
    Artifact(folder, manifest).save()
    for name in (manifest.file, *manifest.companions):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((artifact.folder / name).resolve())
    return folder
