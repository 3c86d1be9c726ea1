"""Who waits for which image, and who has got all of them."""

import pytest

from worker.order_book import OrderBook
from worker.protocol import GenerationRequest, ImageKey, ImageRecord

REVISION = "0123456789ab"


def record(key: ImageKey) -> ImageRecord:
    return ImageRecord(key.seed, key.name(REVISION), 8, 8, 99, "ab" * 32)


def test_a_job_that_has_all_its_images_succeeds_with_them_in_order() -> None:
    book = OrderBook(REVISION)
    keys = book.open("job", GenerationRequest(5, 10, 3))
    assert [key.seed for key in keys] == [10, 11, 12]
    assert book.deliver("job", keys[2], record(keys[2])) is None
    assert book.deliver("job", keys[0], record(keys[0])) is None
    assert set(book.wanted) == {keys[1]}
    end = book.deliver("job", keys[1], record(keys[1]))
    assert end is not None
    assert [image.seed for image in end.result.images] == [10, 11, 12]
    assert end.result.revision == REVISION
    assert not book
    assert not set(book.wanted)


def test_an_image_that_several_want_is_wanted_until_the_last_has_it() -> None:
    book = OrderBook(REVISION)
    (first, *_) = book.open("b", GenerationRequest(5, 10, 2))
    book.open("a", GenerationRequest(5, 10))
    assert book.wanting(first) == ["a", "b"]
    assert book.deliver("a", first, record(first)) is not None
    assert book.wanting(first) == ["b"]
    book.drop("b")
    assert book.wanting(first) == []
    assert not set(book.wanted)
    book.drop("b")


def test_a_job_is_here_once() -> None:
    book = OrderBook(REVISION)
    book.open("job", GenerationRequest(5, 10))
    with pytest.raises(ValueError, match="here already"):
        book.open("job", GenerationRequest(5, 10))
    assert "job" in book
    book.drop("job")
    assert "job" not in book
    book.open("job", GenerationRequest(5, 10))
