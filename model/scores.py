"""The scores of a bundle as they stand in its card: a JSON object, a table, a plot.

The object has ``protocol`` (how it was measured), ``photos`` (what training photos themselves would get) and
``by_steps``, a row for each number of diffusion steps. A row's figures are objects: ``mean`` over the ranges of seeds,
``spread`` (their standard deviation; null where there was one range only) and ``ranges``, each range's own value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Figures = dict[str, float]
"""Name -> value: ``kid_<features>``, ``kid_<features>_resampled`` (its spread by resampling), ``precision_<features>``,
``recall_<features>``; and ``memorised``, the share of images that are copies of training photos."""

_DIGITS = 5
_NAMES = {"kid": "KID", "precision": "precision", "recall": "recall", "memorised": "memorised"}


def step_row(steps: int, ranges: Sequence[Figures], sampler: str = "ddim") -> dict[str, Any]:
    """The row of one number of steps by one sampler, from the figures of its ranges of seeds."""
    row: dict[str, Any] = {"steps": steps, "sampler": sampler}
    for name in ranges[0]:
        values = [figures[name] for figures in ranges]
        row[name] = {
            "mean": round(float(np.mean(values)), _DIGITS),
            "spread": round(float(np.std(values, ddof=1)), _DIGITS) if len(values) > 1 else None,
            "ranges": [round(value, _DIGITS) for value in values],
        }
    return row


def card_scores(protocol: dict[str, Any], photos: Figures, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole object, as it goes into the card."""
    return {
        "protocol": protocol,
        "photos": {name: round(value, _DIGITS) for name, value in photos.items()},
        "by_steps": list(rows),
    }


def scores_table(scores: dict[str, Any]) -> str:
    """The scores as a Markdown table, with a line on how they were measured."""
    names = [name for name, value in scores["by_steps"][0].items() if _is_figure(name, value)]
    lines = [[" steps ", *(f" {_title(name)} " for name in names)], ["---"] * (len(names) + 1)]
    lines += [[f" {row_title(row)} ", *(f" {_cell(row[name])} " for name in names)] for row in scores["by_steps"]]
    photos = scores["photos"]
    lines.append([" photos ", *(f" {photos[name]:.4f} " if name in photos else " " for name in names)])
    table = "\n".join(f"|{'|'.join(cells)}|" for cells in lines)
    protocol = scores["protocol"]
    return (
        f"{table}\n\n"
        "KID: less is better. The others are shares, of which memorised should be 0. Mean and standard deviation over "
        f"{protocol['seed_ranges']} x {protocol['images']} images, seeds from 0, against {protocol['real_photos']} "
        f"photos not trained on, at {protocol['image_size']} px. Last row: training photos against the same."
    )


def plot_scores(scores: dict[str, Any], path: Path) -> None:
    """KID over the steps, with its spread and what photos would get; a panel for each kind of features."""
    from matplotlib.figure import Figure

    rows = scores["by_steps"]
    kinds = [name for name, value in rows[0].items() if name.startswith("kid_") and _is_figure(name, value)]
    figure = Figure(figsize=(4.5 * len(kinds), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        steps = sorted({row["steps"] for row in rows})
        samplers = list(dict.fromkeys(_sampler_of(row) for row in rows))
        for sampler in samplers:
            own = [row for row in rows if _sampler_of(row) == sampler]
            figures = [row[name] for row in own]
            axes.errorbar(
                [row["steps"] for row in own],
                [figure["mean"] for figure in figures],
                yerr=[figure["spread"] or 0.0 for figure in figures],
                marker="o",
                capsize=3,
                label="generated" if samplers == ["ddim"] else f"generated, {sampler}",
            )
        axes.axhline(scores["photos"][name], color="0.5", linestyle="--", label="photos")
        axes.set(title=_title(name), xlabel="diffusion steps", xscale="log")
        # From 0, as far as photos are not below it: an unbiased estimate of nothing is so half of the time.
        axes.set_ylim(bottom=min(0.0, 1.5 * scores["photos"][name]))
        axes.set_xticks(steps, [str(count) for count in steps])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def row_title(row: dict[str, Any]) -> str:
    """What a row is of: ``20``, or ``20 multistep``."""
    return str(row["steps"]) if _sampler_of(row) == "ddim" else f"{row['steps']} {_sampler_of(row)}"


def _sampler_of(row: dict[str, Any]) -> str:
    """Cards from before there was a choice do not say."""
    sampler: str = row.get("sampler", "ddim")
    return sampler


def _is_figure(name: str, value: Any) -> bool:
    return isinstance(value, dict) and not name.endswith("_resampled")


def _title(name: str) -> str:
    figure, _, features = name.partition("_")
    return f"{_NAMES[figure]}, {features}" if features else _NAMES[figure]


def _cell(figure: dict[str, Any]) -> str:
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.4f}"
    return f"{figure['mean']:.4f}{spread}"
