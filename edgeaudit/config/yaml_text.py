"""YAML that people write, read without the silences of PyYAML."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["read_yaml"]


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice: PyYAML keeps the last one and says nothing."""

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


def read_yaml(text: str) -> Any:
    """What a YAML text says. `yaml.YAMLError` where it is none, and where a key is given twice."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
