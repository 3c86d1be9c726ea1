"""The course of a training run: a row an epoch, as CSV, as TensorBoard scalars and as a plot."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from model.atomic import write_atomically


@dataclass(frozen=True)
class EpochRow:
    """One epoch. Losses are means over the epoch, in units of the noise's and the normalised image's deviation."""

    epoch: int
    """From 1."""
    step: int
    images: int
    """Seen since the start."""
    seconds: float
    """Of training since the start, pauses between resumed runs left out."""
    image_size: int
    learning_rate: float
    """At the end of the epoch."""
    noise_loss: float
    image_loss: float
    validation_noise_loss: float
    """Of the averaged network."""
    validation_image_loss: float
    validation_kid: float | None = None
    """Of the averaged network's flowers; None where it is not tracked."""


class History:
    """All rows so far. It is kept in the checkpoint, so that its files never hold what a crash has undone."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.rows = [EpochRow(**row) for row in rows]
        self._folder = folder

    def add(self, row: EpochRow) -> None:
        self.rows.append(row)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.rows]

    def write_csv(self) -> None:
        """``history.csv``, the whole of it."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [column.name for column in fields(EpochRow)])
        writer.writeheader()
        writer.writerows(self.to_json())
        write_atomically(self._folder / "history.csv", text.getvalue().encode())

    def write_scalars(self) -> None:
        """The newest row to ``tensorboard/``."""
        from tensorboard.summary import Writer

        row = asdict(self.rows[-1])
        writer = Writer(str(self._folder / "tensorboard"))
        for name, value in row.items():
            if name not in ("epoch", "step") and value is not None:
                writer.add_scalar(name, value, step=row["step"])
        writer.close()

    def plot(self) -> None:
        """``loss.png``: both losses, trained and validated, and KID if it is tracked, over the images seen."""
        from matplotlib.figure import Figure

        with_kid = any(row.validation_kid is not None for row in self.rows)
        panels = ["noise", "image", "kid"] if with_kid else ["noise", "image"]
        figure = Figure(figsize=(4.5 * len(panels), 3.6), layout="constrained")
        images = [row.images / 1000 for row in self.rows]
        for axes, kind in zip(figure.subplots(1, len(panels)), panels, strict=True):
            if kind == "kid":
                kids = [math.nan if row.validation_kid is None else row.validation_kid for row in self.rows]
                axes.plot(images, kids, marker=".", label="validation (EMA)")
                axes.set(title="KID", xlabel="training images, thousands")
            else:
                axes.plot(images, [getattr(row, f"{kind}_loss") for row in self.rows], label="training")
                validated = [getattr(row, f"validation_{kind}_loss") for row in self.rows]
                axes.plot(images, validated, label="validation (EMA)")
                axes.set(title=f"{kind} loss", xlabel="training images, thousands", ylabel="mean error")
            previous = None
            for row in self.rows:
                if previous is not None and row.image_size != previous.image_size:
                    axes.axvline(
                        previous.images / 1000, color="0.7", linestyle=":", label=f"{row.image_size} px from here"
                    )
                previous = row
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self._folder / "loss.png", dpi=120)
