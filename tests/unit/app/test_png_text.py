import numpy as np
import pytest

from app.png_text import png_text
from worker.png import encode_png

PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize("kind", ["canna lily", "Gänseblümchen", "百合", ""])
def test_what_the_worker_writes_is_read(kind: str) -> None:
    png = encode_png(PIXELS, {"Software": "Bouquet", "bouquet:kind": kind, "bouquet:steps": "20"})
    assert png_text(png, "bouquet:kind") == kind
    assert png_text(png, "bouquet:steps") == "20"


def test_a_text_that_is_not_there() -> None:
    png = encode_png(PIXELS, {"bouquet:kinds": "many", "a": "bouquet:kind"})
    assert png_text(png, "bouquet:kind") is None


def test_what_is_no_png_or_is_cut_off_has_none() -> None:
    png = encode_png(PIXELS, {"bouquet:kind": "rose"})
    assert png_text(b"", "bouquet:kind") is None
    assert png_text(b"RIFF" + png[4:], "bouquet:kind") is None
    for length in range(png.index(b"bouquet:kind")):
        assert png_text(png[:length], "bouquet:kind") is None
