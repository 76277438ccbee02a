"""matplotlib, imported so that it leaves nothing in the user's home."""

from __future__ import annotations

from edgeaudit.homes import nothing_in_home

__all__ = ["Axes", "Figure", "mpl"]

with nothing_in_home():
    import matplotlib as mpl
    from matplotlib import font_manager as _fonts  # noqa: F401  which reads or writes the list
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
