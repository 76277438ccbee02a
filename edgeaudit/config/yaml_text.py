"""YAML that people write: read as YAML 1.2 does and without PyYAML's silences, and written on one line for messages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["contains_itself", "flow_yaml", "lines_of", "read_yaml"]


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, which editors validate against; a key that is given twice is refused.

    PyYAML reads YAML 1.1, where `yes` and `off` are truth values, `1e-3` is text, `010` is eight and `1:30` is ninety.
    Of a key that is given twice it keeps the last value and says nothing.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  declared so by PyYAML

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text if base == 10 else text[2:], base)


_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}
"""Tag -> what such a scalar looks like, and the letters that it begins with. A scalar gets the first tag that fits."""

for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole_number)


def read_yaml(text: str) -> Any:
    """The value of a YAML document.

    Raises `yaml.YAMLError` where the text is not YAML, a key is given twice, or an anchor's value contains itself.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as exc:  # it calls a text "<unicode string>"; who reads the file names it
        raise yaml.YAMLError(str(exc).replace('in "<unicode string>", line', "in line")) from exc
    except ValueError as exc:  # a value that does not fit its tag, as in `!!int many`
        raise yaml.YAMLError(str(exc)) from exc
    except RecursionError as exc:
        raise yaml.YAMLError("its mappings and lists are nested too deeply") from exc
    if contains_itself(value):
        raise yaml.YAMLError("an anchor (&name) has an alias (*name) within its own value, which never ends")
    return value


def lines_of(text: str) -> dict[str, int]:
    """Return the line, from 1 on, of each format (`formats.NAME`) and budget (`budgets.METRIC`) of an audit.yaml.

    Empty for a text that is no such file.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        return {}
    if not isinstance(root, yaml.MappingNode):
        return {}
    found: dict[str, int] = {}
    for key, section in root.value:
        if key.value == "formats" and isinstance(section, yaml.SequenceNode):
            found |= {f"formats.{name}": node.start_mark.line + 1 for node in section.value for name in _names(node)}
        elif key.value == "budgets" and isinstance(section, yaml.MappingNode):
            found |= {f"budgets.{metric.value}": metric.start_mark.line + 1 for metric, _ in section.value}
        elif key.value == "budgets":
            found["budgets"] = key.start_mark.line + 1
    return found


def _names(node: yaml.Node) -> list[str]:
    """The names that an entry of `formats` may go by: its own, or that of its preset."""
    if isinstance(node, yaml.ScalarNode):
        return [str(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return []
    return [str(value.value) for key, value in node.value if key.value in ("format", "name")]


def contains_itself(value: object) -> bool:
    """Whether a mapping or list is a part of itself, so that reading it would never end."""
    done: set[int] = set()
    queue: list[tuple[object, tuple[int, ...]]] = [(value, ())]
    while queue:
        one, above = queue.pop()
        if not isinstance(one, Mapping | list | tuple):
            continue
        if id(one) in above:
            return True
        if id(one) not in done:
            done.add(id(one))
            parts = one.values() if isinstance(one, Mapping) else one
            queue += [(part, (*above, id(one))) for part in parts]
    return False


_WORD = re.compile(r"[A-Za-z][\w.-]*")


def flow_yaml(value: object) -> str:
    """YAML on one line that `read_yaml` reads as `value`; texts are in double quotes unless they are words.

    value: what JSON can hold; any other object is written as the text of its repr.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow_yaml(key)}: {flow_yaml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow_yaml, value))}]"
    if isinstance(value, str) and _WORD.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    try:
        text: str = yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None, width=math.inf)
    except yaml.representer.RepresenterError:
        return flow_yaml(repr(value))
    return text.removesuffix("\n").removesuffix("\n...")
