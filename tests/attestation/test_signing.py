"""What is signed, and that others can verify it: by openssl, and by DSSE's and in-toto's own rules."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

import edgeaudit
from edgeaudit.api import _read
from edgeaudit.attestation.envelope import pre_authentication
from edgeaudit.errors import AttestationError, MissingToolchain, RunError
from edgeaudit.pipeline.recorded import read_recorded, write_recorded
from edgeaudit.report.model import LimitsOrigin
from tests.attestation.cases import IN_TOTO, Desk, budget, control, format_result, pae, sha256


def simple(desk: Desk) -> Path:
    """A run of one file that is within its budget."""
    file = desk.file("model.tflite")
    desk.audited([format_result("litert-int8", file)], [budget("litert-int8")], controls=[control()])
    return file


def test_the_encoding_is_that_of_the_protocol() -> None:
    # The example of DSSE's protocol.md.
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pre_authentication("ü", b"\xff") == b"DSSEv1 2 \xc3\xbc 1 \xff"  # lengths are of bytes


def test_openssl_verifies_the_signature(desk: Desk) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    simple(desk)
    envelope = json.loads(desk.sign().read_text())
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == IN_TOTO
    (signature,) = envelope["signatures"]
    signed, sig = desk.folder / "signed", desk.folder / "sig"
    signed.write_bytes(pae(IN_TOTO, base64.b64decode(envelope["payload"])))
    sig.write_bytes(base64.b64decode(signature["sig"]))
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(desk.public), "-rawin"]
    command += ["-in", str(signed), "-sigfile", str(sig)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    signed.write_bytes(signed.read_bytes().replace(b"within budget", b"within_budget"))
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    der = subprocess.run(
        [openssl, "pkey", "-pubin", "-in", str(desk.public), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert signature["keyid"] == sha256(der)


def test_a_key_of_openssl_signs(desk: Desk) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    file = simple(desk)
    key, public = desk.folder / "key.pem", desk.folder / "public.pem"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
    subprocess.run([openssl, "pkey", "-in", str(key), "-pubout", "-out", str(public)], check=True)
    edgeaudit.sign(desk.run, key, desk.folder / "evidence.json")
    assert desk.verify(file, key=public).exit_code == 0
    assert desk.verify(file).exit_code == 1


def test_the_statement_is_in_totos(desk: Desk) -> None:
    model = desk.file("net.xml", b"<net/>")
    desk.file("net.bin", b"values")
    desk.audited(
        [format_result("ov-int8", model, companions=["net.bin"]), format_result("litert-int8", None)],
        [budget("ov-int8")],
        outcome="error",
        controls=[control("warning")],
    )
    desk.sign(responsible="  A. Person ")
    statement = desk.statement()
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    # A URI with a scheme, RFC 3986.
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*:[a-z0-9:.-]+", statement["predicateType"])
    subjects = {one["name"]: one["digest"] for one in statement["subject"]}
    assert len(subjects) == len(statement["subject"])  # names tell them apart
    limits = json.loads((desk.run / "audit.json").read_text())["verdict"]["limits"]
    assert subjects == {
        "audit.json": {"sha256": sha256((desk.run / "audit.json").read_bytes())},
        "budgets": {"sha256": limits["sha256"]},
        "ov-int8/local/net.xml": {"sha256": sha256(b"<net/>")},
        "ov-int8/local/net.bin": {"sha256": sha256(b"values")},
    }
    stated = statement["predicate"]
    assert stated["responsible"] == "A. Person"
    assert stated["threat"]["atlas"] == "AML.T0024.000"
    assert stated["threat"]["capability"]["exposure"] == "probabilities"
    assert stated["threat"]["knowledge"]["mode"] == "adversary"
    assert stated["verdict"] == {"outcome": "error", "exit_code": 2, "failed": ["litert-int8"]}
    (row,) = stated["budgets"]
    assert row["decided_by"] == {"attack": "lira/offline", "value": 0.6, "low": 0.55, "high": 0.65}
    assert stated["limits"]["before_figures"] is True


def test_nothing_of_records_folders_and_toolchains_is_in_it(desk: Desk) -> None:
    file = desk.file("secret-folder/model.tflite")
    limits = LimitsOrigin(file="/home/me/secret-folder/audit.yaml", sha256="0" * 64, read="2026", measured=True)
    results = [format_result("litert-int8", file), format_result("onnx-int8", None)]
    desk.audited(results, [budget("litert-int8")], "error", [control()], limits)
    desk.sign()
    text = json.dumps(desk.statement())
    assert not [word for word in ("secret-folder", "/home", "4711", "no rule", "note of", "exposed") if word in text]
    assert desk.statement()["predicate"]["limits"]["file"] == "audit.yaml"


def test_the_same_run_and_key_give_the_same_bytes(desk: Desk) -> None:
    simple(desk)
    first = desk.sign(responsible="A").read_bytes()
    assert desk.sign(responsible="A").read_bytes() == first
    assert desk.sign(responsible="B").read_bytes() != first


def test_the_key_may_be_in_a_variable(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = simple(desk)
    text = desk.private.read_text()
    monkeypatch.setenv("EDGEAUDIT_SIGNING_KEY", text)
    signed = edgeaudit.sign(desk.run)
    assert signed.path == desk.run / "evidence.dsse.json"
    assert edgeaudit.verify(signed.path, desk.public, file).exit_code == 0
    body = text.splitlines()[1]
    monkeypatch.setenv("EDGEAUDIT_SIGNING_KEY", body)  # without its frame
    with pytest.raises(AttestationError, match="the variable EDGEAUDIT_SIGNING_KEY has no PEM text") as found:
        edgeaudit.sign(desk.run)
    assert body not in str(found.value)
    assert body not in "".join(capfd.readouterr())
    monkeypatch.delenv("EDGEAUDIT_SIGNING_KEY")
    with pytest.raises(AttestationError, match="no key to sign with: name its file with --key, or set EDGEAUDIT_SIGN"):
        edgeaudit.sign(desk.run)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_can_read_is_a_warning(desk: Desk, mode: int, warned: bool) -> None:
    simple(desk)
    desk.private.chmod(mode)
    notes = [note for note in edgeaudit.sign(desk.run, desk.private).notes if "chmod 600" in note]
    assert bool(notes) == warned


def test_the_audit_yaml_is_the_one_that_was_given_to_the_run(desk: Desk) -> None:
    """Its digest is taken when it is read; what becomes of the file later does not matter."""
    simple(desk)
    path = desk.file("project/gate.yaml", b"{formats: [litert-int8]}")
    spec, origin = _read(path)
    write_recorded(desk.run, spec, origin, desk.folder / "store", "key")
    again = read_recorded(desk.run)  # as `edgeaudit attack` reads it and writes it again
    write_recorded(desk.run, again.spec, again.origin, again.store, again.population)
    path.write_bytes(b"{formats: [litert-fp16]}")
    assert edgeaudit.sign(desk.run, desk.private, desk.folder / "evidence.json").notes == ()
    named = {one["name"]: one["digest"]["sha256"] for one in desk.statement()["subject"]}
    assert named["gate.yaml"] == sha256(b"{formats: [litert-int8]}")
    about = json.loads((desk.run / "spec.json").read_text())
    for value in (None, "no digest", 7):
        (desk.run / "spec.json").write_text(json.dumps({**about, "audit_yaml_sha256": value}))
        (note,) = edgeaudit.sign(desk.run, desk.private, desk.folder / "evidence.json").notes
        assert "whose digest this run did not record" in note
        assert desk.statement()["predicate"]["files"]["audit_yaml"] is None
    (desk.run / "spec.json").write_text(json.dumps({**about, "audit_yaml": None}))
    assert edgeaudit.sign(desk.run, desk.private, desk.folder / "evidence.json").notes == ()  # given as a mapping


def test_an_audit_from_a_pipe_has_no_digest() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"{formats: [litert-int8]}")
    os.close(writer)
    spec, origin = _read(f"/dev/fd/{reader}")
    os.close(reader)
    assert [use.id for use in spec.formats] == ["litert-int8"]
    assert origin.sha256 is None


def test_evidence_that_could_not_be_read_is_not_written(desk: Desk) -> None:
    file = desk.file("model.tflite")
    row = budget("litert-int8").model_copy(update={"reason": "x" * 2**20})
    desk.audited([format_result("litert-int8", file)], [row] * 7)
    with pytest.raises(AttestationError, match="has more than 8,388,608 bytes; audit fewer formats"):
        desk.sign()
    assert not (desk.folder / "evidence.json").exists()


def test_a_run_whose_audit_yaml_is_not_known_is_signed_and_says_so(desk: Desk) -> None:
    simple(desk)
    (note,) = edgeaudit.sign(desk.run, desk.private).notes
    assert "the evidence does not name audit.yaml" in note


def test_other_keys_are_refused(desk: Desk) -> None:
    simple(desk)
    key, none = Ed25519PrivateKey.generate(), NoEncryption()
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, none)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, none)
    cases = {
        "of another algorithm than Ed25519": other,
        "is encrypted": locked,
        "no private key in PEM": desk.public.read_bytes(),
        "2 PEM blocks": plain * 2,
        "no PEM text": b"\x00\xff",
        "more than 16,384 bytes": b"x" * 20_000,
    }
    for sentence, content in cases.items():
        with pytest.raises(AttestationError, match=sentence) as found:
            edgeaudit.sign(desk.run, desk.file("other.pem", content))
        assert plain.decode().splitlines()[1] not in str(found.value)
    with pytest.raises(AttestationError, match=r"none\.pem: the private key cannot be read: No such file"):
        edgeaudit.sign(desk.run, desk.folder / "none.pem")
    assert not (desk.run / "evidence.dsse.json").exists()


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31m", "x" * 201])
def test_a_name_is_one_line(desk: Desk, name: str) -> None:
    simple(desk)
    with pytest.raises(AttestationError, match="responsible: must be a name"):
        desk.sign(responsible=name)


def test_without_a_run_or_the_library_one_sentence_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"audit\.json: no such file"):
        desk.sign()
    simple(desk)
    desk.sign()
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    for call in (desk.sign, lambda: desk.verify(desk.folder / "model.tflite")):
        with pytest.raises(
            MissingToolchain, match=r"needs the package 'cryptography'.*pip install 'edgeaudit\[sign\]'"
        ):
            call()
