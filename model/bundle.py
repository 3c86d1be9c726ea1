"""The serving artefact: one file with all that makes the pixels, and one hash over it.

A bundle is a safetensors file (no code in it, and any safetensors reader opens it). Its tensors are the averaged
weights; its metadata holds two JSON documents: ``model``, which together with the tensors decides every pixel, and
``card``, which tells where it comes from. Each has its own SHA-256, so that a new score in the card leaves the flowers'
addresses as they are. Loading needs none of the training code. Who stands behind a bundle tells its signature, in a
file beside it (``model/signature.py``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.atomic import write_atomically
from model.config import NetworkConfig, network_from_json, network_to_json
from model.guidance import Guidance
from model.lean_keras import keras  # before whatever else imports it: this is the first file of a worker's model
from model.network import build_network
from model.normaliser import Normaliser
from model.schedule import Schedule
from model.signature import SignatureError, check_signature

FORMAT = "bouquet-bundle"
VERSION = 1
SUFFIX = ".safetensors"
REVISION_LENGTH = 12


class BundleError(Exception):
    """The file is no bundle that can be served; the message says why and what to do."""


class BundleHashes(NamedTuple):
    """SHA-256 of what makes the pixels, and of the card: 64 hex digits each."""

    content_hash: str
    card_hash: str


@dataclass(frozen=True)
class Card:
    """Where a bundle comes from and how good it is. Changes nothing about its pixels."""

    training_data: dict[str, Any] = field(default_factory=dict)
    """Source, number of photos, hash of their pixels."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The resolved training options, and what was seen: steps, images, minutes, losses."""
    scores: dict[str, Any] = field(default_factory=dict)
    """As measured by ``bouquet evaluate``; empty if never measured."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model, ready to be sampled from.

    ``network`` holds the averaged weights; ``image_size`` is the side of its images in pixels; ``content_hash`` is the
    SHA-256 over everything that makes the pixels, 64 hex digits, and ``revision`` its first twelve, used in addresses.
    """

    name: str
    network_config: NetworkConfig
    schedule: Schedule
    normaliser: Normaliser
    image_size: int
    precision: str
    """The Keras dtype policy that the network computes with: it decides pixels too."""
    network: keras.Model
    content_hash: str
    card: Card
    class_names: tuple[str, ...] = ()
    """Of the kinds of flower that the network can be told, in the order of their numbers."""
    class_counts: tuple[int, ...] = ()
    """Training photos of each, by which a seed's class is drawn."""
    guidance: Guidance = field(default_factory=Guidance)

    @property
    def revision(self) -> str:
        return self.content_hash[:REVISION_LENGTH]

    @property
    def pixel_mean(self) -> npt.NDArray[np.float32]:
        return self.normaliser.mean

    @property
    def pixel_std(self) -> npt.NDArray[np.float32]:
        return self.normaliser.std

    def description(self) -> dict[str, Any]:
        """What ``GET /model`` answers, as a JSON object."""
        return {
            "name": self.name,
            "content_hash": self.content_hash,
            "revision": self.revision,
            "image_size": self.image_size,
            "precision": self.precision,
            "parameters": self.network.count_params(),
            "network": dataclasses.asdict(self.network_config),
            "schedule": self.schedule.to_json(),
            "classes": list(self.class_names),
            "guidance": self.guidance.to_json(),
            "training_data": self.card.training_data,
            "recipe": self.card.recipe,
            "scores": self.card.scores,
        }


def default_bundle_path() -> Path:
    """The trained bundle that ships with Bouquet."""
    return Path(__file__).parent / "bundles" / f"flowers64{SUFFIX}"


def save_bundle(
    path: Path,
    *,
    name: str,
    network: keras.Model,
    network_config: NetworkConfig,
    schedule: Schedule,
    normaliser: Normaliser,
    image_size: int,
    precision: str = "float32",
    card: Card | None = None,
    class_names: tuple[str, ...] = (),
    class_counts: tuple[int, ...] = (),
    guidance: Guidance | None = None,
) -> str:
    """Write a bundle, whole or not at all, and return its content hash."""
    tensors = {
        _tensor_name(index): np.asarray(keras.ops.convert_to_numpy(variable.value), order="C")
        for index, variable in enumerate(network.variables)
    }
    model = {
        "name": name,
        "image_size": image_size,
        "precision": precision,
        "network": network_to_json(network_config),
        "schedule": schedule.to_json(),
        "pixel_mean": [float(value) for value in normaliser.mean],
        "pixel_std": [float(value) for value in normaliser.std],
        "tensors": len(tensors),
    }
    if network_config.classes:
        model["classes"] = {"names": list(class_names), "counts": list(class_counts)}
        model["guidance"] = (guidance or Guidance()).to_json()
    return _write(path, tensors, _canonical(model), card or Card())


def replace_card(path: Path, card: Card) -> None:
    """Give a bundle another card; its pixels, and so its content hash, stay as they are."""
    tensors, metadata = _read(path)
    _write(path, tensors, metadata["model"], card)


