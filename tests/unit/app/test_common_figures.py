"""The figures that several processes count together, while one of them starts or ends."""

from __future__ import annotations

from pathlib import Path

from app.metrics import FrontEndMetrics


def test_a_process_that_is_just_starting_keeps_nobody_from_the_others_figures(tmp_path: Path) -> None:
    metrics = FrontEndMetrics(tmp_path)
    (tmp_path / "counter_7.db").touch()  # as prometheus_client makes it: empty at first
    (tmp_path / "gauge_livesum_8.db").symlink_to(tmp_path / "gone")  # listed, and removed before it is read
    assert [family.name for family in metrics.shown.collect()] == ["python_info"]
