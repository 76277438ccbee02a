"""One registry for all kinds of plugins, on those that edgeaudit has and on ones that another package offers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeaudit.attacks.base import Attack, AttackSpec, Evidence, Scores
from edgeaudit.attacks.registry import ATTACKS
from edgeaudit.config.devices import DeviceSpec
from edgeaudit.devices.registry import TRANSPORTS, find_transport
from edgeaudit.devices.transport import DeviceProperties, Transport, TransportSpec
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import AttackError, DataError, DeviceError, MissingToolchain, ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.registry import PASSES
from edgeaudit.filetypes.registry import FILETYPES
from edgeaudit.graph.registry import EXECUTORS
from edgeaudit.population.registry import SOURCES
from edgeaudit.population.sources import Raw, Source, SourceSpec, find_source
from edgeaudit.recipes.base import Architecture, ArchitectureSpec, Recipe, build
from edgeaudit.recipes.registry import ARCHITECTURES
from edgeaudit.registry import Registry
from edgeaudit.report.registry import WRITERS
from edgeaudit.runtimes.registry import RUNTIMES

Offer = Callable[..., None]
REGISTRIES: tuple[Registry[Any, Any], ...] = (
    ATTACKS,
    PASSES,
    RUNTIMES,
    FILETYPES,
    SOURCES,
    ARCHITECTURES,
    TRANSPORTS,
    WRITERS,
    EXECUTORS,
)


class Loud(Attack):
    spec: ClassVar[AttackSpec] = AttackSpec("loud", ("only",), "", "")

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        return Scores(np.ones(len(evidence.labels)))


class Crash(Pass):
    spec: ClassVar[PassSpec] = PassSpec("crash.pass", "", ("no-such-package",), "torch", "torch", "ends its process")

    def _apply(self, job: ExportJob) -> PassResult:
        raise AssertionError


class CrashWithExtra(Crash):
    spec: ClassVar[PassSpec] = PassSpec("crash.other", "more", ("no-such-package",), "torch", "torch", "the same")


class Nameless(Attack):
    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        raise AssertionError


class Rows(Source):
    spec: ClassVar[SourceSpec] = SourceSpec("rows", "rows of zeros", "rows:<number>", takes_name=True)

    def read(self) -> Raw:
        rows = int(self.name.partition(":")[2])
        return Raw(np.zeros((rows, 2)), np.arange(rows))


class Linear(Architecture):
    spec: ClassVar[ArchitectureSpec] = ArchitectureSpec("linear", "one layer")

    @staticmethod
    def build(input_shape: tuple[int, ...], n_classes: int) -> Any:
        from torch import nn

        return nn.Linear(input_shape[0], n_classes)


class Carrier(Transport):
    spec: ClassVar[TransportSpec] = TransportSpec("pigeon", "pigeon://loft", "by hand")

    def facts(self, runtime: str) -> DeviceProperties:
        raise AssertionError

    def serve(self, *arguments: Any, **named: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.noun)
def test_the_table_agrees_with_the_classes(registry: Registry[Any, Any]) -> None:
    for name, reference in registry.own.items():
        plugin = registry.find(name)
        assert plugin.spec.name == name
        assert f"{plugin.__module__}:{plugin.__name__}" == reference
        assert registry.module(name) == plugin.__module__
        assert registry.distribution(name) == "edgeaudit"
    assert registry.names()[: len(registry.own)] == tuple(registry.own)
    assert [spec.name for spec in registry.specs()] == list(registry.names())


def test_registries_import_no_plugin_and_no_array_library() -> None:
    code = (
        "import sys; from edgeaudit.attacks.registry import ATTACKS; from edgeaudit.runtimes.registry import RUNTIMES;"
        "ATTACKS.names(); ATTACKS.module('lira'); RUNTIMES.module('torch');"
        "own = [f'edgeaudit.{p}.{m}' for p, m in (('attacks', 'base'), ('attacks', 'lira'), ('runtimes', 'torch'))];"
        "sys.exit(' '.join({*own, 'numpy', 'scipy', 'pydantic', 'torch'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_finding_an_attack_imports_no_other() -> None:
    code = (
        "import sys; from edgeaudit.attacks.registry import ATTACKS; ATTACKS.find('yeom');"
        "sys.exit('edgeaudit.attacks.lira' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_packages_attack_is_listed_without_an_import(offered: Offer) -> None:
    offered(("loud", Loud), ("absent", "no_such_module:Attack"))
    assert ATTACKS.names()[len(ATTACKS.own) :] == ("absent", "loud")
    assert ATTACKS.find("loud") is Loud
    assert ATTACKS.module("loud") == "their_module"
    assert ATTACKS.module("absent") == "no_such_module"
    assert ATTACKS.distribution("loud") == "theirs"
    with pytest.raises(
        AttackError, match=r"'absent = no_such_module:Attack'.* of theirs cannot be imported: ModuleNot"
    ):
        ATTACKS.find("absent")


def test_a_broken_plugin_does_not_keep_edgeaudits_own_from_being_found(offered: Offer) -> None:
    offered(("absent", "no_such_module:Attack"))
    assert PASSES.find("onnx.export").spec.name == "onnx.export"
    assert next(iter(RUNTIMES.classes())).spec.name == "onnxruntime"


def test_a_pass_has_the_name_of_its_spec(offered: Offer) -> None:
    offered(("crash", Crash))
    assert PASSES.find("crash.pass") is Crash
    assert PASSES.names()[-1] == "crash.pass"
    with pytest.raises(ToolchainError, match=r"no pass 'crash'\. Did you mean 'crash\.pass'\?"):
        PASSES.find("crash")


@pytest.mark.parametrize(
    ("registry", "pairs", "message"),
    [
        (ATTACKS, [("yeom", Loud)], r"'yeom = .*' \(edgeaudit\.attacks\) of theirs: .*'yeom' is taken by .* edgeaudit"),
        (ATTACKS, [("loud", Loud), ("loud", Loud)], "the name 'loud' is taken by the attack of theirs"),
        (ATTACKS, [("quiet", Loud)], "its spec has the name 'loud', which must be that of the entry point, 'quiet'"),
        (ATTACKS, [("loud", "their_module:absent")], "cannot be imported: AttributeError"),
        (ATTACKS, [("loud", print)], r"is not a subclass of edgeaudit\.attacks\.base\.Attack\. Update or uninst"),
        (ATTACKS, [("loud", Crash)], "is not a subclass"),
        (ATTACKS, [("nameless", Nameless)], "has no spec with a name"),
        (PASSES, [("one", Crash), ("two", Crash)], "'two = .*: the name 'crash.pass' is taken by the pass of theirs"),
        (RUNTIMES, [("one", Crash)], r"is not a subclass of edgeaudit\.runtimes\.base\.Runtime"),
    ],
)  # fmt: skip
def test_entry_points_that_cannot_be_used(
    offered: Offer, registry: Registry[Any, Any], pairs: list[tuple[str, object]], message: str
) -> None:
    offered(*pairs)
    with pytest.raises(registry.error, match=message):
        registry.specs()


def test_what_a_plugin_lacks_is_installed_with_the_plugins_own_distribution(offered: Offer) -> None:
    offered(("crash", Crash), ("other", CrashWithExtra))
    for name, line in (("crash.pass", r"pip install 'theirs'$"), ("crash.other", r"pip install 'theirs\[more\]'$")):
        with pytest.raises(MissingToolchain, match=line):
            PASSES.find(name).spec.versions()
    assert CrashWithExtra.spec.remedy == "pip install 'theirs[more]'"


def test_another_packages_source_has_what_stands_behind_the_colon(offered: Offer) -> None:
    offered(("rows", Rows))
    assert len(find_source("rows:3", None, {}).read().x) == 3
    assert find_source("rows_of:mine", None, {}).spec.name == "function"
    with pytest.raises(
        DataError, match=r"'row' is not known\. Did you mean 'rows'\? It is one of: digits, .*rows:<number>"
    ):
        find_source("row", None, {})


def test_another_packages_architecture_is_built_by_name(offered: Offer) -> None:
    offered(("anything", Linear))
    assert build(Recipe("linear", (4,), 3), seed=0).weight.shape == (3, 4)


def test_another_packages_transport_is_found_by_its_scheme(offered: Offer) -> None:
    offered(("pigeon", Carrier))
    assert isinstance(find_transport(Endpoint("pigeon://loft")), Carrier)
    assert DeviceSpec(via="pigeon://loft").via == "pigeon://loft"
    for via in ("pigeon", "telnet://board", "http", "emulated://x", ""):
        with pytest.raises(
            DeviceError, match=r"is not an address of a known transport.*emulated, ssh://.*, pigeon://loft"
        ):
            find_transport(Endpoint(via))
