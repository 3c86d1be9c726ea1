"""How soon the parts are there and what they weigh: ``bouquet api`` without TensorFlow, ``bouquet worker`` with it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import report
from benchmarks.stack import Part, answers, embedded_queue, free_port, wait_until


def main() -> None:
    """Print start times and resident memory."""
    report.heading("Start and memory")
    with TemporaryDirectory() as folder, embedded_queue(Path(folder)):
        home, port = Path(folder), free_port()
        with Part("api", home, "--port", str(port)) as api:
            seconds = wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/live"))
            rows = [("bouquet api", seconds, api.resident_mib(), _has_tensorflow(api.pid))]
            with Part("worker", home) as worker:
                seconds = wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"))
                rows.append(("bouquet worker", seconds, worker.resident_mib(), _has_tensorflow(worker.pid)))
    report.table(("part", "seconds until it answers, or is warmed up", "MiB resident", "TensorFlow loaded"), rows)


def _has_tensorflow(pid: int) -> str:
    return "yes" if "libtensorflow" in Path(f"/proc/{pid}/maps").read_text() else "no"
