"""KID while a model trains, with features that cost nothing."""

from pathlib import Path

import pytest

from model.bundle import load_bundle
from model.dataset import Dataset
from model.kid import kid
from model.kid_watch import STEPS, KidWatch
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle
from tests.unit.model_evaluate.photos import colours, made_photos


def dataset(count: int) -> Dataset:
    return Dataset("made", {16: made_photos(0, 12)}, {16: made_photos(1, count)}, ())


def test_it_is_the_kid_of_the_first_seeds_against_the_validation_photos(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "tiny.safetensors"))
    flowers = Sampler(bundle).sample(range(40), STEPS)
    watch = KidWatch("colours", colours, dataset(10), images=40)
    assert watch(bundle) == kid(colours(made_photos(1, 10)), colours(flowers))
    assert watch(bundle) == watch(bundle)


def test_a_single_validation_photo_is_too_few() -> None:
    with pytest.raises(ValueError, match="needs two validation photos, there are 1"):
        KidWatch("colours", colours, dataset(1))
