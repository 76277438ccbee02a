"""Shadow files match: were a file of another maker and the files of its shadows made alike?

Attacks learn from shadows how answers of such a file differ. Rounding is a part of it: shadows whose files are rounded
otherwise, or answer with another softmax, are like another target's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeaudit.controls.base import Control
from edgeaudit.filetypes.traits import Traits

__all__ = ["Made", "shadow_files_match"]

NAME = "shadow files match"


@dataclass(frozen=True)
class Made:
    """A file as its maker left it. traits: None where its type does not say. inside: whether it has its softmax."""

    traits: Traits | None
    inside: bool


def shadow_files_match(formats: Mapping[str, tuple[Made, Made]]) -> list[Control]:
    """Return one finding a format, of pairs (the target's file, its first shadow's).

    A warning where precision, quantisation scheme or softmax differ; another producer alone is said, and no reason to
    warn, since the audit measures on its answers what it changes.
    """
    return [_finding(name, *pair) for name, pair in formats.items()]


def _finding(name: str, target: Made, shadow: Made) -> Control:
    differences = list(_differences(target, shadow))
    producers = _producers(target, shadow)
    if differences:
        said = "; ".join(differences)
        statement = f"the file and its shadows' files were made differently: {said}"
        return Control(NAME, "warning", statement + producers, format=name)
    if target.traits is None or shadow.traits is None:
        statement = "files of this type do not say how they were made, so only the softmax could be compared"
        return Control(NAME, "holds", statement, format=name)
    traits = target.traits
    scheme = ", ".join(word for word in (traits.scales, traits.arrangement) if word)
    statement = (
        f"the file and its shadows' files have {traits.weights or 'no'} weights{f' ({scheme})' if scheme else ''}, "
        f"{traits.activations} activations and the softmax {'inside' if target.inside else 'outside'}{producers}"
    )
    return Control(NAME, "holds", statement, format=name)


def _differences(target: Made, shadow: Made) -> Iterator[str]:
    mine, theirs = target.traits, shadow.traits
    if mine is not None and theirs is not None:
        yield from (
            f"{what} are {of_target or 'none'} in the file and {of_shadow or 'none'} in its shadows' ({remedy})"
            for what, of_target, of_shadow, remedy in (
                ("weights", mine.weights, theirs.weights, "name the format that the file has"),
                ("activations", mine.activations, theirs.activations, "name the format that the file has"),
                ("scales of weights", mine.scales, theirs.scales, "a per-channel or per-tensor format is another one"),
                ("quantised operators", mine.arrangement, theirs.arrangement, "QDQ and QOperator are formats each"),
            )
            if of_target != of_shadow
        )
    if target.inside != shadow.inside:
        remedy = "inside" if target.inside else "outside"
        yield (
            f"the softmax is {'inside' if target.inside else 'outside'} the file and "
            f"{'inside' if shadow.inside else 'outside'} its shadows' (write the format as {{format: ..., softmax: "
            f"{remedy}}})"
        )


def _producers(target: Made, shadow: Made) -> str:
    mine = target.traits.producer if target.traits is not None else ""
    theirs = shadow.traits.producer if shadow.traits is not None else ""
    if mine == theirs or not (mine or theirs):
        return f"; both by {mine}" if mine else ""
    return f"; the file is by {mine or 'an unknown producer'}, its shadows' by {theirs or 'an unknown producer'}"