def tune_bundle(
    path: Path, target: Path, guidance: Guidance | None = None, multistep_time_power: float | None = None
) -> str:
    """Write a bundle with the same weights to ``target`` that samples in another way, and return its content hash.

    What is None stays as it is. Its pixels become others, so it is another bundle: scores and signature of the one it
    was are not its own.

    Raises:
        BundleError: as ``load_bundle``, or its network is told of no classes, so that nothing guides it.
        ValueError: images of its size cannot be guided so, or there is no such power.
    """
    tensors, metadata = _read(path)
    model, card = json.loads(metadata["model"]), Card(**json.loads(metadata["card"]))
    changed = {}
    if guidance is not None:
        if "guidance" not in model:
            raise BundleError(f"{path}: its network is told of no kinds of flowers, by which it could be guided")
        guidance.check_side(model["image_size"])
        changed["guidance"] = guidance.to_json()
    if multistep_time_power is not None:
        schedule = dataclasses.replace(Schedule(**model["schedule"]), multistep_time_power=multistep_time_power)
        changed["schedule"] = schedule.to_json()
    recipe = {**card.recipe, "tuned_from": {"content_hash": metadata["content_hash"], "name": model["name"]}}
    if "options" in recipe:
        recipe["options"] = {**recipe["options"], **changed}
    return _write(
        target, tensors, _canonical({**model, **changed}), dataclasses.replace(card, recipe=recipe, scores={})
    )


def bundle_hashes(path: Path) -> BundleHashes:
    """The hashes of the bundle at ``path``, computed anew and compared with those in it.

    Raises:
        BundleError: as ``load_bundle``.
    """
    return _hashes(_read(path)[1])


def load_bundle(path: str | os.PathLike[str], trusted: Collection[str] = ()) -> Bundle:
    """Read and check a bundle.

    Args:
        path: the bundle.
        trusted: public keys, one of which must have signed it (``model/signature.py``); none: it needs no signature.

    Raises:
        BundleError: the file is missing, truncated, changed since it was written, of another version, no bundle, or
            signed by none of the keys.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    if trusted:
        # By the hashes of the very bytes that are used below: the file may be another one by now.
        try:
            check_signature(path, *_hashes(metadata), trusted)
        except SignatureError as error:
            raise BundleError(
                f"{path}: not signed by a key that is trusted (BOUQUET_BUNDLE_PUBLIC_KEYS): {error}"
            ) from error
    try:
        model = json.loads(metadata["model"])
        config = network_from_json(model["network"])
        network = build_network(config, model["image_size"], model["precision"], seed=None)
        values = [tensors[_tensor_name(index)] for index in range(model["tensors"])]
        if [value.shape for value in values] != [tuple(variable.shape) for variable in network.variables]:
            raise ValueError("the weights do not have the shapes of the network")
        for variable, value in zip(network.variables, values, strict=True):
            variable.assign(value)
        classes = model.get("classes", {"names": [], "counts": []})
        if not len(classes["names"]) == len(classes["counts"]) == config.classes:
            raise ValueError("the names and counts of its classes are not as many as its network can be told")
        guidance = Guidance(**model.get("guidance", {}))
        guidance.check_side(model["image_size"])
        return Bundle(
            name=model["name"],
            network_config=config,
            schedule=Schedule(**model["schedule"]),
            normaliser=Normaliser(np.array(model["pixel_mean"], np.float32), np.array(model["pixel_std"], np.float32)),
            image_size=model["image_size"],
            precision=model["precision"],
            network=network,
            content_hash=metadata["content_hash"],
            card=Card(**json.loads(metadata["card"])),
            class_names=tuple(classes["names"]),
            class_counts=tuple(classes["counts"]),
            guidance=guidance,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: made by another version of Bouquet, or damaged: {error}") from error


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Tensors and metadata of a bundle whose hashes are right."""
    if not path.is_file():
        raise BundleError(
            f"{path}: there is no such file; train one with `bouquet train`, or leave BOUQUET_BUNDLE unset"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            if metadata.get("format") != FORMAT:
                raise BundleError(f"{path}: a safetensors file, but no Bouquet bundle")
            if metadata.get("version") != str(VERSION):
                raise BundleError(
                    f"{path}: bundle version {metadata.get('version')}, this Bouquet reads version {VERSION}; "
                    "use the Bouquet that made it, or train it again"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise BundleError(f"{path}: truncated, or not a bundle at all ({error}); fetch it again") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    if metadata.keys() != {"format", "version", "model", "content_hash", "card", "card_hash"}:
        raise BundleError(f"{path}: its metadata are incomplete; fetch it again")
    if _content_hash(metadata["model"], tensors) != metadata["content_hash"]:
        raise BundleError(f"{path}: the content does not match its hash, so it was changed or damaged; fetch it again")
    if _sha256(metadata["card"]) != metadata["card_hash"]:
        raise BundleError(f"{path}: the card does not match its hash, so it was changed or damaged; fetch it again")
    return tensors, metadata


def _hashes(metadata: dict[str, str]) -> BundleHashes:
    """Of the metadata that ``_read`` found to be right."""
    return BundleHashes(metadata["content_hash"], metadata["card_hash"])


def _write(path: Path, tensors: dict[str, npt.NDArray[Any]], model: str, card: Card) -> str:
    content_hash = _content_hash(model, tensors)
    card_text = _canonical(dataclasses.asdict(card))
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "model": model,
        "content_hash": content_hash,
        "card": card_text,
        "card_hash": _sha256(card_text),
    }
    write_atomically(path, save(tensors, metadata))
    return content_hash


def _content_hash(model: str, tensors: dict[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {VERSION}\n{model}\n".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(struct.pack("<Q", tensor.nbytes))
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _tensor_name(index: int) -> str:
    """Weights are told apart by their order in the network, which its config fixes."""
    return f"weight.{index:04d}"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
