"""A part with real processes: every line arrives, every end is noticed, nothing it started stays."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

from app.console import Console
from app.part import Part
from tests.processes import group_is_gone, poll


def make(script: str) -> tuple[Part, io.StringIO]:
    def launch() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-u", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    stream = io.StringIO()
    return Part("part", launch, Console(stream, ["part"])), stream


def run(part: Part, work: Coroutine[Any, Any, int | None]) -> int | None:
    async def main() -> int | None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, part.check)
        part.start()
        return await asyncio.wait_for(work, 30)

    return asyncio.run(main())


async def until_up(stream: io.StringIO) -> None:
    """Poll: what writes to the stream is the loop's own callback. `run` sets the deadline."""
    while "up" not in stream.getvalue():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_every_line_arrives_the_last_without_its_end_too() -> None:
    part, stream = make("for i in range(20000): print(i)\nprint('last', end='')")
    assert run(part, part.ended()) == 0
    assert stream.getvalue() == "".join(f"part | {i}\n" for i in range(20000)) + "part | last\n"


def test_bytes_that_are_no_text_and_very_long_lines_do_no_harm() -> None:
    part, stream = make("import sys; sys.stdout.buffer.write(b'\\xff' + b'x' * 300000 + b'\\nend\\n')")
    assert run(part, part.ended()) == 0
    assert stream.getvalue().startswith("part | \ufffdxxx")
    assert stream.getvalue().count("x") == 300000
    assert stream.getvalue().endswith("part | end\n")


def test_what_a_process_started_ends_with_it() -> None:
    part, stream = make(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(child.pid)"
    )
    assert run(part, part.ended()) == 0
    grandchild = int(stream.getvalue().split("|")[1])
    # Its group is that of the part, which is gone as a whole.
    poll(lambda: _ended(grandchild), "the grandchild ended")


def _ended(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up')\nwhile True: signal.pause()"


def stop_stubborn(hurried: bool) -> str:
    part, stream = make(STUBBORN)

    async def stop() -> int | None:
        await until_up(stream)
        group, hurry = part.process_id, asyncio.Event()
        if hurried:
            hurry.set()
        code = await part.stop(60 if hurried else 0.2, hurry)
        assert group is not None
        assert group_is_gone(group)
        return code

    assert run(part, stop()) == -signal.SIGKILL
    return stream.getvalue()


def test_a_part_that_does_not_end_in_time_is_forced() -> None:
    assert stop_stubborn(hurried=False).endswith("part | did not end in time: forced\n")


def test_a_part_is_forced_long_before_its_time_when_it_must_hurry() -> None:
    assert stop_stubborn(hurried=True).endswith("part | did not end in time: forced\n")


def test_a_part_that_ends_in_time_is_not_forced_and_stopping_twice_is_no_error() -> None:
    part, stream = make("import signal; print('up'); signal.pause()")

    async def stop() -> int | None:
        await until_up(stream)
        code = await part.stop(30, asyncio.Event())
        assert await part.stop(30, asyncio.Event()) is None
        return code

    assert run(part, stop()) == -signal.SIGTERM
    assert stream.getvalue() == "part | up\n"


def test_a_part_can_be_started_again() -> None:
    part, stream = make("print('up')")

    async def twice() -> int | None:
        await part.ended()
        part.start()
        return await part.ended()

    assert run(part, twice()) == 0
    assert stream.getvalue() == "part | up\n" * 2
