"""MODEL_CARD.md: what a bundle is, where it comes from, how good it is, what it is not for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from model.atomic import write_atomically
from model.bundle import Bundle
from model.scores import scores_table

_PURPOSE = """\
A flower depends on the bundle, the seed and the number of steps alone. It is meant for pictures of flowers: for play,
for tests of image services, for teaching how diffusion works. It knows nothing but flowers, and at a size at which
botany cannot be read off them."""

_METHOD = """\
Deterministic sampling of Song, Meng and Ermon 2021 (Denoising Diffusion Implicit Models); network and recipe after the
Keras example of that name by András Béres."""

_TOLD_ELSEWHERE = {"network", "schedule", "guidance"}
"""Options that have a line of their own."""


def write_model_card(folder: Path, bundle: Bundle, pictures: bool = True) -> None:
    """Write the card of ``bundle`` into ``folder``, with links to the run's pictures there if ``pictures``."""
    write_atomically(folder / "MODEL_CARD.md", model_card(bundle, pictures).encode())


def model_card(bundle: Bundle, pictures: bool = True) -> str:
    """The card as Markdown."""
    card = bundle.card
    options: dict[str, Any] = card.recipe.get("options", {})
    trained: dict[str, Any] = card.recipe.get("trained", {})
    parts = [
        f"# {bundle.name}",
        (
            f"A denoising diffusion model of flowers, {bundle.image_size} x {bundle.image_size} pixels, "
            f"{bundle.network.count_params():,} parameters. Content hash `{bundle.content_hash}`."
        ),
    ]
    if pictures:
        parts.append("![Flowers of seeds 0 to 31](samples.png)")
    parts += [
        "## Use",
        "```\nbouquet generate --bundle bundle.safetensors --seed 7 --steps 20 -o flower.png\n```",
        _PURPOSE,
        "## Training data",
        _table(card.training_data),
        "## Training",
        _table({name: value for name, value in options.items() if name not in _TOLD_ELSEWHERE}),
        "Network: " + ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(bundle.network_config).items()) + ".",
        "Schedule: " + ", ".join(f"{k} {v}" for k, v in bundle.schedule.to_json().items()) + ".",
        *_classes(bundle),
        "At the end of training:",
        _table(trained | _provenance(card.recipe)),
    ]
    if pictures:
        parts += ["![Losses](loss.png)", "![Network](model.png)"]
    parts += [
        "## Scores",
        scores_table(card.scores) if card.scores else "Not measured yet: `bouquet evaluate` does it.",
        "## Method",
        _METHOD,
    ]
    return "\n\n".join(parts) + "\n"


def _classes(bundle: Bundle) -> list[str]:
    """What kinds of flowers the network is told, and how it is guided by them."""
    if not bundle.class_names:
        return []
    guidance = ", ".join(f"{name} {value:g}" for name, value in bundle.guidance.to_json().items())
    kinds = ", ".join(f"{name} ({count})" for name, count in zip(bundle.class_names, bundle.class_counts, strict=True))
    return [
        f"Guidance: {guidance}.",
        f"Kinds of flowers, and training photos of each, as often as seeds draw them: {kinds}.",
    ]


def _provenance(recipe: dict[str, Any]) -> dict[str, Any]:
    """What else tells how to repeat the training, where the card has it."""
    found: dict[str, Any] = {}
    if ancestor := recipe.get("begun_from"):
        found["begun from the weights of"] = f"{ancestor['name']}, content hash {ancestor['content_hash']}"
    if hashes := recipe.get("code_sha256"):
        found["sha256 of the code, model/*.py"] = ", then ".join(hashes)
    if software := recipe.get("software"):
        found["software"] = ", ".join(f"{name} {number}" for name, number in software.items())
    if "average" in recipe:
        found["average kept"] = recipe["average"]
    return found


def _table(values: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        return f"{value:.5g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    rows = [f"| {name.replace('_', ' ')} | {shown(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
