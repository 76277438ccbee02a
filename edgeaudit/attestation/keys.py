"""Ed25519 keys as PEM: PKCS#8 for the private key, SubjectPublicKeyInfo for the public one. No key is ever printed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeaudit.attestation.reading import read_bounded
from edgeaudit.errors import AttestationError, MissingToolchain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["SIGNING_KEY", "key_id", "private_key", "public_key", "shared_with_others"]

SIGNING_KEY = "EDGEAUDIT_SIGNING_KEY"
"""The environment variable that may hold the private key: its PEM text, not a path."""
_LARGEST = 16_384
_MAKE = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"
_PUBLIC = "`openssl pkey -in key.pem -pubout -out public.pem` writes the public key of a private one"


def private_key(file: Path | None, variables: Mapping[str, str] = os.environ) -> Ed25519PrivateKey:
    """The key that signs: of a file, or else of the variable EDGEAUDIT_SIGNING_KEY.

    Raises `AttestationError` where there is none, or one of another kind; `MissingToolchain` without `cryptography`.
    """
    with _library():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    if file is None:
        where, text = f"the variable {SIGNING_KEY}", variables.get(SIGNING_KEY, "").encode("utf-8", "replace")
        if not text.strip():
            raise AttestationError(f"no key to sign with: name its file with --key, or set {SIGNING_KEY} to its PEM")
    else:
        where, text = str(file), read_bounded(file, "the private key", _LARGEST)
    _require_one_block(text, where, _MAKE)
    try:
        key = load_pem_private_key(text, None)
    except TypeError as exc:
        raise AttestationError(
            f"{where}: the key is encrypted; give one without a password, readable by you alone: "
            "`openssl pkey -in encrypted.pem -out key.pem`"
        ) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise AttestationError(f"{where} has no private key in PEM (PKCS#8); {_MAKE}") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise AttestationError(f"{where} has a key of another algorithm than Ed25519; {_MAKE}")
    return key


def public_key(file: Path) -> Ed25519PublicKey:
    """The key that verifies.

    Raises `AttestationError` for anything but an Ed25519 public key; `MissingToolchain` without `cryptography`.
    """
    with _library():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    text = read_bounded(file, "the public key", _LARGEST)
    if b"PRIVATE KEY-----" in text:
        raise AttestationError(f"{file} is a private key, which a step that verifies must not have; {_PUBLIC}")
    _require_one_block(text, str(file), _PUBLIC)
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise AttestationError(f"{file} has no public key in PEM; {_PUBLIC}") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise AttestationError(f"{file} has a key of another algorithm than Ed25519; {_PUBLIC}")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo (DER), in hex: a hint which key signed, no proof of it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def shared_with_others(file: Path) -> str | None:
    """A sentence where others than its owner may read or replace a file; None where they may not."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if not mode & 0o077:
        return None
    return f"{file} has mode {mode:04o}, so that others can use it and sign as you: chmod 600 {file}"


def _require_one_block(text: bytes, where: str, remedy: str) -> None:
    if (count := text.count(b"-----BEGIN ")) != 1:
        found = "no PEM text" if not count else f"{count} PEM blocks"
        raise AttestationError(f"{where} has {found}, and not one key in PEM; {remedy}")


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ImportError as exc:
        raise MissingToolchain("signing and verifying evidence", "cryptography", "sign") from exc
