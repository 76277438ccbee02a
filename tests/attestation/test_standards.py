"""Signed evidence is read and verified by the reference implementations of DSSE and in-toto, and theirs by ours."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # both are its interface

from tests.attestation.cases import IN_TOTO, Desk, budget, control, format_result, sha256


@pytest.fixture
def signed(desk: Desk) -> dict[str, Any]:
    """The envelope of a run of two files, of which one has another beside it."""
    model, weights = desk.file("net.xml", b"<net/>"), desk.file("net.bin", b"values")
    other = desk.file("model.tflite")
    formats = [format_result("ov-int8", model, companions=[weights.name]), format_result("litert-int8", other)]
    desk.audited(formats, [budget("ov-int8"), budget("litert-int8")], controls=[control()])
    envelope: dict[str, Any] = json.loads(desk.sign(responsible="A. Person").read_text())
    return envelope


def test_the_reference_implementation_of_dsse_verifies_the_envelope(desk: Desk, signed: dict[str, Any]) -> None:
    envelope = Envelope.from_dict(signed)
    (keyid,) = envelope.signatures
    trusted = SSlibKey.from_crypto(desk.signer.public_key(), keyid=keyid)
    assert set(envelope.verify([trusted], threshold=1)) == {keyid}
    other = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key(), keyid=keyid)
    with pytest.raises(VerificationError):
        envelope.verify([other], threshold=1)
    envelope.payload = envelope.payload.replace(b"within budget", b"within_budget")
    with pytest.raises(VerificationError):
        envelope.verify([trusted], threshold=1)


def test_an_envelope_of_the_reference_implementation_is_verified_by_ours(desk: Desk, signed: dict[str, Any]) -> None:
    envelope = Envelope(base64.b64decode(signed["payload"]), IN_TOTO, {})
    envelope.sign(CryptoSigner(desk.signer))
    (desk.folder / "evidence.json").write_text(json.dumps(envelope.to_dict()))
    assert desk.verify(desk.folder / "model.tflite").exit_code == 0
    stranger = Envelope(envelope.payload, IN_TOTO, {})
    stranger.sign(CryptoSigner(Ed25519PrivateKey.generate()))
    (desk.folder / "evidence.json").write_text(json.dumps(stranger.to_dict()))
    assert desk.verify(desk.folder / "model.tflite").exit_code == 1


def test_the_statement_follows_the_protocol_buffers_of_in_toto(desk: Desk, signed: dict[str, Any]) -> None:
    payload = base64.b64decode(signed["payload"])
    message = json_format.Parse(payload, StatementMessage())  # refuses keys that it does not know
    statement = Statement.copy_from_pb(message)
    statement.validate()
    assert {one.name: one.digest["sha256"] for one in message.subject} == {
        "audit.json": sha256((desk.run / "audit.json").read_bytes()),
        "budgets": desk.statement()["predicate"]["files"]["budgets"]["sha256"],
        "ov-int8/local/net.xml": sha256(b"<net/>"),
        "ov-int8/local/net.bin": sha256(b"values"),
        "litert-int8/local/model.tflite": sha256(b"weights"),
    }
    assert json_format.MessageToDict(message.predicate)["responsible"] == "A. Person"
    message.predicate_type = ""
    with pytest.raises(ValueError, match="Predicate type required"):
        Statement.copy_from_pb(message).validate()
    with pytest.raises(json_format.ParseError, match="subjects"):
        json_format.Parse(payload.replace(b'"subject"', b'"subjects"'), StatementMessage())
