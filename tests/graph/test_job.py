"""Keys: equal for equal inputs, different for anything an output depends on, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from edgeaudit.graph import closure as closure_module
from edgeaudit.graph.job import Cost, canonical, content_key
from tests.graph.jobs import Hog, Odd, Say


def test_keys_are_equal_exactly_for_equal_fields() -> None:
    assert Say(words="a").key == Say(words="a").key
    assert Say(words="a").key != Say(words="b").key
    assert Odd(settings={"a": 1, "b": (1, 2)}).key == Odd(settings={"b": [1, 2], "a": 1}).key
    assert Odd(settings={"a": 1}).key != Odd(settings={"a": 1.5}).key
    assert len(Say(words="a").key) == 40


def test_the_kind_is_part_of_the_key() -> None:
    assert content_key("train", {"a": 1}) != content_key("query", {"a": 1})
    assert content_key("train", {"a": 1, "b": 2}) == content_key("train", {"b": 2, "a": 1})


def test_the_key_of_an_input_is_part_of_the_key() -> None:
    first, other = Say(words="one"), Say(words="other")
    assert Say(words="x", before=(first,)).key != Say(words="x", before=(other,)).key
    assert Say(words="x", before=(first,)).key == Say(words="x", before=(Say(words="one"),)).key
    assert Say(words="x", before=(first, other, first)).needs == (first, other)


def test_unkeyed_fields_are_not_in_the_key() -> None:
    job = Say(words="x")
    assert replace(job, note="for people", alone=True).key == job.key


def test_values_without_exact_json_are_rejected_in_keys() -> None:
    for value in (math.nan, math.inf, {1, 2}, b"bytes", object()):
        with pytest.raises(TypeError):
            _ = Odd(settings={"a": value}).key
    with pytest.raises(TypeError, match="names in a key must be strings"):
        canonical({1: "one"})
    assert canonical({"path": Path("/a/b"), "pair": (1, None)}) == {"path": "/a/b", "pair": [1, None]}


def test_the_version_of_a_package_that_the_code_imports_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.graph import jobs

    assert "numpy" not in Hog().about()["versions"]
    text = Path(jobs.__file__).read_text(encoding="utf-8")
    monkeypatch.setattr(Hog, "packages", lambda _: ("numpy",))
    assert Hog().about()["versions"]["numpy"] == metadata.version("numpy")
    assert "import numpy" not in text  # so the version came from `packages`; imported packages are tested elsewhere


def test_changed_code_changes_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = Say(words="a").key
    real = closure_module.module_file

    def elsewhere(name: str) -> Path | None:
        path = real(name)
        if name == "tests.graph.jobs" and path is not None:
            (tmp_path / "jobs.py").write_bytes(path.read_bytes() + b"# a comment\n")
            return tmp_path / "jobs.py"
        return path

    monkeypatch.setattr(closure_module, "module_file", elsewhere)
    monkeypatch.setattr(closure_module, "_cache", {})
    assert Say(words="a").key != before


def test_the_default_cost_is_the_same_for_all_jobs() -> None:
    assert Say(words="a").cost() == Cost((), 5.0, 0.0)
