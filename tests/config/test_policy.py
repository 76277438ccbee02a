"""A policy's file: what it may hold, and one sentence with key and remedy for what it may not."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from edgeaudit.config.policy import PolicySpec, load_policy, policy_of
from edgeaudit.errors import SpecError
from edgeaudit.pipeline.vocabulary import policy_schema_text

TODAY = dt.date(2026, 6, 1)
WAIVER: dict[str, Any] = {
    "metric": "auc", "format": "onnx-fp32", "owner": "Privacy team", "reason": "until the retraining",
    "expires": "2026-12-31",
}  # fmt: skip


def _policy(*waivers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"budgets": "recommended", "waivers": [{**WAIVER, **one} for one in waivers], **more}


def test_a_file_is_read_with_its_digest_and_lines(tmp_path: Path) -> None:
    text = (
        "name: Devices, 2026\nowner: Privacy team\nbudgets:\n  auc: [error, {max: 0.6, reason: agreed}]\nwaivers:\n"
        "  - {metric: auc, format: onnx-fp32, owner: A, reason: r, expires: 2026-12-31}\n"
    )
    path = tmp_path / "privacy.yaml"
    path.write_text(text)
    found = load_policy(path, TODAY)
    assert (found.title, found.file, found.lines) == ("Devices, 2026", "privacy.yaml", {"budgets.auc": 4})
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert found.spec.budgets["auc"][0].max == 0.6
    (waiver,) = found.spec.waivers
    assert (waiver.names, waiver.expires, waiver.subset) == (("onnx-fp32",), dt.date(2026, 12, 31), "all")
    path.write_text("budgets: strict\n")
    assert load_policy(path, TODAY).title == "privacy.yaml"


@pytest.mark.parametrize("written", ["2026-12-31", '"2026-12-31"', "!!timestamp 2026-12-31"])
def test_a_day_is_read_however_yaml_has_it(written: str, tmp_path: Path) -> None:
    path = tmp_path / "privacy.yaml"
    waiver = f"{{metric: auc, formats: [a, b], owner: A, reason: r, expires: {written}}}"
    path.write_text(f"budgets: strict\nwaivers: [{waiver}]\n")
    assert load_policy(path, TODAY).spec.waivers[0].expires == dt.date(2026, 12, 31)


def test_a_mapping_may_have_days_and_every_format() -> None:
    found = policy_of(_policy({"format": None, "formats": "all", "expires": dt.date(2026, 7, 1)}), TODAY)
    assert found.spec.waivers[0].names is None
    assert (found.title, found.file) == ("policy", None)
    # What is recorded in an audit.json is read as the same policy.
    recorded = found.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert PolicySpec.model_validate(json.loads(json.dumps(recorded))) == found.spec


def test_a_waiver_lasts_366_days_at_most() -> None:
    # 1 June 2026 + 366 days: 365 to 1 June 2027, and one more.
    assert policy_of(_policy({"expires": "2027-06-02"}), TODAY)
    with pytest.raises(SpecError, match=r"waivers\.0\.expires: 2027-06-03 is 367 days ahead.*up to 2027-06-02"):
        policy_of(_policy({"expires": "2027-06-03"}), TODAY)


def test_an_expired_waiver_can_be_read() -> None:
    """Judging says that it has expired; the file stays as it was."""
    assert policy_of(_policy({"expires": "2020-01-01"}), TODAY).spec.waivers[0].expires.year == 2020


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "budgets: is missing"),
        ({"budgets": {}}, "a policy needs one limit or more"),
        ({"budgets": "recomended"}, "there are: strict, recommended, exploratory"),
        ({"budgets": {"auc": ["error", {"max": 60}]}}, "60 looks like a percentage: write 0.6"),
        ({"budgets": {"auc": ["error", {"maxx": 0.6}]}}, r"'budgets\.auc\.0\.maxx' is not a known key; did you mean"),
        (_policy(waiver=[]), "'waiver' is not a known key; did you mean 'waivers'"),
        (_policy(shadows=4), "'shadows' is not a known key; known: name, owner, budgets, waivers"),
        (_policy({"metrics": "auc"}), r"'waivers\.0\.metrics' is not a known key; did you mean 'metric'"),
        (_policy({"metric": "acu"}), r"waivers\.0\.metric: unknown metric 'acu'\. Did you mean 'auc'\?"),
        (_policy({"expires": "2026-02-30"}), r"waivers\.0\.expires: there is no such day"),
        (_policy({"expires": "20261231"}), r"waivers\.0\.expires: must be the last day .* as YYYY-MM-DD"),
        (_policy({"expires": "2026-W05-1"}), "as YYYY-MM-DD"),
        (_policy({"expires": 2027}), "as YYYY-MM-DD"),
        (_policy({"expires": dt.datetime(2026, 12, 31)}), r"waivers\[0\]\.expires: a date"),  # noqa: DTZ001
        (_policy({"owner": "  "}), r"waivers\.0\.owner: must not be empty"),
        (_policy({"reason": ""}), r"waivers\.0\.reason"),
        (_policy({"format": None}), "exactly one of 'format' and 'formats'"),
        (_policy({"formats": ["a"]}), "exactly one of 'format' and 'formats'"),
        (_policy({"format": None, "formats": ["a", "a"]}), "'a' appears twice"),
        (_policy({"format": None, "formats": []}), r"waivers\.0\.formats: is empty, so nothing would be waived: name"),
        (_policy(budgets={"auc": ["error", {"max": 0.6, "formats": []}]}),
         r"budgets\.auc\.0\.formats: is empty, so the budget would limit nothing: name a format, or remove"),
        (_policy({"max": 70}), "70 looks like a percentage: write 0.7"),
        (_policy({"max": True}), "must be a number"),
        (_policy({}, {}), r"waivers\.1 waives again what waivers\.0 does \(auc on onnx-fp32\); remove one"),
        (_policy({}, {"format": None, "formats": "all"}), r"waivers\.1 waives again .* \(auc on all formats\)"),
        (_policy({"reason": "${WHY}"}), r"waivers\[0\]\.reason: a policy reads no environment variables"),
        (_policy(budgets={"auc": ["error", {"max": "${MAX:-0.9}"}]}), "a policy reads no environment variables"),
        (_policy(waivers="none"), "waivers: must be a list"),
        (_policy(waivers=["auc"]), r"waivers\.0: must be a mapping of keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        policy_of(raw, TODAY)


def test_a_required_key_is_named() -> None:
    for key in ("metric", "owner", "reason", "expires"):
        waiver = {name: value for name, value in WAIVER.items() if name != key}
        with pytest.raises(SpecError, match=rf"waivers\.0\.{key}: is missing"):
            policy_of({"budgets": "strict", "waivers": [waiver]}, TODAY)


LAUGHS = "\n".join(
    [
        "budgets: strict",
        f"a: &a [{', '.join(['x'] * 10)}]",
        *(f"{two}: &{two} [{', '.join([f'*{one}'] * 10)}]" for one, two in zip("abcde", "bcdef", strict=True)),
    ]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"budgets: [", "is not valid YAML"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"- auc\n", r"must be a mapping of keys \(budgets, waivers, name, owner\); got list"),
        (b"", "got NoneType"),
        (b"budgets: strict\nbudgets: exploratory\n", "the key 'budgets' is given twice"),
        (b"budgets: &a {x: *a}\n", "never ends"),
        (LAUGHS.encode(), "more than 100,000 values"),
        (b"#" * 2_000_001, "has more than 2 MB, which no policy has"),
    ],
)
def test_a_file_that_is_no_policy_is_one_sentence(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "privacy.yaml"
    path.write_bytes(text)
    with pytest.raises(SpecError, match=message) as told:
        load_policy(path, TODAY)
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


def test_a_file_that_cannot_be_read_has_a_remedy(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "none.yaml", "No such file")):
        with pytest.raises(SpecError, match=f"{why}.* Name the file that has the policy's budgets"):
            load_policy(path, TODAY)


def test_the_schema_lets_through_what_is_read_and_refuses_what_is_not() -> None:
    schema = json.loads(policy_schema_text())
    jsonschema.Draft7Validator.check_schema(schema)
    valid = jsonschema.Draft7Validator(schema)
    good = yaml.safe_load(
        "{name: a, owner: b, budgets: {preset: strict, auc: [error, {max: 0.7, formats: [litert-int8]}]}, waivers: "
        "[{metric: auc, formats: all, attack: lira, subset: 'class:3', max: 0.8, owner: c, reason: d, "
        "expires: '2026-12-31'}]}"
    )
    policy_of(good, TODAY)
    assert not list(valid.iter_errors(good))
    assert valid.is_valid({"budgets": "recommended"})
    for bad in ({}, {"budgets": "lax"}, {**good, "waiver": []}, {**good, "waivers": [{"metric": "acu"}]}):
        assert not valid.is_valid(bad)
