"""Files of models that differ in their weights alone: converted twice, and then rewritten.

An audit converts one architecture for each of its shadows, and converters take seconds to minutes for what differs in
the bytes of the weights alone. So the first file of an architecture shows where each weight lies in it and in which
layout, the second whether that is all: the first one with the second model's weights has to be the second file, byte
for byte. From the third on, weights are written into the file. Where a weight cannot be found (converters fold some
into others), or the second file differs anywhere else, every model is converted as before.

Templates live in a worker process; nothing depends on them but the time that a conversion takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["State", "Templates"]

State = Mapping[str, npt.NDArray[np.float32]]
"""Name -> weights, of a model whose normalisation layers are folded."""

_MOST_BYTES = 2**28
"""Of the files that are kept."""
_MOST_PLACES = 64
"""Of one tensor in its first file; a single number may occur anywhere."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies. layout: a key of `_LAYOUTS`."""

    name: str
    layout: str
    offset: int


@dataclass
class _Template:
    """A file of one architecture. places: of every tensor; None where files cannot be rewritten."""

    content: bytes
    places: list[_Place] | None
    verified: bool = False


_LAYOUTS: Mapping[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "as stored": lambda values: values,
    "OIHW -> OHWI": lambda values: values.transpose(0, 2, 3, 1),
    "depthwise": lambda values: values.transpose(1, 2, 3, 0),
    "transposed": lambda values: values.T,
    # Hard sigmoids and swishes add 3 to what a layer with a bias answers.
    "+ 3": lambda values: values + np.float32(3),
}
_OF_AXES = {
    1: ("as stored", "+ 3"),
    2: ("as stored", "transposed"),
    3: ("as stored",),
    4: ("as stored", "OIHW -> OHWI", "depthwise"),
}


def _raw(values: npt.NDArray[np.float32], layout: str) -> bytes:
    return np.ascontiguousarray(_LAYOUTS[layout](values)).tobytes()


@dataclass
class Templates:
    """The files from which others are made. bytes: the most that are kept; the one used longest ago goes first."""

    most_bytes: int = _MOST_BYTES
    _kept: OrderedDict[str, _Template] = field(default_factory=OrderedDict)

    def rewritten(self, architecture: str, state: State) -> bytes | None:
        """The file of an architecture with these weights; None where it has to be converted.

        architecture: names everything that decides the file apart from the weights.
        """
        template = self._kept.get(architecture)
        if (
            template is None
            or not template.verified
            or template.places is None
            or not all(map(_varied, state.values()))
        ):
            return None
        self._kept.move_to_end(architecture)
        return _with(template.content, template.places, state)

    def converted(self, architecture: str, state: State, content: bytes) -> None:
        """Learn from a file that was converted."""
        template = self._kept.get(architecture)
        if not all(map(_varied, state.values())):
            return
        if template is None:
            if len(content) <= self.most_bytes:
                self._kept[architecture] = _Template(content, _places(content, state))
                self._make_room()
        elif not template.verified and template.places is not None:
            template.places = _confirmed(template, state, content)
            template.verified = True

    def _make_room(self) -> None:
        while sum(len(one.content) for one in self._kept.values()) > self.most_bytes:
            self._kept.popitem(last=False)


def _varied(values: npt.NDArray[np.float32]) -> bool:
    """Whether a tensor says where it lies: converters may drop or fold one whose numbers are all the same."""
    return values.size > 0 and bool(np.isfinite(values).all()) and (values.size == 1 or float(np.ptp(values)) > 0)


def _places(content: bytes, state: State) -> list[_Place] | None:
    found: list[_Place] = []
    for name, values in state.items():
        hits = list(_hits(content, name, values))
        if not hits or len(hits) > _MOST_PLACES:
            return None
        found += hits
    return found


def _hits(content: bytes, name: str, values: npt.NDArray[np.float32]) -> Iterator[_Place]:
    seen: set[int] = set()
    for layout in _OF_AXES.get(values.ndim, ("as stored",)):
        raw = _raw(values, layout)
        at = content.find(raw)
        while at >= 0 and len(seen) <= _MOST_PLACES:
            if at not in seen:  # some layouts of narrow tensors are the same bytes
                seen.add(at)
                yield _Place(name, layout, at)
            at = content.find(raw, at + 1)


def _confirmed(template: _Template, state: State, content: bytes) -> list[_Place] | None:
    """The places at which the second file has its weights, if it is otherwise the first; None if it is not."""
    kept = [
        place
        for place in template.places or ()
        if content.startswith(_raw(state[place.name], place.layout), place.offset)
    ]
    if {place.name for place in kept} != set(state) or _with(template.content, kept, state) != content:
        return None
    return kept


def _with(content: bytes, places: list[_Place], state: State) -> bytes:
    made = bytearray(content)
    for place in places:
        raw = _raw(state[place.name], place.layout)
        made[place.offset : place.offset + len(raw)] = raw
    return bytes(made)
