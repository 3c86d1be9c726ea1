"""A workshop is opened with the bundle that the settings want, and with no other."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model.bundle import Bundle, BundleError, bundle_hashes
from model.signature import public_key_text, sign
from tests.bundles import make_tiny_bundle
from worker.engine import AdvancingSampler
from worker.opening import open_workshop
from worker.settings import WorkerSettings


class AcceptedError(Exception):
    """Ends an opening before anything is compiled."""


def accepted(bundle: Bundle) -> AdvancingSampler:
    raise AcceptedError(bundle.content_hash)


def open_with(bundle: Path, public_keys: str | None) -> None:
    environ = {"BOUQUET_REDIS_URL": "redis://nowhere", "BOUQUET_STORE": str(bundle.parent / "images")}
    environ |= {"BOUQUET_BUNDLE": str(bundle)} | ({"BOUQUET_BUNDLE_PUBLIC_KEYS": public_keys} if public_keys else {})
    open_workshop(WorkerSettings.from_environ(environ), accepted)


def test_a_bundle_is_served_only_with_a_signature_where_one_is_asked_for(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.safetensors")
    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    wanted = public_key_text(ours)

    with pytest.raises(AcceptedError):
        open_with(bundle, None)
    with pytest.raises(BundleError, match=r"BOUQUET_BUNDLE_PUBLIC_KEYS.*nobody has signed"):
        open_with(bundle, wanted)
    sign(bundle, *bundle_hashes(bundle), theirs)
    with pytest.raises(BundleError, match="none of those that are trusted"):
        open_with(bundle, wanted)
    sign(bundle, *bundle_hashes(bundle), ours)
    with pytest.raises(AcceptedError):
        open_with(bundle, f"{public_key_text(theirs)}, {wanted}")
    make_tiny_bundle(bundle, seed=1)
    with pytest.raises(BundleError, match="not the signature of this bundle"):
        open_with(bundle, wanted)
