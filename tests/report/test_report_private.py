"""What reports do not show: folders, users, machines. And that they still read as they should."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeaudit.leakage.rows import ExposedRecord
from edgeaudit.report.private import Private, without_private
from edgeaudit.rows import Rows

from . import sample

PRIVATE = Private(
    paths={
        "/home/alice/secret customer": "secret customer",
        "/home/alice/secret customer/a (1).npz": "a (1).npz",
        "clients/acme/x.npz": "x.npz",
        "clients/acme": "acme",
        "/home/alice": "~",
    },
    words={"ssh://pi@kitchen.example:22": "ssh://board", "pi@kitchen.example": "board", "kitchen.example": "board",
           "clients.acme.net:build": "net:build"},
    users=frozenset({"alice", "target"}),
    hosts=frozenset({"alices-laptop"}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice/secret customer/a (1).npz", "a (1).npz"),
        ("/home/alice/secret customer/a (1).npz: no such file", "a (1).npz: no such file"),
        ("/home/alice/secret customer/deep/b.npz is missing.", "b.npz is missing."),
        ("No such file or directory: '/home/alice/My Own/c.bin'", "No such file or directory: 'c.bin'"),
        ("failed (traceback: /var/tmp/store/logs/train-1.txt)", "failed (traceback: train-1.txt)"),
        ('File "/usr/lib/python3/x.py", line 3', 'File "x.py", line 3'),
        ("in /usr/lib/python3/x.py:12: bad", "in x.py:12: bad"),
        ("file:///home/bob/d.onnx is not ONNX", "d.onnx is not ONNX"),
        ("in ~/work/net.py and ~bob/e.py", "in net.py and e.py"),
        ("found in /home/alice.", "found in ~."),
        ("found in /home/bob", "found in ~"),
        ("clients/acme/x.npz and ./clients/acme/deep/y.npz", "x.npz and y.npz"),
        ("ssh://pi@kitchen.example:22: refused by pi@kitchen.example", "ssh://board: refused by board"),
        ("clients.acme.net:build has no weights", "net:build has no weights"),
        ("Alice ran it on alices-laptop", "user ran it on host"),
        ("alice@alices-laptop.lan: denied", "user@host: denied"),
    ],
)
def test_what_is_private_is_replaced(text: str, expected: str) -> None:
    assert PRIVATE.clean(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "node '/features/0/Conv' has no kernel",  # names of tensors look like paths
        "see https://pytorch.org/home/docs/x.html",
        "lira/offline-global",
        "members/nonmembers 1/2, 3 / 4",
        "the target of this audit",  # a user of that name cannot be told from the word
        "alice",  # names that audit.json refers to stay as they are
        "train/cat/0001.png",
        "malice and alices",
        "/",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert PRIVATE.clean(text) == text


def test_every_text_of_an_audit_is_cleaned_and_the_rest_is_the_same() -> None:
    plain = sample.audit()
    assert without_private(plain, PRIVATE) == plain
    path = "/home/alice/secret customer/z.png"
    exposed = Rows([replace(plain.exposed[0], name=path), *plain.exposed[1:]], of=ExposedRecord)
    verdict = plain.verdict.model_copy(update={"reasons": (f"{path} is damaged",)})
    changed = plain.model_copy(update={"exposed": exposed, "verdict": verdict, "spec": {"a": [{"b": path}]}})
    cleaned = without_private(changed, PRIVATE)
    assert cleaned.exposed[0].name == "z.png"
    assert cleaned.verdict.reasons == ("z.png is damaged",)
    assert cleaned.spec == {"a": [{"b": "z.png"}]}
    assert cleaned.curves == plain.curves
