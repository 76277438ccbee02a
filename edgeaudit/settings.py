"""Settings of plugins: values of audit.yaml, checked against the defaults in a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NewType

from edgeaudit.errors import EdgeAuditError, did_you_mean

__all__ = ["Settings", "checked_settings"]

Settings = NewType("Settings", dict[str, Any])
"""All settings of one plugin: every name in its spec's defaults, and no other, so that whoever takes them need not
check the names. What audit.yaml gives for a plugin is `Mapping[str, object]`, of which nothing is known yet.

`checked_settings` makes those of attacks and passes: a value has its default's type, or any if the default is None.
`RuntimeSpec.options` makes those of runtimes: `batch` is an integer from 1; the runtime checks the others when it opens
a file. Which types the values have differs between plugins, and only the plugin reads them.
"""

_TYPES: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def checked_settings(
    owner: str,
    noun: str,
    given: Mapping[str, object],
    defaults: Mapping[str, object],
    error: type[EdgeAuditError],
    choices: Mapping[str, tuple[str, ...]] | None = None,
) -> Settings:
    """All settings: the defaults overridden by `given`; an integer becomes a float if the default is one.

    owner, noun: for messages, as in "the pass 'nncf.prune'" and "parameter".
    defaults: every setting; a value must have its default's type, any type where the default is None.
    choices: allowed texts of a setting; any text if it has none.

    Raises `error` for an unknown setting and for an invalid value.

        >>> checked_settings("the attack 'rmia'", "setting", {"gamma": 3}, {"gamma": 2.0}, EdgeAuditError)
        {'gamma': 3.0}
    """
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        has = f"it has: {', '.join(sorted(defaults))}." if defaults else f"it has no {noun}s"
        raise error(f"{owner} has no {noun} '{unknown[0]}'; {has}{did_you_mean(unknown[0], defaults)}")
    settings = Settings(dict(defaults))
    for name, value in given.items():
        allowed, default = (choices or {}).get(name), defaults[name]
        what = f"{owner}: the {noun} '{name}' is {value!r}"
        if allowed is not None and value not in allowed:
            raise error(f"{what}; it can be: {', '.join(allowed)}")
        settings[name] = value
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            settings[name] = float(value)
        if type(default) in _TYPES and type(settings[name]) is not type(default):
            raise error(f"{what}; it must be {_TYPES[type(default)]}")
    return settings
