"""The file of a private key that signs bundles: PEM (PKCS #8), nobody's but its owner's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class SigningKeyError(Exception):
    """The file holds no key that may be used, or would be overwritten. The message shows nothing that is in it."""


def make_signing_key(path: Path) -> Ed25519PrivateKey:
    """Draw a private key and write it to a new file, which its owner alone may read and write.

    Raises:
        SigningKeyError: there is a file already. A key that is lost cannot be made again, so none is overwritten.
        OSError: it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # With these rights from its first moment on; O_EXCL follows no link either.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SigningKeyError(f"{path}: there is a file already, and keys are never overwritten") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return key


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key, of ``make_signing_key`` or of ``openssl genpkey -algorithm ed25519``.

    Raises:
        SigningKeyError: others than the owner may read or change the file, or there is no such key in it.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        # Of what was opened, not of the name, which may mean another file by now.
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise SigningKeyError(
                f"{path}: others than its owner may use it, so it may not be secret any more; chmod 600 it, or make "
                "another key if others can have read it"
            )
        content = file.read()
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise SigningKeyError(f"{path}: is encrypted; give a file with the key itself") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(f"{path}: no private key in PEM; make one with `bouquet bundle keygen`") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path}: a key, but not an Ed25519 one; make one with `bouquet bundle keygen`")
    return key
