"""DSSE v1: a payload with signatures of its type and bytes (https://github.com/secure-systems-lab/dsse).

A signature is of PAE(type, payload) = "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload, so that a payload of
another type cannot be passed off as this one.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeaudit.attestation.keys import key_id
from edgeaudit.attestation.reading import parsed_json
from edgeaudit.errors import AttestationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["IN_TOTO", "LARGEST", "Envelope", "pre_authentication", "read_envelope", "sealed"]

IN_TOTO = "application/vnd.in-toto+json"
LARGEST = 8 * 2**20
"""Bytes of an envelope: those of 3,000 judged budgets, and little enough for a stranger's JSON to be parsed."""
_MOST_SIGNATURES = 32
_URL_SAFE = str.maketrans("-_", "+/")


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """PAE: the bytes that are signed."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sealed(payload: bytes, key: Ed25519PrivateKey) -> str:
    """The text of an envelope with one signature. The same payload and key give the same text.

    Raises `AttestationError` where it would be too large to be read.
    """
    signature = key.sign(pre_authentication(IN_TOTO, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()}],
    }
    text = json.dumps(envelope, sort_keys=True, separators=(",", ":")) + "\n"
    if len(text) > LARGEST:
        raise AttestationError(
            f"the evidence has more than {LARGEST:,} bytes; audit fewer formats or budgets in one run"
        )
    return text


@dataclass(frozen=True)
class Envelope:
    """What an envelope holds. Nothing in it may be used before a signature has been verified.

    signatures: as bytes. The `keyid` beside each is a hint that anybody can write, and is not read.
    """

    kind: str
    payload: bytes
    signatures: tuple[bytes, ...]

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether one of the signatures is this key's, of this type and payload. Others' signatures do not matter."""
        from cryptography.exceptions import InvalidSignature

        signed = pre_authentication(self.kind, self.payload)
        for signature in self.signatures:
            try:
                key.verify(signature, signed)
            except InvalidSignature:
                continue
            return True
        return False


def read_envelope(content: bytes, what: str) -> Envelope:
    """The envelope in a file's content. Raises `AttestationError`; what: the file, for messages."""
    raw = parsed_json(content, what)
    kind, signatures = raw.get("payloadType"), raw.get("signatures")
    if "payload" not in raw or not isinstance(kind, str) or not isinstance(signatures, list):
        raise AttestationError(
            f"{what} is no DSSE envelope (payload, payloadType, signatures): name the file that `edgeaudit sign` wrote"
        )
    if kind != IN_TOTO:
        raise AttestationError(f"{what}: payloadType is '{kind[:100]}', and not {IN_TOTO}: it is no evidence")
    if not signatures or len(signatures) > _MOST_SIGNATURES:
        raise AttestationError(f"{what} has {len(signatures)} signatures; one to {_MOST_SIGNATURES} are read")
    found = (one.get("sig") if isinstance(one, dict) else None for one in signatures)
    return Envelope(
        kind,
        _decoded(raw["payload"], f"{what}: payload"),
        tuple(_decoded(text, f"{what}: signatures: sig") for text in found),
    )


def _decoded(text: Any, what: str) -> bytes:
    """Base64, of the standard or the URL-safe alphabet: DSSE has a reader take both."""
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except (AttributeError, ValueError, binascii.Error) as exc:
        raise AttestationError(f"{what} is not base64: it was damaged") from exc
