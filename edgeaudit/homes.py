"""Packages that write into the user's home while they are imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeaudit.scratch import scratch

__all__ = ["nothing_in_home"]

_PLACES = {
    "XDG_CONFIG_HOME": (".config", "matplotlib"),
    "XDG_CACHE_HOME": (".cache", "matplotlib"),
    "KERAS_HOME": ("", ".keras"),
}
"""Variable -> the folder of the home for which it stands, and the folder in it that would be made."""


@contextmanager
def nothing_in_home() -> Iterator[None]:
    """Give packages that are imported in the block temporary folders in place of those that they would make.

    matplotlib 3.11 makes ~/.config/matplotlib, and writes a list of fonts to ~/.cache/matplotlib (half a second of
    work); keras 3.15, which imports matplotlib, writes its defaults to ~/.keras. All read these names once,
    on import. Folders that exist are the user's own, and are used as they are.
    """
    home = Path.home()
    missing = []
    for variable, (place, name) in _PLACES.items():
        set_to = os.environ.get(variable)
        if variable == "KERAS_HOME":
            made = set_to is None and not (home / name).is_dir()
        else:
            made = not os.environ.get("MPLCONFIGDIR") and not (Path(set_to or home / place) / name).is_dir()
        if made:
            missing.append(variable)
    before = {name: os.environ.get(name) for name in missing}
    with scratch() as folder:
        os.environ.update(dict.fromkeys(missing, str(folder)))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
