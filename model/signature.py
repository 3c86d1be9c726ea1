"""The signature of a bundle: who stands behind it. A small JSON file beside it, ``<bundle>.sig``.

A bundle's hashes show that it is whole, but whoever changes a bundle can write the hashes anew. A signature (Ed25519,
RFC 8032) over both hashes cannot be made without the private key: over that of the content, which decides the pixels,
and over that of the card, which tells where they come from.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from model.atomic import write_atomically

ALGORITHM = "ed25519"
SUFFIX = ".sig"
_PUBLIC_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_FIELDS = {"algorithm", "public_key", "signature"}


class SignatureError(Exception):
    """There is no signature that counts; the message says why and what to do."""


def signature_path(bundle: Path) -> Path:
    """Where the signature of a bundle lies: beside it."""
    return bundle.with_name(bundle.name + SUFFIX)


def public_key_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """A key's public half as it is written everywhere: its 32 bytes in base64, 44 characters."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.b64encode(public.public_bytes_raw()).decode()


def sign(bundle: Path, content_hash: str, card_hash: str, key: Ed25519PrivateKey) -> Path:
    """Write the signature of the bundle that has these hashes, in place of any other; return its path.

    Raises:
        OSError: it cannot be written.
    """
    document = {
        "algorithm": ALGORITHM,
        "public_key": public_key_text(key),
        "signature": base64.b64encode(key.sign(_message(content_hash, card_hash))).decode(),
    }
    path = signature_path(bundle)
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
    return path


def check_signature(bundle: Path, content_hash: str, card_hash: str, trusted: Collection[str] | None = None) -> str:
    """Check the signature that lies beside a bundle of these hashes; return the public key that made it.

    Args:
        bundle: the file that the signature lies beside; it is not read.
        content_hash: of what was read of it, 64 hex digits.
        card_hash: likewise.
        trusted: the public keys that count, as ``public_key_text`` writes them; None: any, so that whoever asks must
            know the key that is returned.

    Raises:
        SignatureError: there is none, it cannot be read, another key made it, or it is not of these hashes.
    """
    path = signature_path(bundle)
    key, signature = _read(path)
    signer = public_key_text(key)
    if trusted is not None and signer not in trusted:
        raise SignatureError(f"{path}: made with the key {signer}, which is none of those that are trusted")
    try:
        key.verify(signature, _message(content_hash, card_hash))
    except InvalidSignature:
        raise SignatureError(
            f"{path}: not the signature of this bundle: content, card or signature was changed after the signing; "
            "fetch both files again, or sign anew if the change is yours"
        ) from None
    return signer


def _message(content_hash: str, card_hash: str) -> bytes:
    """What is signed. Its first line says what for, so that no signature counts for anything else."""
    return f"bouquet bundle signature 1\ncontent {content_hash}\ncard {card_hash}\n".encode()


def _read(path: Path) -> tuple[Ed25519PublicKey, bytes]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.keys() != _FIELDS:
            raise ValueError(f"it must have exactly the fields {', '.join(sorted(_FIELDS))}")
        if document["algorithm"] != ALGORITHM:
            raise ValueError(f"the algorithm must be {ALGORITHM}")
        key = _bytes(document, "public_key", _PUBLIC_KEY_BYTES)
        return Ed25519PublicKey.from_public_bytes(key), _bytes(document, "signature", _SIGNATURE_BYTES)
    except FileNotFoundError:
        raise SignatureError(
            f"{path}: there is no such file, so nobody has signed the bundle; fetch it too, or sign with "
            "`bouquet bundle sign`"
        ) from None
    except OSError as error:
        raise SignatureError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"{path}: no signature of a bundle, or damaged ({error}); fetch it again") from error


def _bytes(document: dict[str, object], field: str, length: int) -> bytes:
    text = document[field]
    try:
        value = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        value = b""
    if len(value) != length:
        raise ValueError(f"{field} must be {length} bytes in base64")
    return value
