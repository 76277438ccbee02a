"""Mutated audits end as an audit or as one sentence. `EDGEAUDIT_FUZZ=10000` tries that many; `make fuzz` does."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import load_spec, spec_of
from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import EdgeAuditError

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("EDGEAUDIT_FUZZ", "1500"))
SLOWEST = 2.0
"""Seconds for one audit on a busy machine."""

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**9, 10**18, 10**400, -(2**63), 0.0, -0.0, 1e308, 5e-324, float("inf"),
    float("-inf"), float("nan"), "", " ", "auto", "all", "none", "../../etc/passwd", "/dev/zero", "os:system",
    "x" * 300, "x" * 100_000, "a\0b", "\ud800", "\x1b[2J", "${HOME}", "${NOBODY_HAS_THIS}", "${", "{}", "[]", "1e9",
    "<<", "\u202etxt.exe", "一二三", b"bytes", dt.date(2026, 1, 1), {1, 2}, [], {}, [[]], [{}], {"": None}, {None: 1},
    {"a": {"b": {"c": 1}}}, [1] * 1000, ["digits"] * 3, {"format": "onnx-fp32"}, {str(n): n for n in range(200)},
)  # fmt: skip


def _bases() -> list[dict[str, Any]]:
    files = [*ROOT.glob("examples/*.yaml"), *ROOT.glob("examples/*/audit.yaml"), *ROOT.glob("benchmarks/*.yaml")]
    found = [read_yaml(path.read_text(encoding="utf-8")) for path in files]
    assert len(found) > 5
    return found


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value within a mapping or list."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in pairs for place in ((*above, key), *_places(one, (*above, key)))]


def _mutated(base: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    spec = copy.deepcopy(base)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = _places(spec)
        if not places:
            break
        *above, last = rng.choice(places)
        holder: Any = spec
        for key in above:
            holder = holder[key]
        kind = rng.randrange(5)
        if kind == 0 and isinstance(holder, dict):
            holder[rng.choice(("", "x", "name", "seed", "a" * 300, "\x1b", 1))] = rng.choice(HOSTILE)
        elif kind == 1:
            del holder[last]
        elif kind == 2:
            holder[last] = {str(last): holder[last]}
        elif kind == 3:
            holder[last] = [holder[last]] * rng.choice((1, 2, 50))
        else:
            holder[last] = copy.deepcopy(rng.choice(HOSTILE))
    return spec


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_audit_is_an_audit_or_one_sentence(seed: int) -> None:
    rng, bases = random.Random(seed), _bases()  # noqa: S311  no secret
    refused = 0
    for _ in range(COUNT // 4):
        raw = _mutated(rng.choice(bases), rng)
        begun = time.process_time()
        try:
            spec = spec_of(raw, ROOT)
        except EdgeAuditError as exc:
            refused += 1
            message = str(exc)
            assert message.strip(), raw
            assert "Traceback" not in message, raw
            assert len(message) < 5000, raw
        else:
            json.dumps(spec.model_dump(mode="json", by_alias=True), allow_nan=False).encode()
        assert time.process_time() - begun < SLOWEST, raw
    assert refused > COUNT // 20  # the mutations are not harmless


@pytest.mark.parametrize("seed", range(2))
def test_a_file_with_flipped_bytes_is_an_audit_or_one_sentence(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)  # noqa: S311  no secret
    texts = [path.read_bytes() for path in ROOT.glob("examples/*.yaml")]
    path = tmp_path / "audit.yaml"
    for _ in range(COUNT // 15):
        content = bytearray(rng.choice(texts))
        for _ in range(rng.choice((1, 3, 30))):
            content[rng.randrange(len(content))] = rng.choice((rng.randrange(256), *b"&*[]{}:,-!|>\"'#\t\n"))
        path.write_bytes(bytes(content))
        said = ""
        try:
            load_spec(path)
        except EdgeAuditError as exc:
            said = str(exc)
        assert not said or said.startswith(str(path)), bytes(content)
