import io

import pytest

from app.progress_line import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_says_how_far_how_fast_and_how_long(clock: Clock) -> None:
    terminal = Terminal()
    line = ProgressLine(terminal, 1000, "images", clock=clock)
    line.update(100)  # there already: not of this run's making
    clock.now += 10
    line.update(200)
    shown = terminal.getvalue().split("\r")[-1]
    assert "200/1000 images" in shown
    assert "10.0/s, 1:20 left" in shown
    clock.now += 0.01
    line.update(201)  # too soon
    assert terminal.getvalue().endswith(shown)
    line.update(1000)  # but the last is always shown
    assert "1000/1000" in terminal.getvalue()
    line.close()
    assert terminal.getvalue().endswith("\n")


def test_a_note_takes_the_place_of_the_time(clock: Clock) -> None:
    terminal = Terminal()
    ProgressLine(terminal, 10, "steps", clock=clock).update(0, "waiting in the queue")
    assert "0/10 steps  waiting in the queue" in terminal.getvalue()


def test_nothing_where_nobody_looks_on(clock: Clock) -> None:
    file = io.StringIO()
    line = ProgressLine(file, 10, "steps", clock=clock)
    line.update(10)
    line.close()
    assert file.getvalue() == ""


def test_a_shorter_text_covers_a_longer_one(clock: Clock) -> None:
    terminal = Terminal()
    line = ProgressLine(terminal, 10, "steps", clock=clock)
    line.update(0, "a rather long note")
    clock.now += 1
    line.update(10)
    first, second = terminal.getvalue().split("\r")[1:]
    assert len(second) >= len(first)
