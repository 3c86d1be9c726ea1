"""Signatures of bundles: what a key has signed is known, and nothing else passes for it."""

import base64
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model.bundle import BundleError, Card, bundle_hashes, load_bundle, replace_card
from model.signature import check_signature, public_key_text, sign, signature_path
from tests.bundles import make_tiny_bundle

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TRUSTED = (public_key_text(OTHER_KEY), public_key_text(KEY))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return make_tiny_bundle(folder / "one.safetensors"), make_tiny_bundle(folder / "two.safetensors", seed=1)


@pytest.fixture
def bundle(originals, tmp_path) -> Path:
    """A bundle that KEY has signed."""
    path = tmp_path / "tiny.safetensors"
    shutil.copy(originals[0], path)
    sign(path, *bundle_hashes(path), KEY)
    return path


def rewrite(bundle: Path, **changes: object) -> None:
    path = signature_path(bundle)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(bundle: Path, reason: str, trusted: tuple[str, ...] = TRUSTED) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        load_bundle(bundle, trusted)
    assert str(bundle) in str(caught.value)
    assert "BOUQUET_BUNDLE_PUBLIC_KEYS" in str(caught.value)


def test_what_is_signed_is_loaded(bundle):
    assert load_bundle(bundle, TRUSTED).content_hash == bundle_hashes(bundle).content_hash
    assert check_signature(bundle, *bundle_hashes(bundle)) == public_key_text(KEY)


def test_signing_twice_gives_the_same_file(bundle):
    before = signature_path(bundle).read_bytes()
    sign(bundle, *bundle_hashes(bundle), KEY)
    assert signature_path(bundle).read_bytes() == before


def test_the_message_is_fixed(bundle):
    """Signatures that others keep must count after an update: what is signed may not change by accident."""
    hashes = bundle_hashes(bundle)
    signature = base64.b64decode(json.loads(signature_path(bundle).read_text())["signature"])
    message = f"bouquet bundle signature 1\ncontent {hashes.content_hash}\ncard {hashes.card_hash}\n"
    KEY.public_key().verify(signature, message.encode())


def test_without_keys_no_signature_is_asked_for(bundle):
    signature_path(bundle).write_text("nonsense")
    load_bundle(bundle)


def test_a_missing_signature_is_refused(bundle):
    signature_path(bundle).unlink()
    refused(bundle, r"tiny\.safetensors\.sig: there is no such file.*bouquet bundle sign")


def test_another_key_is_refused_and_named(bundle):
    sign(bundle, *bundle_hashes(bundle), OTHER_KEY)
    refused(bundle, "none of those that are trusted", (public_key_text(KEY),))
    load_bundle(bundle, TRUSTED)


def test_another_key_cannot_pass_for_a_trusted_one(bundle):
    sign(bundle, *bundle_hashes(bundle), OTHER_KEY)
    rewrite(bundle, public_key=public_key_text(KEY))
    refused(bundle, "not the signature of this bundle", (public_key_text(KEY),))


def test_a_damaged_bundle_is_refused_before_its_signature_is_looked_at(bundle):
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(BundleError, match="content does not match its hash"):
        load_bundle(bundle, TRUSTED)


def test_other_weights_with_a_hash_of_their_own_are_refused(bundle, originals):
    shutil.copy(originals[1], bundle)
    load_bundle(bundle)
    refused(bundle, "not the signature of this bundle")


def test_a_card_that_was_changed_after_the_signing_is_refused_until_it_is_signed(bundle):
    replace_card(bundle, Card(scores={"kid": 0.0}))
    load_bundle(bundle)
    refused(bundle, "not the signature of this bundle")
    sign(bundle, *bundle_hashes(bundle), KEY)
    load_bundle(bundle, TRUSTED)


@pytest.mark.parametrize("byte", [0, 31, 32, 63])
def test_a_changed_signature_is_refused(bundle, byte):
    signature = bytearray(base64.b64decode(json.loads(signature_path(bundle).read_text())["signature"]))
    signature[byte] ^= 1
    rewrite(bundle, signature=base64.b64encode(signature).decode())
    refused(bundle, "not the signature of this bundle")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"algorithm": "none"}, "algorithm must be ed25519"),
        ({"signature": ""}, "signature must be 64 bytes in base64"),
        ({"signature": None}, "signature must be 64 bytes in base64"),
        ({"signature": "ü" * 88}, "no signature of a bundle"),
        ({"public_key": "A" * 43}, "public_key must be 32 bytes in base64"),
        ({"more": 1}, "exactly the fields algorithm, public_key, signature"),
    ],
)
def test_a_field_that_cannot_be_is_named(bundle, changes, reason):
    rewrite(bundle, **changes)
    refused(bundle, reason)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_signature_at_all_is_refused(bundle, content):
    signature_path(bundle).write_bytes(content)
    refused(bundle, "no signature of a bundle, or damaged")


def test_a_signature_that_cannot_be_read_is_named(bundle):
    signature_path(bundle).unlink()
    signature_path(bundle).mkdir()
    refused(bundle, r"tiny\.safetensors\.sig: cannot be read: Is a directory")
