"""`bouquet bundle`: from a new key to a bundle that is known to be somebody's, in the words of the command."""

import os
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from model.bundle import Card, load_bundle, replace_card
from model.bundle_command import main
from model.guidance import Guidance
from model.sampling import Sampler
from model.signing_key import read_signing_key
from tests.bundles import make_tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


@pytest.fixture
def bundle(original, tmp_path) -> Path:
    shutil.copy(original, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def key(tmp_path) -> Path:
    assert main(["keygen", str(tmp_path / "key.pem")]) == 0
    return tmp_path / "key.pem"


def printed(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.strip()


def complaint(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bouquet bundle: ")
    return captured.err


def test_a_key_signs_and_its_public_half_verifies(bundle, tmp_path, capsys):
    public_key = printed(capsys, "keygen", tmp_path / "key.pem")
    assert printed(capsys, "sign", bundle, "--key", tmp_path / "key.pem") == f"{bundle}.sig"
    signed = printed(capsys, "verify", bundle, "--public-key", public_key)
    assert signed.splitlines()[0] == f"content {load_bundle(bundle, [public_key]).content_hash}"
    assert signed.splitlines()[-1] == f"signed by {public_key}"
    assert printed(capsys, "verify", bundle) == signed
    another = printed(capsys, "keygen", tmp_path / "another.pem")
    assert another != public_key
    assert "none of those that are trusted" in complaint(capsys, "verify", bundle, "--public-key", another)
    both = ("--public-key", another, "--public-key", public_key)
    assert printed(capsys, "verify", bundle, *both) == signed


def test_what_is_not_as_it_was_signed_is_told(bundle, key, capsys):
    assert "there is no such file" in complaint(capsys, "verify", bundle)
    printed(capsys, "sign", bundle, "--key", key)
    replace_card(bundle, Card())
    assert "changed after the signing" in complaint(capsys, "verify", bundle)
    assert "no such file" in complaint(capsys, "verify", bundle.with_name("nothing"))


def test_no_bundle_is_not_signed(tmp_path, key, capsys):
    other = tmp_path / "other"
    other.write_bytes(bytes(1000))
    assert "not a bundle" in complaint(capsys, "sign", other, "--key", key)
    assert not (tmp_path / "other.sig").exists()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_new_key_is_its_owners_alone(tmp_path, capsys, mask):
    before = os.umask(mask)
    try:
        printed(capsys, "keygen", tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(tmp_path, key, capsys):
    before = key.read_bytes()
    assert "never overwritten" in complaint(capsys, "keygen", key)
    assert key.read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "never overwritten" in complaint(capsys, "keygen", tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
    assert "No such file" in complaint(capsys, "keygen", tmp_path / "no" / "folder")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_may_use_is_refused(bundle, key, capsys, mode):
    key.chmod(mode)
    assert "others than its owner" in complaint(capsys, "sign", bundle, "--key", key)
    assert not bundle.with_name("tiny.safetensors.sig").exists()
    key.chmod(0o400)
    printed(capsys, "sign", bundle, "--key", key)


def pem(key, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no private key in PEM"),
        (b"secret words", "no private key in PEM"),
        (pem(generate_private_key(SECP256R1()), NoEncryption()), "not an Ed25519 one"),
        (pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"words")), "is encrypted"),
    ],
)
def test_a_file_that_is_no_key_is_named_and_not_shown(bundle, key, capsys, content, reason):
    key.write_bytes(content)
    told = complaint(capsys, "sign", bundle, "--key", key)
    assert str(key) in told
    assert reason in told
    assert "words" not in told


def test_keys_of_openssl_are_read(key, tmp_path):
    """The other way round, where it is installed: openssl knows ours."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl here")
    read = subprocess.run([openssl, "pkey", "-in", key, "-noout", "-text"], capture_output=True, text=True, check=True)
    assert "ED25519" in read.stdout.upper()
    made = tmp_path / "made.pem"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", made], capture_output=True, check=True)
    made.chmod(0o600)
    assert isinstance(read_signing_key(made), Ed25519PrivateKey)


def test_a_bundle_guided_in_another_way_is_another_with_the_same_weights(tmp_path, capsys):
    path = make_tiny_bundle(tmp_path / "tiny.safetensors", classes=3)
    options = {"guidance": load_bundle(path).guidance.to_json(), "batch_size": 8}
    replace_card(path, Card(recipe={"options": options}, scores={"by_steps": []}))
    bundle, target = load_bundle(path), tmp_path / "guided.safetensors"
    content_hash = printed(capsys, "tune", path, target, "--guidance", "3,2:0.7,1.4:0.7:0.9")
    guided = load_bundle(target)
    assert guided.content_hash == content_hash != bundle.content_hash
    assert guided.guidance == Guidance(3.0, 2.0, 0.7, 1.4, 0.7, 0.9)
    # The scores were those of other flowers.
    assert guided.card.scores == {}
    assert guided.card.recipe["options"] == {"guidance": guided.guidance.to_json(), "batch_size": 8}
    assert guided.card.recipe["tuned_from"] == {"content_hash": bundle.content_hash, "name": "tiny"}
    for variable, other in zip(bundle.network.variables, guided.network.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(other))
    assert (Sampler(bundle).sample([7], 3) != Sampler(guided).sample([7], 3)).any()
    back = tmp_path / "back.safetensors"
    assert printed(capsys, "tune", target, back, "--guidance", "1.5,1.2:0.8,1.2:0.7:0.95,1.3:8") == bundle.content_hash


def test_a_bundle_that_cannot_be_guided_so_is_told(bundle, tmp_path, capsys):
    target = tmp_path / "guided.safetensors"
    assert "no kinds of flowers" in complaint(capsys, "tune", bundle, target, "--guidance", "3")
    assert "is not WEIGHT" in complaint(capsys, "tune", bundle, target, "--guidance", "much")
    told = make_tiny_bundle(tmp_path / "told.safetensors", classes=3)
    answer = complaint(capsys, "tune", told, target, "--guidance", "3,3:0,1:0:1,2:5")
    assert "coarse_cells must divide the side of the images, 16 pixels, got 5" in answer
    assert "there is a file already" in complaint(capsys, "tune", bundle, bundle, "--guidance", "3")
    assert "no such file" in complaint(capsys, "tune", tmp_path / "nothing", target, "--guidance", "3")
    answer = complaint(capsys, "tune", told, target, "--multistep-time-power", "0")
    assert "multistep_time_power must be above 0, got 0.0" in answer
    assert not target.exists()


def test_a_bundle_may_be_given_other_multisteps_alone(bundle, tmp_path, capsys):
    target = tmp_path / "tuned.safetensors"
    content_hash = printed(capsys, "tune", bundle, target, "--multistep-time-power", "2")
    before, after = Sampler(load_bundle(bundle)), Sampler(load_bundle(target))
    assert after.bundle.content_hash == content_hash != before.bundle.content_hash
    assert after.bundle.schedule.multistep_time_power == 2.0
    np.testing.assert_array_equal(before.sample([7], 5), after.sample([7], 5))
    assert (before.sample([7], 5, "multistep") != after.sample([7], 5, "multistep")).any()


@pytest.mark.parametrize("arguments", [[], ["sing"], ["sign", "x"], ["keygen"], ["verify"], ["tune", "x", "y"]])
def test_wrong_options_are_told(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "bouquet bundle" in capsys.readouterr().err
