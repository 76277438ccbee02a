"""Plugins by name: those of edgeaudit and those of other packages, each imported when it is used.

Everything that can be added from outside is a class with a `spec`: attacks, passes, runtimes, file types, data sources,
architectures, transports, executors, report writers. Each kind has one `Registry`, beside its base class:

    ATTACKS: Registry[Attack, AttackSpec] = Registry(
        noun="attack",
        group="edgeaudit.attacks",
        base="edgeaudit.attacks.base:Attack",
        own={"lira": "edgeaudit.attacks.lira:Lira", ...},
        error=AttackError,
    )

    ATTACKS.find("lira")  # imports edgeaudit.attacks.lira alone

Edgeaudit's own plugins are a table of strings, so importing a registry imports none of them. Another package offers a
plugin through an entry point of the registry's group:

    [project.entry-points."edgeaudit.attacks"]
    loud = "other_package.loud:Loud"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar, cast

from edgeaudit.errors import EdgeAuditError, did_you_mean

__all__ = ["Registry"]

PluginT = TypeVar("PluginT")
SpecT = TypeVar("SpecT")


@dataclass(frozen=True)
class Registry(Generic[PluginT, SpecT]):
    """The plugins of one kind.

    noun: what one is called in messages.
    group: of the entry points with which other packages offer theirs.
    base: the class that each is a subclass of, as `module:Class`.
    own: name -> `module:Class` of edgeaudit's own, in the order in which reports and listings have them.
    error: raised for an unknown name and for an entry point that cannot be used.
    named_by_spec: a plugin's name is the `name` of its spec, whatever its entry point is called; listing the names then
        imports other packages' plugins. Otherwise the two names must be equal, and listing imports nothing.
    """

    noun: str
    group: str
    base: str
    own: Mapping[str, str]
    error: type[EdgeAuditError]
    named_by_spec: bool = False

    def names(self) -> tuple[str, ...]:
        """Every name: edgeaudit's own in the table's order, then those of other packages, sorted.

        Raises `error` for an entry point whose name is taken.
        """
        return (*self.own, *sorted(self._offered()))

    def find(self, name: str) -> type[PluginT]:
        """The class called `name`; imports the module that defines it.

        Raises `error` where the name is unknown (the message lists the known ones), and where another package's entry
        point cannot be imported, is not a subclass of `base`, or has a name that is taken or is not its spec's.
        """
        if name in self.own:
            return self._own(name)
        return self._load(self._entry_point(name))

    def module(self, name: str) -> str:
        """The module that `name` is loaded from. Raises as `find` does for an unknown name."""
        if name in self.own:
            return self.own[name].partition(":")[0]
        return self._entry_point(name).module

    def distribution(self, name: str) -> str:
        """The distribution that brings `name`, as pip knows it. Raises as `find` does for an unknown name."""
        return "edgeaudit" if name in self.own else _distribution(self._entry_point(name))

    def classes(self) -> Iterator[type[PluginT]]:
        """Every class, in the order of `names`; each is imported when the iteration gets to it."""
        for name in self.own:
            yield self._own(name)
        offered = self._offered()
        for name in sorted(offered):
            yield self._load(offered[name])

    def specs(self) -> tuple[SpecT, ...]:
        """The spec of every class, in the order of `names`; imports all of them."""
        return tuple(cast("SpecT", _spec(plugin)) for plugin in self.classes())

    def _own(self, name: str) -> type[PluginT]:
        return cast("type[PluginT]", _resolve(self.own[name]))

    def _entry_point(self, name: str) -> EntryPoint:
        offered = self._offered()
        if name not in offered:
            known = (*self.own, *sorted(offered))
            raise self.error(
                f"there is no {self.noun} '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}"
            )
        return offered[name]

    def _offered(self) -> dict[str, EntryPoint]:
        """Entry points of other packages by the plugin's name."""
        offered: dict[str, EntryPoint] = {}
        for point in metadata.entry_points(group=self.group):  # 3 ms with 200 packages installed
            name = _spec(self._load(point)).name if self.named_by_spec else point.name
            if name in self.own or name in offered:
                holder = "edgeaudit" if name in self.own else _distribution(offered[name])
                raise self.error(
                    f"{_described(point)}: the name '{name}' is taken by the {self.noun} of {holder}. {_remedy(point)}"
                )
            offered[name] = point
        return offered

    def _load(self, point: EntryPoint) -> type[PluginT]:
        """The class behind an entry point, checked."""
        try:
            plugin = point.load()
        except Exception as exc:  # another package's module can raise anything while it is imported
            raise self.error(
                f"{_described(point)} cannot be imported: {type(exc).__name__}: {exc}. {_remedy(point)}"
            ) from exc
        if not (isinstance(plugin, type) and issubclass(plugin, _resolve(self.base))):
            raise self.error(
                f"{_described(point)} is not a subclass of {self.base.replace(':', '.')}. {_remedy(point)}"
            )
        name = getattr(_spec(plugin), "name", None)
        if name is None:
            raise self.error(f"{_described(point)} has no spec with a name. {_remedy(point)}")
        if not self.named_by_spec and name != point.name:
            raise self.error(
                f"{_described(point)}: its spec has the name '{name}', which must be that of the entry point, "
                f"'{point.name}'. {_remedy(point)}"
            )
        return cast("type[PluginT]", plugin)


def _resolve(reference: str) -> Any:
    """The object that `module:name` names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _spec(plugin: Any) -> Any:
    return getattr(plugin, "spec", None)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"


def _described(point: EntryPoint) -> str:
    return f"the entry point '{point.name} = {point.value}' ({point.group}) of {_distribution(point)}"


def _remedy(point: EntryPoint) -> str:
    return f"Update or uninstall {_distribution(point)}" if point.dist is not None else "Correct or remove it"
