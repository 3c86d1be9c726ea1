"""A drawing of the U-Net: its resolutions as rows, the way down on the left, the way up on the right."""

from __future__ import annotations

from pathlib import Path

from model.config import NetworkConfig


def plot_network(config: NetworkConfig, image_size: int, path: Path) -> None:
    """Draw the network that ``build_network`` makes of ``config`` and save it as a PNG."""
    from matplotlib.figure import Figure

    levels = len(config.widths)
    figure = Figure(figsize=(9, 1.5 + 1.1 * levels), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(-1.2, 7.2), ylim=(-levels - 0.1, 1.6))
    finest = image_size // config.patch_size

    def box(x: float, y: float, text: str, colour: str) -> None:
        style = {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "0.4"}
        axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=style)

    def arrow(start: tuple[float, float], end: tuple[float, float], style: str = "-", label: str = "") -> None:
        axes.annotate(
            label,
            end,
            start,
            ha="center",
            fontsize=7,
            arrowprops={"arrowstyle": "->", "linestyle": style, "color": "0.4"},
        )

    told = "every block" if config.embed_in_blocks else "the input"
    box(0, 1, f"noisy images\n{image_size} x {image_size} x 3", "#dcead6")
    box(3, 1, f"noise variance, {config.embedding_dims} sines and cosines\nconcatenated, tells {told}", "#f6e3b4")
    predicted = "noises" if config.prediction == "noise" else "velocities"
    box(6, 1, f"predicted {predicted}\n{image_size} x {image_size} x 3", "#f3d3dc")
    arrow((0, 0.7), (0, 0.35))
    arrow((1.3, 0.9), (0.6, 0.3))
    arrow((6, 0.35), (6, 0.7))
    for level, width in enumerate(config.widths):
        side = finest // 2**level
        attention = ", attention" if level >= levels - config.attention_levels else ""
        text = f"{side} x {side}\n{config.block_depth} residual blocks, {width}{attention}"
        y = -level
        if level == levels - 1:
            box(3, y, text, "#e4def0")
            continue
        box(0, y, text, "#dcead6")
        box(6, y, text, "#f3d3dc")
        arrow((1.4, y), (4.6, y), "--")
        axes.text(3, y + 0.1, f"{config.block_depth} skips", ha="center", fontsize=7, color="0.4")
        last = level == levels - 2
        arrow((0.2, y - 0.3), (1.9, y - 0.9) if last else (0, y - 0.68))
        arrow((4.1, y - 0.9) if last else (6, y - 0.68), (5.8, y - 0.3) if last else (6, y - 0.3))
    figure.savefig(path, dpi=120)
