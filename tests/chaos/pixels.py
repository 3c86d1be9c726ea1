"""Holds all images in the store to `model.sampling.Sampler` alone, bit for bit. Runs TensorFlow: do it last."""

from __future__ import annotations

import collections
import io
from pathlib import Path

import numpy as np
from PIL import Image

from worker.directory_store import DirectoryStore
from worker.png import is_whole_png, read_metadata
from worker.protocol import ProtocolError, SamplerName, image_name, parse_image_name

_ROWS = 8


def wrong_images(root: Path, bundle_path: Path) -> tuple[int, int, list[str]]:
    """Computes each image anew: those of the same steps eight at a time, one in twenty all alone.

    Returns:
        how many images there are, how many files were left half written aside, and what is wrong with which.
    """
    from model.bundle import load_bundle
    from model.sampling import Sampler

    bundle = load_bundle(bundle_path)
    sampler = Sampler(bundle)
    store = DirectoryStore(root)
    wrong: list[str] = []
    by_kind: dict[tuple[int, SamplerName], list[int]] = collections.defaultdict(list)
    aside = 0
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            address = parse_image_name(path.name)
        except ProtocolError:
            aside += 1
            if path.parent.name != ".incoming":
                wrong.append(f"{path.name} is no image")
            continue
        by_kind[address.steps, address.sampler].append(address.seed)
        if address.revision != bundle.revision or store.path(address.name) != path:
            wrong.append(f"{path.name} is of another bundle, or in the wrong place")
    number = 0
    for (steps, kind), seeds in sorted(by_kind.items()):
        for start in range(0, len(seeds), _ROWS):
            group = seeds[start : start + _ROWS]
            padded = group + group[:1] * (_ROWS - len(group))  # one shape is compiled
            for seed, pixels in zip(group, sampler.sample(padded, steps, kind), strict=False):
                number += 1
                if number % 20 == 0 and not np.array_equal(pixels, sampler.sample([seed], steps, kind)[0]):
                    wrong.append(f"seed {seed}, {steps} steps: the sampler disagrees with itself")
                name = image_name(bundle.revision, seed, steps, kind)
                data = store.get(name) or b""
                if not is_whole_png(data, bundle.image_size):
                    wrong.append(f"{name} is not whole")
                elif not np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels):
                    wrong.append(f"{name} has other pixels")
                elif read_metadata(data).get("bouquet:bundle-hash") != bundle.content_hash:
                    wrong.append(f"{name} names another bundle")
    return number, aside, wrong
