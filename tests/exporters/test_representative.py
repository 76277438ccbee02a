"""That the pairs of `make test` leave out combinations and nothing else."""

from __future__ import annotations

import pytest

from edgeaudit.exporters import find_pass
from edgeaudit.formats.presets import Format
from edgeaudit.runtimes.registry import find_runtime
from tests.exporters.representative import cases, representative
from tests.exporters.test_every_format import COMPRESSED
from tests.exporters.toys import RECIPES

NETWORKS = list(RECIPES)


def shown(pairs: list[tuple[Format, str]]) -> dict[str, set[object]]:
    return {
        "formats": {fmt.id for fmt, _ in pairs},
        "passes": {(use.name, network) for fmt, network in pairs for use in fmt.passes},
        "runtimes": {(fmt.runtime, network) for fmt, network in pairs},
        "files": {(find_runtime(fmt.runtime).spec.serves, network) for fmt, network in pairs},
        "ends": {(find_pass(fmt.passes[-1].name).spec.produces, network) for fmt, network in pairs},
    }


def test_every_format_and_every_pass_runtime_and_file_with_every_network() -> None:
    chosen = representative(COMPRESSED, NETWORKS)
    assert shown(chosen) == shown([(fmt, network) for fmt in COMPRESSED for network in NETWORKS])
    assert len(chosen) == len({(fmt.id, network) for fmt, network in chosen})
    assert len(chosen) < len(COMPRESSED) * len(NETWORKS) / 2


def test_the_others_are_marked() -> None:
    parameters = [case for case in cases(COMPRESSED, NETWORKS) if isinstance(case, type(pytest.param()))]
    assert len(parameters) == len(COMPRESSED) * len(NETWORKS)
    unmarked = [(case.values[0], case.values[1]) for case in parameters if not case.marks]
    assert sorted(unmarked, key=str) == sorted(representative(COMPRESSED, NETWORKS), key=str)
